"""A wish to stop, and how work that waits or sends notices it within a moment.

Stopping is never an error: what is under way is given up where it stands, and the next run goes on from there.
"""

from __future__ import annotations

import threading


class Stopped(BaseException):
    """The work was asked to stop. No ``Exception``: no handler of failures may take it for one and try again."""


class Stop:
    """Asked once, from a signal's handler or another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    @property
    def asked(self) -> bool:
        """Whether it was."""
        return self._event.is_set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: it was asked to stop.
        """
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Stopped: it was asked to stop, now or meanwhile.
        """
        if self._event.wait(max(0.0, seconds)):
            raise Stopped
