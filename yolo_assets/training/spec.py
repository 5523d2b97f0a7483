"""What to train and how to evaluate, the plant's recipe for both, and the fingerprint of a training.

Records and pure functions. Does not belong here: doing it (``trainer``, ``evaluate``).
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from yolo_assets.contracts.base import Record, canonical_json, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import Thresholds
from yolo_assets.contracts.names import check_id, check_sha256, parse_model_version
from yolo_assets.contracts.options import read_options

CODE = 1
"""Raised when this package changes in a way that gives other weights from the same inputs."""

_LIBRARIES = ("torch", "ultralytics")
_WHERE_NOT_WHAT = frozenset({"device", "threads"})
_BY_CONTENT = frozenset({"weights"})


class Augmentation(Record):
    """How training pictures are varied. Defaults suit a fixed camera over a line: the part moves, the view does not."""

    mosaic: float = Field(default=0.5, ge=0, le=1, description="probability of four pictures in one")
    close_mosaic: int = Field(default=6, ge=0, description="last epochs without mosaic")
    fliplr: float = Field(default=0.5, ge=0, le=1)
    flipud: float = Field(default=0.5, ge=0, le=1)
    translate: float = Field(default=0.1, ge=0, le=1)
    scale: float = Field(default=0.2, ge=0, le=1)
    hsv_h: float = Field(default=0.01, ge=0, le=1)
    hsv_s: float = Field(default=0.4, ge=0, le=1)
    hsv_v: float = Field(default=0.3, ge=0, le=1)


class TrainSpec(Record):
    """A training. Without parent and weights it starts from random ones; nothing is downloaded."""

    name: str = Field(description="model name")
    parent: str | None = Field(default=None, description="<name>/<version> whose weights training starts from")
    weights: str | None = Field(
        default=None,
        description="SHA-256 of a checkpoint in the store that training starts from without a parent; a recipe names a "
        "file",
    )
    architecture: str = Field(default="yolo11n.yaml", pattern=r"^yolo[a-z0-9]+\.yaml$")
    epochs: int = Field(default=15, ge=1, le=10_000)
    imgsz: int = Field(default=192, ge=64, le=4096, description="side of the square input, a multiple of 32")
    batch: int = Field(default=16, ge=1, le=4096)
    seed: int = Field(default=0, ge=0)
    optimizer: str = Field(default="AdamW", pattern=r"^(AdamW|Adam|SGD|MuSGD|NAdam|RAdam)$")
    lr0: float = Field(default=0.003, gt=0, le=1)
    lrf: float = Field(default=0.01, gt=0, le=1)
    warmup_epochs: float = Field(default=2.0, ge=0)
    weight_decay: float = Field(default=0.0005, ge=0)
    val_every: int = Field(default=5, ge=1, description="epochs between validations; the last is always validated")
    patience: int = Field(default=0, ge=0, description="epochs without improvement before stopping; 0: never")
    max_seconds: float | None = Field(default=None, gt=0, description="stop after the epoch that passes this")
    bf16: bool = Field(
        default=True, description="bfloat16 forward pass on a GPU, and where the processor has AMX; else 32 bits"
    )
    augmentation: Augmentation = Augmentation()
    thresholds: Thresholds = Thresholds()
    device: str = Field(default="auto", pattern=r"^(cpu|auto|\d+(,\d+)*)$", description="auto: a GPU if there is one")
    threads: int = Field(default=2, ge=1, le=256)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return check_id(value, "model name")

    @field_validator("parent")
    @classmethod
    def _parent(cls, value: str | None) -> str | None:
        if value is not None:
            parse_model_version(value)
        return value

    @field_validator("weights")
    @classmethod
    def _weights(cls, value: str | None) -> str | None:
        return value if value is None else check_sha256(value)

    @field_validator("imgsz")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value % 32:
            raise ValueError(f"{value} is not a multiple of 32")
        return value


def starter(name: str, **changes: object) -> TrainSpec:
    """The recipe from random weights: some 200 to 300 labelled frames, about a minute on two cores."""
    return TrainSpec.model_validate({"name": name, **changes})


def fine_tune(name: str, parent: str, **changes: object) -> TrainSpec:
    """The recipe from a parent's weights after the line changed: old and new frames together."""
    recipe = {
        "epochs": 7,
        "warmup_epochs": 1.0,
        "augmentation": Augmentation(mosaic=0.3, close_mosaic=3),
    }
    return TrainSpec.model_validate({"name": name, "parent": parent, **recipe, **changes})


