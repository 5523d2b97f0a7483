"""Before the switch: the shadow run on live frames, the canary on some cameras, the hours in which nothing changes."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest

from yolo_assets.edge.rollout import headroom, thread_priority
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.edge.rollout.box import LiveBox, camera

SHADOW = {"frames": 12, "seconds": 20, "max_latency_ratio": 20}
"""A busy machine makes one of two equal models five times as slow; the slow one is forty times as slow."""


def test_a_candidate_that_disagrees_on_live_frames_never_serves(plant: Plant) -> None:
    for version, most in {"1": 300, "2": 4, "3": 300}.items():
        plant.register(version, most=most)
    plant.register("4", "slow")
    plant.promote("1")
    with LiveBox(plant, shadow=SHADOW) as box:
        box.serve("1")
        for version, words in {"2": "at least 80% must agree", "4": "at most 20 times is allowed"}.items():
            pointer = plant.promote(version)
            until(lambda pointer=pointer: box.state.quarantined(pointer.manifest_sha256, pointer.release))
            event = until(lambda v=version: next((e for e in box.agent.swaps.events() if e.target == f"line/{v}"), 0))
            assert event.result == "failed" and "shadow run: agreement" in event.reason and words in event.reason
            assert box.serving == "1"
        plant.promote("3")
        box.serve("3")
        assert "shadow run: agreement 100.0% with line/1" in box.agent.swaps.events()[-1].reason
        assert box.agent.swaps.swaps()[-1].steps["shadow"] > 0
        assert box.agent.stager.shadow is not None and box.agent.stager.shadow["frames"] == 12


def answers(box: LiveBox) -> dict[str, str]:
    """Which model answered last, by camera."""
    found = {name: box.agent.board.latest(name) for name in ("cam1", "cam2")}
    return {name: result.model_version for name, result in found.items() if result is not None}


def test_a_canary_runs_on_its_cameras_only_and_is_compared(plant: Plant) -> None:
    for version in "123":
        plant.register(version)
    plant.promote("1")
    cameras = [camera(plant, "cam1", fps=20), camera(plant, "cam2", fps=20)]
    watch = {"seconds": 0.5, "min_frames": 10, "share": 0.5}
    with LiveBox(plant, cameras, watch=watch, canary={"cameras": ["cam2"]}) as box:
        box.serve("1")
        plant.promote("2", channel="canary")
        until(lambda: answers(box) == {"cam1": "line/1", "cam2": "line/2"})
        assert [role for role, _ in box.agent.control.slots.loaded()] == ["current", "canary"]
        until(lambda: (box.agent.stager.watcher.figures("canary") or {"compared": {"frames": 0}})["compared"]["frames"])
        shown = box.agent.stager.watcher.figures("canary")
        assert shown is not None and (shown["model"], shown["against"]) == ("line/2", "line/1")
        assert shown["compared"]["agreement"] == 1.0
        until(lambda: box.state.canary.model is not None and box.state.canary.attempts == 0)  # it proved itself
        warm = box.agent.control.slots.canary
        plant.promote("2")  # the whole box gets it: nothing is loaded, and the canary is over
        until(lambda: answers(box) == {"cam1": "line/2", "cam2": "line/2"})
        assert box.agent.control.slots.current is warm and box.state.canary.model is None
        plant.promote("3", channel="canary")
        until(lambda: answers(box) == {"cam1": "line/2", "cam2": "line/3"})
        plant.promote("2", channel="canary")  # naming the box's own model ends it
        until(lambda: answers(box) == {"cam1": "line/2", "cam2": "line/2"})
        assert box.agent.control.slots.canary is None and not box.state.quarantine
    for record in plant.records():
        assert record["camera_id"] == "cam2" or record["model_version"] != "line/3"


def test_a_failed_canary_is_reverted_and_stays_away_after_a_restart(plant: Plant) -> None:
    plant.register("1")
    plant.register("2", most=4)
    plant.promote("1")
    cameras = [camera(plant, "cam1", fps=20), camera(plant, "cam2", fps=20)]
    options = {
        "watch": {"seconds": 30, "min_frames": 10, "share": 0.5, "detections_band": 0.3},
        "canary": {"cameras": ["cam2"]},
    }
    with LiveBox(plant, cameras, **options) as box:
        box.serve("1")
        pointer = plant.promote("2", channel="canary")
        event = box.wait_event("reverted")
        assert (
            event.source == "line/2"
            and "the canary ended: detections per frame are outside their limits" in event.reason
        )
        assert box.state.quarantined(pointer.manifest_sha256, pointer.release)
        until(lambda: answers(box) == {"cam1": "line/1", "cam2": "line/1"})
    with LiveBox(plant, cameras, **options) as box:
        box.serve("1")
        until(lambda: answers(box) == {"cam1": "line/1", "cam2": "line/1"})
        assert box.agent.control.slots.canary is None


@pytest.mark.soak
def test_a_canary_comes_back_after_a_restart(plant: Plant) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    cameras = [camera(plant, "cam1", fps=20), camera(plant, "cam2", fps=20)]
    with LiveBox(plant, cameras, canary={"cameras": ["cam2"]}) as box:
        box.serve("1")
        plant.promote("2", channel="canary")
        until(lambda: answers(box) == {"cam1": "line/1", "cam2": "line/2"})
    plant.store_folder.rename(plant.root / "away")
    with LiveBox(plant, cameras, canary={"cameras": ["cam2"]}) as box:
        until(lambda: answers(box) == {"cam1": "line/1", "cam2": "line/2"})
    with LiveBox(plant, cameras) as box:  # without a canary in the configuration it is over
        until(lambda: answers(box) == {"cam1": "line/1", "cam2": "line/1"})
        until(lambda: box.state.canary.model is None)


def window_around_now() -> str:
    now = datetime.now(UTC)
    return f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"


def test_nothing_changes_in_a_freeze_window_but_a_rollback(plant: Plant) -> None:
    for version in "123":
        plant.register(version)
    plant.promote("1")
    with LiveBox(plant) as box:
        box.serve("1")
        plant.promote("2")
        box.serve("2")
    plant.promote("3")
    with LiveBox(plant, freeze={"windows": [window_around_now()]}) as box:
        until(lambda: box.agent.stager.waiting)
        assert box.agent.stager.waiting is not None and box.agent.stager.waiting.version == "3"
        assert box.agent.stager.frozen_until is not None
        until(lambda: box.agent.control.slots.previous)
        assert box.serving == "2"
        assert box.agent.control.roll_back("Bo").target == "line/1"
        assert box.serving == "1"
    with LiveBox(plant) as box:  # the window is over
        box.serve("3")


def test_a_line_without_any_model_takes_one_also_in_a_freeze_window(plant: Plant) -> None:
    plant.register("1")
    plant.promote("1")
    with LiveBox(plant, freeze={"windows": [window_around_now()]}) as box:
        box.serve("1")


def test_a_candidate_waits_for_headroom_and_is_not_blamed(plant: Plant, monkeypatch) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    monkeypatch.setattr("yolo_assets.edge.rollout.staging._FIRST_RETRY_S", 0.2)
    with LiveBox(plant) as box:
        box.serve("1")
        real = headroom.available_memory
        monkeypatch.setattr(headroom, "available_memory", lambda: 100 << 20)
        plant.promote("2")
        event = box.wait_event("failed")
        assert (
            "256 MiB must stay free, but only 100 MiB are available" in event.reason and "tried again" in event.reason
        )
        assert box.serving == "1" and not box.state.quarantine and box.state.prepared is None
        monkeypatch.setattr(headroom, "available_memory", real)
        box.serve("2")


def test_work_at_low_priority_gives_new_threads_their_own_priority_back() -> None:
    if not thread_priority.may_raise():
        pytest.skip("raising a priority needs a right that this process lacks")
    normal = os.getpriority(os.PRIO_PROCESS, os.getpid())
    go, ids, seen = threading.Event(), [], []

    def engine() -> None:
        ids.append(threading.get_native_id())
        go.wait(10)

    def work() -> None:
        me = threading.get_native_id()
        with thread_priority.at_low_priority(makes_threads=True):
            seen.append(os.getpriority(os.PRIO_PROCESS, me))
            thread = threading.Thread(target=engine)
            thread.start()
            until(lambda: ids)
            seen.append(os.getpriority(os.PRIO_PROCESS, ids[0]))
        seen.append(os.getpriority(os.PRIO_PROCESS, me))
        seen.append(os.getpriority(os.PRIO_PROCESS, ids[0]))
        go.set()
        thread.join()

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert seen == [normal + 10, normal + 10, normal, normal]
