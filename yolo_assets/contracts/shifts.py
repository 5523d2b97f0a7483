"""The section ``shifts`` of ``plant.yaml``: when the plant works, when its lamps are on, when it stands on purpose."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from yolo_assets.contracts.base import Record, Time

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin or Asia/Shanghai") from None
    return name


def _clock(value: object) -> object:
    if isinstance(value, time):
        return value
    # YAML 1.1 reads 22:00 as the number 1320: sixty times the hours.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return time(value // 60, value % 60)
    try:
        return time.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is no time of day; write one like 06:00, in quotes") from None


def _with_zone(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("the time has no zone; add Z for UTC")
    return value


_Clock = Annotated[time, BeforeValidator(_clock)]
_Moment = Annotated[Time, BeforeValidator(_with_zone)]


class ClockSpan(Record):
    """A stretch of some weekdays; one that ends before it starts goes over midnight and belongs to its first day."""

    start: _Clock = Field(description="time of day, like 06:00")
    end: _Clock = Field(description="time of day, excluded; the same as `start` means the whole day")
    days: tuple[Weekday, ...] = Field(default=WEEKDAYS, description="weekdays on which it starts", min_length=1)

    def covers(self, moment: datetime) -> bool:
        """Whether a local moment lies in it."""
        clock, day = moment.time(), moment.weekday()
        if self.start < self.end:
            return self.start <= clock < self.end and WEEKDAYS[day] in self.days
        if clock >= self.start:
            return WEEKDAYS[day] in self.days
        return clock < self.end and WEEKDAYS[day - 1] in self.days


class Shift(ClockSpan):
    """One shift."""

    name: str = Field(min_length=1, description="as people call it")


class PlannedStop(Record):
    """The plant, or some cameras, stand on purpose: nothing is judged."""

    start: _Moment = Field(description="like 2026-12-24T12:00:00Z")
    until: _Moment = Field(description="end, excluded")
    cameras: tuple[str, ...] = Field(default=(), description="only these cameras; all without")
    reason: str = Field(default="", description="for colleagues")

    @model_validator(mode="after")
    def _in_order(self) -> PlannedStop:
        if self.until <= self.start:
            raise ValueError("`until` is not after `start`")
        return self


class ShiftPlan(Record):
    """The section ``shifts``. What it does not say is learned from the first days after a release."""

    timezone: Annotated[str, AfterValidator(_zone)] = Field(default="UTC", description="zone of the times below")
    times: tuple[Shift, ...] = Field(default=(), description="the shifts; the time outside of them is one of its own")
    lamps: tuple[ClockSpan, ...] = Field(
        default=(), description="when the lamps are on; pictures of other times are not judged"
    )
    stops: tuple[PlannedStop, ...] = Field(default=(), description="when the plant stands on purpose")

    def shift_at(self, start: datetime) -> int | None:
        """Number of the shift of most of an hour, or None outside of all.

        Args:
            start: of the hour, aware.
        """
        middle = self._middle(start)
        return next((number for number, shift in enumerate(self.times) if shift.covers(middle)), None)

    def lit_at(self, start: datetime) -> bool:
        """Whether the lamps are on for a whole hour."""
        local = start.astimezone(ZoneInfo(self.timezone))
        ends = (local, local + timedelta(minutes=59))
        return not self.lamps or all(any(span.covers(moment) for span in self.lamps) for moment in ends)

    def stopped_at(self, start: datetime, camera_id: str) -> bool:
        """Whether a camera stands on purpose in some of an hour."""
        end = start + timedelta(hours=1)
        return any(
            stop.start < end and start < stop.until and (not stop.cameras or camera_id in stop.cameras)
            for stop in self.stops
        )

    def _middle(self, start: datetime) -> datetime:
        return (start + timedelta(minutes=30)).astimezone(ZoneInfo(self.timezone))
