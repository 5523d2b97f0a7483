"""Half a year of hours that nobody archived: a handful of runs at a time, and the live hour is not behind them."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.definitions import defs as load
from yolo_assets.defs.intake.folders import Folders
from yolo_assets.defs.intake.memory import Memory, SpoolCursor
from yolo_assets.defs.intake.sensors import MOST_OVERDUE, spool_sensor
from yolo_assets.defs.intake.spool_diff import find_changes
from yolo_assets.defs.partitions import FIRST_HOUR
from yolo_assets.defs.resources import Locations
from yolo_assets.spool.hours import scan

HOURS = 4320
LIVE = Hour.of(utc_now()).next(-1)
START_TAG, END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture(scope="module")
def job() -> dg.JobDefinition:
    return load().resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture
def cursor(home: Path) -> str:
    """The sensor's, when it reported every hour four hours ago, and nothing came of it."""
    old = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    for number in range(HOURS):
        folder = home / "spool" / "cam01" / FIRST_HOUR.next(number).key
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
        os.utime(folder / "a.jpg", (old, old))
        os.utime(folder, (old, old))
    closed = Folders(home / "x.json", 0).look(scan(home / "spool").hours, utc_now()).closed
    assert len(closed) == HOURS
    reported = find_changes(closed, SpoolCursor(), utc_now() - timedelta(hours=4), HOURS).cursor
    return Memory(home / "cache" / "spool-sensor").keep(reported, None)


def tick(instance: dg.DagsterInstance, cursor: str) -> tuple[dg.SensorResult, str]:
    resources = {"locations": Locations.from_env()}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        found = spool_sensor(context)
    assert isinstance(found, dg.SensorResult) and found.cursor is not None
    return found, found.cursor


def create(instance: dg.DagsterInstance, job: dg.JobDefinition, request: dg.RunRequest) -> dg.DagsterRun:
    selection = frozenset(request.asset_selection or ())
    return instance.create_run_for_job(job, asset_selection=selection, tags=dict(request.tags))


def test_a_handful_of_runs_at_a_time_and_none_twice(
    home: Path, instance: dg.DagsterInstance, cursor: str, job: dg.JobDefinition
) -> None:
    asked: list[tuple[str, str]] = []
    for _ in range(3):
        found, cursor = tick(instance, cursor)
        requests = list(found.run_requests or ())
        assert len(requests) == MOST_OVERDUE
        assert len(cursor) < 4096
        asked += [(request.tags[START_TAG], request.tags[END_TAG]) for request in requests]
        assert {request.tags["yolo_assets/lane"] for request in requests} == {"history"}
        runs = [create(instance, job, request) for request in requests]
        found, cursor = tick(instance, cursor)
        assert not found.run_requests, "while they are queued or run"
        for run in runs:
            instance.report_run_failed(run)
    assert len(set(asked)) == 3 * MOST_OVERDUE, "a failed one has its pause, the next hours have their turn"


def test_the_live_hour_is_reported_in_the_first_tick(home: Path, instance: dg.DagsterInstance, cursor: str) -> None:
    folder = home / "spool" / "cam01" / LIVE.key
    folder.mkdir(parents=True)
    (folder / "a.jpg").touch()
    for first_start in (cursor, ""):
        found, _ = tick(instance, first_start)
        events = [event for event in found.asset_events if isinstance(event, dg.AssetMaterialization)]
        assert events[0].partition == LIVE.partition_key
        assert len(events) <= 24
