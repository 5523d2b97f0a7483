"""Four cameras that wait for nobody: each frame has its moment, whether the agent keeps up or not (an open loop).

The pictures arrive as JPEG and are decoded for each frame, as from a network camera, so every frame is a buffer of its
own. Latency counts from the moment at which the frame was due, not from when somebody found time to take it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import datetime
from threading import Event
from typing import Any

from reload_parts.models import decoded, line_camera
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.types import Capture

CAMERAS = 4
_OPEN_AT_MOST = 2
"""Frames of a camera under way while the capacity is measured: enough that the workers never wait."""


class Rhythm:
    """The common beat: ``begin`` lets the cameras shoot, ``pause`` stops them after their present frame."""

    def __init__(self) -> None:
        self.running = threading.Event()
        self.origin = 0.0
        self.period = 1.0
        self.saturate = False
        self.round = 0

    def begin(self, frames_per_second: float | None) -> None:
        """Start; the rate is that of all cameras together. None: as fast as the agent answers."""
        self.saturate = frames_per_second is None
        self.period = CAMERAS / (frames_per_second or 1.0)
        self.origin = time.monotonic() + 0.05
        self.round += 1
        self.running.set()

    def pause(self) -> None:
        """No more frames."""
        self.running.clear()


class OpenLoopCamera:
    """One camera. ``due[n]`` is the moment of its frame ``n``; ``answered`` is set from outside."""

    live = True

    def __init__(self, number: int, rhythm: Rhythm, pictures: list[bytes]) -> None:
        self.camera_id = line_camera(number)
        self.number = number
        self.due: list[float] = []
        self.answered = 0
        self._rhythm = rhythm
        self._pictures = pictures

    def check(self) -> None:
        """Always there."""

    def now(self) -> datetime:
        """The wall clock."""
        return utc_now()

    def facts(self) -> dict[str, Any]:
        """For the status page: what it is."""
        return {"pictures": len(self._pictures)}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """A frame at each beat, late or not: none is skipped."""
        rhythm, round_, beat = self._rhythm, 0, 0
        while not stop.is_set():
            if not rhythm.running.wait(0.1):
                continue
            if round_ != rhythm.round:
                round_, beat = rhythm.round, 0
            due = rhythm.origin + (beat + self.number / CAMERAS) * rhythm.period
            if rhythm.saturate:
                due = time.monotonic()
                if len(self.due) - self.answered >= _OPEN_AT_MOST:
                    stop.wait(0.001)
                    continue
            elif due > time.monotonic():
                stop.wait(min(0.05, due - time.monotonic()))
                if due > time.monotonic():
                    continue
            beat += 1
            image = decoded(self._pictures[len(self.due) % len(self._pictures)])
            self.due.append(due)
            moment = self.now()
            yield Capture(moment.replace(microsecond=moment.microsecond // 1000 * 1000), image)
