"""The conditions are not evaluated while nothing happens, and at once when something does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.definitions import defs
from yolo_assets.defs.automation import AutomationSensor

SKIPPED = "nothing happened since the last evaluation"


class Ticks:
    """Ticks of the automation sensor, with the cursor as the daemon keeps it."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.repository = instance, defs().get_repository_def()
        self.sensor, self.cursor = AutomationSensor(), None
        self.partitions: set[str | None] = set()

    def next(self) -> tuple[bool, int]:
        """Whether it was evaluated, and how many runs it requested."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        self.partitions = {request.tags.get("dagster/partition") for request in data.run_requests or ()}
        return data.skip_message != SKIPPED, len(data.run_requests or ())


@pytest.fixture
def ticks(home: Path) -> Iterator[Ticks]:
    with dg.DagsterInstance.get() as instance:
        yield Ticks(instance)


def test_a_quiet_plant_is_evaluated_twice_and_then_left_alone(ticks: Ticks) -> None:
    assert [ticks.next() for _ in range(5)] == [(True, 0), (True, 0), (False, 0), (False, 0), (False, 0)]
    report = dg.AssetMaterialization("raw_frames", partition=Hour.from_key("20260301_02").partition_key)
    ticks.instance.report_runless_asset_event(report)
    evaluated, requested = ticks.next()
    assert evaluated and requested, "the hour is asked for in the next tick"
    assert ticks.partitions == {"2026-03-01-02:00"}, "the daemon takes a run's partition from its tags alone"
    assert ticks.next()[0], "what was requested may ask for more"


def test_a_new_hour_of_the_clock_and_a_lost_cursor_are_evaluated(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        ticks.next()
    ticks.cursor = None
    assert ticks.next()[0]
    assert not ticks.next()[0]
    later = Hour.from_key("20990101_00").start
    monkeypatch.setattr("yolo_assets.defs.automation.utc_now", lambda: later)
    assert ticks.next()[0], "partitions and schedules begin with the hour"
