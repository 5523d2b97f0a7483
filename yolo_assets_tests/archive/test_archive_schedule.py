"""When an hour is due again: growing pauses, no hour starves, an unreachable store is tried rarely and its return
noticed soon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.service.archiver import HourAttempt
from yolo_assets.archive.service.loop import AWAY, LONGEST_AWAY, Schedule
from yolo_assets.contracts.times import Hour
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.spool.hours import SpoolHour

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = [Hour(NOW - timedelta(days=9) + timedelta(hours=number)) for number in range(40)]


def hours(count: int) -> list[SpoolHour]:
    return [SpoolHour.of(Path("/nowhere"), "cam1", hour) for hour in HOURS[:count]]


def result(hour: SpoolHour, failure: str | None = None) -> HourAttempt:
    if failure is None:
        return HourAttempt("cam1", hour.hour.key, "archived")
    return HourAttempt("cam1", hour.hour.key, "failed", reason="x", failure=failure)


@given(tries=st.integers(1, 10_000), first=st.floats(0.01, 600), longest=st.floats(600, 3600))
def test_pauses_double_up_to_a_bound(tries: int, first: float, longest: float) -> None:
    assert first <= Backoff(first, longest).seconds(tries) <= longest
    assert (
        Backoff(first, longest).seconds(tries)
        <= Backoff(first, longest).seconds(tries + 1)
        <= 2 * Backoff(first, longest).seconds(tries)
    )


class World:
    """Hours in a spool, a store that is there or not, and a clock that only the schedule moves."""

    def __init__(self, count: int, poison: set[int], every: float) -> None:
        self.left = hours(count)
        self.poison = {self.left[number] for number in poison if number < count}
        self.schedule = Schedule(first=min(every, 10), jitter=lambda: 1.0)
        self.every = every
        self.clock = 0.0
        self.tries: dict[SpoolHour, list[float]] = {}

    def round(self, there: bool) -> None:
        """One round as ``Rounds`` makes it."""
        for hour in self.schedule.due(list(self.left), self.clock, NOW):
            self.tries.setdefault(hour, []).append(self.clock)
            bad = hour in self.poison or not there
            self.schedule.ended(hour, result(hour, "store_unreachable" if bad else None), self.clock)
            if not bad:
                self.left.remove(hour)
            if self.schedule.away:
                break
        self.clock += self.schedule.rest(self.every, self.clock)


@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39), max_size=20),
    every=st.floats(0.1, 3600),
    outage=st.integers(0, 12),
)
def test_no_hour_keeps_the_others_from_being_archived(count: int, poison: set[int], every: float, outage: int) -> None:
    world = World(count, poison, every)
    for _ in range(outage):
        world.round(there=False)
    back = world.clock
    while set(world.left) != world.poison:
        world.round(there=True)
        assert world.clock < back + 7200 + every, "two hours after the store is back everything went that can"


def test_an_unreachable_store_costs_few_tries_and_all_resume_after() -> None:
    world = World(40, set(), every=60)
    while world.clock < 24 * 3600:
        world.round(there=False)
    tries = sum(len(times) for times in world.tries.values())
    assert tries < AWAY * (24 * 3600 / LONGEST_AWAY + 10), "three tries each five minutes, not forty a minute"
    world.round(there=True)
    world.round(there=True)
    assert world.left == []


def test_an_hour_that_failed_is_tried_again_before_the_next_regular_round() -> None:
    schedule = Schedule(first=10, jitter=lambda: 1.0)
    (hour,) = hours(1)
    assert schedule.ended(hour, result(hour, "integrity"), 0) == 10
    assert schedule.rest(3600, 0) == 10
    assert schedule.due([hour], 9, NOW) == [] and schedule.due([hour], 10, NOW) == [hour]
    assert schedule.ended(hour, result(hour, "integrity"), 10) == 20
    assert schedule.ended(hour, result(hour), 30) is None
    assert schedule.rest(3600, 30) == 3600


def test_an_archived_hour_is_not_visited_until_a_file_arrives(tmp_path: Path) -> None:
    schedule = Schedule()
    hour = SpoolHour.of(tmp_path, "cam1", HOURS[0])
    hour.path.mkdir(parents=True)
    (hour.path / "a.jpg").write_bytes(b"a")
    schedule.postpone(hour, hour.fingerprint(), NOW + timedelta(hours=1))
    assert schedule.due([hour], 0, NOW) == []
    assert schedule.due([hour], 0, NOW + timedelta(hours=1)) == [hour]
    (hour.path / "late.jpg").write_bytes(b"b")
    assert schedule.due([hour], 0, NOW) == [hour]
