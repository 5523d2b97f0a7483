"""The engine section at work: what is measured is remembered, cameras share a batch, a dead process costs a frame."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from yolo_assets.contracts.frames import FrameId
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.config.agent import Engine
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout import loading
from yolo_assets.edge.rollout.history import SwapAttempt
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.types import Frame
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.models.registry import Registry
from yolo_assets.spool.frame_journal import FrameJournal
from yolo_assets.vision.golden import golden_problems
from yolo_assets.vision.selection import EngineSelection
from yolo_assets_tests.edge.plant import MODEL, Plant, until
from yolo_assets_tests.support.tiny_model import blob_frame, tiny_bundle_files

SHA = "0" * 64


def verified(version: str = "1", free_batch: bool = False) -> VerifiedBundle:
    manifest, files = tiny_bundle_files(name="line", version=version, free_batch=free_batch)
    return VerifiedBundle(manifest, SHA, files)


def load(loader: Loader, model: VerifiedBundle) -> LoadedModel:
    ref = ReleasedModel(name="line", version=model.manifest.version, manifest_sha256=SHA)
    loaded = loader.load(model, ref, SwapAttempt("start", ResultBoard(["cam1"]), FrameJournal(["cam1"])))
    assert len(loaded.predictor.predict(blob_frame(0)[0])) >= 3
    loaded.close()
    return loaded


def test_a_model_is_measured_once_on_a_device_and_later_models_not_while_the_line_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def count(onnx, manifest, *rest) -> EngineSelection:
        measured.append(manifest.version)
        return original(onnx, manifest, *rest)

    original = loading.select_engine
    monkeypatch.setattr(loading, "select_engine", count)
    settings = Engine(precision="f32", device="cpu")
    first = Loader(settings, tmp_path)
    engine = load(first, verified("1")).engine
    assert first.choice is not None and not first.choice.remembered
    assert engine == str(first.choice.chosen.spec)
    assert load(first, verified("2")).engine == engine
    assert measured == ["1"]
    again = Loader(settings, tmp_path)
    assert load(again, verified("1")).engine == engine
    assert measured == ["1"]
    assert again.choice is not None and again.choice.remembered
    load(Loader(settings.model_copy(update={"threads": 2}), tmp_path), verified("1"))
    assert measured == ["1", "1"], "another number of threads is another measurement"
    (tmp_path / "choices.json").write_bytes(b"{torn")
    load(Loader(settings, tmp_path), verified("2"))
    assert measured == ["1", "1", "2"]


def test_an_engine_that_is_no_longer_available_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Engine(precision="f32", device="cpu")
    before = Loader(settings, tmp_path)
    load(before, verified())
    assert before.choice is not None
    gone = before.choice.chosen.engine
    monkeypatch.setitem(sys.modules, gone, None)
    after = Loader(settings, tmp_path)
    assert load(after, verified()).engine.split()[0] != gone
    assert after.choice is not None and not after.choice.remembered


def test_a_model_that_a_lower_precision_spoils_runs_in_f32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spoiling is pretended: golden frames are made to fail in bf16, and only there."""
    loader = Loader(Engine(kind="openvino"), tmp_path)
    load(loader, verified("1"))
    assert loader.choice is not None
    rows = [row for row in loader.choice.rows if row.precision == "bf16" and row.problem is None]
    if not rows:
        pytest.skip("this processor has no bf16 (avx512_bf16 or amx_bf16)")
    loader.choice = loader.choice.model_copy(update={"chosen": rows[0]})

    def spoilt(frame, data, model):
        return ["spoilt"] if "bf16" in model.engine_name else golden_problems(frame, data, model)

    monkeypatch.setattr("yolo_assets.vision.model.golden_problems", spoilt)
    assert load(loader, verified("2")).engine == "openvino cpu f32"
    monkeypatch.setattr("yolo_assets.vision.model.golden_problems", lambda *_: ["spoilt"])
    with pytest.raises(loading.UnfitError, match="spoilt"):
        load(loader, verified("3"))


def test_settings_that_exclude_each_other_are_refused() -> None:
    for wrong in ({"kind": "openvino", "device": "cuda"}, {"device": "cpu", "precision": "f16"}):
        with pytest.raises(ValidationError, match="leave kind, device or precision to auto"):
            Engine.model_validate(wrong)
    with pytest.raises(ValidationError, match=r"write device: cuda and cards: \[1\]"):
        Engine.model_validate({"device": "cuda:1"})
    assert Engine(device="cuda", cards=(1, 0)).setup(Path("cache")).cards == (1, 0)


