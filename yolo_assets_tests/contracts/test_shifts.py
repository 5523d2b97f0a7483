"""Shifts, lamps and planned stops of ``plant.yaml``: over midnight, in local time, and what is refused."""

from datetime import UTC, datetime

import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.shifts import ShiftPlan

PLAN = """
shifts:
  timezone: Europe/Berlin
  times:
    - {name: early, start: 06:00, end: 14:00, days: [mon, tue, wed, thu, fri]}
    - {name: night, start: 22:00, end: 06:00, days: [mon, tue, wed, thu, fri]}
  lamps:
    - {start: 05:30, end: 23:00}
  stops:
    - {start: 2026-12-24T12:00:00Z, until: 2027-01-02T05:00:00Z, cameras: [cam1], reason: holidays}
"""


def plan_of(text: str, home: object) -> ShiftPlan:
    settings = Settings.from_env({"YOLO_ASSETS_HOME": str(home)})
    (settings.home / "plant.yaml").write_text(text)
    plan = load_plant(settings).shifts
    assert plan is not None
    return plan


@pytest.fixture
def plan(tmp_path: object) -> ShiftPlan:
    return plan_of(PLAN, tmp_path)


def utc(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)  # pyright: ignore[reportArgumentType]


def test_shifts_are_in_local_time_and_go_over_midnight(plan: ShiftPlan) -> None:
    assert plan.shift_at(utc(2026, 3, 2, 5)) == 0, "06:00 in winter"
    assert plan.shift_at(utc(2026, 7, 6, 4)) == 0, "06:00 in summer"
    assert plan.shift_at(utc(2026, 3, 2, 13)) is None
    assert plan.shift_at(utc(2026, 3, 7, 2)) == 1, "Saturday morning belongs to Friday's night"
    assert plan.shift_at(utc(2026, 3, 8, 2)) is None


def test_lamps_and_stops(plan: ShiftPlan) -> None:
    assert not plan.lit_at(utc(2026, 3, 2, 4)), "they go on within the hour"
    assert plan.lit_at(utc(2026, 3, 2, 5)) and not plan.lit_at(utc(2026, 3, 2, 22))
    assert plan.stopped_at(utc(2026, 12, 24, 12), "cam1") and not plan.stopped_at(utc(2026, 12, 24, 11), "cam1")
    assert not plan.stopped_at(utc(2026, 12, 24, 12), "cam2")
    assert ShiftPlan().lit_at(utc(2026, 3, 2)) and ShiftPlan().shift_at(utc(2026, 3, 2)) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("shifts: {timezone: Berlin}", "no time zone"),
        ("shifts: {times: [{name: a, start: 6 am, end: 14:00}]}", "no time of day"),
        ("shifts: {stops: [{start: 2026-01-02T00:00:00Z, until: 2026-01-01T00:00:00Z}]}", "not after"),
        ("shifts: {stops: [{start: 2026-01-02T00:00:00, until: 2026-01-03T00:00:00Z}]}", "no zone"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(text: str, words: str, tmp_path: object) -> None:
    with pytest.raises(BadInputError, match=words):
        plan_of(text, tmp_path)
