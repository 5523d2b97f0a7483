"""Sending: retried, bounded, in order; one receiver that fails stops no other, and a kill loses nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.alerts.outbox import GIVEN_UP_AFTER, MOST_WAITING, deliver
from yolo_assets.alerts.state import FILE, AlertState, Message
from yolo_assets.contracts.errors import BadInputError

START = datetime(2026, 3, 2, 6, tzinfo=UTC)


def waiting(*receivers: str, at: datetime = START) -> AlertState:
    messages = [
        Message(number=number, receiver=name, news="new", title=f"{number}", body="b", made_at=at)
        for number, name in enumerate(receivers, 1)
    ]
    return AlertState(outbox=tuple(messages), last_number=len(messages))


class Killed(BaseException):
    pass


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.lists(st.booleans(), max_size=60))
def test_one_receiver_that_fails_stops_no_other_and_gets_all_in_order(order: list[str], fails: list[bool]) -> None:
    state, got, answers = waiting(*order), {"a": [], "b": [], "c": []}, iter(fails)

    def send(message: Message) -> str | None:
        if message.receiver == "a" and next(answers, False):
            return "refused"
        got[message.receiver].append(message.number)
        return None

    now, attempts = START, 0
    state = deliver(state, ["a", "b", "c"], send, lambda _: None, now)
    for name in ("b", "c"):
        assert got[name] == [number for number, to in enumerate(order, 1) if to == name], "at once, whatever a does"
    while state.outbox and now < START + GIVEN_UP_AFTER:
        now, attempts = now + timedelta(minutes=2), attempts + 1
        state = deliver(state, ["a", "b", "c"], send, lambda _: None, now)
    expected = [number for number, to in enumerate(order, 1) if to == "a"]
    lost = state.trouble["a"].lost if "a" in state.trouble else 0
    assert got["a"] == sorted(got["a"]) and len(got["a"]) + lost + len(state.outbox) == len(expected)
    if sum(fails) <= 20:
        assert got["a"] == expected and not state.trouble


def test_a_receiver_that_never_answers_is_tried_ever_less_and_then_not() -> None:
    state, tries = waiting("a", "a"), []
    for minute in range(0, 60 * 80, 2):
        now = START + timedelta(minutes=minute)

        def send(message: Message, now: datetime = now) -> str:
            tries.append(now)
            return "no route"

        state = deliver(state, ["a"], send, lambda _: None, now)
    assert state.outbox == () and state.trouble["a"].lost == 2 and state.trouble["a"].error == "no route"
    assert 10 < len(tries) < 60
    assert tries[1] - tries[0] < timedelta(minutes=5) < timedelta(minutes=30) < tries[-1] - tries[-2]


@given(st.integers(0, 40), st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=8))
def test_a_kill_after_sending_repeats_one_message_and_loses_none(kill: int, order: list[str]) -> None:
    saved, got, steps = [waiting(*order)], Counter(), iter(range(10**6))

    def step() -> None:
        if next(steps) == kill:
            raise Killed

    def send(message: Message) -> None:
        step()
        got[message.number] += 1
        step()

    def save(state: AlertState) -> None:
        step()
        saved.append(state)
        step()

    for _ in range(2):
        try:
            deliver(saved[-1], ["a", "b"], send, save, START)
        except Killed:
            continue
        break
    assert set(got) == set(range(1, len(order) + 1)), "none is lost"
    assert sum(count - 1 for count in got.values()) <= 1, "at most one comes twice"


def test_time_that_is_over_leaves_the_rest_for_the_next_tick() -> None:
    got: list[int] = []
    left = iter([True, True, False, False])
    state = deliver(
        waiting("a", "a", "b"),
        ["a", "b"],
        lambda m: got.append(m.number),
        lambda _: None,
        START,
        go_on=lambda: next(left),
    )
    assert got == [1, 2] and [message.number for message in state.outbox] == [3]


def test_what_waits_is_bounded_and_what_waits_for_nobody_goes() -> None:
    state = waiting(*["a"] * (MOST_WAITING + 5), "gone")
    state = deliver(state, ["a"], lambda _: "down", lambda _: None, START)
    assert len(state.outbox) == MOST_WAITING and state.outbox[0].number == 6
    assert state.trouble["a"].lost == 5 and "gone" not in state.trouble


def test_the_file_survives_a_restart_and_damage_is_named(tmp_path: Path) -> None:
    assert AlertState.load(tmp_path / "new") is None
    state = waiting("a", "b")
    state.save(tmp_path)
    assert AlertState.load(tmp_path) == state
    (tmp_path / FILE).write_bytes(b"{")
    with pytest.raises(BadInputError, match=r"alerts\.json .*; delete it: what stands is then told once more"):
        AlertState.load(tmp_path)
