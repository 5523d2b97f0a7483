"""How fast uploads may go, as an operator writes it: one rate, or a timetable of rates.

    20MB/s
    22:00-06:00 unlimited, else 20MB/s
    tz=Europe/Berlin 06:00-18:00 2MB/s, 18:00-22:00 10MB/s, else unlimited

Belongs here: reading, writing and evaluating a timetable. Does not belong here: keeping to it (``limiter``).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ByteSize, TypeAdapter

from yolo_assets.contracts.errors import BadInputError

_RATE = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kKMG]i?|[mg](?=bit))?(?P<unit>B|b|bit)?(?P<per>/s|ps)?", re.ASCII
)
_WINDOW = re.compile(r"(?P<start>\d{1,2}:\d{2})\s*-\s*(?P<end>\d{1,2}:\d{2})\s+(?P<rate>.+)", re.ASCII)
_BYTES = TypeAdapter(ByteSize)
_DAY = 24 * 60
UNLIMITED = math.inf


@dataclass(frozen=True)
class RateWindow:
    """A rate for a time of day.

    Attributes:
        start: minute of the day it begins with.
        end: minute of the day it ends before; not after ``start`` when it runs over midnight.
        rate: bytes a second.
    """

    start: int
    end: int
    rate: float

    def __contains__(self, minute: int) -> bool:
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True)
class Timetable:
    """Rates by the clock on the wall; where windows overlap, the first counts.

    Attributes:
        windows: rates for times of the day.
        otherwise: bytes a second at all other times.
        zone: name of the clock's time zone; None: the host's.
    """

    windows: tuple[RateWindow, ...]
    otherwise: float
    zone: str | None = None

    @classmethod
    def parse(cls, text: str) -> Timetable:
        """Read what an operator wrote; empty text is no limit.

        Raises:
            BadInputError: with what is wrong and how it is written.
        """
        rest, zone = text.strip(), None
        if rest.startswith("tz="):
            zone, _, rest = rest.removeprefix("tz=").partition(" ")
            _check_zone(zone)
        windows: list[RateWindow] = []
        otherwise: float | None = None
        for entry in (part.strip() for part in rest.split(",")):
            if match := _WINDOW.fullmatch(entry):
                if otherwise is not None:
                    raise BadInputError(f"{text!r}: 'else' comes last")
                window = RateWindow(_minute(match["start"]), _minute(match["end"]), parse_rate(match["rate"]))
                if window.start == window.end and (match["start"], match["end"]) != ("00:00", "24:00"):
                    raise BadInputError(f"{entry!r} begins when it ends; for the whole day give the rate alone")
                windows.append(window)
            elif not entry and rest:
                raise BadInputError(f"{text!r} has a comma with nothing before or after it")
            elif otherwise is not None:
                raise BadInputError(
                    f"{text!r} has two rates; separate them by times: 22:00-06:00 unlimited, else 20MB/s"
                )
            else:
                otherwise = parse_rate(entry.removeprefix("else").strip()) if entry else UNLIMITED
        if otherwise is None:
            raise BadInputError(f"{text!r} leaves times without a rate; end it with: else 20MB/s, or else unlimited")
        return cls(tuple(windows), otherwise, zone)

    def rate_at(self, moment: datetime) -> float:
        """Bytes a second at an aware moment; infinite when there is no limit."""
        local = moment.astimezone(ZoneInfo(self.zone) if self.zone else None)
        minute = local.hour * 60 + local.minute
        return next((window.rate for window in self.windows if minute in window), self.otherwise)

    @property
    def limits(self) -> bool:
        """Whether there is a limit at any time."""
        return any(rate != UNLIMITED for rate in (self.otherwise, *(window.rate for window in self.windows)))

    def __str__(self) -> str:
        """As it could have been written; ``parse`` reads it back."""
        if not self.windows:
            table = format_rate(self.otherwise)
        else:
            entries = [f"{_clock(w.start)}-{_clock(w.end or _DAY)} {format_rate(w.rate)}" for w in self.windows]
            table = ", ".join([*entries, f"else {format_rate(self.otherwise)}"])
        return f"tz={self.zone} {table}" if self.zone else table


def parse_rate(text: str) -> float:
    """Bytes a second: ``20MB/s``, ``500k``, ``1.5MiB/s``, ``8Mbit/s``, ``unlimited``.

    ``B`` and nothing are bytes, ``bit`` and ``b`` are bits; k, M, G are thousands, ki, Mi, Gi are 1024: units are those
    of pydantic's ``ByteSize``, except that a small ``b`` is a bit and fractions of a byte count.

    Raises:
        BadInputError: no such rate, or none above zero.
    """
    if text.lower() in ("unlimited", "none", "off"):
        return UNLIMITED
    match = _RATE.fullmatch(text)
    if not match:
        raise BadInputError(f"{text!r} is not a rate; write it like 20MB/s, 500k, 8Mbit/s or unlimited")
    rate = float(match["number"]) * _unit(match["prefix"] or "") / (8 if match["unit"] in ("b", "bit") else 1)
    if rate < 1:
        raise BadInputError(f"{text!r} lets nothing through; give at least one byte a second, or pause the archiver")
    return rate


def format_rate(rate: float) -> str:
    """For people, and exact: ``parse_rate`` gives the same number again."""
    if rate == UNLIMITED:
        return "unlimited"
    for prefix in ("G", "M", "k"):
        unit = _unit(prefix)
        shown = f"{rate / unit:.3f}".rstrip("0").rstrip(".")
        if rate >= unit and float(shown) * unit == rate:
            return f"{shown}{prefix}B/s"
    number = int(rate) if rate == int(rate) else f"{rate:.17f}".rstrip("0")
    return f"{number}B/s"


def _unit(prefix: str) -> int:
    return _BYTES.validate_python(f"1{prefix}B")


def _minute(clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    if hours * 60 + minutes > _DAY or minutes > 59:
        raise BadInputError(f"{clock} is not a time of day; write it like 22:00")
    return (hours * 60 + minutes) % _DAY


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInputError(f"{name!r} is not a time zone; write it like tz=Europe/Berlin") from None
