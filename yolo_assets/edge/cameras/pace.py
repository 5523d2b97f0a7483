"""Keeping time between the pictures of a source."""

from __future__ import annotations

import time
from threading import Event


class Pace:
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
