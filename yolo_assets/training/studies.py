"""A search for better training options: what it varies, on which dataset, from which start. Records in the store.

training/studies/<study>.json              what is searched, and how many trials are wanted
training/study-logs/<study>/<number>.json  Optuna's journal, one object an entry (``search``)

All trials of a study train on one dataset and from the same start, so that they can be compared, also when it goes on
weeks later. Belongs here: the records and reading them, without Optuna. Does not belong here: a trial (``search``).
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from yolo_assets.contracts.base import Record, Time, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import STUDIES, check_id, check_sha256, study_key
from yolo_assets.contracts.options import read_options
from yolo_assets.storage import ObjectNotFoundError, ObjectStore
from yolo_assets.training.spec import Augmentation, TrainSpec

_PREFIX = "augmentation."
_FIXED = frozenset({"name", "parent", "weights", "device", "threads", "thresholds", "seed", "augmentation"})
"""A trial does not vary them: they are the same for all, or no choice."""


class SearchRange(Record):
    """The values that one option may take: numbers from ``low`` to ``high``, or one of ``choices``."""

    low: float | None = None
    high: float | None = None
    log: bool = Field(default=False, description="small values are tried as often as large ones")
    whole: bool = Field(default=False, description="whole numbers only")
    choices: tuple[str | float | int | bool, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        """A list stands for choices."""
        return {"choices": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> SearchRange:
        if self.choices:
            if self.low is not None or self.high is not None:
                raise ValueError("give low and high, or a list of choices, not both")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("give low and a larger high, or a list of choices")
        elif self.log and self.low <= 0:
            raise ValueError("with log, low is above 0")
        return self

    def holds(self, value: Any) -> bool:
        """Whether an option may have this value."""
        if self.choices:
            return value in self.choices
        assert self.low is not None and self.high is not None
        return isinstance(value, int | float) and self.low <= value <= self.high


USUAL_SPACE: dict[str, SearchRange] = {
    "lr0": SearchRange(low=0.0003, high=0.01, log=True),
    "weight_decay": SearchRange(low=0.00005, high=0.01, log=True),
    "augmentation.mosaic": SearchRange(low=0.0, high=1.0),
    "augmentation.scale": SearchRange(low=0.0, high=0.6),
    "augmentation.hsv_v": SearchRange(low=0.0, high=0.6),
}
"""Searched where nobody says otherwise."""


class Study(Record):
    """``training/studies/<study>.json``."""

    name: str
    dataset: str = Field(description="SHA-256 of the version that every trial trains on")
    spec: TrainSpec = Field(description="what every trial trains, but for the options of its own")
    space: dict[str, SearchRange] = Field(min_length=1, description="option, with a prefix `augmentation.` where so")
    trials: int = Field(ge=1, le=10_000, description="wanted in all")
    compare_after: int = Field(default=4, ge=1, description="trials that end before a poor one may be stopped early")
    began_from: tuple[str, ...] = Field(default=(), description="studies whose best trials were tried first")
    created_at: Time

    @model_validator(mode="after")
    def _names(self) -> Study:
        check_id(self.name, "study")
        check_sha256(self.dataset)
        return self

    def with_options(self, options: dict[str, Any]) -> TrainSpec:
        """What a trial trains.

        Raises:
            BadInputError: the options do not fit together.
        """
        changed = self.spec.model_dump(mode="json", exclude_unset=True)
        varied = dict(changed.get("augmentation", {}))
        for option, value in options.items():
            if option.startswith(_PREFIX):
                varied[option.removeprefix(_PREFIX)] = value
            else:
                changed[option] = value
        try:
            return TrainSpec.model_validate({**changed, "augmentation": varied})
        except ValidationError as error:
            raise BadInputError(f"trial of {self.name}: {one_line(error)}") from None

    def options_of(self, spec: TrainSpec) -> dict[str, Any]:
        """The options of a training as far as they can be searched here, for a trial that begins with them."""
        said = spec.model_dump(mode="json")
        flat = {**said, **{f"{_PREFIX}{name}": value for name, value in said["augmentation"].items()}}
        return {name: flat[name] for name, values in self.space.items() if values.holds(flat[name])}


def read_space(path: Path) -> dict[str, SearchRange]:
    """Read what to vary from a TOML, YAML or JSON file: an option a line.

    Raises:
        BadInputError: no such file, no such option, or values that are none; the nearest option is told.
    """
    content = read_options(path, "search space")
    if not isinstance(content, dict) or not content:
        raise BadInputError(f"{path} names no option; write for example lr0: {{low: 0.0005, high: 0.01, log: true}}")
    known = [name for name in TrainSpec.model_fields if name not in _FIXED]
    known += [f"{_PREFIX}{name}" for name in Augmentation.model_fields]
    space: dict[str, SearchRange] = {}
    for option, values in content.items():
        if option not in known:
            near = get_close_matches(str(option), known, 1, 0.4)
            advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known[:8])} and more"
            raise BadInputError(f"{path}: {option!r} cannot be searched; {advice}")
        try:
            space[option] = SearchRange.model_validate(values)
        except ValidationError as error:
            raise BadInputError(f"{path}: {option}: {one_line(error)}") from None
    return space


def read_study(store: ObjectStore, name: str) -> Study | None:
    """A study; None where there is none of the name."""
    key = study_key(name)
    try:
        return Study.from_json(store.get(key), key)
    except ObjectNotFoundError:
        return None


def studies(store: ObjectStore) -> Iterator[Study]:
    """All studies, by name."""
    for info in store.list(STUDIES):
        yield Study.from_json(store.get(info.key), info.key)
