"""Which frames are hard cases: a candidate must not get worse on them, however good it is on average."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.learning.records import HardReason, LabelBox

SMALL_SIDE = 0.045
"""A box is small when its shorter side is less than this part of the frame's longer side."""

LOW_CONTRAST = 10.0
"""A box is of low contrast when its mean grey is nearer than this to that of its surroundings, and its spread too."""


def hard_reasons(bgr: NDArray[np.uint8], boxes: Iterable[LabelBox]) -> tuple[HardReason, ...]:
    """Why a frame is a hard case; empty when it is none.

    Args:
        bgr: uint8 ``[H, W, 3]``.
        boxes: its labels, pixels.
    """
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    height, width = grey.shape
    found: set[HardReason] = set()
    for box in boxes:
        x1, y1, x2, y2 = box.bbox
        if min(x2 - x1, y2 - y1) < SMALL_SIDE * max(width, height):
            found.add("small")
        left, top, right, bottom = int(x1), int(y1), int(np.ceil(x2)), int(np.ceil(y2))
        margin = max(4, min(right - left, bottom - top) // 2)
        inside = grey[top:bottom, left:right]
        outer = grey[max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin]
        ring = (outer.sum() - inside.sum()) / max(outer.size - inside.size, 1)
        if outer.size > inside.size and abs(float(inside.mean() - ring)) < LOW_CONTRAST > float(inside.std()):
            found.add("low_contrast")
    return tuple(sorted(found))
