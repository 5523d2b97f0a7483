"""What a source of pictures is, the rate at which one delivers, and the times it may give its pictures.

Does not belong here: any kind of source, and what it yields (``edge.types``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Protocol

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.times import format_time
from yolo_assets.edge.types import Capture

FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""No picture that this agent writes was taken before this."""
_LOOK_AGAIN_S = 1.0
_CLOCKS_DIFFER = timedelta(minutes=1)


class SourceError(UserError):
    """A source cannot deliver: file missing, stream down. The capture thread tries again with backoff."""


def check_start(camera_id: str, start: datetime, now: datetime) -> datetime:
    """The configured time of a first picture, as it is.

    Raises:
        BadInputError: it lies before 2000 or in the future.
    """
    if not FIRST_TIME <= start <= now + _CLOCKS_DIFFER:
        raise BadInputError(
            f"camera {camera_id}: start is {format_time(start)}; give a time between the year 2000 and the present"
        )
    return start


def wait_until(moment: datetime, now: Callable[[], datetime], stop: Event) -> bool:
    """Wait until the clock has reached a picture's time: no source writes hours that have not begun.

    Returns:
        False when ``stop`` was set meanwhile.
    """
    while (ahead := (moment - now()).total_seconds()) > 0:
        if stop.wait(min(ahead, _LOOK_AGAIN_S)):  # the clock may be set meanwhile
            return False
    return not stop.is_set()


class Source(Protocol):
    """One camera's pictures."""

    camera_id: str
    live: bool
    """True when time passes whether the picture is taken or not: then the source never waits for the queue."""

    def check(self) -> None:
        """Check the source before the agent starts, where that is possible without waiting.

        Raises:
            BadInputError: it can never work as configured.
        """
        ...

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Open and yield until ``stop`` is set or the source has ended.

        Times never go back within one call, unless the clock of the machine was set back permanently.

        Raises:
            SourceError: it cannot be opened, or broke; another try may work.
            BadInputError: another try works only after the configuration was changed.
        """
        ...

    def now(self) -> datetime:
        """The source's own clock: no later capture will carry a time before this."""
        ...

    def facts(self) -> dict[str, Any]:
        """What an operator may want to know about it, for the status; nothing secret."""
        ...


class Ticker:
    """Ticks at a steady rate of real time. A tick that was missed is skipped, never made up for in a burst."""

    def __init__(self, fps: float) -> None:
        self._period = 1.0 / fps
        self._next = time.monotonic()

    def wait(self, stop: Event) -> bool:
        """Sleep until the next tick; False when ``stop`` was set meanwhile."""
        now = time.monotonic()
        if self._next > now:
            if stop.wait(self._next - now):
                return False
        else:
            self._next = now
        self._next += self._period
        return not stop.is_set()
