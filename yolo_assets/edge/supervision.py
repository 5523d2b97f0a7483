"""What is reported to systemd: ready, status, stopping, and a keep-alive only while results advance.

A restart helps when this process is stuck, and does not help when a camera is dead, no model is released or a disk is
full. So the keep-alive is withheld in one case only: frames come in, a model serves, and no frame of any camera has
had a result for ``ready_seconds``. A device whose cameras are all dead captures nothing; ``systemctl status`` and
``/readyz`` say so, and it is not restarted. The main thread sends it, so one that hangs sends none.

Does not belong here: what ready means (``status``).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)
_REPORT_EVERY = 5.0
_MOST_WORDS = 500


@dataclass(frozen=True)
class Pulse:
    """What the frames do at one moment.

    Attributes:
        captured: frames of all cameras since the start that could reach a worker.
        in_flight: frames that have no outcome yet.
        serves: whether a model serves.
        result_age_s: seconds since the last result of any camera; None before the first.
    """

    captured: int
    in_flight: int
    serves: bool
    result_age_s: float | None


class StallDetector:
    """Decides whether results advance; pure but for what it remembers.

    Args:
        limit: seconds without a result, while there is work, after which it does not.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._captured = 0
        self._work_since: float | None = None

    def advances(self, pulse: Pulse, now: float) -> bool:
        """Whether to send a keep-alive.

        Args:
            pulse: what they do now.
            now: monotonic seconds.
        """
        work = pulse.serves and (pulse.captured > self._captured or pulse.in_flight > 0)
        self._captured = pulse.captured
        fresh = pulse.result_age_s is not None and pulse.result_age_s <= self._limit
        if fresh or not work:  # what ended without a result (the last camera died) is over: no restart brings it back
            self._work_since = None
        elif self._work_since is None:
            self._work_since = now
        return self._work_since is None or now - self._work_since <= self._limit


class Supervisor:
    """Notifies systemd, where systemd started this process.

    Args:
        pulse: what the frames do.
        reasons: why the agent is not ready; empty when it is.
        limit: see ``StallDetector``.
        environment: with ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` as systemd sets them.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        pulse: Callable[[], Pulse],
        reasons: Callable[[], list[str]],
        limit: float,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = pulse
        self._reasons = reasons
        self._progress = StallDetector(limit)
        self._clock = clock
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._every = _ping_seconds(environment)
        self._next_ping = self._next_words = -1.0
        self._words = ""
        self._stuck = False

    def ready(self) -> None:
        """The API answers and the cameras run. Whether they show anything is not for systemd to mend."""
        self._send("READY=1")

    def tick(self) -> None:
        """Called some times a second by the main thread."""
        if not self._address:
            return
        now = self._clock()
        if now >= self._next_words:
            self._next_words = now + _REPORT_EVERY
            self._report("; ".join(self._reasons()) or "every live camera has results")
        if self._every is None or now < self._next_ping:
            return
        self._next_ping = now + self._every
        if self._progress.advances(self._pulse(), now):
            self._stuck = False
            self._send("WATCHDOG=1")
        elif not self._stuck:
            self._stuck = True
            log.error("frames come in and none has a result any more; systemd is going to restart the agent")

    def stopping(self) -> None:
        """A stop has begun: what waits is finished, what is over is sealed."""
        self._send("STOPPING=1")

    def _report(self, words: str) -> None:
        if words != self._words:
            self._words = words
            self._send("STATUS=" + " ".join(words.split())[:_MOST_WORDS])

    def _send(self, line: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)  # a supervisor that does not read must not hold up the agent
                connection.sendto(line.encode(), address)
        except OSError as error:
            log.debug("cannot notify systemd %r: %s", line, error)


def _ping_seconds(environment: Mapping[str, str]) -> float | None:
    """Seconds between keep-alives: a quarter of what systemd waits; None where it wants none from this process."""
    try:
        micros, process = int(environment.get("WATCHDOG_USEC", "0")), int(environment.get("WATCHDOG_PID", "0"))
    except ValueError:
        return None
    return micros / 4e6 if micros > 0 and process in (0, os.getpid()) else None
