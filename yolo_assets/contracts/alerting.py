"""The section ``alerts`` of ``plant.yaml``: who is told what, when, and what is kept quiet.

Belongs here: the options and what they mean. Does not belong here: what is wrong (``alerts.causes``), when a message is
due (``alerts.decide``), sending (``alerts.receivers``).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id

Cause = Literal[
    "run_failed",
    "given_up",
    "camera_absent",
    "hour_not_archived",
    "release_refused",
    "box_silent",
    "camera_sick",
]
"""What somebody can be told of."""

CAUSES: tuple[Cause, ...] = get_args(Cause)
_Hours = Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)]
_Minutes = Annotated[float, Field(ge=0, le=10_080, allow_inf_nan=False)]


def _receiver_name(name: str) -> str:
    try:
        return check_id(name, "receiver name")
    except BadInputError as error:
        raise ValueError(str(error)) from None


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{path} is not an absolute path; services start in folders of their own")
    return path


def _with_zone(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("the time has no zone; add Z for UTC")
    return value


class Receiver(Record):
    """One who is told: an apprise URL, which holds a password or token and therefore never stands in ``plant.yaml``."""

    url_file: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        default=None,
        description="file with the apprise URL on one line, like `mailtos://…`, `dingtalk://…`, `json://…`",
    )
    url_variable: str | None = Field(default=None, description="environment variable that holds the URL")
    causes: tuple[Cause, ...] = Field(
        default=CAUSES, description="what it is told; by default everything", min_length=1
    )

    @model_validator(mode="after")
    def _one_place(self) -> Receiver:
        if (self.url_file is None) == (self.url_variable is None):
            raise ValueError("give url_file or url_variable; the URL itself holds a secret and does not stand here")
        return self


class Silence(Record):
    """Nothing is sent about some causes until a time; what still stands then is told then."""

    until: Annotated[Time, BeforeValidator(_with_zone)] = Field(description="end, like 2026-03-01T06:00:00Z")
    cause: Cause | None = Field(default=None, description="only this cause; all without")
    about: str | None = Field(
        default=None, description="only this camera, device, asset or model; by default whatever it is about"
    )
    reason: str = Field(default="", description="for colleagues")


class AlertSettings(Record):
    """The section ``alerts``."""

    receivers: dict[Annotated[str, AfterValidator(_receiver_name)], Receiver] = Field(
        default_factory=dict, description="who is told, by a name of yours; without any, nothing is sent"
    )
    camera_absent_hours: _Hours = Field(
        default=2.0, description="hours without a frame after which a camera listed under `cameras` is absent"
    )
    archive_hours: _Hours = Field(
        default=3.0, description="hours after the end of an hour within which it must be archived"
    )
    box_silent_minutes: _Minutes = Field(
        default=15.0, description="minutes without a heartbeat after which a device is silent"
    )
    failure_minutes: _Minutes = Field(
        default=30.0,
        description="minutes that failed work which is requested again by itself must stand before it is told",
    )
    well_minutes: _Minutes = Field(
        default=15.0, description="minutes that something must be well before it is told as resolved"
    )
    again_hours: _Hours = Field(default=72.0, description="hours after which what still stands is told again")
    silences: tuple[Silence, ...] = Field(default=(), description="what is not told until a given time")
