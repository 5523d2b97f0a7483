"""Freeze windows: when the model must not change. A pure timetable; no clock, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from yolo_assets.contracts.errors import BadInputError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True)
class FreezeWindow:
    """On each of ``days`` (0 is Monday) from ``begin``, as long as it takes to reach ``end`` on the clock."""

    days: frozenset[int]
    begin: time
    end: time

    def end_around(self, moment: datetime) -> datetime | None:
        """The end of this window, when ``moment`` (aware) lies inside; a window past midnight belongs to its first day.

        Ends are wall-clock times of the zone: a window keeps its end on the day on which the clocks change.
        """
        for back in (0, 1):
            day = (moment - timedelta(days=back)).date()
            if day.weekday() not in self.days:
                continue
            last = day if self.end > self.begin else day + timedelta(days=1)
            begin = datetime.combine(day, self.begin, moment.tzinfo)
            end = datetime.combine(last, self.end, moment.tzinfo)
            if begin.astimezone(UTC) <= moment.astimezone(UTC) < end.astimezone(UTC):
                return end
        return None


def parse_window(text: str) -> FreezeWindow:
    """``06:00-22:00``, ``mon-fri 06:00-22:00`` or ``sat 22:00-04:00``; 00:00-00:00 is the whole day.

    Raises:
        BadInputError: another form, no such day or time.
    """
    match = _FORM.fullmatch(text.strip().lower())
    try:
        if match is None:
            raise ValueError
        first, last, *clock = match.groups()
        start = _DAYS.index(first) if first else 0
        stop = _DAYS.index(last) if last else (start if first else 6)
        days = frozenset((start + n) % 7 for n in range((stop - start) % 7 + 1))
        hours = [int(part) for part in clock]
        return FreezeWindow(days, time(hours[0], hours[1]), time(hours[2], hours[3]))
    except ValueError:
        raise BadInputError(f"{text!r} is not a window; write it like 06:00-22:00 or mon-fri 06:00-22:00") from None


def zone(name: str) -> ZoneInfo:
    """A time zone by its name.

    Raises:
        BadInputError: this machine knows none of that name.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise BadInputError(
            f"{name!r} is not a time zone that is known here; use one like Europe/Berlin, or install tzdata"
        ) from None


class FreezeTable:
    """All windows of a device."""

    def __init__(self, windows: Iterable[str], timezone: str) -> None:
        self._windows = [parse_window(text) for text in windows]
        self._zone = zone(timezone)

    def until(self, moment: datetime) -> datetime | None:
        """The moment (aware) at which the model may change again; None when it may now. Touching windows are one."""
        local, end = moment.astimezone(self._zone), None
        for _ in range(len(self._windows) * 7 + 1):  # a table that covers the whole week ends here, not never
            ends = [closing for window in self._windows if (closing := window.end_around(end or local)) is not None]
            if not ends:
                break
            end = max(ends)
        return end
