"""A clock for a simulated line: starts in the past, may run faster than real time, never passes the present."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour, format_time, utc_now


class SimClock:
    """Simulated time. Safe to use from several threads.

    It counts from ``start`` at ``speed`` simulated seconds a second; where it would pass the wall clock it follows
    that, at its speed. It never runs backwards, also when the wall's clock is set back.
    """

    def __init__(self, start: datetime, speed: float = 1.0, *, wall: Callable[[], datetime] = utc_now) -> None:
        """Set the clock; it begins to run now.

        Args:
            start: a whole past hour, aware. Hours are what is sealed and archived: half a first one would seem damaged.
            speed: simulated seconds per second, more than 0.
            wall: the present.

        Raises:
            BadInputError: ``start`` is not a whole past hour, or ``speed`` is not positive and finite.
        """
        if not 0 < speed < float("inf"):
            raise BadInputError(f"a clock cannot run at speed {speed}; give a factor above 0, 1 is real time")
        hour = Hour.of(start)
        began = wall()
        if hour.start != start.astimezone(UTC) or start > began:
            latest = Hour.of(began).key
            raise BadInputError(
                f"the simulation cannot start at {format_time(start)}; give a whole hour that is past, like {latest}"
            )
        self.start = hour.start
        self.speed = speed
        self._wall = wall
        self._began = began
        self._last = self.start
        self._guard = threading.Lock()

    def now(self) -> datetime:
        """The simulated moment, UTC, at most the present."""
        wall = self._wall()
        ahead = max(0.0, (wall - self._began).total_seconds()) * self.speed
        # Compare before adding: an absurd speed must not overflow the calendar.
        reached = wall if ahead >= (wall - self.start).total_seconds() else self.start + timedelta(seconds=ahead)
        with self._guard:
            self._last = max(self._last, reached)
            return self._last
