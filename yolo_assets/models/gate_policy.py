"""The limits that a candidate must meet to be released, with defaults, and reading them from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Record, one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.options import read_options

Share = Annotated[float, Field(ge=0, le=1)]


class GatePolicy(Record):
    """Limits of the gate. Shares are 0 to 1, latencies milliseconds. Every figure is of the file that ships."""

    error: float = Field(
        default=0.025,
        gt=0,
        lt=0.5,
        description="of candidates that are no better, the share that may be called better, and of those that harm "
        "nothing, the share that may be refused for harm: one budget for all rules and classes together",
    )
    min_frames: int = Field(default=50, ge=1, description="frames that the test set must hold")
    min_boxes_per_class: int = Field(default=5, ge=1, description="ground-truth boxes of each class that occurs in it")
    require_all_classes: bool = Field(
        default=True,
        description="a class without an object in the test set leaves the gate without an answer, unless it is "
        "retired; false: the report says so, and the candidate may pass",
    )
    critical: tuple[str, ...] = Field(
        default=(),
        description="classes of which the proof is asked: recall surely at its floor, and surely no more than "
        "max_class_drop lost; those that the class list calls critical count, too",
    )
    min_map50: float = Field(default=0.5, ge=0, le=1, description="for the lower bound of the candidate's mAP50")
    improvement: Literal["not_worse", "better"] = Field(
        default="better",
        description="better: the lower bound of the gain is above 0. not_worse: the gain itself is not negative, and "
        "its lower bound is above -margin, against the champion and the anchor, so that losses cannot add up",
    )
    margin: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="mAP50 that makes no difference: a gain that is surely smaller is none, and so much may be lost "
        "under not_worse",
    )
    min_recall: float = Field(
        default=0.5, ge=0, le=1, description="floor for every class, at the operating threshold; surely below refuses"
    )
    min_recall_by_class: dict[str, Share] = Field(
        default_factory=dict, description="floors of their own, which must be reached; such a class must occur"
    )
    min_precision: float = Field(
        default=0.1, ge=0, le=1, description="floor for every class, at the operating threshold; surely below refuses"
    )
    max_false_alarms: float = Field(
        default=1000.0,
        ge=0,
        allow_inf_nan=False,
        description="reports for each 1,000 frames without an object; surely above refuses",
    )
    max_class_drop: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="recall, AP50 or precision that a class may lose against champion and anchor: refused as soon as a "
        "loss is sure and over half of this, so that the whole of it is not lost unseen; precision may fall by as much "
        "more as recall rose",
    )
    min_hard_recall: float = Field(default=0.0, ge=0, le=1, description="floor on hard frames; above 0 they must exist")
    max_hard_drop: float = Field(
        default=0.05, ge=0, le=1, description="recall on hard frames that may be lost, as max_class_drop"
    )
    min_golden_recall: float = Field(
        default=0.0, ge=0, le=1, description="floor on golden frames; above 0 they must exist"
    )
    max_latency_ms: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="budget for the 95th percentile"
    )
    max_latency_ratio: float = Field(
        default=1.25, gt=0, allow_inf_nan=False, description="95th percentile against the champion's"
    )
    latency_slack_ms: float = Field(
        default=2.0, ge=0, allow_inf_nan=False, description="growth that is always forgiven: timing noise"
    )

    @classmethod
    def load(cls, path: Path | None) -> GatePolicy:
        """Read a TOML, YAML or JSON file of these fields; what it leaves out keeps its default.

        Args:
            path: None where the plant has no policy of its own: all defaults.

        Raises:
            BadInputError: no such file, not in its format, or a field that does not exist or does not fit.
        """
        if path is None:
            return cls()
        try:
            return cls.model_validate(read_options(path, "gate policy"))
        except ValidationError as error:
            raise BadInputError(f"{path} is not a gate policy: {one_line(error)}") from None
