"""The timetable in which no model changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.freeze import FreezeTable, parse_window, zone


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "moment", "until"),
    [
        (["06:00-22:00"], "2026-03-02T05:59:59", None),
        (["06:00-22:00"], "2026-03-02T06:00:00", "2026-03-02T22:00:00"),
        (["06:00-22:00"], "2026-03-02T22:00:00", None),
        (["22:00-06:00"], "2026-03-02T23:00:00", "2026-03-03T06:00:00"),
        (["22:00-06:00"], "2026-03-03T05:00:00", "2026-03-03T06:00:00"),
        (["sat 22:00-04:00"], "2026-03-08T03:00:00", "2026-03-08T04:00:00"),  # a Sunday: the window began on Saturday
        (["sat 22:00-04:00"], "2026-03-07T03:00:00", None),
        (["mon-fri 06:00-22:00"], "2026-03-07T12:00:00", None),
        (["fri-mon 06:00-22:00"], "2026-03-08T12:00:00", "2026-03-08T22:00:00"),
        (["06:00-14:00", "14:00-22:00"], "2026-03-02T07:00:00", "2026-03-02T22:00:00"),
        (["00:00-00:00"], "2026-03-02T07:00:00", "any"),
        ([], "2026-03-02T07:00:00", None),
    ],
)
def test_when_the_model_may_change_again(windows: list[str], moment: str, until: str | None) -> None:
    found = FreezeTable(windows, "UTC").until(at(moment))
    if until == "any":
        assert found is not None and found > at(moment)
    else:
        assert found == (at(until) if until else None)


def test_times_are_those_of_the_plant_also_when_its_clocks_change() -> None:
    table = FreezeTable(["01:00-04:00"], "Europe/Berlin")
    assert table.until(at("2026-03-29T00:30:00")) == at("2026-03-29T02:00:00")  # 01:30 to 04:00 lasts ninety minutes
    assert table.until(at("2026-03-29T02:00:00")) is None
    assert table.until(at("2026-10-25T00:30:00")) == at("2026-10-25T03:00:00")


@given(
    st.tuples(*[st.integers(0, 23), st.integers(0, 59)] * 2),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),
)
def test_a_window_ends_after_the_moment_and_within_a_day(clock: tuple[int, ...], moment: datetime) -> None:
    begin, end = f"{clock[0]:02}:{clock[1]:02}", f"{clock[2]:02}:{clock[3]:02}"
    window = parse_window(f"{begin}-{end}")
    found = window.end_around(moment)
    minute = f"{moment:%H:%M}"
    inside = begin <= minute < end if begin < end else minute >= begin or minute < end
    assert (found is not None) == inside
    if found is not None:
        assert moment < found <= moment + timedelta(days=1)


@pytest.mark.parametrize(
    "text", ["6-22", "06:00", "24:00-06:00", "06:00-22:60", "xyz 06:00-22:00", "mon-xyz 06:00-07:00"]
)
def test_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInputError, match="write it like 06:00-22:00"):
        parse_window(text)


def test_an_unknown_time_zone_is_refused() -> None:
    for name in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(BadInputError, match="not a time zone"):
            zone(name)
