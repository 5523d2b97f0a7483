"""What a parsed label file is, before anything in it has been validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from yolo_assets.learning.records import LabelFormat


@dataclass
class RawBox:
    """A box as written: any numbers, any class.

    Attributes:
        xyxy: in ``unit``.
        unit: ``pixels``, or ``fraction`` of the image's width and height.
        class_name: None when the file names no class for it.
        confidence: of a prediction; None for a label.
    """

    xyxy: tuple[float, float, float, float]
    class_name: str | None
    unit: Literal["pixels", "fraction"] = "pixels"
    confidence: float | None = None


@dataclass
class RawImage:
    """An image as a label file names it.

    Attributes:
        name: file name or path as written.
        image_path: our own path, where the tool carried it along.
        width: pixels; None when the file does not tell it.
        height: pixels; None when the file does not tell it.
        boxes: in file order.
        annotator: who labelled it, where the file names them.
        problems: rows of the file that could not be read.
        data: the image itself, where the file carries it.
    """

    name: str
    image_path: str | None = None
    width: int | None = None
    height: int | None = None
    boxes: list[RawBox] = field(default_factory=list)
    annotator: str | None = None
    problems: list[str] = field(default_factory=list)
    data: bytes | None = None


@dataclass
class LabelFile:
    """One label file.

    Attributes:
        format: which of the three it is.
        images: reviewed images.
        unreviewed: images in the file that no one labelled yet.
        orphans: rows that belong to no image of the file, as ``(name, problem)``.
    """

    format: LabelFormat
    images: list[RawImage]
    unreviewed: int = 0
    orphans: list[tuple[str, str]] = field(default_factory=list)
