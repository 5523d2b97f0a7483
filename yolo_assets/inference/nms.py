"""Non-maximum suppression, the same boxes as Ultralytics with torchvision, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_CANDIDATES = 30_000
"""More candidates than this are cut to the most confident before suppression."""

CLASS_OFFSET = 7680
"""Pixels that boxes of each class are moved by, so that classes never overlap: Ultralytics' trick and its figure."""


def nms(
    xyxy: NDArray[np.float32], confidence: NDArray[np.float32], iou: float, limit: int | None = None
) -> NDArray[np.intp]:
    """Greedy suppression without regard to class.

    The arithmetic is torchvision's on a CPU: float32 areas and overlaps, a stable order (equal confidences keep their
    order of arrival), suppression when the overlap is strictly greater than ``iou``. The work is O(kept * n).

    Args:
        xyxy: ``[n, 4]`` pixels.
        confidence: ``[n]``.
        iou: overlap above which the less confident box goes.
        limit: stop after so many kept boxes.

    Returns:
        Positions of the kept boxes, most confident first.
    """
    order = np.argsort(-confidence, kind="stable")
    x1, y1, x2, y2 = (np.ascontiguousarray(side) for side in xyxy[order].T)
    area = (x2 - x1) * (y2 - y1)
    rest = np.arange(len(order))
    # torchvision compares in double; a plain float would be rounded to float32 here.
    threshold = np.float64(iou)
    kept: list[int] = []
    while rest.size and (limit is None or len(kept) < limit):
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: 0/0 suppresses nothing
            ratio = overlap / (area[best] + area[rest] - overlap)
        rest = rest[~(ratio > threshold)]
    return order[np.asarray(kept, np.intp)]


def class_aware_nms(
    xyxy: NDArray[np.float32], class_id: NDArray[np.int32], confidence: NDArray[np.float32], iou: float, limit: int
) -> NDArray[np.intp]:
    """Greedy suppression within each class.

    Args:
        xyxy: float32 ``[n, 4]``, input pixels.
        class_id: int32 ``[n]``.
        confidence: float32 ``[n]``.
        iou: overlap above which the less confident box of the same class goes.
        limit: boxes to keep at most.

    Returns:
        Positions of the kept boxes, most confident first.
    """
    candidates: NDArray[np.intp] | None = None
    if len(confidence) > MAX_CANDIDATES:
        candidates = np.argsort(-confidence, kind="stable")[:MAX_CANDIDATES]
        xyxy, class_id, confidence = xyxy[candidates], class_id[candidates], confidence[candidates]
    offset = class_id.astype(np.float32)[:, None] * np.float32(CLASS_OFFSET)
    kept = nms(np.add(xyxy, offset, dtype=np.float32), confidence, iou, limit)
    return kept if candidates is None else candidates[kept]
