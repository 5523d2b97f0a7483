"""The simulator's clock starts in the past and never passes the wall."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.times import utc_now
from yolo_assets.simulator.sim_clock import SimClock

WALL = datetime(2026, 1, 2, 10, 30, tzinfo=UTC)


class Wall:
    """A wall clock in the test's hand."""

    def __init__(self) -> None:
        self.moment = WALL

    def __call__(self) -> datetime:
        return self.moment

    def pass_seconds(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def test_it_runs_at_its_speed_and_then_at_wall_speed() -> None:
    wall = Wall()
    clock = SimClock(datetime(2026, 1, 2, 10, tzinfo=UTC), 60, wall=wall)
    assert clock.now() == datetime(2026, 1, 2, 10, tzinfo=UTC)
    wall.pass_seconds(10)
    assert clock.now() == datetime(2026, 1, 2, 10, 10, tzinfo=UTC)
    wall.pass_seconds(60)
    assert clock.now() == wall.moment, "60 x would be 11:10, the wall says 10:31:10"
    wall.pass_seconds(5)
    assert clock.now() == wall.moment


@given(
    st.integers(0, 5000),
    st.floats(1e-3, 1e12),
    st.lists(st.floats(-30, 5000), max_size=12),
)
def test_it_never_passes_wall_time_and_never_runs_back(hours_ago: int, speed: float, steps: list[float]) -> None:
    wall = Wall()
    clock = SimClock(WALL.replace(minute=0) - timedelta(hours=hours_ago), speed, wall=wall)
    highest = wall.moment
    last = clock.now()
    for step in steps:
        wall.pass_seconds(step)  # a wall clock may be set back
        highest = max(highest, wall.moment)
        now = clock.now()
        assert last <= now <= highest
        last = now


@pytest.mark.parametrize(
    "start",
    [WALL.replace(minute=30), WALL.replace(hour=11, minute=0), WALL.replace(hour=9, minute=0, second=1)],
)
def test_it_starts_at_a_whole_past_hour_only(start: datetime) -> None:
    with pytest.raises(UserError):
        SimClock(start, wall=Wall())


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(BadInputError, match="speed"):
        SimClock(WALL.replace(minute=0), speed, wall=Wall())


def test_wall_time_is_the_default() -> None:
    clock = SimClock(utc_now().replace(minute=0, second=0, microsecond=0), 1e9)
    time.sleep(0.005)  # the wall counts milliseconds
    before = utc_now()
    assert before <= clock.now() <= utc_now()
