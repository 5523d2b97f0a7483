"""A light model on a real device: it takes cameras over while the load is too high, and gives them back."""

from __future__ import annotations

import time
from typing import Any

from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.edge.rollout.box import LiveBox, camera

RULES = {"hold_s": 1.0, "calm_s": 1.5}


class Slowed:
    """A model that takes longer; how much can be changed while it serves."""

    def __init__(self, inner: Any, cost: dict[str, float], version: str) -> None:
        self._inner, self._cost, self._version = inner, cost, version

    def predict(self, image: Any) -> Any:
        time.sleep(self._cost[self._version])
        if self._cost.get("broken") == float(self._version):
            raise RuntimeError("the driver lost the card")
        return self._inner.predict(image)

    def predict_many(self, images: Any) -> Any:
        return [self.predict(image) for image in images]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def slow(box: LiveBox, cost: dict[str, float]) -> None:
    """Every model that is loaded from now on takes what ``cost`` says of its version."""
    loader = box.agent.stager.preparer.loader
    real = loader.load

    def load(bundle: Any, ref: Any, attempt: Any) -> Any:
        loaded = real(bundle, ref, attempt)
        object.__setattr__(loaded, "predictor", Slowed(loaded.predictor, cost, ref.version))
        return loaded

    loader.load = load  # type: ignore[method-assign]


def answers(box: LiveBox) -> dict[str, str | None]:
    """Which model answered last, by camera."""
    found = {name: box.agent.board.latest(name) for name in ("cam1", "cam2")}
    return {name: shown.model_version if shown is not None else None for name, shown in found.items()}


def test_cameras_go_to_the_light_model_under_load_and_come_back(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    plant.promote("2", channel="light")
    cameras = [camera(plant, name, fps=15) | {"policy": "latest"} for name in ("cam1", "cam2")]
    cost = {"1": 0.0, "2": 0.0}
    box = LiveBox(plant, cameras, light=RULES | {"cameras": ["cam2"]}, watch={"seconds": 0})
    slow(box, cost)
    with box:
        box.serve("1")
        until(lambda: box.agent.control.slots.light is not None)
        assert [role for role, _ in box.agent.control.slots.loaded()] == ["current", "light"]
        time.sleep(2.5)
        assert set(answers(box).values()) == {"line/1"}, "there is not too much to do"
        cost["1"] = 0.06  # 30 frames a second would take 1.8 of the one worker
        until(lambda: answers(box)["cam2"] == "line/2")
        balancer = box.agent.balancer
        assert balancer is not None
        until(lambda: balancer.figures()["cameras"] == ["cam2"])
        assert answers(box)["cam1"] == "line/1", "only whom the operator named"
        cost["1"] = 0.0
        until(lambda: answers(box)["cam2"] == "line/1")
        assert box.agent.control.state.light.model is not None
        cost["1"] = 0.06
        until(lambda: answers(box)["cam2"] == "line/2")
        cost["broken"] = 2.0
        event = box.wait_event("reverted")
        assert "the light model ended: it failed on 5 frames in a row" in event.reason
        until(lambda: answers(box)["cam2"] == "line/1")
        assert box.state.light.model is None and [entry.version for entry in box.state.quarantine] == ["2"]
        assert box.agent.recorder.journal.counts()["cam2"].balanced
    records = {r["model_version"] for r in plant.records() if r["camera_id"] == "cam1"}
    assert records == {"line/1"}


def test_a_light_model_returns_after_a_restart_and_ends_as_primary(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    plant.promote("2", channel="light")
    with LiveBox(plant, light=RULES) as box:
        until(lambda: box.agent.control.slots.light is not None)
    assert box.state.light is not None and box.state.light.attempts == 0
    with LiveBox(plant, light=RULES) as box:
        until(lambda: box.agent.control.slots.light is not None)
        until(
            lambda: any("start from the cache" in e.reason and e.target == "line/2" for e in box.agent.swaps.events())
        )
        plant.promote("2")  # the box's own now: one slot, one role
        until(lambda: box.serving == "2" and box.state.light.model is None)
        assert box.agent.control.slots.light is None
        plant.promote("1", channel="light")
        until(lambda: box.agent.control.slots.light is not None)
        plant.promote("2", channel="light")
        until(lambda: box.agent.control.slots.light is None)
    with LiveBox(plant) as box:  # taken out of the configuration
        until(lambda: box.serving == "2" and box.agent.stager.idle())
        assert box.agent.control.slots.light is None