def frame(camera: str, sequence: int) -> Frame:
    return Frame(FrameId(camera, sequence, datetime(2026, 1, 2, tzinfo=UTC)), blob_frame(0, 24, 32)[0], 0.0)


@given(
    st.lists(st.sampled_from("abc"), max_size=20),
    st.lists(st.tuples(st.integers(0, 4), st.sets(st.sampled_from("abc"))), max_size=12),
)
def test_taking_several_is_fair_and_loses_nothing(put: list[str], takes: list[tuple[int, set[str]]]) -> None:
    queue = FrameQueue("abc", 100)
    for sequence, camera in enumerate(put):
        queue.put_latest(frame(camera, sequence))
    seen: list[Frame] = []
    for most, fit in takes:
        waiting = {camera: put.count(camera) - sum(f.camera_id == camera for f in seen) for camera in "abc"}
        taken = queue.take(most, fit.__contains__)
        assert len(taken) == min(most, sum(waiting[camera] for camera in fit))
        assert all(f.camera_id in fit for f in taken)
        share = [sum(f.camera_id == camera for f in taken) for camera in fit if waiting[camera] >= most]
        assert not share or max(share) - min(share) <= 1
        seen += taken
    seen += queue.take(100, lambda _: True)
    assert len(queue) == 0
    for camera in "abc":
        order = [f.sequence for f in seen if f.camera_id == camera]
        assert order == [sequence for sequence, name in enumerate(put) if name == camera]


def test_cameras_share_a_batch_and_a_bad_frame_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one small machine batches may not pay, so a size of 3 is forced; what happens then is real."""
    plant = Plant(tmp_path)
    Registry(plant.store).write_bundle(*tiny_bundle_files(name=MODEL, free_batch=True))
    plant.promote("1")
    cameras = [
        {"kind": "folder", "camera_id": f"cam{number}", "path": str(plant.photos("photos")), "fps": 5}
        | {"start": "2026-01-02T03:00:00Z"}  # in the past: as fast as frames are processed
        for number in (1, 2, 3)
    ]
    choose, predict_many = loading.select_engine, loading.Model.predict_many
    monkeypatch.setattr(loading, "select_engine", lambda *args: choose(*args).model_copy(update={"batch": 3}))
    sizes: list[int] = []

    def watched(self, frames, **rest):
        sizes.append(len(frames))
        if len(frames) > 1 and sizes.count(len(frames)) == 1:
            raise RuntimeError("one of these frames is bad")
        return predict_many(self, frames, **rest)

    def slow(_) -> tuple[float, float]:
        time.sleep(0.02)  # frames pile up, as on a busy box
        return 1.0, 1.0

    monkeypatch.setattr("yolo_assets.edge.pipeline.worker.picture_quality", slow)
    agent = Agent(plant.config(cameras, engine={"kind": "openvino", "precision": "f32", "batch": 3}))
    agent.start()
    try:
        until(lambda: agent.control.serving is not None)
        monkeypatch.setattr(loading.Model, "predict_many", watched)
        until(agent.pipeline.finished)
    finally:
        agent.stop()
    assert max(sizes) == 3, "no two cameras ever shared an inference"
    for camera, count in agent.recorder.journal.counts().items():
        assert (camera, count.processed, dict(count.dropped)) == (camera, 6, {})
    assert all(record["detections"] for record in plant.records())


def test_an_agent_outlives_the_process_of_its_model(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    plant.register("1")
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 6)), "fps": 20, "loop": True}
    pinned = {"kind": "onnxruntime", "device": "cpu", "process": True}
    agent = Agent(plant.config([camera], engine=pinned))
    try:
        agent.start()
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > 3)
        children = [c for c in psutil.Process().children() if "engines.subprocess_child" in " ".join(c.cmdline())]
        assert len(children) == 1
        os.kill(children[0].pid, signal.SIGKILL)
        before = agent.recorder.journal.counts()["cam1"].processed
        until(lambda: agent.recorder.journal.counts()["cam1"].processed > before + 5)
        assert agent.recorder.journal.counts()["cam1"].dropped.get("inference_error") == 1
    finally:
        assert agent.stop()
    assert not [c for c in psutil.Process().children() if "engines.subprocess_child" in " ".join(c.cmdline())]
