"""What to train and how to evaluate, the plant's recipe for both, and the fingerprint of a training.

Records and pure functions. Does not belong here: doing it (``trainer``, ``evaluate``).
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from yolo_assets.contracts.base import Record, canonical_json, is_json_object, one_line, refuse_unknown_options
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import Thresholds
from yolo_assets.contracts.names import check_id, check_sha256, parse_model_version
from yolo_assets.contracts.options import read_options
from yolo_assets.training.architectures import STRIDE, check_architecture

CODE = 1
"""Raised when this package changes in a way that gives other weights from the same inputs."""

DEFAULT_ARCHITECTURE = "yolo11n.yaml"
"""Of random weights."""

_LIBRARIES = ("torch", "ultralytics")
_WHERE_NOT_WHAT = frozenset({"device", "threads"})
_BY_CONTENT = frozenset({"weights"})


class Augmentation(Record):
    """How training pictures are varied. Defaults suit a fixed camera over a line: the part moves, the view does not."""

    mosaic: float = Field(default=0.5, ge=0, le=1, description="probability of four pictures in one")
    close_mosaic: int = Field(default=6, ge=0, description="last epochs without mosaic")
    fliplr: float = Field(default=0.5, ge=0, le=1, description="probability of left and right changed")
    flipud: float = Field(default=0.5, ge=0, le=1, description="probability of up and down changed")
    translate: float = Field(default=0.1, ge=0, le=1, description="moved by up to this share of the size")
    scale: float = Field(default=0.2, ge=0, le=1, description="larger or smaller by up to this share")
    hsv_h: float = Field(default=0.01, ge=0, le=1, description="hue changed by up to this share")
    hsv_s: float = Field(default=0.4, ge=0, le=1, description="saturation changed by up to this share")
    hsv_v: float = Field(default=0.3, ge=0, le=1, description="brightness changed by up to this share")
    degrees: float = Field(default=0.0, ge=0, le=180, description="turned by up to so many degrees either way")
    shear: float = Field(default=0.0, ge=0, le=90, description="degrees")
    perspective: float = Field(default=0.0, ge=0, le=0.001, description="tilted by up to this share")
    mixup: float = Field(default=0.0, ge=0, le=1, description="probability of two pictures on top of each other")
    cutmix: float = Field(default=0.0, ge=0, le=1, description="probability of a piece of another picture")
    bgr: float = Field(default=0.0, ge=0, le=1, description="probability of red and blue changed")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: object) -> object:
        if is_json_object(values) and values.get("copy_paste"):
            raise ValueError(
                "copy_paste does nothing here: Ultralytics copies objects by their outlines, and labels are boxes; "
                "take mosaic, mixup or cutmix"
            )
        refuse_unknown_options(cls, values)
        return values


class TrainSpec(Record):
    """A training. Without parent and weights it starts from random ones; nothing is downloaded."""

    name: str = Field(description="model name")
    parent: str | None = Field(default=None, description="<name>/<version> whose weights training starts from")
    weights: str | None = Field(
        default=None,
        description="SHA-256 of a checkpoint in the store that training starts from without a parent; a recipe names a "
        "file",
    )
    architecture: str | None = Field(
        default=None,
        description="network, like `yolo11s.yaml`; None: that of the weights that training starts from, without any "
        f"`{DEFAULT_ARCHITECTURE}`. With another than theirs, what fits of them is taken over",
    )
    epochs: int = Field(default=15, ge=1, le=10_000, description="passes over the train split; 7 for a fine-tune")
    imgsz: int | tuple[int, int] = Field(
        default=192, description="side of the square input, or [height, width]; multiples of 32 from 64 to 4096"
    )
    rect: bool = Field(
        default=False, description="batches in the shape of the pictures instead of squares; no mosaic, mixup, cutmix"
    )
    multi_scale: float = Field(
        default=0.0, ge=0, lt=1, description="the size varies by this share of imgsz from batch to batch"
    )
    batch: int | Literal["auto"] = Field(default=16, description="1 to 4096, or `auto`: what the card's memory holds")
    freeze: int | tuple[int, ...] = Field(
        default=0, description="the first layers, how many, or a list of layers: they keep the weights they start with"
    )
    class_weights: float = Field(
        default=0.0, ge=0, le=1, description="power of the inverse frequency of a class in its loss; 0: all alike"
    )
    seed: int = Field(default=0, ge=0, description="of random weights and of augmentation")
    optimizer: str = Field(
        default="AdamW",
        pattern=r"^(AdamW|Adam|SGD|MuSGD|NAdam|RAdam)$",
        description="AdamW, Adam, SGD, MuSGD, NAdam or RAdam",
    )
    lr0: float = Field(default=0.003, gt=0, le=1, description="learning rate at the start")
    lrf: float = Field(default=0.01, gt=0, le=1, description="learning rate at the end, as a share of lr0")
    warmup_epochs: float = Field(
        default=2.0, ge=0, description="the learning rate rises for so long; 1 for a fine-tune"
    )
    weight_decay: float = Field(default=0.0005, ge=0, description="pull of the weights towards 0")
    val_every: int = Field(default=5, ge=1, description="epochs between validations; the last is always validated")
    patience: int = Field(default=0, ge=0, description="epochs without improvement before stopping; 0: never")
    max_seconds: float | None = Field(default=None, gt=0, description="stop after the epoch that passes this")
    bf16: bool = Field(
        default=True, description="bfloat16 forward pass on a GPU, and where the processor has AMX; else 32 bits"
    )
    augmentation: Augmentation = Field(default=Augmentation(), description="how pictures are varied")
    thresholds: Thresholds = Field(default=Thresholds(), description="written into the manifest, for agents")
    device: str = Field(
        default="auto",
        pattern=r"^(cpu|auto|mps|\d+(,\d+)*)$",
        description="`cpu`, `mps`, `0`, or `0,1` for two cards; `auto`: a card if there is one",
    )
    threads: int = Field(default=2, ge=1, le=256, description="of the processor")

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

    @field_validator("architecture")
    @classmethod
    def _architecture(cls, value: str | None) -> str | None:
        return value if value is None else check_architecture(value)

    @field_validator("imgsz")
    @classmethod
    def _multiple(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        sides = (value,) if isinstance(value, int) else value
        for side in sides:
            if side % STRIDE or not 64 <= side <= 4096:
                raise ValueError(f"{side} is not a multiple of {STRIDE} from 64 to 4096")
        return sides[0] if len(set(sides)) == 1 else value

    @field_validator("batch", mode="before")
    @classmethod
    def _batch(cls, value: object) -> object:
        if value != "auto" and (not isinstance(value, int) or not 1 <= value <= 4096):
            raise ValueError(f"{value!r} is no batch size; give a number from 1 to 4096, or auto")
        return value

    @field_validator("freeze")
    @classmethod
    def _freeze(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if any(layer < 0 for layer in ((value,) if isinstance(value, int) else value)):
            raise ValueError("layers are counted from 0")
        return value

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: object) -> object:
        refuse_unknown_options(cls, values)
        if is_json_object(values) and values.get("rect") is True and isinstance(values.get("augmentation", {}), dict):
            # Said in the record, too: Ultralytics leaves them out without a word.
            given = values.get("augmentation", {})
            if asked := [name for name in _NEED_SQUARES if given.get(name)]:
                raise ValueError(f"{asked[0]} needs squares: leave out rect, or set {asked[0]} to 0")
            return {**values, "augmentation": {**given, **dict.fromkeys(_NEED_SQUARES, 0.0)}}
        return values

    @model_validator(mode="after")
    def _together(self) -> TrainSpec:
        if self.batch == "auto" and "," in self.device:
            raise ValueError("batch auto is for one card; give a number for several")
        return self

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return (self.imgsz, self.imgsz) if isinstance(self.imgsz, int) else self.imgsz


_NEED_SQUARES = ("mosaic", "mixup", "cutmix")


def starter(name: str, **changes: object) -> TrainSpec:
    """The recipe from random weights: some 200 to 300 labelled frames, about a minute on two cores."""
    return TrainSpec.model_validate({"name": name, **changes})


def fine_tune(name: str, parent: str | None, **changes: object) -> TrainSpec:
    """The recipe from weights that know something, after the line changed: old and new frames together."""
    recipe: dict[str, object] = {"epochs": 7, "warmup_epochs": 1.0}
    if not changes.get("rect"):
        recipe["augmentation"] = {"mosaic": 0.3, "close_mosaic": 3}
    return TrainSpec.model_validate({"name": name, "parent": parent, **recipe, **changes})


class Recipe(Record):
    """How this plant trains: the options of ``TrainSpec`` that differ from the defaults, read from one file."""

    starter: dict[str, Any] = Field(
        default_factory=dict,
        description="while nothing with weights is released: from random ones, or from the checkpoint `weights`",
    )
    fine_tune: dict[str, Any] = Field(
        default_factory=dict,
        description="from the weights of the released model, or from the checkpoint `weights` in place of them",
    )
    agents_start_anew: bool = Field(
        default=False,
        description="train although agents that run would refuse the result, because its input or output is another; "
        "each takes it when it is started with an empty `state` folder",
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: object) -> object:
        refuse_unknown_options(cls, values)
        return values

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a TOML, YAML or JSON file. Both sections are checked, also the one that is not needed yet.

        Raises:
            BadInputError: no such file, not in its format, or not a recipe.
        """
        try:
            recipe = cls.model_validate(read_options(path, "training recipe"))
        except ValidationError as error:
            raise BadInputError(f"{path} is not a training recipe: {one_line(error)}") from None
        for parent in (None, "line/1"):
            recipe.spec("line", parent)
        return recipe

    def weights(self, parent: str | None) -> Path | None:
        """The checkpoint that training starts from in place of a parent or of random weights; None where none is named.

        Args:
            parent: as for ``spec``.
        """
        named = self._section(parent).get("weights")
        return None if named is None else Path(str(named)).expanduser()

    def spec(
        self,
        name: str,
        parent: str | None,
        imgsz: int | tuple[int, int] | None = None,
        *,
        weights: str | None = None,
    ) -> TrainSpec:
        """The training of ``name``: from a parent ``<name>/<version>``, from a checkpoint, or from random weights.

        Args:
            name: of the model.
            parent: the model whose weights training starts from; None for other ones.
            imgsz: input size of the serving model. The successor keeps it unless the recipe sets another:
                agents refuse a model with another input shape.
            weights: SHA-256 of the file that ``weights`` names, once the store holds it; it comes before the parent.

        Raises:
            BadInputError: an option does not exist or does not fit.
        """
        section = {option: value for option, value in self._section(parent).items() if option != "weights"}
        for given in ("name", "parent") if parent is not None else ("name",):
            if given in section:
                raise BadInputError(f"the training recipe does not fit: {given} follows from the plant; leave it out")
        options = {**({} if imgsz is None else {"imgsz": imgsz}), **section}
        try:
            if parent is not None:
                return fine_tune(name, None if weights is not None else parent, **options, weights=weights)
            return starter(name, **options, weights=weights)
        except ValidationError as error:
            raise BadInputError(f"the training recipe does not fit: {one_line(error)}") from None

    def _section(self, parent: str | None) -> dict[str, Any]:
        return self.starter if parent is None else self.fine_tune


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
        "spec": _identity_of(spec),
        "dataset": check_sha256(dataset_sha256),
        "parent_weights": parent_weights_sha256,
        "code": CODE,
        "libraries": versions if versions is not None else library_versions(),
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()


_SINCE_FIRST = frozenset({"rect", "multi_scale", "freeze", "class_weights"})
_AUGMENTATION_SINCE_FIRST = frozenset({"degrees", "shear", "perspective", "mixup", "cutmix", "bgr"})


def _identity_of(spec: TrainSpec) -> dict[str, Any]:
    """The spec as it counts. Options that came later are left out at their defaults: results of before stay found."""
    said = spec.model_dump(mode="json", exclude=set(_WHERE_NOT_WHAT | _BY_CONTENT))
    usual, usual_augmentation = TrainSpec(name=spec.name), Augmentation()
    for option in _SINCE_FIRST:
        if said[option] == getattr(usual, option):
            del said[option]
    for option in _AUGMENTATION_SINCE_FIRST:
        if said["augmentation"][option] == getattr(usual_augmentation, option):
            del said["augmentation"][option]
    if spec.architecture is None:
        said["architecture"] = DEFAULT_ARCHITECTURE
    elif spec.parent is not None or spec.weights is not None:
        said["built_as"] = spec.architecture  # before, another architecture than that of the weights was ignored
    return said
