"""How far boxes overlap, which of two sets show the same object, and non-maximum suppression: one IoU for all three.

Belongs here: arithmetic on boxes. Does not belong here: what follows from a match (average precision, golden frames,
the comparison of two models).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from yolo_assets.vision.detections import Detections

MAX_CANDIDATES = 30_000
"""More candidates than this are cut to the most confident before suppression."""

CLASS_OFFSET = 7680
"""Pixels that boxes of each class are moved by, so that classes never overlap: Ultralytics' trick and its figure."""

_BLOCK = 128
"""Boxes decided at a time: fewer cost more calls, more cost memory beyond the processor's cache."""


def iou_matrix(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of every box of one set with every box of another.

    Computed in the type of the arguments: in float32 the result is torchvision's on a CPU, bit by bit. Fastest when
    each coordinate is contiguous, as in the transpose of ``[4, n]``.

    Args:
        a: float ``[n, 4]``, xyxy.
        b: float ``[m, 4]``, xyxy, of the same type.

    Returns:
        ``[n, m]``, 0 to 1; 0 for two boxes without area.
    """
    return _overlaps(a.T[:, :, None], b.T[:, None])


def iou_of_pairs(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of the boxes that stand side by side, ``[n]``; both as for ``iou_matrix``, ``[n, 4]``."""
    return _overlaps(a.T, b.T)


def _overlaps(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """IoU of boxes ``[4, …]`` whose shapes go together."""
    x1, y1, x2, y2 = a
    u1, v1, u2, v2 = b
    width = np.minimum(x2, u2) - np.maximum(x1, u1)
    height = np.minimum(y2, v2) - np.maximum(y1, v1)
    shared = np.maximum(width, 0, out=width) * np.maximum(height, 0, out=height)
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    # Without area the union is 0; the smallest number in its place makes the result 0.
    return shared / np.maximum(union, np.finfo(union.dtype).tiny, out=union)


def class_overlaps(a: Detections, b: Detections) -> NDArray[np.float64]:
    """IoU ``[n, m]`` of the detections of two sets, in float64; 0 where their classes differ."""
    overlaps = iou_matrix(a.xyxy.astype(np.float64), b.xyxy.astype(np.float64))
    overlaps[a.class_id[:, None] != b.class_id] = 0.0
    return overlaps


def match(overlaps: NDArray[np.float64], iou: float, *, first: Literal["rows", "pairs"] = "rows") -> NDArray[np.intp]:
    """Pair each row with at most one column, greedily; both are used once.

    Args:
        overlaps: ``[n, m]``, from `class_overlaps`; not changed.
        iou: pairs overlap at least so far; above 0.
        first: ``rows``: each row in turn takes the free column it overlaps most, as COCO matches predictions in falling
            confidence; ``pairs``: the pair that overlaps most is taken first.

    Returns:
        The column of each row ``[n]``; -1 where it has none.
    """
    columns = np.full(len(overlaps), -1, np.intp)
    if not overlaps.size:
        return columns
    free = np.where(overlaps >= iou, overlaps, 0.0)
    for row in np.flatnonzero(free.any(axis=1)):
        if first == "pairs":
            row = int(free.argmax()) // free.shape[1]
        column = int(free[row].argmax())
        if free[row, column] > 0:
            columns[row] = column
            free[row] = free[:, column] = 0.0
    return columns


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
    # torchvision compares in double; a plain float would be rounded to float32 here.
    most = np.float64(iou)
    rest = np.arange(len(order))
    kept: list[NDArray[np.intp]] = []
    count = 0
    # Greedy needs each box's fate before the next one's. Overlaps are computed for whole blocks at once, and only the
    # fates inside a block are decided one by one: on bits of plain integers, without a call into NumPy for each box.
    while rest.size and (limit is None or count < limit):
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        chosen = block[_greedy(iou_matrix(sides[:, block].T, sides[:, block].T) > most)]
        if limit is not None:
            chosen = chosen[: limit - count]
        kept.append(chosen)
        count += len(chosen)
        if rest.size:
            rest = rest[~(iou_matrix(sides[:, chosen].T, sides[:, rest].T) > most).any(axis=0)]
    return order[np.concatenate(kept)] if kept else order[:0]


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
