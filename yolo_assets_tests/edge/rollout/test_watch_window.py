"""After the switch: a good model is committed, a bad one is reverted by itself and never tried again.

Real agent, real models on live frames. The bad ones pass every check before the switch: their golden frames hold four
blobs, the live frames eight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.edge.rollout.controller import AlreadyRolledBackError
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.vision.detections import Detections
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.edge.rollout.box import LiveBox, camera

WATCH = {"seconds": 2.0, "min_frames": 20, "share": 0.5, "detections_band": 0.3}


def test_a_good_model_is_committed_after_its_window(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    with LiveBox(plant, watch=WATCH | {"seconds": 1.5}) as box:
        box.serve("1")
        plant.promote("2")
        switched = box.wait_event("switched")
        trial = box.state.primary
        assert trial.on_trial and trial.model is not None and trial.model.version == "2"
        until(lambda: box.events()[-1] == ("line/2", "committed"))
        event = box.agent.swaps.events()[-1]
        assert switched.target == "line/2" and not box.state.primary.on_trial
        assert "agreement 100.0% with line/1" in event.reason and "0 errors" in event.reason
        assert event.seconds >= 0 and box.serving == "2" and not box.state.quarantine


def test_a_model_that_finds_too_little_is_reverted(plant: Plant) -> None:
    plant.register("1")
    plant.register("2", most=4)
    plant.promote("1")
    with LiveBox(plant, watch=WATCH | {"seconds": 60}) as box:
        box.serve("1")
        pointer = plant.promote("2")
        event = box.wait_event("reverted")
        assert (event.source, event.target) == ("line/2", "line/1")
        assert "detections per frame are outside their limits: 4.00 against" in event.reason
        assert "allowed are 30%" in event.reason
        assert box.serving == "1" and not box.state.primary.on_trial and box.state.primary.previous is None
        held = box.state.quarantined(pointer.manifest_sha256, pointer.release)
        assert held is not None and held.reason == event.reason
        until(lambda: [slot.label for _, slot in box.agent.control.slots.loaded()] == ["line/1"])  # memory is back
        box.agent.updates.poller.poll_now()
        until(lambda: box.agent.stager.idle())
        assert box.serving == "1"
        plant.promote("1")
        pointer = plant.promote("2")  # a new release number is a new chance
        until(lambda: box.events().count(("line/2", "switched")) == 2)


@pytest.mark.parametrize(("against", "committed"), [("line/1", True), ("line/0", False)])
def test_what_the_gate_measured_is_no_reason_to_revert(plant: Plant, against: str, committed: bool) -> None:
    plant.register("1")
    plant.register("2", most=4)
    plant.promote("1")
    with LiveBox(plant, watch=WATCH) as box:
        box.serve("1")
        plant.promote(
            "2",
            expected=ExpectedChange(
                against=against, frames=100, old_right=200, old_wrong=600, new_right=200, new_wrong=5
            ),
        )
        box.wait_event("switched")
        until(lambda: box.events()[-1] == (("line/2", "committed") if committed else ("line/1", "reverted")))
        assert box.serving == ("2" if committed else "1")


@pytest.mark.soak
def test_a_slow_model_is_reverted(plant: Plant) -> None:
    plant.register("1")
    plant.register("2", "slow")
    plant.promote("1")
    with LiveBox(plant, watch=WATCH | {"seconds": 60, "min_frames": 10}) as box:
        box.serve("1")
        plant.promote("2")
        event = box.wait_event("reverted", 60)
        assert "latency is outside its limits: p99" in event.reason and "on the same 10 frames" in event.reason


def test_a_scene_that_changes_does_not_count_against_a_model(plant: Plant) -> None:
    """The belt runs empty within the window: a band around earlier figures would revert the new model."""
    import cv2

    for version in "12":
        plant.register(version)
    plant.promote("1")
    view = camera(plant, folder="changing")
    with LiveBox(plant, [view], watch=WATCH) as box:
        box.serve("1")
        plant.promote("2")
        box.wait_event("switched")
        for picture in (plant.root / "changing").iterdir():
            cv2.imwrite(str(picture), np.full((480, 640, 3), 40, np.uint8))
        until(lambda: (found := box.agent.board.latest("cam1")) is not None and not found.detections)
        until(lambda: not box.state.primary.on_trial)
        until(lambda: box.events()[-1] == ("line/2", "committed"))


def test_a_scene_that_stands_still_counts_once(plant: Plant) -> None:
    """The belt is stopped: forty frames of one part say no more about a model than one."""
    import cv2

    plant.register("1")
    plant.register("2", most=4)
    plant.promote("1")
    view = camera(plant, folder="still")
    first, *others = sorted((plant.root / "still").iterdir())
    scene = cv2.imread(str(first))
    assert scene is not None
    for seed, other in enumerate(others):
        noise = np.random.default_rng(seed).integers(-4, 5, scene.shape)
        cv2.imwrite(str(other), np.clip(scene + noise, 0, 255).astype(np.uint8))
    with LiveBox(plant, [view], watch=WATCH) as box:
        box.serve("1")
        plant.promote("2")
        box.wait_event("switched")
        until(lambda: box.events()[-1] == ("line/2", "committed"))
        event = box.agent.swaps.events()[-1]
        assert box.serving == "2"
        assert "on 1 frames; too few different scenes to compare detections, 20 are needed" in event.reason


class Failing:
    """Works on everything but live frames of one size."""

    def __init__(self, inner: Any, error: Callable[[], Exception]) -> None:
        self._inner = inner
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def predict(self, bgr: np.ndarray) -> Detections:
        if bgr.shape[:2] == (480, 640):
            raise self._error()
        return self._inner.predict(bgr)

    def predict_many(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        return [self.predict(frame) for frame in frames]

    def close(self) -> None:
        self._inner.close()


def break_when_loaded(box: LiveBox, version: str, error: Callable[[], Exception]) -> None:
    """From now on this version fails on live frames, after its golden frames came out right."""
    loader = box.agent.stager.preparer.loader
    load = loader.load

    def loading(*arguments: Any) -> LoadedModel:
        loaded = load(*arguments)
        if loaded.identity.version != version:
            return loaded
        return dataclasses.replace(loaded, predictor=Failing(loaded.predictor, error))

    loader.load = loading  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            lambda: BadInputError("the model gave values that are not finite"),
            "errors are outside their limits: 100.0% of",
        ),
        (lambda: RuntimeError("Failed to allocate memory for requested buffer"), "out of memory on a frame of cam1"),
        pytest.param(MemoryError, "out of memory", marks=pytest.mark.soak),
    ],
)
def test_a_model_that_fails_on_live_frames_is_reverted(
    plant: Plant, error: Callable[[], Exception], words: str
) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    with LiveBox(plant, watch=WATCH | {"seconds": 60}) as box:
        box.serve("1")
        break_when_loaded(box, "2", error)
        plant.promote("2")
        event = box.wait_event("reverted")
        assert words in event.reason
        before = box.agent.recorder.journal.counts()["cam1"].processed
        until(lambda: box.agent.recorder.journal.counts()["cam1"].processed > before + 5)
        assert box.serving == "1"


def test_frames_on_which_both_models_fail_do_not_count(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    with LiveBox(plant, watch=WATCH) as box:
        box.serve("1")
        break_when_loaded(box, "2", lambda: BadInputError("torn"))
        old = box.agent.control.slots.current
        assert old is not None
        object.__setattr__(old.model, "predictor", Failing(old.model.predictor, lambda: BadInputError("torn")))
        plant.promote("2")
        until(lambda: not box.state.primary.on_trial and box.serving == "2")
        until(lambda: box.events()[-1] == ("line/2", "committed"))


def test_what_was_not_committed_never_becomes_the_previous_model(plant: Plant) -> None:
    for version in "123":
        plant.register(version)
    plant.promote("1")
    with LiveBox(plant, watch=WATCH | {"seconds": 60}) as box:
        box.serve("1")
        plant.promote("2")
        box.serve("2")
        plant.promote("3")  # the newest wins, also over a window
        box.serve("3")
        slots = box.agent.control.slots
        until(lambda: [(r, s.label) for r, s in slots.loaded()] == [("current", "line/3"), ("previous", "line/1")])
        trial = box.state.primary
        assert trial.on_trial and trial.model is not None and trial.model.version == "3"
        done = box.agent.control.roll_back("Bo")
        assert (done.source, done.target) == ("line/3", "line/1") and done.seconds < 0.05
        assert not box.state.primary.on_trial and not box.state.quarantine


def test_a_second_rollback_does_not_go_forward_again(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    with LiveBox(plant) as box:
        box.serve("1")
        plant.promote("2")
        box.serve("2")
        box.agent.control.roll_back("Bo")
        with pytest.raises(AlreadyRolledBackError, match=r"since the rollback from line/2.*unpin.*reload"):
            box.agent.control.roll_back("Bo")
        assert box.serving == "1"
        box.agent.stager.request(UpdateRequest.by_operator("2", "Bo"))
        box.serve("2")
        box.agent.control.roll_back("Bo")  # after going forward a rollback is possible again
        assert box.serving == "1"
        assert box.agent.control.unpin() is not None
        box.agent.updates.poller.poll_now()
        box.serve("2")
