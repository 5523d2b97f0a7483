"""When something is told, again, and as resolved: told once, never twice, never forgotten. No clock and no receiver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.alerts.decide import decide
from yolo_assets.alerts.problem import Problem
from yolo_assets.alerts.state import AlertState
from yolo_assets.contracts.alerting import AlertSettings, Receiver, Silence

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
TICK = timedelta(minutes=2)


def settings(**changes: object) -> AlertSettings:
    given = {"receivers": {"office": Receiver(url_variable="OFFICE")}, "well_minutes": 10, "again_hours": 24}
    return AlertSettings.model_validate({**given, **changes})


def problem(about: str = "cam01", cause: str = "camera_absent", **changes: object) -> Problem:
    return Problem.model_validate({"cause": cause, "about": about, "sentence": f"{about}: no frame.", **changes})


def ticks(present: list[list[Problem]], found: AlertSettings) -> AlertState:
    """One look every two minutes."""
    state = AlertState()
    for number, problems in enumerate(present):
        state = decide(state, problems, START + number * TICK, found)
    return state


def told(state: AlertState) -> list[str]:
    return [f"{message.news} {message.title}" for message in state.outbox]


def test_a_day_of_one_bad_camera_is_one_message_and_one_when_it_is_well() -> None:
    state = ticks([[problem()]] * 700 + [[]] * 6, settings())
    assert told(state) == ["new cam01 sends no frames", "resolved Resolved: cam01 sends no frames"]


def test_what_still_stands_after_the_long_pause_is_told_again() -> None:
    assert [m.news for m in ticks([[problem()]] * 1500, settings()).outbox] == ["new", "still", "still"]


def test_what_happened_once_is_told_once() -> None:
    state = ticks([[problem(lasting=False)]] * 1500 + [[]] * 20, settings())
    assert [m.news for m in state.outbox] == ["new"]


@given(st.lists(st.booleans(), max_size=200), st.integers(0, 20))
def test_what_comes_and_goes_is_told_once_until_it_stays_away(seen: list[bool], hold: int) -> None:
    found = settings(again_hours=8760)
    one = problem(hold_s=hold * 60)
    state = ticks([[one] if there else [] for there in seen], found)
    news = [message.news for message in state.outbox]
    assert news == (["new", "resolved"] * len(news))[: len(news)], "in turn: never told twice, never resolved unasked"
    state = decide(state, [], START + len(seen) * TICK + timedelta(hours=1), found)
    news = [message.news for message in state.outbox]
    assert len(news) % 2 == 0 and not state.standing, "what is away for long is resolved, if it was told, and forgotten"
    # It was told if and only if it stood for its hold, without being away for as long as makes it well.
    first, last, expected = None, None, 0
    open_ = False
    for number, there in enumerate(seen):
        now = START + number * TICK
        if first is not None and last is not None and not there and now - last >= timedelta(minutes=10):
            first, last, open_ = None, None, False
        if there:
            first, last = first or now, now
            if not open_ and now - first >= timedelta(minutes=hold):
                open_, expected = True, expected + 1
    assert news.count("new") == expected


@given(st.lists(st.sets(st.sampled_from(["cam01", "cam02", "cam03"])), max_size=60), st.integers(1, 60))
def test_what_stands_when_a_silence_ends_is_told_then(seen: list[set[str]], ends: int) -> None:
    until = START + ends * TICK
    found = settings(silences=[Silence(until=until, cause="camera_absent", about="cam01")], again_hours=8760)
    state = AlertState()
    for number, cameras in enumerate(seen):
        now = START + number * TICK
        state = decide(state, [problem(camera) for camera in sorted(cameras)], now, found)
        about_it = [message for message in state.outbox if "cam01" in message.body]
        assert now >= until or not about_it, "nothing about it while the silence lasts"
        if now >= until and "cam01" in cameras:
            assert about_it, "what stands at its end is told then"


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_silence_does_not_hide_that_something_told_is_well_again(seen: list[bool]) -> None:
    state = ticks([[problem()]], settings())
    quiet = settings(silences=[Silence(until=START + timedelta(hours=12))])
    for number, there in enumerate(seen, 1):
        state = decide(state, [problem()] if there else [], START + number * TICK, quiet)
        assert told(state) == ["new cam01 sends no frames"]
    state = decide(state, [], START + timedelta(hours=13), quiet)
    assert told(state)[1:] == ["resolved Resolved: cam01 sends no frames"]


def test_what_cannot_be_looked_at_is_neither_new_nor_well() -> None:
    state = ticks([[problem()]], settings())
    for number in range(1, 100):
        state = decide(
            state,
            [problem("box1", "box_silent")] if number == 99 else [],
            START + number * TICK,
            settings(),
            unknown={"camera_absent"},
        )
    assert told(state) == ["new cam01 sends no frames", "new box1 is silent"]
    state = decide(state, [], START + 99 * TICK, settings())
    assert len(state.outbox) == 2, "seen again as gone, it must first stay away"


def test_many_of_one_cause_are_one_message_with_sentence_and_link() -> None:
    many = [problem(f"cam{number:03d}", link=f"https://ui/{number}") for number in range(200)]
    (message,) = ticks([many], settings()).outbox
    assert message.title == "200 cameras send no frames"
    assert "cam000: no frame. https://ui/0" in message.body and "… and 188 more" in message.body
    assert len(message.body) < 2000


def test_a_receiver_is_told_its_causes_alone() -> None:
    found = settings(
        receivers={
            "line": {"url_variable": "A", "causes": ["camera_absent"]},
            "office": {"url_variable": "B"},
            "data": {"url_variable": "C", "causes": ["camera_sick"]},
        }
    )
    state = ticks([[problem(), problem("line/v2", "release_refused"), problem("cam09", "camera_sick")]], found)
    assert sorted((m.receiver, m.title) for m in state.outbox) == [
        ("data", "cam09 is sick"),
        ("line", "cam01 sends no frames"),
        ("office", "cam01 sends no frames"),
        ("office", "cam09 is sick"),
        ("office", "line/v2 refused a release"),
    ]


def test_failed_work_that_is_tried_again_by_itself_wakes_nobody() -> None:
    passing = problem("hourly_archives", "run_failed", hold_s=1800)
    assert told(ticks([[passing]] * 14 + [[]] * 30, settings())) == []
    assert told(ticks([[passing]] * 16, settings())) == ["new hourly_archives failed"]
