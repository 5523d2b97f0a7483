"""A candidate is tried in a process that takes only idle time, and what was compiled there is loaded from the cache."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.config.agent import Engine
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout.history import Swap, SwapAttempt
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.rollout.request import UnfitError
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.spool.frame_journal import FrameJournal
from yolo_assets.vision.engines.openvino import OpenVinoEngine
from yolo_assets.vision.engines.subprocess import ChildGoneError, ChildHungError, ProcessEngine
from yolo_assets.vision.model import Model
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.support.tiny_model import Variant, tiny_bundle_files

SHA = "0" * 64
OPENVINO = Engine(kind="openvino", device="cpu", precision="f32", batch=1)


def bundle(version: str = "1", variant: Variant = "good") -> VerifiedBundle:
    manifest, files = tiny_bundle_files(name="line", version=version, variant=variant)
    return VerifiedBundle(manifest, SHA, files)


def attempt() -> SwapAttempt:
    return SwapAttempt("channel", ResultBoard(["cam1"]), FrameJournal(["cam1"]))


def load(loader: Loader, model: VerifiedBundle, attempt: SwapAttempt) -> bool:
    """Whether the compiled model came from the cache."""
    ref = ReleasedModel(name="line", version=model.manifest.version, manifest_sha256=SHA)
    loaded = loader.load(model, ref, attempt)
    assert isinstance(loaded.predictor, Model)
    engine = loaded.predictor._engine
    assert isinstance(engine, OpenVinoEngine)
    cached = engine._compiled[0].get_property("LOADED_FROM_CACHE")
    loaded.close()
    return cached


def test_what_was_rehearsed_in_idle_time_is_loaded_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes: list[int] = []
    infer = ProcessEngine.infer

    def watched(self, batch):
        assert self.pid is not None
        classes.extend(os.sched_getscheduler(int(task.name)) for task in Path(f"/proc/{self.pid}/task").iterdir())
        return infer(self, batch)

    monkeypatch.setattr(ProcessEngine, "infer", watched)
    loader, model, swap = Loader(OPENVINO, tmp_path), bundle(), attempt()
    loader.rehearse(model, swap)
    assert set(classes) == {os.SCHED_IDLE}
    assert not [child for child in psutil.Process().children() if "subprocess_child" in " ".join(child.cmdline())]
    assert load(loader, model, swap)
    assert list(swap.steps) == ["rehearse", "load", "golden"]
    other = attempt()
    assert not load(loader, bundle("2"), other), "the cache knows models by their content"
    assert list(other.steps) == ["load", "warm", "golden"]


@pytest.mark.parametrize("variant", ["blind", "nan"])
def test_a_model_that_fails_in_its_rehearsal_is_never_loaded(tmp_path: Path, variant: Variant) -> None:
    swap = attempt()
    with pytest.raises(UnfitError, match="line/1 fails its golden frames here"):
        Loader(OPENVINO, tmp_path).rehearse(bundle(variant=variant), swap)
    assert list(swap.steps) == ["rehearse"]


def test_a_model_that_ends_its_process_is_unfit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(self, batch):
        raise ChildGoneError("the inference process ended in an inference, by SIGSEGV")

    monkeypatch.setattr(ProcessEngine, "infer", dies)
    with pytest.raises(UnfitError, match=r"line/1 cannot be rehearsed: .* by SIGSEGV"):
        Loader(OPENVINO, tmp_path).rehearse(bundle(), attempt())


def test_a_machine_too_busy_for_a_rehearsal_loads_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(self, batch):
        raise ChildHungError("the inference process hung for 120 s in an inference and was ended")

    monkeypatch.setattr(ProcessEngine, "infer", hangs)
    loader, swap = Loader(OPENVINO, tmp_path), attempt()
    loader.rehearse(bundle(), swap)
    load(loader, bundle(), swap)
    assert list(swap.steps) == ["rehearse", "load", "warm", "golden"]


@pytest.mark.parametrize(
    "engine", [OPENVINO.model_copy(update=off) for off in ({"rehearse": False}, {"process": True})]
)
def test_nothing_is_rehearsed_where_it_is_off_or_a_process_serves(tmp_path: Path, engine: Engine) -> None:
    swap = attempt()
    Loader(engine, tmp_path).rehearse(bundle(), swap)
    assert swap.steps == {}


def test_compiled_models_do_not_fill_the_disk(tmp_path: Path) -> None:
    loader = Loader(OPENVINO, tmp_path)
    for version in range(11):
        load(loader, bundle(str(version)), attempt())
    assert len(list((tmp_path / "openvino").glob("*.blob"))) == 9  # eight, and the one that came last


def test_an_agent_rehearses_what_replaces_a_model_and_not_its_first(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 6)), "fps": 5, "loop": True}
    plant.register("1")
    plant.promote("1")
    agent = Agent(plant.config([camera], engine={"kind": "openvino", "device": "cpu", "rehearse": True}))
    swaps: list[Swap] = []
    agent.swaps.on_end = swaps.append
    agent.start()
    try:
        until(lambda: agent.control.serving is not None)
        plant.register("2")
        plant.promote("2")
        until(lambda: any(swap.event.target == "line/2" and swap.event.result == "committed" for swap in swaps), 60)
    finally:
        agent.stop()
    steps = {swap.event.target: set(swap.steps) for swap in swaps}
    assert "rehearse" not in steps["line/1"]
    assert {"rehearse", "load", "golden"} <= steps["line/2"]
    assert "warm" not in steps["line/2"]
