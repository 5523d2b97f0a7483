"""The section ``training`` of ``plant.yaml``: what starts a training.

Belongs here: the options. Does not belong here: what follows from them (``training.starting``), how a model is trained
(the recipe, ``training.spec``).
"""

from __future__ import annotations

from datetime import time
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from yolo_assets.contracts.base import Record, refuse_unknown_options


def _minute(value: object) -> object:
    """YAML reads 03:30 without quotes as the number of minutes 210."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return time(value // 60, value % 60)
    return value


class TrainingStart(Record):
    """When a training starts by itself. One that is asked for by hand starts in any case."""

    automatic: bool = Field(default=True, description="false: only by hand")
    new_labels: int = Field(
        default=50, ge=1, description="start when so many images were labelled, or labelled anew, since the last one"
    )
    after_drift: int | None = Field(
        default=10, ge=1, description="so many are enough while drift stands on a camera that is well; null: as always"
    )
    longest_wait_hours: float | None = Field(
        default=24.0, gt=0, le=8760, description="fewer start one when the first waited so long; null: never"
    )
    daily_at: Annotated[time, BeforeValidator(_minute)] | None = Field(
        default=None, description="start at this time (UTC, like 03:30) with whatever is new; null: never"
    )
    quiet_minutes: float = Field(
        default=10.0,
        ge=0,
        le=1440,
        description="wait until no new label came for so long, at most six times as long: several files, one training",
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: object) -> object:
        refuse_unknown_options(cls, values)
        return values
