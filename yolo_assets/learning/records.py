"""What learning writes to the store: batches, accepted labels, datasets. Records only, no I/O.

Every record is free of clocks and machine names except ``imported_at``, so that the same inputs give the same bytes.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.detection import Box
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_class_name

Reason = Literal["uncertain", "drifting", "rare", "novel", "diverse", "random", "suspect"]
"""Why a frame was chosen for annotation; ``suspect``: it is labelled, and something in its labels may be wrong."""

LabelFormat = Literal["coco", "label_studio", "yolo", "cvat", "pascal_voc", "datumaro"]
"""The formats in which labels come in."""

Split = Literal["train", "val", "test"]
"""``test`` is held out for ever: it evaluates models and never trains one."""

HardReason = Literal["small", "low_contrast"]
"""Why a frame counts as a hard case."""


class Sampled(Record):
    """A frame chosen for annotation, with the reason that is true of it."""

    image_path: str
    reason: Reason


class ArchiveRef(Record):
    """Where a frame lies in the cold archive. Its SHA-256 is in the record that refers to it."""

    archive_key: str
    member: str


class LabelBox(Record):
    """One object that a person marked, in pixels of the whole frame."""

    bbox: Box
    class_name: str = Field(alias="class")

    @field_validator("class_name")
    @classmethod
    def _name(cls, value: str) -> str:
        try:
            return check_class_name(value)
        except BadInputError as error:
            raise ValueError(str(error)) from None


class Prediction(LabelBox):
    """What the model on the line reported: shown to people as a first guess."""

    confidence: float = Field(ge=0, le=1)


class BatchItem(Record):
    """One frame of an annotation batch."""

    file: str = Field(description="name under images/, unique over all batches")
    image_path: str
    camera_id: str
    captured_at: Time | None = None
    reason: Reason
    source: ArchiveRef | None = Field(default=None, description="None: the image came with labels")
    sha256: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    predictions: tuple[Prediction, ...] = ()
    model_version: str | None = None


class BatchManifest(Record):
    """``annotation/<batch>/manifest.json``, written last: a batch without it is not there."""

    schema_version: Literal[1] = 1
    batch: str
    class_names: tuple[str, ...]
    items: tuple[BatchItem, ...]


class LabelledImage(Record):
    """One reviewed image. No boxes means that a person found nothing: a background, kept."""

    image_path: str
    sha256: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    boxes: tuple[LabelBox, ...]
    camera_id: str | None = None
    captured_at: Time | None = None
    source: ArchiveRef | None = Field(default=None, description="None: the image came with the labels")
    file_name: str | None = Field(default=None, description="of an image that came with the labels, as they call it")
    copy_key: str | None = Field(default=None, description="a copy in the store: an archive may be cold by now")
    annotator: str | None = None
    labelled_at: Time | None = Field(default=None, description="when the tool says that these labels last changed")
    batch: str | None = Field(default=None, description="the annotation batch that handed the image out")
    confirmed: bool = Field(default=False, description="a person answered for it beside the file or at its import")


class Rejected(Record):
    """A label, an image or a file that was not accepted, and why. Its image waits for a corrected file."""

    image: str = Field(description="the image, task or row; empty for the file as a whole")
    reason: str = Field(description="one sentence with what to do")
    image_path: str | None = Field(default=None, description="of the image, where it is known which one is meant")

    def __str__(self) -> str:
        return f"{self.image}: {self.reason}" if self.image else self.reason


class ImportOptions(Record):
    """What a person says about a label file: beside it in the inbox as ``<file>.import.yaml``."""

    by: str | None = Field(default=None, min_length=1, description="who labelled, where the file does not tell it")
    class_map: dict[str, str] = Field(default_factory=dict, description="our class name by theirs")
    reviewed: Literal["all"] | tuple[str, ...] = Field(
        default=(), description="images, by file name, that were reviewed: what the file says of them is meant"
    )

    change_test_labels: tuple[str, ...] = Field(
        default=(), description="images of the test split, by file name or path, whose labels may change"
    )

    def covers(self, name: str) -> bool:
        """Whether a person answered for an image of this file name or path."""
        return self.reviewed == "all" or _named(name, self.reviewed)

    def may_change_test(self, name: str) -> bool:
        """Whether a person named an image of this file name or path as one whose test labels may change."""
        return _named(name, self.change_test_labels)


def _named(name: str, names: tuple[str, ...]) -> bool:
    return name in names or PurePosixPath(name).name in names


class Withdrawal(Record):
    """That the labels of a file no longer count, and who said so. The file and its labels stay as history."""

    at: Time
    by: str | None = None
    reason: str | None = None


class AcceptedLabels(Record):
    """``labels/accepted/<sha256 of the inbox file>.json``: one imported file, with all that was wrong in it.

    It is written anew when the file is judged again. What was accepted once stays accepted.
    """

    schema_version: Literal[1] = 1
    source_file: str
    source_sha256: str
    format: LabelFormat
    imported_at: Time
    images: tuple[LabelledImage, ...]
    rejected: tuple[Rejected, ...] = ()
    questions: tuple[Rejected, ...] = Field(default=(), description="images that wait until a person answers for them")
    unreviewed: int = Field(default=0, ge=0, description="images in the file that no one labelled yet")
    unasked: int = Field(default=0, ge=0, description="backgrounds that are not known to have been reviewed")
    judged_by: str | None = Field(default=None, description="hash of what the judgement depended on besides the file")
    options_sha256: str | None = Field(default=None, description="of what a person said beside the file")
    tool: str | None = Field(default=None, description="the program that wrote the file, where the file tells it")
    updated_at: Time | None = Field(default=None, description="when its project last changed, where the file tells it")
    withdrawn: Withdrawal | None = None

    @property
    def digest(self) -> str:
        """The beginning of its SHA-256, enough to name it."""
        return self.source_sha256[:12]


class DatasetItem(Record):
    """One image of a dataset version."""

    image_path: str
    sha256: str
    split: Split
    group: str = Field(description="what belongs together shares a group, and a group never spans two splits")
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    boxes: tuple[LabelBox, ...]
    camera_id: str | None = None
    captured_at: Time | None = None
    source: ArchiveRef | None = None
    file_name: str | None = Field(default=None, description="of an image that came with its labels")
    dhash: str = Field(pattern=r"^[0-9a-f]{64}$", description="256-bit perceptual hash")
    hard: tuple[HardReason, ...] = ()
    object_ids: tuple[str, ...] = Field(default=(), description="the object that each box shows; empty: not known")
    batch_id: str | None = Field(default=None, description="production batch of the frame, where the tables know it")
    golden: bool = Field(default=False, description="of the golden set: evaluates models and never trains one")


class DatasetFacts(Record):
    """What is known of a dataset version besides its images."""

    class_names: tuple[str, ...] = Field(description="position is the class id; a new version only appends")
    class_list: ClassList | None = Field(
        default=None, description="the plant's list of classes when the version was built; None: there was none"
    )
    parent: str | None = Field(default=None, description="SHA-256 of the version before")
    labels: tuple[str, ...] = Field(default=(), description="SHA-256 of every label file that went in")
    counts: dict[str, int] = Field(default_factory=dict, description="images by split, boxes by split and class")
    warnings: tuple[str, ...] = ()
    kept_splits: dict[str, tuple[Split, str]] = Field(
        default_factory=dict,
        description="of images of earlier versions that this one lacks, by SHA-256: split and group they come back to",
    )

    @property
    def names_in_use(self) -> tuple[str, ...]:
        """Names of the classes that have boxes and are trained: without those that were retired or merged."""
        return self.class_list.names_in_use if self.class_list is not None else self.class_names

    @model_serializer(mode="wrap")
    def _serialized(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a version does not have is left out: it is written as before there was any, and its name is its hash."""
        return {name: value for name, value in dump(self).items() if name not in ("class_list", "kept_splits") or value}


class DatasetManifest(DatasetFacts):
    """A dataset version, whole; as one JSON document it is how versions of 0.1 lie in the store."""

    schema_version: Literal[1] = 1
    items: tuple[DatasetItem, ...]
    excluded: dict[str, str] = Field(default_factory=dict, description="image path to why it is in no split")


class DatasetHead(DatasetFacts):
    """``datasets/<sha256>/manifest.json``; the SHA-256 is that of these bytes. The images are ``items.parquet``."""

    schema_version: Literal[2] = 2
    items_sha256: str = Field(description="of items.parquet")
    images: int = Field(ge=0, description="in a split")
    excluded: int = Field(ge=0, description="images that are in no split")
