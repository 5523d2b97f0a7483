"""What goes wrong around the line: a camera dies, the disk fills, an inference raises, an hour ends meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.cameras.open import ConfiguredSource, ReconnectWaits
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.spool import Sampling
from yolo_assets.edge.maintenance import Maintenance, folder_bytes
from yolo_assets.edge.pipeline import worker
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.sampling import Sampler
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.edge.types import Capture
from yolo_assets.spool.files import SpoolFullError
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.vision.model import Model
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.support.records import frame_record

START = datetime(2026, 1, 2, 3, 59, 58, tzinfo=UTC)
PIXELS = np.zeros((4, 4, 3), np.uint8)


class ScriptedSource:
    """Gives one capture a second of its own time; each life lasts as long as the script says, then breaks."""

    live = True

    def __init__(self, camera_id: str, lives: list[int]) -> None:
        self.camera_id = camera_id
        self._lives = lives
        self._clock = START
        self.hang = Event()

    def check(self) -> None: ...

    def facts(self) -> dict[str, Any]:
        return {}

    def now(self) -> datetime:
        return self._clock

    def captures(self, stop: Event) -> Iterator[Capture]:
        for _ in range(self._lives.pop(0)):
            yield Capture(self._clock, PIXELS)
            self._clock += timedelta(seconds=1)
        if self._lives:
            raise SourceError("the cable was pulled")


def camera_thread(
    source: ScriptedSource, recorder: FrameRecorder, queue: FrameQueue, policy: str = "every"
) -> CameraThread:
    ready = threading.Event()
    ready.set()
    configured = ConfiguredSource(source, policy, "stream", ReconnectWaits(first_s=0.01))  # type: ignore[arg-type]
    return CameraThread(configured, queue, recorder, ready)


def test_a_camera_that_fails_returns_and_its_frame_numbers_continue(tmp_path: Path) -> None:
    recorder, queue = FrameRecorder(tmp_path, ["cam1", "cam2"], "box1"), FrameQueue(["cam1", "cam2"], 100)
    broken = camera_thread(ScriptedSource("cam1", [2, 0, 0, 1, 3]), recorder, queue)
    healthy = camera_thread(ScriptedSource("cam2", [5]), recorder, queue)
    for thread in (broken, healthy):
        thread.start()
        assert thread.join(10)
    assert (broken.state, broken.restarts, healthy.state) == ("finished", 4, "finished")
    frames = [queue.get(0) for _ in range(11)]
    assert sorted(f.sequence for f in frames if f and f.camera_id == "cam1") == list(range(6))
    counts = recorder.journal.counts()
    assert counts["cam1"].captured == 6 and counts["cam2"].captured == 5
    recorder.close()


def agent_config(root: Path) -> AgentConfig:
    camera = {"kind": "stream", "camera_id": "cam1", "url": "rtsp://127.0.0.1/x"}
    return AgentConfig.model_validate(
        {"device_id": "box1", "spool": root, "store": "x", "model": "line", "trusted_keys": ["k"], "cameras": [camera]}
    )


def test_an_hour_is_sealed_when_it_is_over_and_its_last_frame_has_an_outcome(tmp_path: Path) -> None:
    recorder, queue = FrameRecorder(tmp_path, ["cam1"], "box1"), FrameQueue(["cam1"], 100)
    source = ScriptedSource("cam1", [3, 1])  # 03:59:58, :59, 04:00:00 and, after a cut, 04:00:01
    thread = camera_thread(source, recorder, queue)
    slots: SlotManager[LoadedModel] = SlotManager()
    clock = DeviceClock(tmp_path / "clock.json")
    keeper = Maintenance([thread], recorder, slots, agent_config(tmp_path), Sampler(Sampling()), clock)
    first = SpoolHour.of(tmp_path, "cam1", Hour.of(START))
    keeper._seal()
    thread.start()
    assert thread.join(10)
    thread._state = "reconnecting"  # as if it were away: only the hour that is over may be sealed
    frames = [queue.get(0) for _ in range(4)]
    record = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})
    assert frames[0] and frames[1] and frames[2] and frames[3]
    recorder.write(frames[0], record, b"\xff\xd8\xff\xd9")
    keeper._seal()
    assert first.seal() is None  # one frame of it is still with a worker
    recorder.drop(frames[1], "inference_error")
    keeper._seal()
    seal = first.seal()
    assert seal is not None and (seal.captured, seal.processed, seal.dropped) == (2, 1, {"inference_error": 1})
    recorder.write(frames[2], record, None)
    recorder.write(frames[3], record, None)
    keeper._seal()
    second = SpoolHour.of(tmp_path, "cam1", Hour.of(START).next())
    assert second.seal() is None
    thread._state = "finished"
    keeper._seal()
    assert second.seal() is not None and keeper.sealed == 2
    recorder.close()


def running(plant: Plant, **options: Any) -> Agent:
    plant.register("1")
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 3)), "loop": True}
    agent = Agent(plant.config([camera | {"pace": "realtime", "fps": 50}], **options))
    agent.start()
    return agent


def test_a_full_disk_drops_records_with_an_error_and_inference_continues(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = running(plant)
    try:
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > 3)

        def full(*_: object) -> None:
            raise SpoolFullError("no space on the disk")

        with monkeypatch.context() as patch:
            patch.setattr(SpoolWriter, "write", full)
            before = until(lambda: agent.board.latest("cam1"))
            until(lambda: agent.recorder.journal.counts()["cam1"].dropped.get("disk_full", 0) > 5)
            latest = agent.board.latest("cam1")
            assert latest is not None and latest.sequence > before.sequence
            assert agent.recorder.trouble == "no space on the disk"
        processed = agent.recorder.journal.counts()["cam1"].processed
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > processed + 3)
        assert agent.recorder.trouble is None
    finally:
        assert agent.stop()
    assert agent.recorder.journal.counts()["cam1"].balanced
    told = [record for record in caplog.records if "the spool takes no writes" in record.message]
    assert len(told) == 1


def test_an_inference_that_raises_costs_one_frame(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = running(plant)
    try:
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > 3)
        predict, fails = Model.predict, [3]

        def sometimes(self: Model, bgr: Any, **options: Any) -> Any:
            if fails[0]:
                fails[0] -= 1
                raise RuntimeError("out of memory")
            return predict(self, bgr, **options)

        monkeypatch.setattr(Model, "predict", sometimes)
        until(lambda: agent.recorder.journal.counts()["cam1"].dropped.get("inference_error", 0) == 3)
        processed = agent.recorder.journal.counts()["cam1"].processed
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > processed)
    finally:
        assert agent.stop()
    assert agent.recorder.journal.counts()["cam1"].balanced


def test_what_fails_after_an_inference_costs_no_worker(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_jpeg(*_: object) -> bytes:
        raise ValueError("a picture of shape (16, 70000, 3) cannot be encoded as JPEG")

    monkeypatch.setattr(worker, "encode_jpeg", no_jpeg)
    agent = running(plant)
    try:
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > 3)  # their records are kept without a picture
        with monkeypatch.context() as patched:
            patched.setattr(agent.board, "report", no_jpeg)
            patched.setattr(agent.pipeline.processor, "on_result", [no_jpeg])
            before = agent.recorder.journal.counts()["cam1"].processed
            until(lambda: agent.recorder.journal.counts()["cam1"].processed > before + 3)
        assert agent.recorder.journal.counts()["cam1"].in_flight <= 10
        assert agent.stop()
    finally:
        agent.stop()
    counts = agent.recorder.journal.counts()["cam1"]
    assert counts.balanced and counts.in_flight == 0
    assert not list(plant.spool.glob("*/*/*.jpg"))


def test_a_store_that_hangs_delays_nothing(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = running(plant)
    let_go = threading.Event()
    try:
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > 3)
        kind = type(plant.store)
        for method in ("put", "head"):
            monkeypatch.setattr(kind, method, lambda *_, **__: let_go.wait(30))
        time.sleep(0.6)  # longer than a heartbeat and a poll
        processed = agent.recorder.journal.counts()["cam1"].processed
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > processed + 10)
        begin = time.monotonic()
        assert agent.stop()
        assert time.monotonic() - begin < 15
    finally:
        let_go.set()


def test_folder_bytes(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(bytes(1000))
    (tmp_path / "y").write_bytes(bytes(24))
    (tmp_path / "link").symlink_to(tmp_path / "y")
    assert folder_bytes(tmp_path) == 1024
    assert folder_bytes(tmp_path / "missing") == 0
