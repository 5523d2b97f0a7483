"""The outbox under any order of calls: the counts add up, and no alarm is dropped while a result could be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from yolo_assets.edge.outputs.events import Kind, OutgoingEvent
from yolo_assets.edge.outputs.outbox import EventOutbox
from yolo_assets.edge.outputs.sender import Sender, pause
from yolo_assets.runtime.delivery import DeliveryError

SIZE, EXPIRE = 6, 10.0


def event(number: int, kind: Kind, now: float = 0.0) -> OutgoingEvent:
    return OutgoingEvent(str(number), kind, "cam1", b"{}", now)


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.box = EventOutbox(SIZE, EXPIRE, lambda: self.now)
        self.number = 0
        self.out: list[list[OutgoingEvent]] = []
        self.seen: list[int] = []
        self.closed = False

    @rule(kind=st.sampled_from(["alarm", "result", "result"]))
    def put(self, kind: Kind) -> None:
        before = self.box.counts()
        self.box.put(event(self.number, kind, self.now))
        self.number += 1
        after = self.box.counts()
        lost = after.outcomes.get(("alarm", "queue_full"), 0) - before.outcomes.get(("alarm", "queue_full"), 0)
        assert not lost or before.waiting["result"] == 0

    @rule(most=st.integers(1, 4))
    def take(self, most: int) -> None:
        alarms = self.box.counts().waiting["alarm"]
        found = self.box.take(most, timeout=0)
        assert len(found) <= most
        assert [e.kind for e in found][:alarms] == ["alarm"] * min(alarms, len(found))
        for kind in ("alarm", "result"):
            ids = [int(e.id) for e in found if e.kind == kind]
            assert ids == sorted(ids)
        assert all(e.kind == "alarm" or self.now - e.created <= EXPIRE for e in found)
        if found:
            self.out.append(found)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["delivered", "refused", "back"]))
    def come_back(self, data: Any, how: str) -> None:
        events = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        actions: dict[str, Callable[[], None]] = {
            "delivered": lambda: self.box.delivered(events),
            "refused": lambda: self.box.drop(events, "refused"),
            "back": lambda: self.box.give_back(events),
        }
        actions[how]()

    @rule(seconds=st.floats(0, EXPIRE))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.closed and self.number > 5)
    @rule()
    def close(self) -> None:
        self.box.close()
        self.closed = True

    @invariant()
    def the_books_add_up(self) -> None:
        counts = self.box.counts()
        for kind in ("alarm", "result"):
            ended = sum(n for (of, _), n in counts.outcomes.items() if of == kind)
            assert counts.accepted[kind] == ended + counts.waiting[kind] + counts.sending[kind]
        assert sum(counts.accepted.values()) == self.number
        assert sum(counts.waiting.values()) <= SIZE


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_batches_that_come_back_in_any_order_wait_in_the_order_of_acceptance() -> None:
    box = EventOutbox(9, 60, lambda: 0.0)
    for number in range(4):
        box.put(event(number, "alarm"))
    first, second = box.take(1, 0), box.take(2, 0)
    box.give_back(first)
    box.give_back(second)
    assert [e.id for e in box.take(9, 0)] == ["0", "1", "2", "3"]


def test_the_oldest_results_are_dropped_first_and_alarms_stay() -> None:
    box = EventOutbox(3, 60, lambda: 0.0)
    for number, kind in enumerate(("alarm", "result", "result", "result", "alarm")):
        box.put(event(number, kind))  # type: ignore[arg-type]
    assert [e.id for e in box.take(9, 0)] == ["0", "4", "3"]
    assert box.counts().outcomes == {("result", "queue_full"): 2}


@pytest.mark.parametrize("failures", [1, 2, 5, 1000])
def test_pauses_grow_are_random_and_bounded(failures: int) -> None:
    shortest, longest = pause(failures, None, lambda: 0.0), pause(failures, None, lambda: 1.0)
    assert 0 < shortest == longest / 2 and longest <= 30
    assert pause(failures, 100.0, lambda: 1.0) == 100.0 and pause(failures, 1e9, lambda: 1.0) == 300.0
    assert pause(2, None, lambda: 1.0) == 2 * pause(1, None, lambda: 1.0)


class Failing:
    """A receiver that answers 500 to everything."""

    most, shown, trouble = 5, "it", None

    def open(self) -> None: ...

    def deliver(self, events: Sequence[OutgoingEvent], stop: threading.Event) -> None:
        raise DeliveryError("it failed", "http_500", "error")

    def close(self) -> None: ...


def test_errors_are_remembered_of_events_in_hand_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    box = EventOutbox(SIZE, EXPIRE, lambda: now)
    sender = Sender("o", box, Failing())
    monkeypatch.setattr(sender._stop, "wait", lambda _: None)
    for number in range(1000):
        now += EXPIRE / 2  # those of two tries ago have expired
        box.put(event(number, "result", now))
        sender._send(box.take(5, timeout=0))
        assert len(sender._errors) <= 5
    counts = box.counts()
    assert counts.outcomes["result", "expired"] > 900
