"""Non-maximum suppression, the same boxes as Ultralytics with torchvision, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_CANDIDATES = 30_000
"""More candidates than this are cut to the most confident before suppression."""

CLASS_OFFSET = 7680
"""Pixels that boxes of each class are moved by, so that classes never overlap: Ultralytics' trick and its figure."""

_BLOCK = 128
"""Boxes decided at a time: fewer cost more calls, more cost memory beyond the processor's cache."""


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
    sides = np.ascontiguousarray(xyxy[order].T)
    rest = np.arange(len(order))
    kept: list[NDArray[np.intp]] = []
    count = 0
    # Greedy needs each box's fate before the next one's. Overlaps are computed for whole blocks at once, and only the
    # fates inside a block are decided one by one: on bits of plain integers, without a call into NumPy for each box.
    while rest.size and (limit is None or count < limit):
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        chosen = block[_greedy(_overlapping(sides, block, block, iou))]
        if limit is not None:
            chosen = chosen[: limit - count]
        kept.append(chosen)
        count += len(chosen)
        if rest.size:
            rest = rest[~_overlapping(sides, chosen, rest, iou).any(axis=0)]
    return order[np.concatenate(kept)] if kept else order[:0]


def _overlapping(
    sides: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp], iou: float
) -> NDArray[np.bool_]:
    """Which boxes ``[len(rows), len(columns)]`` overlap by more than ``iou``."""
    x1, y1, x2, y2 = sides[:, rows, None]
    u1, v1, u2, v2 = sides[:, None, columns]
    width = np.minimum(x2, u2) - np.maximum(x1, u1)
    height = np.minimum(y2, v2) - np.maximum(y1, v1)
    overlap = np.maximum(width, 0, out=width) * np.maximum(height, 0, out=height)
    with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: 0/0 suppresses nothing
        ratio = overlap / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - overlap)
    # torchvision compares in double; a plain float would be rounded to float32 here.
    return ratio > np.float64(iou)


def _greedy(overlapping: NDArray[np.bool_]) -> list[int]:
    """Positions that survive when each survivor suppresses the later ones it overlaps."""
    bits = np.packbits(overlapping, axis=1, bitorder="little")
    suppressed = 0
    kept = []
    for position, row in enumerate(bits):
        if not suppressed >> position & 1:
            kept.append(position)
            suppressed |= int.from_bytes(row.tobytes(), "little")
    return kept


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
