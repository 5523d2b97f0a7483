"""Copies of frames for labelling tools and trainers, which read one picture in different ways.

Some turn a picture as its EXIF data says and some do not, browsers show no TIFF, transparency hides what a model sees.
A copy is the same for all of them: the file itself where it is a plain JPEG or PNG, else its upright pixels as PNG.
Does not belong here: the archived bytes, which nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2

from yolo_assets.vision.picture_head import PictureHead, read_head
from yolo_assets.vision.pictures import decode_image

_PLAIN_COLOURS = (0, 2)  # of a PNG: grey and RGB, without palette and transparency


@dataclass(frozen=True)
class PictureCopy:
    """A picture that every tool sees alike.

    Attributes:
        data: the file.
        ending: what its name ends in.
        width: pixels.
        height: pixels.
        head: what the original says about itself.
    """

    data: bytes
    ending: Literal[".jpg", ".png"]
    width: int
    height: int
    head: PictureHead


def picture_copy(data: bytes, name: str) -> PictureCopy:
    """The copy of a frame.

    Args:
        data: the frame's bytes.
        name: what messages call it.

    Raises:
        BadInputError: it is no picture.
    """
    head = read_head(data, name)
    picture = decode_image(data, name)
    height, width = picture.shape[:2]
    if head.orientation == 1 and head.format == "JPEG" and data.endswith(b"\xff\xd9"):
        return PictureCopy(data, ".jpg", width, height, head)
    if head.orientation == 1 and head.format == "PNG" and data[24] == 8 and data[25] in _PLAIN_COLOURS:
        return PictureCopy(data, ".png", width, height, head)
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    return PictureCopy(encoded, ".png", width, height, head)
