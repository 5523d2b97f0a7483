"""What a parsed label file is, before anything in it has been validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from yolo_assets.learning.records import LabelFormat


@dataclass
class RawBox:
    """A box as written: any numbers, any class.

    Attributes:
        xyxy: in ``unit``, before it is turned.
        unit: ``pixels``, or ``fraction`` of the image's width and height.
        class_name: None when the file names no class for it.
        confidence: of a prediction; None for a label.
        rotation: degrees clockwise by which it is turned.
        pivot: what it is turned about: its centre, or its top left corner.
    """

    xyxy: tuple[float, float, float, float]
    class_name: str | None
    unit: Literal["pixels", "fraction"] = "pixels"
    confidence: float | None = None
    rotation: float = 0.0
    pivot: Literal["centre", "corner"] = "centre"


@dataclass
class RawImage:
    """An image as a label file names it.

    Attributes:
        name: file name or path as written.
        other_names: names under which the image may be known as well, the likelier first.
        image_path: our own path, where the tool carried it along.
        width: pixels; None when the file does not tell it.
        height: pixels; None when the file does not tell it.
        boxes: in file order.
        annotator: who labelled it, where the file names them.
        problems: rows of the file that could not be read.
        data: the image itself, where the file carries it.
        reviewed: the file says that a person looked at this image, so that "no box" is their answer.
        reviewed_at: when its labels last changed, where the file tells it of each image.
        guesses: boxes that a model drew and, as far as the file tells, nobody changed.
        unsure: why nobody can know whether an image without boxes is a background; None when nothing speaks against it.
    """

    name: str
    other_names: tuple[str, ...] = ()
    image_path: str | None = None
    width: int | None = None
    height: int | None = None
    boxes: list[RawBox] = field(default_factory=list)
    annotator: str | None = None
    problems: list[str] = field(default_factory=list)
    data: bytes | None = None
    reviewed: bool = False
    reviewed_at: datetime | None = None
    guesses: int = 0
    unsure: str | None = None


@dataclass
class LabelFile:
    """One label file.

    Attributes:
        format: which of the formats it is.
        images: images that the file says something about.
        unreviewed: images in the file that no one labelled yet.
        orphans: rows that belong to no image of the file, as ``(name, problem)``.
        lost: how many of these may be about any image of the file: none of it is then known to hold no object.
        tool: the program that wrote it, where the file tells it.
        updated_at: when its project last changed, where the file tells that and not when each image did.
    """

    format: LabelFormat
    images: list[RawImage]
    unreviewed: int = 0
    orphans: list[tuple[str, str]] = field(default_factory=list)
    lost: int = 0
    tool: str | None = None
    updated_at: datetime | None = None
