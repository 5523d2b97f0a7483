"""Drawn copies of frames: boxes and labels of the records on the upright picture; and small ones for the report.

Belongs here: pixels of copies. Does not belong here: the archived bytes, which nothing here changes or writes, and how
picture files are read (``vision.pictures``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray
from PIL import Image
from supervision.detection.utils.boxes import spread_out_boxes

from yolo_assets.contracts.detection import Box, Detection, DetectionRecord
from yolo_assets.contracts.text import plain
from yolo_assets.evidence.lettering import Fonts
from yolo_assets.vision.orientation import fit_boxes
from yolo_assets.vision.picture_head import PictureHead

_QUALITY = 92
_SMALL_QUALITY = 80
_LONGEST_LABEL = 60
# Distinct in hue and lightness, dark enough for white letters, readable for people who see few colours.
_PALETTE = ("#c0262d", "#0b6fa4", "#8a5a00", "#6b3fa0", "#1b7a43", "#a3286f", "#b34700", "#2f5d8a")
_WHITE = (255, 255, 255)

Picture = NDArray[np.uint8]
"""``[height, width, 3]``, BGR."""


@dataclass(frozen=True)
class PlacedBoxes:
    """Where the detections of a frame lie in its upright picture.

    Attributes:
        boxes: each detection with its box.
        unfit: records whose width and height are not the picture's: nobody knows where their boxes belong.
        turned: records whose boxes were given in the picture as it is stored, and had to be turned with it.
    """

    boxes: list[tuple[Detection, Box]]
    unfit: int
    turned: int

    @classmethod
    def of(cls, records: Iterable[DetectionRecord], head: PictureHead) -> PlacedBoxes:
        """Place the detections of these records.

        Args:
            records: of the frame.
            head: what its picture file says about itself.
        """
        boxes: list[tuple[Detection, Box]] = []
        unfit = turned = 0
        for record in records:
            turn = fit_boxes((record.width, record.height), head.stored_size, head.orientation)
            if turn is None:
                unfit += 1
                continue
            turned += turn.orientation != 1 and bool(record.detections)
            boxes += [(detection, turn.box(detection.bbox)) for detection in record.detections]
        return cls(boxes, unfit, turned)


def draw(
    picture: Picture, detections: Sequence[tuple[Detection, Box]], classes: Sequence[str], fonts: Fonts
) -> Picture:
    """A copy with a box and a label for each detection; boxes end at the edge of the picture.

    Args:
        picture: the frame, upright.
        detections: what to draw, each with its box in this picture.
        classes: every class of the pack, in one order: neighbours there never share a colour.
        fonts: for the labels.
    """
    copy = picture.copy()
    if not detections:
        return copy
    height, width = picture.shape[:2]
    limits = np.array([width - 1, height - 1, width - 1, height - 1], np.float64)
    boxes = np.clip(np.array([box for _, box in detections], np.float64), 0, limits)
    colours = sv.ColorPalette.from_hex(list(_PALETTE))
    numbers = np.array([_colour(item.class_name, classes) for item, _ in detections])
    drawn = sv.Detections(xyxy=boxes, class_id=numbers)
    short = min(height, width)
    sv.BoxAnnotator(colours, thickness=max(2, round(short / 300))).annotate(copy, drawn)
    padding, pixels = max(2, round(short / 200)), max(9, round(short / 38))
    labels = [
        _label(item, fonts, pixels, padding, width, colours.by_idx(int(number)).as_rgb())
        for (item, _), number in zip(detections, numbers, strict=True)
    ]
    scene = Image.fromarray(copy[:, :, ::-1])
    for label, (x, y) in zip(labels, _places(boxes, labels, width, height), strict=True):
        scene.paste(label, (x, y))
    return np.ascontiguousarray(np.asarray(scene, np.uint8)[:, :, ::-1])


def _label(
    item: Detection, fonts: Fonts, pixels: int, padding: int, width: int, colour: tuple[int, int, int]
) -> Image.Image:
    """Class and confidence on the colour of the box, cut so that it fits into the picture."""
    name, whole = plain(item.class_name), plain(item.class_name)
    name = name[:_LONGEST_LABEL]
    while True:
        cut = name if len(name) == len(whole) else f"{name}…"
        text = fonts.picture(f"{cut} {item.confidence:.2f}", pixels, _WHITE)
        if text.width + 2 * padding <= width or len(name) <= 1:
            break
        name = name[: max(1, min(len(name) - 1, int(len(name) * width / (text.width + 2 * padding))))]
    label = Image.new("RGB", (text.width + 2 * padding, text.height + 2 * padding), colour)
    label.paste(text, (padding, padding), text)
    return label


def _places(
    boxes: NDArray[np.float64], labels: Sequence[Image.Image], width: int, height: int
) -> list[tuple[int, int]]:
    """Left and upper edge of each label: above its box, moved into the picture and apart from each other."""
    sizes = np.array([label.size for label in labels], np.float64)
    corners = np.column_stack((boxes[:, 0], boxes[:, 1] - sizes[:, 1]))
    limits = np.maximum(np.array([width, height]) - sizes, 0)
    corners = np.clip(corners, 0, limits)
    if len(labels) > 1:
        spread = np.asarray(spread_out_boxes(np.hstack((corners, corners + sizes))), np.float64)
        corners = np.clip(spread[:, :2], 0, limits)
    return [(round(x), round(y)) for x, y in corners.tolist()]


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
