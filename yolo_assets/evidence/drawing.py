"""Drawn copies of frames: boxes and labels of the records, by ``supervision``; and small ones for the report.

Belongs here: pixels of copies. Does not belong here: the archived bytes, which nothing here changes or writes.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from yolo_assets.contracts.detection import Detection
from yolo_assets.contracts.text import plain

LARGEST = 100_000_000
"""Pixels of a picture beyond which it is not decoded: a few bytes can claim to be a picture of gigabytes."""

_QUALITY = 92
_SMALL_QUALITY = 80
# Distinct in hue and lightness, dark enough for white letters, readable for people who see few colours.
_PALETTE = ("#c0262d", "#0b6fa4", "#8a5a00", "#6b3fa0", "#1b7a43", "#a3286f", "#b34700", "#2f5d8a")

Picture = NDArray[np.uint8]
"""``[height, width, 3]``, BGR."""


def font_file(name: str = "DejaVuSans.ttf") -> Path:
    """A font with more than Latin letters, from the data files of matplotlib."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="supervision")
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / name


def decoded(data: bytes) -> Picture | None:
    """The picture in a frame's bytes; None when they are no picture, or one that is too large to be decoded."""
    try:
        # Not Image.open: it opens whatever there is a plug-in for, and other libraries of this process replace it.
        with JpegImageFile(io.BytesIO(data)) as head:
            if head.width * head.height > LARGEST:
                return None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, cv2.error):
        return None
    return None if image is None else np.asarray(image, np.uint8)


def draw(picture: Picture, detections: Sequence[Detection], classes: Sequence[str]) -> Picture:
    """A copy with a box and a label for each detection; boxes end at the edge of the picture.

    Args:
        picture: the frame.
        detections: what to draw.
        classes: every class of the pack, in one order: neighbours there never share a colour.
    """
    copy = picture.copy()
    if not detections:
        return copy
    height, width = picture.shape[:2]
    limits = np.array([width - 1, height - 1, width - 1, height - 1], np.float64)
    boxes = np.clip(np.array([item.bbox for item in detections], np.float64), 0, limits)
    drawn = sv.Detections(xyxy=boxes, class_id=np.array([_colour(item.class_name, classes) for item in detections]))
    colours = sv.ColorPalette.from_hex(list(_PALETTE))
    short = min(height, width)
    labels = [f"{plain(item.class_name)[:60]} {item.confidence:.2f}" for item in detections]
    sv.BoxAnnotator(colours, thickness=max(2, round(short / 300))).annotate(copy, drawn)
    letters = sv.RichLabelAnnotator(
        colours,
        font_path=str(font_file()),
        font_size=max(9, round(short / 38)),
        text_padding=max(2, round(short / 200)),
        smart_position=True,
    )
    return np.asarray(letters.annotate(copy, drawn, labels), np.uint8)


def jpeg(picture: Picture, quality: int = _QUALITY) -> bytes:
    """A picture as JPEG; colours at full resolution, or thin lines would lose theirs."""
    colours = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality, *colours])
    if not done:
        raise ValueError("the picture cannot be encoded")
    return data.tobytes()


def small(picture: Picture, widest: int) -> bytes:
    """A copy that is at most ``widest`` pixels wide and high, as JPEG."""
    height, width = picture.shape[:2]
    scale = min(1.0, widest / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return jpeg(picture, _SMALL_QUALITY)


def _colour(class_name: str, classes: Sequence[str]) -> int:
    return classes.index(class_name) % len(_PALETTE) if class_name in classes else 0
