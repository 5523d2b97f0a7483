"""Cameras with everything around them but a model. No test lives here."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from yolo_assets.edge.cameras.open import open_camera
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.cameras import Camera
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.types import Frame
from yolo_assets.spool.frame_journal import FrameCounts
from yolo_assets_tests.edge.plant import until

ONE = TypeAdapter[Any](Camera)


class CameraBox:
    """Cameras with their threads, a queue, the books, and somebody who takes the frames."""

    def __init__(
        self, root: Path, cameras: dict[str, dict[str, Any]], on_frame: Callable[[Frame], None] = lambda _: None
    ) -> None:
        self.recorder = FrameRecorder(root / "spool", list(cameras), "box1")
        self.queue = FrameQueue(list(cameras), 8)
        self.clock = DeviceClock(root / "clock.json")
        ready = threading.Event()
        ready.set()
        self.threads: dict[str, CameraThread] = {}
        for name, options in cameras.items():
            camera = ONE.validate_python({"kind": "stream", "camera_id": name} | options)
            configured = open_camera(camera, self.clock)
            self.threads[name] = CameraThread(configured, self.queue, self.recorder, ready)
        self.latest: dict[str, Any] = {}
        self.on_frame = on_frame
        self.times: dict[str, list[float]] = {name: [] for name in cameras}
        self.moments: dict[str, list[datetime]] = {name: [] for name in cameras}
        self._taker = threading.Thread(target=self._take, daemon=True)
        self._taker.start()
        for thread in self.threads.values():
            thread.start()

    def _take(self) -> None:
        while True:
            frame = self.queue.get(0.2)
            if frame is not None:
                self.latest[frame.camera_id] = frame
                self.on_frame(frame)
                self.recorder.journal.processed(frame.id)
                self.times[frame.camera_id].append(time.monotonic())
                self.moments[frame.camera_id].append(frame.captured_at)
            elif self.queue.closed:
                return

    def counts(self, name: str) -> FrameCounts:
        return self.recorder.journal.counts()[name]

    def child(self, name: str) -> int | None:
        return self.threads[name].source.facts()["process"]

    def flows(self, name: str, seconds: float = 30) -> None:
        seen = self.counts(name).processed
        until(lambda: self.counts(name).processed >= seen + 5, seconds)
        assert self.threads[name].state == "live"

    def longest_gap(self, name: str) -> float:
        times = self.times[name]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def close(self) -> None:
        children = [self.child(name) for name in self.threads]
        for thread in self.threads.values():
            thread.stop()
        ended = [thread.join(5) for thread in self.threads.values()]
        assert all(ended)
        self.queue.close()
        self._taker.join(5)
        assert not [pid for pid in children if pid is not None and alive(pid)]
        for name in self.threads:
            counts = self.counts(name)
            assert counts.balanced and counts.in_flight == 0, counts
        self.recorder.close()


def alive(pid: int) -> bool:
    """Whether there is such a process, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
