"""The bounded queue between cameras and workers: fair across cameras, never a stall of one because of another."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from yolo_assets.edge.types import DropReason, Frame


@dataclass(frozen=True)
class Displaced:
    """A frame that had to go so that the bound holds, and why."""

    frame: Frame
    reason: DropReason


class FrameQueue:
    """One bounded line for each camera, served in turn.

    Args:
        cameras: every camera that may put.
        size: frames that may wait, for each camera.
    """

    def __init__(self, cameras: Iterable[str], size: int) -> None:
        self._lines: dict[str, deque[Frame]] = {camera: deque() for camera in cameras}
        self._turn: deque[str] = deque(self._lines)
        self._size = size
        self._waiting = 0
        self._closed = False
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)

    def put_latest(self, frame: Frame) -> Displaced | None:
        """Queue a frame; when the camera's line is full its oldest frame leaves as ``stale``."""
        with self._lock:
            if self._closed:
                return Displaced(frame, "stopped")
            line = self._lines[frame.camera_id]
            displaced = None
            if len(line) >= self._size:
                displaced = Displaced(line.popleft(), "stale")
                self._waiting -= 1
            self._append(line, frame)
            return displaced

    def put_or_drop(self, frame: Frame) -> Displaced | None:
        """Queue a frame; when the camera's line is full this frame leaves as ``queue_full``."""
        with self._lock:
            if self._closed:
                return Displaced(frame, "stopped")
            line = self._lines[frame.camera_id]
            if len(line) >= self._size:
                return Displaced(frame, "queue_full")
            self._append(line, frame)
            return None

    def put_waiting(self, frame: Frame) -> Displaced | None:
        """Queue a frame, waiting for room: for sources that can wait. Leaves as ``stopped`` when the queue closes."""
        with self._lock:
            line = self._lines[frame.camera_id]
            while len(line) >= self._size and not self._closed:
                self._room.wait()
            if self._closed:
                return Displaced(frame, "stopped")
            self._append(line, frame)
            return None

    def get(self, timeout: float | None = None) -> Frame | None:
        """The oldest frame of the camera whose turn it is; None after ``timeout`` seconds, or when closed and empty."""
        with self._lock:
            if not self._waiting and not self._closed:
                self._filled.wait_for(lambda: self._waiting or self._closed, timeout)
            if not self._waiting:
                return None
            return self._pop(lambda _: True)

    def take(self, most: int, fits: Callable[[str], bool]) -> list[Frame]:
        """What waits now, the oldest frame of each fitting camera in turn, at most ``most``. Never waits."""
        frames: list[Frame] = []
        with self._lock:
            while len(frames) < most and self._waiting and (frame := self._pop(fits)) is not None:
                frames.append(frame)
        return frames

    def _pop(self, fits: Callable[[str], bool]) -> Frame | None:
        """The oldest frame of the next camera in turn that fits; the lock is held."""
        camera = next((camera for camera in self._turn if self._lines[camera] and fits(camera)), None)
        if camera is None:
            return None
        self._turn.rotate(-self._turn.index(camera) - 1)
        self._waiting -= 1
        self._room.notify_all()
        return self._lines[camera].popleft()

    def close(self) -> None:
        """Take no more frames; those that wait can still be taken."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._room.notify_all()

    def take_all(self) -> list[Frame]:
        """Remove and return everything that waits, for a stop that cannot wait for workers."""
        with self._lock:
            frames = [frame for line in self._lines.values() for frame in line]
            for line in self._lines.values():
                line.clear()
            self._waiting = 0
            self._room.notify_all()
            return frames

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    def __len__(self) -> int:
        return self._waiting

    def _append(self, line: deque[Frame], frame: Frame) -> None:
        line.append(frame)
        self._waiting += 1
        self._filled.notify()
