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
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
"""Start of the first hour there is: no archive carries a negative time."""
END_OF_HOURS = datetime(2100, 1, 1, tzinfo=UTC)
"""End of the last hour there is."""
NEAR = HOUR
"""How far outside the hour of its folder a frame may be captured: a producer turns its folder a little early or late.

Such a frame stays in its folder's hour, and is found by its own time: a question about a time looks this far around.
"""
_HOUR_KEY = re.compile(r"[0-9]{8}_[0-9]{2}")


def utc_now() -> datetime:
    """The present, UTC, cut to milliseconds as every contract writes it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def to_utc(moment: datetime) -> datetime:
    """An aware moment in UTC.

    Raises:
        BadInputError: it has no zone, or its UTC lies outside the years 1 to 9999: ``0001-01-01T00:00+08:00``.
    """
    if moment.tzinfo is None:
        raise BadInputError(f"the time {moment.isoformat()} has no zone; give UTC, for example with a trailing Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise BadInputError(f"the time {moment.isoformat()} lies outside the years 1 to 9999 in UTC") from None


def in_calendar(moment: datetime) -> bool:
    """Whether there is an hour that an aware moment falls in: from 1970-01-01 to the end of 2099."""
    return FIRST_MOMENT <= moment < END_OF_HOURS


def format_time(moment: datetime) -> str:
    """``2026-01-02T03:04:05.678Z`` for an aware moment.

    Raises:
        BadInputError: the moment has no time zone; guessing one would move frames between hours.
    """
    return _utc_text(to_utc(moment))


@lru_cache(maxsize=256)  # the detections of a frame all carry its time
def _utc_text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """An aware UTC moment from ISO 8601 with a zone.

    Raises:
        BadInputError: not ISO 8601, without a zone, or outside the years 1 to 9999 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a time; write it like 2026-01-02T03:04:05.678Z") from None
    if moment.tzinfo is None:
        raise BadInputError(f"the time {text!r} has no zone; add Z for UTC")
    return to_utc(moment)


@dataclass(frozen=True, order=True)
class Hour:
    """One UTC hour, ``[start, end)``. A frame belongs to the hour of its capture time.

    Raises:
        BadInputError: no start of an hour, or outside the years 1970 to 2099: such an hour comes from a wrong clock or
            means "no time", and neither an archive nor a partition can be made of it.
    """

    start: datetime

    def __post_init__(self) -> None:
        start = to_utc(self.start)
        if (start.minute, start.second, start.microsecond) != (0, 0, 0):
            raise BadInputError(f"{start.isoformat()} is not the start of an hour")
        if not in_calendar(start):
            raise BadInputError(
                f"the hour {start:%Y%m%d_%H} lies outside the years 1970 to 2099; "
                "correct its producer's clock and name the folder by the hour of capture"
            )
        object.__setattr__(self, "start", start)

    @classmethod
    def of(cls, moment: datetime) -> Hour:
        """The hour that an aware moment falls in."""
        return cls(to_utc(moment).replace(minute=0, second=0, microsecond=0))

    @classmethod
    def nearest(cls, moment: datetime) -> Hour:
        """The hour that an aware moment falls in; the first or last one for a moment outside the years of hours."""
        return cls.of(min(max(moment, FIRST_MOMENT), END_OF_HOURS - HOUR))

    @classmethod
    @lru_cache(maxsize=10_000)  # a spool has the same few hours for each of its cameras
    def from_key(cls, key: str) -> Hour:
        """The hour named ``YYYYMMDD_HH``, as spool folders and archives are.

        Raises:
            BadInputError: not such a name, no such hour, or one outside the years 1970 to 2099.
        """
        if not _HOUR_KEY.fullmatch(key):
            raise BadInputError(f"{key!r} is not an hour; write it like 20260102_03")
        try:
            start = datetime.strptime(key, "%Y%m%d_%H").replace(tzinfo=UTC)
        except ValueError:
            raise BadInputError(f"{key!r} is not an hour that exists") from None
        return cls(start)

    @classmethod
    def from_partition_key(cls, key: str) -> Hour:
        """The hour of a Dagster hourly partition key, ``2026-01-02-03:00``."""
        try:
            start = datetime.strptime(key, "%Y-%m-%d-%H:%M").replace(tzinfo=UTC)
        except ValueError:
            raise BadInputError(f"{key!r} is not an hourly partition; write it like 2026-01-02-03:00") from None
        return cls(start)

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
            BadInputError: it lies outside the years 1970 to 2099.
        """
        try:
            return Hour(self.start + count * HOUR)
        except (OverflowError, BadInputError):
            raise BadInputError(f"{abs(count)} hours from {self} end outside the calendar; use fewer hours") from None

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def __str__(self) -> str:
        return self.key


def hours_named(text: str) -> tuple[Hour, Hour]:
    """The first and the last hour of what a person writes: an hour, a partition key, a day, or a moment.

    ``20260301_09``, ``2026-03-01-09:00`` and ``2026-03-01T09:30Z`` name one hour, ``2026-03-01`` a day of them.

    Raises:
        BadInputError: none of these, or outside the years 1970 to 2099.
    """
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        first = Hour.from_key(check_date(text).replace("-", "") + "_00")
        return first, first.next(23)
    if _HOUR_KEY.fullmatch(text):
        hour = Hour.from_key(text)
    elif re.fullmatch(r"\d{4}-\d{2}-\d{2}-\d{2}:\d{2}", text):
        hour = Hour.from_partition_key(text)
    else:
        try:
            hour = Hour.of(parse_time(text))
        except BadInputError as error:
            if re.match(r"\d{4}-\d{2}-\d{2}[T ]", text):  # a time, and what is wrong with it is said already
                raise
            raise BadInputError(
                f"{text!r} names no hour; write 20260301_09, 2026-03-01-09:00, 2026-03-01 or 2026-03-01T09:00Z"
            ) from error
    return hour, hour


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


def with_near_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The bounds in which the folders of frames captured in ``[start, end)`` lie: ``NEAR`` wider on both sides."""
    return max(start, FIRST_MOMENT + NEAR) - NEAR, min(end, END_OF_HOURS - NEAR) + NEAR


def hours_between(start: datetime, end: datetime) -> Iterator[Hour]:
    """Every hour that has a moment in ``[start, end)``, in order; none outside the years 1970 to 2099."""
    moment = Hour.nearest(start).start
    last = min(end, END_OF_HOURS)
    while moment < last:
        yield Hour(moment)
        moment += HOUR
