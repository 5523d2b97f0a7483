"""The queue and the journal: every frame has exactly one outcome, whatever happens to it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.frames import FrameId
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.types import Frame, Result
from yolo_assets.spool.frame_journal import AccountingError, FrameJournal
from yolo_assets_tests.support.records import frame_record

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(camera: str, sequence: int) -> Frame:
    return Frame(FrameId(camera, sequence, NOON + timedelta(seconds=sequence)), PIXELS, float(sequence))


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(1, 3),
    steps=st.lists(st.sampled_from(["a latest", "a every", "b latest", "b every", "get"]), max_size=60),
)
def test_queue_and_journal_balance_in_any_order(size: int, steps: list[str]) -> None:
    queue, journal = FrameQueue(["a", "b"], size), FrameJournal(["a", "b"])
    taken: list[tuple[str, int]] = []
    left: list[tuple[str, int]] = []
    sequence = 0
    for step in steps:
        if step == "get":
            found = queue.get(timeout=0)
            if found is not None:
                journal.processed(found.id)
                taken.append((found.camera_id, found.sequence))
            continue
        camera, policy = step.split()
        new = frame(camera, sequence)
        journal.captured(new.id)
        displaced = (queue.put_latest if policy == "latest" else queue.put_or_drop)(new)
        if displaced is not None:
            assert displaced.reason == ("stale" if policy == "latest" else "queue_full")
            journal.dropped(displaced.frame.id, displaced.reason)
            left.append((displaced.frame.camera_id, displaced.frame.sequence))
        sequence += 1
        assert all(counts.balanced for counts in journal.counts().values())
        assert all(counts.in_flight <= size for counts in journal.counts().values())
    for rest in queue.take_all():
        journal.dropped(rest.id, "stopped")
        left.append((rest.camera_id, rest.sequence))
    assert not journal.in_flight() and len(set(taken + left)) == len(taken + left) == sequence
    for camera in ("a", "b"):
        order = [number for owner, number in taken if owner == camera]
        assert order == sorted(order)


def test_latest_keeps_the_newest_and_every_keeps_the_oldest() -> None:
    queue = FrameQueue(["a"], 2)
    for number in range(5):
        queue.put_latest(frame("a", number))
    assert [queue.get().sequence for _ in range(2)] == [3, 4]  # type: ignore[union-attr]
    for number in range(5):
        queue.put_or_drop(frame("a", number))
    assert [queue.get().sequence for _ in range(2)] == [0, 1]  # type: ignore[union-attr]


def test_a_busy_camera_does_not_starve_a_quiet_one() -> None:
    queue = FrameQueue(["busy", "quiet"], 100)
    for number in range(100):
        queue.put_latest(frame("busy", number))
    queue.put_latest(frame("quiet", 0))
    assert "quiet" in [queue.get().camera_id for _ in range(2)]  # type: ignore[union-attr]


def test_a_source_that_waits_stalls_no_other_and_is_released_at_the_end() -> None:
    queue = FrameQueue(["file", "live"], 1)
    queue.put_waiting(frame("file", 0))
    ended: list[object] = []
    waiting = threading.Thread(target=lambda: ended.append(queue.put_waiting(frame("file", 1))))
    waiting.start()
    assert queue.put_latest(frame("live", 0)) is None
    assert [queue.get(1).camera_id, queue.get(1).camera_id] == ["file", "live"]  # type: ignore[union-attr]
    waiting.join(5)
    assert ended == [None] and len(queue) == 1
    blocked = threading.Thread(target=lambda: ended.append(queue.put_waiting(frame("file", 2))))
    blocked.start()
    time.sleep(0.02)
    queue.close()
    blocked.join(5)
    assert ended[1].reason == "stopped"  # type: ignore[attr-defined]
    assert queue.get().sequence == 1 and queue.get() is None  # type: ignore[union-attr]


def test_a_frame_is_entered_once_and_closed_once() -> None:
    journal = FrameJournal(["a"])
    first, hour = FrameId("a", 1, NOON), Hour.of(NOON)
    journal.captured(first)
    with pytest.raises(AccountingError):
        journal.captured(first)
    journal.processed(first)
    with pytest.raises(AccountingError):
        journal.dropped(first, "stale")
    assert journal.hour("a", hour).processed == 1
    assert journal.forget_hour("a", hour) and journal.hours("a") == []
    assert journal.counts()["a"].captured == 1


def test_an_hour_with_frames_in_flight_is_not_forgotten() -> None:
    journal = FrameJournal(["a"])
    journal.captured(FrameId("a", 1, NOON))
    assert not journal.forget_hour("a", Hour.of(NOON))


def result(camera: str, sequence: int, finished: float, model: str = "line/1") -> Result:
    record = frame_record({"detections": [], "model_version": model, "device_id": "box1", "inference_ms": 1.0})
    return Result(Frame(FrameId(camera, sequence, NOON), PIXELS, finished - 0.01), (), record, True, finished, NOON)


@given(gaps=st.lists(st.floats(0.001, 5), min_size=1, max_size=30))
def test_the_longest_silence_is_the_longest(gaps: list[float]) -> None:
    board = ResultBoard(["a", "b"])
    watch = board.watch()
    moment = 100.0
    board.report(result("a", 0, moment))
    for number, gap in enumerate(gaps):
        moment += gap
        board.report(result("a", number + 1, moment))
    assert watch.cameras == {"a": pytest.approx(max(gaps)), "b": 0.0}
    assert watch.overall == pytest.approx(max(gaps))


def test_a_silence_that_began_before_the_watch_counts_in_full() -> None:
    board = ResultBoard(["a", "b"])
    board.report(result("a", 0, 100))
    watch = board.watch()
    board.report(result("b", 0, 104))
    board.report(result("a", 1, 105))
    assert watch.cameras["a"] == pytest.approx(5) and watch.overall == pytest.approx(4)
    board.unwatch(watch)
    board.report(result("a", 2, 200))
    assert watch.cameras["a"] == pytest.approx(5)


def test_a_late_result_does_not_move_the_picture_back() -> None:
    board = ResultBoard(["a"])
    board.report(result("a", 5, 100))
    board.report(result("a", 4, 101))
    latest = board.latest("a")
    assert latest is not None and latest.sequence == 5
    assert not latest.sequence > 5
