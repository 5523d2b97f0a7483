"""Pictures before any model sees them: reading a file, refusing what is not a frame, and figures for camera health."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError

_LONG_SIDE = 320
"""Every picture is measured at this size, so that figures of different cameras and settings can be compared."""


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """A picture file as BGR uint8 ``[h, w, 3]``.

    Raises:
        BadInputError: not a picture.
    """
    import cv2

    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise BadInputError(f"{name} is not a picture that can be read; use JPEG or PNG")
    return np.asarray(picture, np.uint8)


def check_frame(bgr: NDArray[np.uint8]) -> None:
    """Refuse what is no colour picture.

    Raises:
        BadInputError: not uint8 ``[h, w, 3]``, or without a pixel.
    """
    if not isinstance(bgr, np.ndarray) or bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.size == 0:
        got = f"{bgr.dtype.name} {list(bgr.shape)}" if isinstance(bgr, np.ndarray) else type(bgr).__name__
        raise BadInputError(f"a frame must be a BGR picture, uint8 [height, width, 3]; got {got}")


def picture_quality(bgr: NDArray[np.uint8]) -> tuple[float, float]:
    """Sharpness and brightness of a frame; cheap enough for every one.

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
