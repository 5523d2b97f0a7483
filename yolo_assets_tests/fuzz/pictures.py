"""Pictures of anybody: unpacked whole and upright, or refused; never more memory than the pixels that are allowed."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from yolo_assets.vision.pictures import decode_image
from yolo_assets_tests.fuzz.law import foreign, refused_or

LONGEST = 8 << 10
MOST_PIXELS = 1_000_000


def seeds() -> Iterator[bytes]:
    """The foreign frames, and a small picture of each kind."""
    yield from list(foreign("spool", ".jpg", ".png"))[:20]
    picture = np.arange(24 * 16 * 3, dtype=np.uint8).reshape(16, 24, 3)
    for ending in (".jpg", ".png", ".webp", ".bmp", ".tif"):
        yield cv2.imencode(ending, picture)[1].tobytes()
    yield cv2.imencode(".png", picture[..., 0].astype(np.uint16) * 257)[1].tobytes()
    yield cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


def check(data: bytes) -> None:
    """What was unpacked comes back when it is written without loss."""
    picture = refused_or(lambda: decode_image(data, "x.jpg", MOST_PIXELS))
    if picture is None:
        return
    height, width, channels = picture.shape
    assert channels == 3 and picture.dtype == np.uint8 and 0 < height * width <= MOST_PIXELS
    assert np.array_equal(decode_image(cv2.imencode(".bmp", picture)[1].tobytes(), "again"), picture)
