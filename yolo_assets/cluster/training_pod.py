"""The pod in which trainings run, as the plant describes it: ``YOLO_ASSETS_TRAINING_POD``.

Our chart writes the file (``deploy/kubernetes/yolo-assets``); Dagster adds the command and what one training needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from yolo_assets.contracts.base import Record, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.options import read_options


class TrainingPod(Record):
    """A pod without its command: where it runs, with which rights, limits and volumes.

    The field names of ``metadata`` and ``spec`` are Kubernetes' own; its API judges them.
    """

    namespace: str
    metadata: dict[str, Any] = Field(default_factory=dict)
    spec: dict[str, Any]
    poll_seconds: float = Field(default=10.0, gt=0, description="between two looks at the pod")
    start_seconds: float = Field(default=3600.0, gt=0, description="until it runs: a GPU may be busy")

    @field_validator("spec")
    @classmethod
    def _one_container_with_an_image(cls, spec: dict[str, Any]) -> dict[str, Any]:
        containers = spec.get("containers")
        if not isinstance(containers, list) or len(containers) != 1 or not containers[0].get("image"):
            raise ValueError("it has one container, and that has an image")
        return spec

    @classmethod
    def load(cls, path: Path) -> TrainingPod:
        """Read a YAML, TOML or JSON file.

        Raises:
            BadInputError: no such file, not in its format, or not the description of a pod.
        """
        try:
            return cls.model_validate(read_options(path, "training pod"))
        except ValidationError as error:
            raise BadInputError(f"{path} does not describe a training pod: {one_line(error)}") from None

    @property
    def processors(self) -> int | None:
        """Whole processors that the container may use; None without a limit."""
        limit = self._limits.get("cpu")
        if limit is None:
            return None
        text = str(limit)
        return max(1, int(text[:-1]) // 1000 if text.endswith("m") else int(float(text)))

    @property
    def longest_seconds(self) -> float | None:
        """After this time Kubernetes ends the pod; None: never."""
        deadline = self.spec.get("activeDeadlineSeconds")
        return None if deadline is None else float(deadline)

    @property
    def _limits(self) -> dict[str, Any]:
        return (self.spec["containers"][0].get("resources") or {}).get("limits") or {}
