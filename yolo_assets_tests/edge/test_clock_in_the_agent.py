"""A camera whose machine's clock jumps: which hours its frames land in, and when those are sealed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.edge.cameras.open import ConfiguredSource
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.types import Capture
from yolo_assets.spool.hours import list_hours
from yolo_assets_tests.edge.test_device_clock import NOON, World
from yolo_assets_tests.support.records import record_of

PIXELS = np.zeros((4, 4, 3), np.uint8)


class Camera:
    """A live camera that delivers a picture every ten seconds of true time; the world changes between pictures."""

    live = True
    camera_id = "cam1"

    def __init__(self, world: World, clock: DeviceClock, script: dict[int, tuple[str, bool]], frames: int) -> None:
        self._world, self._clock, self._script, self._frames = world, clock, script, frames

    def check(self) -> None: ...

    def facts(self) -> dict[str, Any]:
        return {}

    def now(self) -> datetime:
        return self._clock.now()

    def captures(self, stop: threading.Event) -> Iterator[Capture]:
        for number in range(self._frames):
            self._world.go(10)
            if number in self._script:
                said, self._world.synchronised = self._script[number]
                self._world.off = datetime.fromisoformat(said) - self._world.true if said else timedelta(0)
            yield Capture(self._clock.at(self._world.since_boot), PIXELS)


def play(root: Path, world: World, script: dict[int, tuple[str, bool]], frames: int) -> dict[str, list[bool]]:
    """Hours that came out, with ``time_trusted`` of each frame; the seals must account for every frame."""
    clock = world.start()
    recorder, queue = (
        FrameRecorder(root / "spool", ["cam1"], "box1", journal=root / "tally"),
        FrameQueue(["cam1"], 1000),
    )
    ready = threading.Event()
    ready.set()
    source = Camera(world, clock, script, frames)
    thread = CameraThread(ConfiguredSource(source, "every", "usb", clock=clock), queue, recorder, ready)
    thread.start()
    assert thread.join(20) and thread.state == "finished"
    for number in range(frames):
        frame = queue.get(0)
        assert frame is not None and frame.sequence == number
        recorder.write(frame, record_of(frame), None)
    recorder.seal_all("cam1")
    assert recorder.journal.counts()["cam1"].processed == frames
    recorder.close()
    hours: dict[str, list[bool]] = {}
    for hour in list_hours(root / "spool"):
        seal = hour.seal()
        records = list(hour.records())
        assert seal is not None and seal.captured == seal.processed == len(records)
        hours[hour.hour.key] = [(found.record.model_extra or {}).get("time_trusted", True) for found in records]  # type: ignore[union-attr]
    return hours


@pytest.mark.parametrize(
    "said", ["1970-01-01T00:00:00+00:00", "2037-01-01T00:00:00+00:00", "2026-11-21T03:00:00+00:00"]
)
def test_a_jump_that_ntp_corrects_makes_no_hour(tmp_path: Path, said: str) -> None:
    hours = play(tmp_path, World(tmp_path), {3: (said, False), 9: ("", True)}, 20)
    assert hours == {"20261121_12": [True] * 3 + [False] * 6 + [True] * 11}


def test_frames_of_a_start_in_1970_go_to_the_last_known_hour(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.start().save()
    world.power_cut(2 * 3600)
    world.says("1970-01-01T00:00:20+00:00")
    hours = play(tmp_path, world, {5: ("", True)}, 12)
    assert hours == {"20261121_12": [False] * 5, "20261121_14": [True] * 7}


def test_an_hour_continues_past_its_end_when_the_clock_is_set_back(tmp_path: Path) -> None:
    world = World(tmp_path, true=NOON + timedelta(minutes=59))
    back = (NOON + timedelta(minutes=30)).isoformat()
    hours = play(tmp_path, world, {2: (back, False), 30: ("", True)}, 40)
    assert list(hours) == ["20261121_12", "20261121_13"]
    assert hours["20261121_13"].count(False) > 20


def test_the_mark_goes_back_with_the_clock_so_that_no_open_hour_is_sealed(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.off = timedelta(hours=3)  # wrong from the start, and nothing could know
    clock = world.start()
    recorder, queue = FrameRecorder(tmp_path / "spool", ["cam1"], "box1"), FrameQueue(["cam1"], 10)
    ready = threading.Event()
    ready.set()
    source = Camera(world, clock, {2: ("", True)}, 4)
    thread = CameraThread(ConfiguredSource(source, "every", "usb", clock=clock), queue, recorder, ready)
    thread.start()
    assert thread.join(20)
    for _ in range(4):
        frame = queue.get(0)
        assert frame is not None
        recorder.write(frame, record_of(frame), None)
    assert thread.mark == world.true
    assert recorder.seal_over("cam1", thread.mark) == []  # 12 goes on; 15 is not over by the true time
    assert recorder.journal.hours("cam1") == [Hour.of(NOON), Hour.of(NOON + timedelta(hours=3))]
    recorder.close()
