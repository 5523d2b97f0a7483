"""How this plant trains: one file with the options of a first training and of the ones that follow it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Record, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.options import read_options
from yolo_assets.training.spec import TrainSpec, fine_tune, starter


class Recipe(Record):
    """Options of ``TrainSpec`` that differ from the defaults."""

    starter: dict[str, Any] = Field(default_factory=dict, description="from random weights, while nothing is released")
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

    def spec(self, name: str, parent: str | None, imgsz: int | None = None) -> TrainSpec:
        """The training of ``name``, from random weights or from a parent ``<name>/<version>``.

        Args:
            name: of the model.
            parent: whose weights to start from; None for random ones.
            imgsz: input side of the model on the line. The successor keeps it unless the recipe says otherwise:
                agents refuse a model with another input shape.

        Raises:
            BadInputError: an option does not exist or does not fit.
        """
        kept = {} if imgsz is None else {"imgsz": imgsz}
        try:
            if parent is None:
                return starter(name, **{**kept, **self.starter})
            return fine_tune(name, parent, **{**kept, **self.fine_tune})
        except ValidationError as error:
            raise BadInputError(f"the training recipe does not fit: {one_line(error)}") from None
