"""Operators, the channel, the watch and the disk at the same moment: nothing that was withdrawn comes to serve."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from yolo_assets.edge.agent import Agent
from yolo_assets.edge.rollout import state as state_module
from yolo_assets.edge.rollout.request import SupersededError, UpdateRequest
from yolo_assets.edge.serving.slots import NoModelError
from yolo_assets.spool.files import SpoolFullError
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.edge.rollout.box import Box, LiveBox, camera


@contextmanager
def held_while_fetching(agent: Agent) -> Iterator[threading.Event]:
    """The next candidate stays in preparation until the block ends."""
    cache = agent.stager.preparer.cache
    entered, go_on, real = threading.Event(), threading.Event(), cache.fetch

    def fetch(*arguments: Any) -> Any:
        found = real(*arguments)
        entered.set()
        go_on.wait(20)
        return found

    cache.fetch = fetch  # type: ignore[method-assign]
    try:
        yield entered
    finally:
        cache.fetch = real  # type: ignore[method-assign]
        go_on.set()


def serving(plant: Plant, boot: Callable[[], Box], *versions: str) -> Box:
    """A box that has served these versions one after another."""
    for version in versions:
        plant.register(version)
    plant.promote(versions[0])
    box = boot()
    box.wait_serving(versions[0])
    for version in versions[1:]:
        plant.promote(version)
        box.wait_serving(version)
    return box


def by_hand(version: str) -> UpdateRequest:
    return UpdateRequest.by_operator(version, "Ana")


def test_a_release_that_was_withdrawn_while_it_was_prepared_never_serves(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    with held_while_fetching(box.agent) as entered:
        plant.promote("2")
        assert entered.wait(10)
        plant.promote("1")  # release 3 takes release 2 back
        until(lambda: box.state.primary.release == 3)
    until(box.agent.stager.idle)
    assert box.serving == "1" and box.state.primary.release == 3
    assert box.events() == [("line/1", "committed"), ("line/2", "refused")]
    assert "release 3 was accepted meanwhile" in box.agent.swaps.events()[-1].reason


def test_a_canary_that_was_withdrawn_while_it_was_prepared_never_starts(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    cameras = [camera(plant), camera(plant, "cam2")]
    with LiveBox(plant, cameras, canary={"cameras": ["cam2"]}) as box:
        box.serve("1")
        with held_while_fetching(box.agent) as entered:
            plant.promote("2", channel="canary")
            assert entered.wait(10)
            plant.promote("1", channel="canary")
            until(lambda: box.state.canary.release == 2)
        until(box.agent.stager.idle)
        assert box.agent.control.slots.canary is None and box.state.canary.model is None
        plant.promote("2", channel="canary")  # and the channel is not stuck
        until(lambda: box.agent.control.slots.canary is not None)
        slot = box.agent.control.slots.canary
        assert slot is not None
        old = box.state.canary.model
        assert old is not None
        with pytest.raises(SupersededError, match="withdrawn"):
            box.agent.control.end_secondary("canary", "for the test")
            ref = old.model_copy(update={"release": 3})
            attempt = box.agent.swaps.begin("channel")
            box.agent.control.start_secondary("canary", slot, ref, ("cam2",), attempt, "again")


def test_requesting_the_serving_version_keeps_the_previous_model(plant: Plant, boot: Callable[[], Box]) -> None:
    box = serving(plant, boot, "1", "2")
    box.agent.stager.request(by_hand("2"))
    until(lambda: box.state.pinned is not None and box.agent.stager.idle())
    slots = box.agent.control.slots
    assert slots.previous is not None and slots.previous.label == "line/1"
    done = box.agent.control.roll_back("Ana")
    assert (done.source, done.target) == ("line/2", "line/1") and box.serving == "1"
    until(lambda: len(slots.loaded()) == 2)


def test_what_fails_after_the_switch_does_not_count_against_the_model(
    plant: Plant, boot: Callable[[], Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "123":
        plant.register(version)
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    cache = box.agent.stager.preparer.cache
    monkeypatch.setattr(cache, "prune", lambda keep: (_ for _ in ()).throw(OSError(5, "the disk rots")))
    plant.promote("2")
    box.wait_serving("2")
    assert box.predicts() and not box.state.quarantine
    assert box.events()[-1] == ("line/2", "committed")
    monkeypatch.undo()
    cached = box.agent.config.state_dir / "models" / "manifests" / "line" / "2.json"
    cached.write_bytes(b"rotten")
    plant.promote("3")
    box.wait_serving("3")
    assert box.predicts() and not box.state.quarantine


def test_a_slot_freed_while_it_serves_is_an_error(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("1")
    plant.promote("1")
    box = boot()
    box.wait_serving("1")
    slot = box.agent.control.slots.current
    assert slot is not None
    slot.retire()
    with pytest.raises(NoModelError, match="freed while it served"):
        box.predicts()


def test_a_rollback_counts_though_the_disk_is_full_and_is_written_later(
    plant: Plant, boot: Callable[[], Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = serving(plant, boot, "1", "2")

    def full(path: Any, data: bytes) -> None:
        raise SpoolFullError("the disk is full")

    written = box.agent.config.state_dir / "state.json"
    before = written.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(state_module, "write_atomic", full)
        assert box.agent.control.roll_back("Ana").target == "line/1"
        assert (
            box.state.pinned is not None
            and box.state.primary.model is not None
            and box.state.primary.model.version == "1"
        )
        box.agent.updates.poller.poll_now()
        time.sleep(0.6)
        assert box.serving == "1", "the channel does not undo what the disk could not take"
        assert written.read_bytes() == before
    until(lambda: written.read_bytes() != before)
    box = boot()
    box.wait_serving("1")
    assert box.state.pinned is not None


def test_a_requested_version_is_not_displaced_by_a_poll(plant: Plant, boot: Callable[[], Box]) -> None:
    for version in "123":
        plant.register(version)
    for version in "321":
        plant.promote(version)
    box = boot()
    box.wait_serving("1")
    with held_while_fetching(box.agent) as entered:
        box.agent.stager.request(by_hand("3"))
        assert entered.wait(10)
        plant.promote("2")
        until(lambda: box.agent.control._seen_release == 4)
    box.wait_serving("3")
    for _ in range(3):
        box.agent.updates.poller.poll()
    until(box.agent.stager.idle)
    assert box.serving == "3", "the release that was known when the version was asked for does not lift its pin"
    assert ("line/3", "committed") in box.events() and box.events()[-1][0] == "line/3"


def test_a_rollback_or_a_pin_wins_over_an_earlier_request(plant: Plant, boot: Callable[[], Box]) -> None:
    plant.register("3")
    plant.promote("3")
    box = serving(plant, boot, "1", "2")
    with held_while_fetching(box.agent) as entered:
        box.agent.stager.request(by_hand("3"))
        assert entered.wait(10)
        time.sleep(0.01)
        box.agent.control.roll_back("Ben")
    until(box.agent.stager.idle)
    assert box.serving == "1" and box.state.pinned is not None and box.state.pinned.by == "Ben"
    assert "pinned to 1 meanwhile" in box.agent.swaps.events()[-1].reason


def test_a_decision_of_before_a_rollback_changes_nothing(plant: Plant, boot: Callable[[], Box]) -> None:
    box = serving(plant, boot, "1", "2")
    control = box.agent.control
    stale = control.slots.current
    assert stale is not None
    control.roll_back("Ana")
    before = box.state
    control.adopt("primary", stale.model.identity.model_copy(update={"release": 9}))
    assert box.state == before
    held = control.pin("Ana")
    present = control.slots.current
    assert present is not None
    control.adopt("primary", present.model.identity.model_copy(update={"release": 9}))
    assert box.state.pinned == held, "a pin that holds is not lifted by a number"


def test_a_model_that_hangs_on_live_frames_is_reverted(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    watch = {"seconds": 60, "min_frames": 20}
    with LiveBox(plant, watch=watch, lease_seconds=1.0, engine={"kind": "onnxruntime", "workers": 2}) as box:
        box.serve("1")
        release = threading.Event()
        hang_when_loaded(box, "2", release)
        plant.promote("2")
        try:
            event = box.wait_event("reverted")
            assert "an inference has been running for" in event.reason and box.serving == "1"
        finally:
            release.set()


def hang_when_loaded(box: LiveBox, version: str, release: threading.Event) -> None:
    control = box.agent.control
    real = control.commit

    def commit(slot: Any, *arguments: Any, **options: Any) -> Any:
        if slot.model.identity.version == version:
            predictor = slot.model.predictor

            class Hanging:
                def predict(self, image: Any) -> Any:
                    release.wait(30)
                    return predictor.predict(image)

                def __getattr__(self, name: str) -> Any:
                    return getattr(predictor, name)

            object.__setattr__(slot.model, "predictor", Hanging())
        return real(slot, *arguments, **options)

    control.commit = commit  # type: ignore[method-assign]


def test_a_canary_is_watched_after_the_primary_trial_was_reverted(plant: Plant) -> None:
    plant.register("1")
    plant.register("2", most=4)  # reports fewer boxes: its trial fails
    plant.register("3")
    plant.promote("1")
    cameras = [camera(plant), camera(plant, "cam2")]
    watch = {"seconds": 60, "min_frames": 20}
    with LiveBox(plant, cameras, watch=watch, canary={"cameras": ["cam2"]}) as box:
        box.serve("1")
        plant.promote("3", channel="canary")
        until(lambda: box.agent.stager.watcher.figures("canary"))
        plant.promote("2")
        box.wait_event("reverted")

        def watched() -> bool:
            figures = box.agent.stager.watcher.figures("canary")
            return figures is not None and figures["against"] == "line/1" and figures["compared"]["frames"] > 0

        until(watched)
        assert not [e for e in box.agent.swaps.events() if "the canary ended" in e.reason], "judged beside a bad model"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root, or LimitNICE=+0, may raise a priority again")
def test_an_engine_process_serves_at_normal_priority(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    engine = {"kind": "onnxruntime", "process": True}
    with LiveBox(plant, engine=engine, watch={"seconds": 0}) as box:
        box.serve("1")
        plant.promote("2")
        box.serve("2")
        slot = box.agent.control.slots.current
        assert slot is not None
        mine = os.getpriority(os.PRIO_PROCESS, os.getpid())
        child = child_pid(slot.model)
        tasks = [int(task) for task in os.listdir(f"/proc/{child}/task")]
        assert len(tasks) > 1 and {os.getpriority(os.PRIO_PROCESS, task) for task in tasks} == {mine}


def child_pid(model: Any) -> int:
    return model.predictor._engine.pid
