"""What a source of pictures is, and the rate at which one delivers.

Does not belong here: any kind of source, and what it yields (``edge.types``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from threading import Event
from typing import Any, Protocol

from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.types import Capture


class SourceError(UserError):
    """A source cannot deliver: file missing, stream down. The capture thread tries again with backoff."""


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
