"""A model as it ships: the bundle's manifest, and the pointer of a release channel.

A bundle is immutable. Training writes it unsigned; promotion adds signatures beside its manifest and moves the pointer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.detection import Box

MANIFEST = "manifest.json"
ONNX = "model.onnx"
WEIGHTS = "weights.pt"

_FLAGS = ("forced", "unjudged", "wave")
_LEFT_OUT = ("imported", "built", "class_list")

OutputLayout = Literal["raw", "end2end"]
"""``raw``: ``[1, 4 + classes, anchors]``, cxcywh in input pixels, NMS outside. ``end2end``: ``[1, 300, 6]``."""


class FileEntry(Record):
    """Hash and size of one file of a bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)

    @classmethod
    def of(cls, data: bytes) -> FileEntry:
        """The entry of a file with these bytes."""
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


class Thresholds(Record):
    """Operating point: what the edge reports. Evaluation uses its own, lower confidence."""

    confidence: float = Field(default=0.25, ge=0, le=1, description="boxes below it are left out")
    by_class: dict[str, float] = Field(
        default_factory=dict[str, float], description="confidence for single classes, where it differs"
    )
    miss_rate: dict[str, float] = Field(
        default_factory=dict[str, float],
        description="by class, the share of objects that may be overlooked. In a recipe: what is wanted. In a "
        "manifest: what holds by conformal risk control on val, with the threshold in by_class",
    )
    iou: float = Field(default=0.7, ge=0, le=1, description="of two boxes that overlap more, the weaker is left out")
    max_detections: int = Field(default=300, gt=0, description="boxes of one picture")

    @field_validator("by_class", "miss_rate")
    @classmethod
    def _shares(cls, values: dict[str, float]) -> dict[str, float]:
        for name, value in values.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: {value:g} is no share from 0 to 1")
        return values

    def of(self, class_names: Sequence[str]) -> list[float]:
        """The confidence from which each class is reported, by class id."""
        return [self.by_class.get(name, self.confidence) for name in class_names]

    @model_serializer(mode="wrap")
    def _serialized(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not set is left out: agents of 0.1 refuse what they do not know."""
        return {name: value for name, value in dump(self).items() if name not in ("by_class", "miss_rate") or value}


class Interval(Record):
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float
    level: float = Field(default=0.95, gt=0, lt=1)


class GoldenDetection(Record):
    """A box that the exported model found in a golden frame when it was built."""

    bbox: Box
    class_id: int = Field(ge=0)
    confidence: float = Field(ge=0, le=1)


class GoldenFrame(Record):
    """A frame in the bundle, and the detections that the model must give for it on every device."""

    file: str
    detections: tuple[GoldenDetection, ...]


class ModelImport(Record):
    """Where a version came from that was not trained here, and who brought it."""

    source_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file that was brought")
    file: str = Field(description="its name")
    by: str = Field(description="who brought it")
    at: Time
    note: str = ""
    changes: tuple[str, ...] = Field(default=(), description="what was rewritten in the file, so that agents take it")


class ModelBuild(Record):
    """How a version was made from another one without training, and who made it."""

    of: str = Field(description="<name>/<version> it was made from")
    precision: Literal["int8"] = Field(description="of the arithmetic that the file now asks for")
    tool: str = Field(description="library and version that made it")
    pictures: int = Field(ge=1, description="calibration pictures it was measured on")
    by: str = Field(description="who made it")
    at: Time


DisplayName = str | dict[str, str]
"""What people call a class: in every language, or by language."""


class ModelManifest(Record):
    """``manifest.json``: everything an agent must know before it lets a model see a frame."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    name: str
    version: str
    files: dict[str, FileEntry]
    class_names: tuple[str, ...] = Field(min_length=1, description="ordered: position is the class id")
    display_names: dict[str, DisplayName] = Field(
        default_factory=dict[str, DisplayName],
        description="by class name what people call it: one name, or one by language (en, zh, de …)",
    )
    class_list: ClassList | None = Field(
        default=None, description="the version of the plant's list of classes that the model was made under"
    )
    task: Literal["detect"] = "detect"
    input_shape: tuple[int, int, int, int] = Field(description="N, C, H, W")
    output_layout: OutputLayout
    stride: int = Field(gt=0)
    thresholds: Thresholds = Thresholds()
    dataset_sha256: str | None = None
    parent_version: str | None = Field(default=None, description="<name>/<version> this one was trained from")
    training_fingerprint: str | None = None
    imported: ModelImport | None = Field(default=None, description="None for a version that was trained here")
    built: ModelBuild | None = Field(default=None, description="None for a version that is no build of another one")
    metrics: dict[str, Interval | float] = Field(default_factory=dict)
    golden_frames: tuple[GoldenFrame, ...] = ()
    created_at: Time

    @property
    def model_version(self) -> str:
        """``<name>/<version>``, as detection records carry it."""
        return f"{self.name}/{self.version}"

    @property
    def record_names(self) -> tuple[str, ...]:
        """What records call a class, by the id that a ``Model`` reports: by the class list, where there is one.

        It may hold more names than the file has classes: those that came to the list later.
        """
        return self.class_list.names if self.class_list is not None else self.class_names

    @property
    def reported_ids(self) -> tuple[int, ...]:
        """By class id of the file the id that is reported: of what it was merged into; -1 for a retired class."""
        if self.class_list is None:
            return tuple(range(len(self.class_names)))
        return self.class_list.current_ids()[: len(self.class_names)]

    @property
    def reported_names(self) -> tuple[str, ...]:
        """Names of the classes that it can report, in the order of their ids."""
        names = self.record_names
        return tuple(names[number] for number in sorted({number for number in self.reported_ids if number >= 0}))

    @property
    def evidence(self) -> str | None:
        """SHA-256 below which ``training/`` holds what was measured of this version: of its training, import or build.

        None for a version that says of none.
        """
        how = "build" if self.built is not None else "import" if self.imported is not None else None
        if how is None:
            return self.training_fingerprint
        return hashlib.sha256(f"{how} {self.model_version} {self.files[ONNX].sha256}".encode()).hexdigest()

    @model_validator(mode="after")
    def _classes_of_the_list(self) -> Self:
        listed = self.class_list
        if listed is not None and any(listed.id_of(name) != number for number, name in enumerate(self.class_names)):
            raise ValueError(f"class_names {list(self.class_names)} are not how the class list begins")
        return self

    @model_serializer(mode="wrap")
    def _serialized(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a version does not have is left out: agents of 0.1 refuse what they do not know."""
        return {name: value for name, value in dump(self).items() if name not in _LEFT_OUT or value}


class ExpectedChange(Record):
    """The measured difference between a release and its champion: agents do not count it against the release.

    Boxes are counted at each model's operating threshold, on the test frames that were labelled since the champion's
    dataset: where the line has changed, these show it, and older ones would hide it. Without such frames, on all.
    """

    against: str = Field(description="<name>/<version> of the champion")
    frames: int = Field(ge=1, description="test frames that were counted")
    old_right: int = Field(ge=0, description="boxes of the champion that match an object of their class")
    old_wrong: int = Field(ge=0, description="boxes of the champion that match none")
    new_right: int = Field(ge=0, description="of this version")
    new_wrong: int = Field(ge=0, description="of this version")


class ModelIdentity(Record):
    """One model, exactly: the version of a name, and the bytes of its manifest, which name every file by hash."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    version: str
    manifest_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="binds the name to one manifest's bytes")

    @property
    def model_version(self) -> str:
        """``<name>/<version>``, as detection records carry it."""
        return f"{self.name}/{self.version}"

    @property
    def identity(self) -> ModelIdentity:
        """The identity alone, without what a subclass adds; equal for the same model wherever it is recorded."""
        return ModelIdentity(name=self.name, version=self.version, manifest_sha256=self.manifest_sha256)


class ReleasedModel(ModelIdentity):
    """A model with the release that brought it to a device."""

    release: int | None = Field(default=None, description="None when an operator named the version")
    expected: ExpectedChange | None = Field(default=None, description="None where no gate compared two versions")
    forced: bool = Field(default=False, description="released by hand although the gate refused it")
    unjudged: bool = Field(default=False, description="released by hand although no gate judged it")

    @property
    def released(self) -> ReleasedModel:
        """The model and its release alone, without what a subclass adds."""
        return ReleasedModel(**{name: getattr(self, name) for name in ReleasedModel.model_fields})

    @model_serializer(mode="wrap")
    def _serialized(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A flag that is not set is left out: agents of version 0.1 refuse what they do not know."""
        return {name: value for name, value in dump(self).items() if name not in _FLAGS or value}


class ReleaseWave(Record):
    """The devices that a release goes to first, and what every other device keeps meanwhile."""

    devices: tuple[str, ...]
    others: ReleasedModel


class ChannelPointer(ReleasedModel):
    """``channels/<name>/<channel>.json``: what a channel serves. Moved by compare-and-swap, signed beside it."""

    schema_version: Literal[1] = 1
    channel: str
    # Records are frozen, which pyright cannot see in `model_config`: narrowing the type is sound.
    release: int = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        ge=1, description="only grows; a rollback is a new release of an old version"
    )
    previous_version: str | None = None
    moved_at: Time
    moved_by: str
    reason: str
    wave: ReleaseWave | None = Field(default=None, description="None: the release is for every device")

    def for_device(self, device_id: str) -> ChannelPointer:
        """What this pointer asks of one device: outside the wave it names the release that the others keep."""
        if self.wave is None or device_id in self.wave.devices:
            return self
        kept = {name: getattr(self.wave.others, name) for name in ReleasedModel.model_fields}
        return self.model_copy(update={**kept, "wave": None})
