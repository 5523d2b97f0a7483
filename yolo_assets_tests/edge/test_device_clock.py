"""The device's time under wrong clocks: no hour is made up, and an estimated time is marked as such."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.edge.clock import NOT_BEFORE, DeviceClock
from yolo_assets.edge.config.spool import ClockRules

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULES = ClockRules(settle_seconds=300, longest_off_days=90)


@dataclass
class World:
    """A machine whose true time, clock and synchronisation are set by the test; nothing real is touched."""

    folder: Path
    true: datetime = NOON
    off: timedelta = timedelta(0)
    boot_id: str = "boot-1"
    since_boot: float = 50.0
    synchronised: bool = False
    clocks: list[DeviceClock] = field(default_factory=list)

    def wall(self) -> datetime:
        return self.true + self.off

    def start(self) -> DeviceClock:
        return DeviceClock(
            self.folder / "clock.json",
            RULES,
            wall=self.wall,
            monotonic=lambda: self.since_boot,
            synchronised=lambda: self.synchronised,
            boot_id=self.boot_id,
        )

    def go(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)
        self.since_boot += seconds

    def power_cut(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)
        self.boot_id, self.since_boot = self.boot_id + "x", 20.0

    def says(self, at: str) -> None:
        """Set the machine's clock."""
        self.off = datetime.fromisoformat(at) - self.true


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_good_clock_is_simply_followed(world: World) -> None:
    clock = world.start()
    for _ in range(100):
        world.go(7)
        world.off += timedelta(milliseconds=30)  # NTP slews it
        moment = clock.moment()
        assert moment.trusted and moment.at == world.wall()
    assert clock.jumps == 0


@pytest.mark.parametrize("off", [3600, -3600, 86400, -86400, 30 * 86400, 5])
def test_a_jump_that_is_taken_back_never_shows(world: World, off: int) -> None:
    clock = world.start()
    for jump in (off, 0):
        world.off = timedelta(seconds=jump)
        for _ in range(20):
            world.go(5)
            assert clock.now() == world.true
            assert clock.trusted == (jump == 0)
    assert clock.jumps == 1


@pytest.mark.parametrize("off", [3600, -3600, 86400 * 30, -120])
def test_a_step_of_a_synchronised_clock_is_followed_at_once(world: World, off: int) -> None:
    clock = world.start()
    world.go(10)
    world.off, world.synchronised = timedelta(seconds=off), True
    assert clock.now() == world.wall() and clock.trusted


@pytest.mark.parametrize("off", [7200, -1800])
def test_a_clock_that_was_set_is_followed_once_it_is_steady(world: World, off: int) -> None:
    clock = world.start()
    world.go(3600)
    clock.moment()
    world.off = timedelta(seconds=off)
    times = []
    for _ in range(70):
        world.go(5)
        times.append(clock.moment())
    guessed = [moment for moment in times if not moment.trusted]
    assert 58 <= len(guessed) <= 61 and times[-1].at == world.wall() and times[-1].trusted
    assert guessed[0].monotonic_s == pytest.approx(3655, abs=1) and guessed[0].boot_id == "boot-1"


def test_a_small_step_back_is_slewed_and_time_never_goes_back(world: World) -> None:
    clock = world.start()
    world.synchronised = True
    world.go(10)
    before = clock.now()
    world.off = timedelta(seconds=-20)
    for _ in range(60):
        world.go(1)
        now = clock.now()
        assert timedelta(0) <= now - before <= timedelta(seconds=1.001) and clock.trusted
        before = now
    assert before == world.wall()


def test_a_start_in_1970_continues_from_the_last_known_time(world: World) -> None:
    clock = world.start()
    world.go(600)
    clock.save()
    world.power_cut(3 * 86400)
    world.says("1970-01-01T00:00:20+00:00")
    clock = world.start()
    for _ in range(200):
        world.go(10)
        moment = clock.moment()
        assert not moment.trusted
        assert timedelta(0) <= moment.at - (NOON + timedelta(seconds=600)) <= timedelta(seconds=2001)
    world.off, world.synchronised = timedelta(0), True  # NTP answers at last
    assert clock.now() == world.true and clock.trusted
    clock.save()
    world.power_cut(60)
    assert world.start().trusted


def test_the_first_start_ever_in_1970_makes_no_hour_of_1970(world: World) -> None:
    world.says("1970-01-01T00:00:20+00:00")
    clock = world.start()
    world.go(60)
    assert clock.now() == NOT_BEFORE + timedelta(seconds=60) and not clock.trusted


@pytest.mark.parametrize("said", ["2041-05-06T07:08:09+00:00", "2027-11-21T12:00:00+00:00"])
def test_a_start_in_the_future_is_not_trusted_unless_synchronised(world: World, said: str) -> None:
    world.start().save()
    world.power_cut(60)
    world.says(said)
    clock = world.start()
    for _ in range(100):
        world.go(30)
        assert clock.now() < NOON + timedelta(days=1) and not clock.trusted
    world.synchronised = True
    assert clock.now() == world.wall() and clock.trusted


def test_a_clock_behind_the_last_known_time_is_never_trusted(world: World) -> None:
    world.start().save()
    world.power_cut(60)
    world.says("2026-02-01T00:00:00+00:00")  # what an empty battery leaves
    clock = world.start()
    for _ in range(100):
        world.go(30)
        assert clock.now() >= NOON and not clock.trusted


def test_a_clock_ahead_that_was_set_right_is_trusted_after_a_while(world: World) -> None:
    world.off = timedelta(hours=1)
    world.start().save()
    world.power_cut(60)
    world.off = timedelta(0)
    clock = world.start()
    assert not clock.trusted
    for _ in range(70):
        world.go(5)
        clock.moment()
    assert clock.trusted and clock.now() == world.true


def test_a_new_start_without_a_power_cut_knows_how_much_passed(world: World) -> None:
    world.start().save()
    world.go(1800)
    world.off = timedelta(hours=-5)
    clock = world.start()
    assert clock.now() == world.true and not clock.trusted


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"at": "soon"}', b'{"at": 7, "boot_id": 1}'])
def test_a_damaged_file_costs_only_what_it_knew(world: World, kept: bytes) -> None:
    (world.folder / "clock.json").write_bytes(kept)
    assert world.start().now() == NOON


def test_an_arrival_is_dated_by_the_monotonic_clock(world: World) -> None:
    clock = world.start()
    arrived = world.since_boot
    world.go(4)
    world.off = timedelta(days=1)  # the clock jumps while the picture is on its way
    assert clock.at(arrived) == NOON
    assert clock.at(world.since_boot + 99) == world.true  # nothing arrives after the present


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.04, 900), st.sampled_from([None, 0, 3, -3, 3600, -3600, 10**7, -(10**7), -(10**9)])),
        min_size=1,
        max_size=40,
    )
)
def test_an_unsynchronised_clock_stays_plausible(steps: list[tuple[float, int | None]]) -> None:
    """Whatever it says: at most a day before the start, never too far ahead, and flagged where it guesses."""
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        clock = world.start()
        ahead = timedelta(0)
        for seconds, off in steps:
            world.go(seconds)
            if off is not None:
                world.off = timedelta(seconds=off)
            moment = clock.moment()
            ahead = max(ahead, moment.at - world.true)
            assert moment.at >= NOON - timedelta(days=1, seconds=1)
            assert moment.at.year == 2026 or ahead <= timedelta(days=120)
            if moment.trusted:
                assert abs(moment.at - world.wall()) <= timedelta(seconds=61)