class Recipe(Record):
    """How this plant trains: the options of ``TrainSpec`` that differ from the defaults, read from one file."""

    starter: dict[str, Any] = Field(
        default_factory=dict,
        description="while nothing with weights is released: from random ones, or from the checkpoint `weights`",
    )
    fine_tune: dict[str, Any] = Field(default_factory=dict, description="from the weights of the released model")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a TOML, YAML or JSON file.

        Raises:
            BadInputError: no such file, not in its format, or not a recipe.
        """
        try:
            return cls.model_validate(read_options(path, "training recipe"))
        except ValidationError as error:
            raise BadInputError(f"{path} is not a training recipe: {one_line(error)}") from None

    def weights(self, parent: str | None) -> Path | None:
        """The checkpoint that training starts from where no version has weights to start from; None for random ones.

        Args:
            parent: as for ``spec``; with one its weights count.

        Raises:
            BadInputError: the recipe names a checkpoint where the weights of a version count.
        """
        if "weights" in self.fine_tune:
            raise BadInputError(
                "the training recipe names weights under fine_tune, which starts from those of the model that serves; "
                "name them under starter"
            )
        named = self.starter.get("weights")
        return None if parent is not None or named is None else Path(str(named)).expanduser()

    def spec(self, name: str, parent: str | None, imgsz: int | None = None, *, weights: str | None = None) -> TrainSpec:
        """The training of ``name``: from a parent ``<name>/<version>``, from a checkpoint, or from random weights.

        Args:
            name: of the model.
            parent: the model whose weights training starts from; None for other ones.
            imgsz: input size of the serving model. The successor keeps it unless the recipe sets another:
                agents refuse a model with another input shape.
            weights: SHA-256 of the file that ``weights`` names, once the store holds it.

        Raises:
            BadInputError: an option does not exist or does not fit.
        """
        input_size = {} if imgsz is None else {"imgsz": imgsz}
        start = {option: value for option, value in self.starter.items() if option != "weights"}
        try:
            if parent is not None:
                return fine_tune(name, parent, **{**input_size, **self.fine_tune})
            return starter(name, **{**input_size, **start, "weights": weights})
        except ValidationError as error:
            raise BadInputError(f"the training recipe does not fit: {one_line(error)}") from None


class EvaluateSpec(Record):
    """How exported files are evaluated."""

    engine: str = Field(default="openvino", pattern=r"^(openvino|onnxruntime)$")
    threads: int = Field(default=1, ge=1, le=256)
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that determine the weights; read from metadata, nothing is imported."""
    return {name: version(name).partition("+")[0] for name in _LIBRARIES}


def fingerprint(
    spec: TrainSpec,
    dataset_sha256: str,
    parent_weights_sha256: str | None = None,
    *,
    versions: dict[str, str] | None = None,
) -> str:
    """Identity of a training: the same inputs give the same fingerprint, and so the same stored result.

    Args:
        spec: where it runs (device, threads) does not count.
        dataset_sha256: the dataset version.
        parent_weights_sha256: of the parent's ``weights.pt``, or of the checkpoint that training starts from.
        versions: of the libraries; None reads those installed.

    Returns:
        SHA-256 in hexadecimal.
    """
    identity = {
        "spec": spec.model_dump(mode="json", exclude=set(_WHERE_NOT_WHAT | _BY_CONTENT)),
        "dataset": check_sha256(dataset_sha256),
        "parent_weights": parent_weights_sha256,
        "code": CODE,
        "libraries": versions if versions is not None else library_versions(),
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()
