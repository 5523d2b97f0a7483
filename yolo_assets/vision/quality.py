"""Figures of the picture itself, for camera health. Cheap enough for every frame; no verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_assets.vision.letterbox import check_frame

_LONG_SIDE = 320
"""Every picture is measured at this size, so that figures of different cameras and settings can be compared."""


def picture_quality(bgr: NDArray[np.uint8]) -> tuple[float, float]:
    """Sharpness and brightness of a frame.

    Args:
        bgr: uint8 ``[h, w, 3]``.

    Returns:
        Blur: variance of the Laplacian of the grey picture with a long side of at most 320 pixels (small means blurred,
        0 means one flat colour); brightness: mean of the grey picture, 0 to 255.

    Raises:
        BadInputError: not such a frame.
    """
    import cv2

    check_frame(bgr)
    height, width = bgr.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return float(deviation[0, 0] ** 2), float(grey.mean())
