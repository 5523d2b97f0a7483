"""Times as the contracts write them: UTC, ISO 8601 with milliseconds and ``Z``; and the hour, the unit of the archive.

Wall-clock only. Time-outs use ``time.monotonic`` where they are needed and do not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache

from yolo_assets.contracts.errors import BadInputError

HOUR = timedelta(hours=1)
_HOUR_KEY = re.compile(r"\d{8}_\d{2}")


def utc_now() -> datetime:
    """The present, UTC, cut to milliseconds as every contract writes it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def format_time(moment: datetime) -> str:
    """``2026-01-02T03:04:05.678Z`` for an aware moment.

    Raises:
        BadInputError: the moment has no time zone; guessing one would move frames between hours.
    """
    if moment.tzinfo is None:
        raise BadInputError(f"the time {moment.isoformat()} has no zone; give UTC, for example with a trailing Z")
    return _utc_text(moment.astimezone(UTC))


@lru_cache(maxsize=256)  # the detections of a frame all carry its time
def _utc_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """An aware UTC moment from ISO 8601 with a zone.

    Raises:
        BadInputError: not ISO 8601, or without a zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a time; write it like 2026-01-02T03:04:05.678Z") from None
    if moment.tzinfo is None:
        raise BadInputError(f"the time {text!r} has no zone; add Z for UTC")
    return moment.astimezone(UTC)


@dataclass(frozen=True, order=True)
class Hour:
    """One UTC hour, ``[start, end)``. A frame belongs to the hour of its capture time."""

    start: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise BadInputError(f"the hour {self.start.isoformat()} has no zone; give UTC")
        start = self.start.astimezone(UTC)
        if (start.minute, start.second, start.microsecond) != (0, 0, 0):
            raise BadInputError(f"{start.isoformat()} is not the start of an hour")
        object.__setattr__(self, "start", start)

    @classmethod
    def of(cls, moment: datetime) -> Hour:
        """The hour that an aware moment falls in."""
        if moment.tzinfo is None:
            raise BadInputError(f"the time {moment.isoformat()} has no zone; give UTC")
        return cls(moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0))

    @classmethod
    def from_key(cls, key: str) -> Hour:
        """The hour named ``YYYYMMDD_HH``, as spool folders and archives are.

        Raises:
            BadInputError: not such a name, or no such hour.
        """
        if not _HOUR_KEY.fullmatch(key):
            raise BadInputError(f"{key!r} is not an hour; write it like 20260102_03")
        try:
            return cls(datetime.strptime(key, "%Y%m%d_%H").replace(tzinfo=UTC))
        except ValueError:
            raise BadInputError(f"{key!r} is not an hour that exists") from None

    @classmethod
    def from_partition_key(cls, key: str) -> Hour:
        """The hour of a Dagster hourly partition key, ``2026-01-02-03:00``."""
        try:
            return cls(datetime.strptime(key, "%Y-%m-%d-%H:%M").replace(tzinfo=UTC))
        except ValueError:
            raise BadInputError(f"{key!r} is not an hourly partition; write it like 2026-01-02-03:00") from None

    @property
    def end(self) -> datetime:
        """The first moment after the hour."""
        return self.start + HOUR

    @cached_property
    def key(self) -> str:
        """``20260102_03``."""
        return self.date.replace("-", "") + f"_{self.hh}"

    @property
    def partition_key(self) -> str:
        """``2026-01-02-03:00``."""
        return f"{self.date}-{self.hh}:00"

    @property
    def date(self) -> str:
        """``2026-01-02``."""
        return self.start.date().isoformat()  # strftime does not pad a year below 1000

    @property
    def hh(self) -> str:
        """``03``."""
        return self.start.strftime("%H")

    def next(self, count: int = 1) -> Hour:
        """The hour ``count`` hours later (earlier when negative).

        Raises:
            BadInputError: it lies outside the years 1 to 9999.
        """
        try:
            return Hour(self.start + count * HOUR)
        except OverflowError:
            raise BadInputError(f"{abs(count)} hours from {self} end outside the calendar; use fewer hours") from None

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return self.key


def check_date(text: str) -> str:
    """Return ``text`` when it is a day as names write it, ``YYYY-MM-DD``.

    Raises:
        BadInputError: anything else.
    """
    try:
        day = date.fromisoformat(text).isoformat()
    except ValueError:
        day = None
    if day != text:
        raise BadInputError(f"{text!r} is not a day; write it like 2026-01-02")
    return text


def hours_between(start: datetime, end: datetime) -> Iterator[Hour]:
    """Every hour that has a moment in ``[start, end)``, in order."""
    hour = Hour.of(start)
    while hour.start < end:
        yield hour
        hour = hour.next()
