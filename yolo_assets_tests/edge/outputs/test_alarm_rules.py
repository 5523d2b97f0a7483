"""When there is an alarm: the state machine on generated sequences, against a plain reading of its description."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.edge.config.outputs import AlarmRule
from yolo_assets.edge.outputs.alarms import SILENCE, ActiveAlarms, AlarmState, counted, silence_of, step
from yolo_assets.edge.outputs.events import AlarmData, FrameSummary, alarm_event

CAMERAS = ("cam1", "cam2")
START = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)


def box(name: str = "crack", confidence: float = 0.9) -> dict[str, Any]:
    return {"bbox": [1.0, 2.0, 3.0, 4.0], "class": name, "confidence": confidence, "timestamp": START}


def seen(number: int, at: float, *boxes: dict[str, Any], camera: str = "cam1") -> FrameSummary:
    return FrameSummary(camera, number, START + timedelta(seconds=at), 1000.0 + at, "line/1", boxes)


def run(rule: AlarmRule, frames: list[FrameSummary]) -> list[AlarmData]:
    state: AlarmState = None
    told: list[AlarmData] = []
    last, interval = None, 0.0
    for frame in frames:
        state, change = step(rule, "box1", state, frame, silence_of(interval))
        interval = frame.captured - last if last is not None else 0.0
        last = frame.captured
        told += [change] if change else []
    return told


gaps = st.sampled_from([0.125, 0.5, 1.0, 3.0, SILENCE + 1])
lines = st.lists(st.tuples(gaps, st.booleans()), max_size=60)
rules = st.builds(
    AlarmRule,
    name=st.just("r"),
    hold_s=st.sampled_from([0.0, 0.5, 2.0]),
    hold_frames=st.integers(1, 4),
    clear_s=st.sampled_from([0.0, 1.0, 4.0]),
)


@settings(max_examples=300, deadline=None)
@given(rules, lines)
def test_alarms_follow_their_description(rule: AlarmRule, line: list[tuple[float, bool]]) -> None:
    """The oracle looks back over the whole past at every frame instead of keeping a state."""
    frames, moments, at = [], [], 0.0
    for number, (gap, there) in enumerate(line):
        at += gap
        moments.append((at, there))
        frames.append(seen(number, at, *([box()] if there else [])))
    expected: list[tuple[str, int]] = []
    begin, standing = 0, False  # only frames from ``begin`` on count
    for number, (now, there) in enumerate(moments):
        run_of: list[float] = []
        for index in range(number, begin - 1, -1):
            earlier, was = moments[index]
            before = earlier - moments[index - 1][0] if index else 0.0
            if was != there or (run_of and run_of[-1] - earlier > max(SILENCE, 3 * before)):
                break
            run_of.append(earlier)
        lasted = now - run_of[-1]
        if not standing and there and lasted >= rule.hold_s - 1e-9 and len(run_of) >= rule.hold_frames:
            expected.append(("raised", number))
            standing, begin = True, number + 1
        elif standing and not there and lasted >= rule.clear_s - 1e-9:
            expected.append(("cleared", number))
            standing, begin = False, number + 1
    assert [(change.state, change.sequence) for change in run(rule, frames)] == expected


@settings(max_examples=100, deadline=None)
@given(rules, lines)
def test_one_alarm_per_condition(rule: AlarmRule, line: list[tuple[float, bool]]) -> None:
    at, frames = 0.0, []
    for number, (gap, there) in enumerate(line):
        at += gap
        frames.append(seen(number, at, *([box()] if there else [])))
    told = run(rule, frames)
    assert [change.state for change in told] == (["raised", "cleared"] * len(told))[: len(told)]
    for raised, cleared in zip(told[::2], told[1::2], strict=False):
        assert raised.alarm_id == cleared.alarm_id and raised.since == cleared.since
        assert raised.since <= raised.raised_at and cleared.cleared_at is not None
    raised_ids = [change.alarm_id for change in told if change.state == "raised"]
    assert len(set(raised_ids)) == len(raised_ids)
    events = [alarm_event(change, 0.0).id for change in told]
    assert len(set(events)) == len(events)


def test_which_boxes_count() -> None:
    rule = AlarmRule(name="r", classes=("crack",), min_confidence=0.6, min_count=2)
    boxes = [box(), box(confidence=0.6), box(confidence=0.59), box("dent")]
    assert len(counted(rule, boxes)) == 2
    assert len(counted(rule.model_copy(update={"classes": ()}), boxes)) == 3
    told = run(rule, [seen(0, 0, boxes[0]), seen(1, 1, *boxes), seen(2, 2, *boxes)])
    assert [(change.sequence, change.count) for change in told] == [(1, 2)]
    assert [found.class_name for found in told[0].detections] == ["crack", "crack"]


def test_silence_neither_raises_nor_clears() -> None:
    hold = AlarmRule(name="r", hold_s=5, clear_s=5)
    assert run(hold, [seen(0, 0, box()), seen(1, 60, box())]) == []
    there = [seen(n, n, box()) for n in range(6)]
    assert [c.state for c in run(hold, [*there, seen(6, 6), seen(7, 66)])] == ["raised"]
    assert [c.state for c in run(hold, [*there, seen(6, 6), seen(7, 66), seen(8, 71)])] == ["raised", "cleared"]


def test_a_camera_that_takes_a_picture_rarely_is_not_silent(tmp_path: Path) -> None:
    book = ActiveAlarms([AlarmRule(name="r", hold_frames=2)], CAMERAS, "box1", tmp_path / "alarms.json")
    told = [book.observe(seen(n, 15 * n, *([box()] if n in (3, 4, 5) else []))) for n in range(9)]
    assert [(n, c.state) for n, changes in enumerate(told) for c in changes] == [(4, "raised"), (7, "cleared")]


def test_cameras_are_watched_by_themselves_and_a_restart_neither_forgets_nor_repeats(tmp_path: Path) -> None:
    rules = [AlarmRule(name="any", clear_s=1), AlarmRule(name="second", cameras=("cam2",), clear_s=1)]
    path = tmp_path / "alarms.json"
    book = ActiveAlarms(rules, CAMERAS, "box1", path)
    first = book.observe(seen(0, 0, box()))
    assert [(c.rule, c.camera_id) for c in first] == [("any", "cam1")]
    assert {c.rule for c in book.observe(seen(0, 1, box(), camera="cam2"))} == {"any", "second"}
    assert book.raised == {("any", "cam1"): 1, ("any", "cam2"): 1, ("second", "cam2"): 1}
    again = ActiveAlarms(rules, CAMERAS, "box1", path)
    assert {(c.rule, c.camera_id) for c in again.active} == {("any", "cam1"), ("any", "cam2"), ("second", "cam2")}
    assert again.observe(seen(0, 2, box())) == []  # it still stands
    assert again.observe(seen(1, 3)) == []
    (cleared,) = again.observe(seen(2, 4.5))
    assert cleared.state == "cleared" and cleared.alarm_id == first[0].alarm_id
    assert ActiveAlarms(rules[:1], ["cam1"], "box1", path).active == []  # so is the camera
    assert [c.rule for c in ActiveAlarms(rules[:1], CAMERAS, "box1", path).active] == ["any"]  # the other rule is gone
    path.write_text("torn {")
    assert ActiveAlarms(rules, CAMERAS, "box1", path).active == []
