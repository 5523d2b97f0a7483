"""Half a year of hours that nobody archived, in a plant whose daemon is the real one, and hours that come meanwhile.

What the sensor decides is shown by ``defs/test_overdue_hours.py``; here queue, lanes and runs are Dagster's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import urllib3

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.intake.folders import Folders
from yolo_assets.defs.intake.memory import Memory
from yolo_assets.defs.intake.sensors import MOST_OVERDUE, OVERDUE_TAG
from yolo_assets.defs.intake.spool_diff import SpoolCursor, find_changes
from yolo_assets.defs.recovery.runs import UNFINISHED_STATUSES
from yolo_assets.spool.hours import scan
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.plant_instance import archived_hours, enter, plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import running

HOURS = 4320
LIVE = 3
"""Hours that come while history is archived."""
LIVE_WITHIN = 300.0
"""Seconds from the spool to the archive, on a machine that has other work; the history would take more than an hour."""
ALL_AT_ONCE = 4
"""Runs of the plant that execute, by ``dagster.yaml``."""
SET_CURSOR = """mutation($sensor: SensorSelector!, $cursor: String) {
  setSensorCursor(sensorSelector: $sensor, cursor: $cursor) { __typename } }"""
SENSOR = {
    "repositoryName": "__repository__",
    "repositoryLocationName": "yolo_assets",
    "sensorName": "spool_sensor",
}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlantServices]:
    """A plant whose spool sensor reported every hour four hours ago; its daemon is not started yet."""
    newest = Hour.of(utc_now()).next(-24)
    for number in range(HOURS):
        write_hour(tmp_path / "spool", "cam01", newest.next(-number), frames=1)
    closed = Folders(tmp_path / "folders.json", 0).look(scan(tmp_path / "spool").hours, utc_now()).closed
    assert len(closed) == HOURS
    reported = find_changes(closed, SpoolCursor(), utc_now() - timedelta(hours=4), HOURS).cursor
    cursor = Memory(tmp_path / "cache" / "spool-sensor").keep(reported, None)
    with running() as server:
        environment = plant_environment(tmp_path, server.new_database()) | {
            "YOLO_ASSETS_HOME": str(tmp_path),
            "YOLO_ASSETS_GRACE_SECONDS": "1",
            "YOLO_ASSETS_FIRST_HOUR": newest.next(-HOURS).partition_key,
        }
        enter(environment, monkeypatch)
        with PlantServices(tmp_path, environment, ("code", "ui")) as services:
            body = {"query": SET_CURSOR, "variables": {"sensor": SENSOR, "cursor": cursor}}
            answer = urllib3.request("POST", f"{services.ui}/graphql", json=body, timeout=60, retries=False).json()
            assert answer["data"]["setSensorCursor"]["__typename"] == "Sensor", answer
            yield services


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_half_a_year_of_overdue_hours_harms_no_live_hour(tmp_path: Path, plant: PlantServices) -> None:
    taken: list[float] = []
    waiting: tuple[Hour, float] | None = None
    most_overdue = most_started = 0
    with plant.start("daemon"), dg.DagsterInstance.get() as instance:
        began = time.monotonic()
        while len(taken) < LIVE:
            runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES))
            most_overdue = max(most_overdue, sum(OVERDUE_TAG in run.tags for run in runs))
            most_started = max(most_started, sum(run.status is dg.DagsterRunStatus.STARTED for run in runs))
            assert most_overdue <= MOST_OVERDUE and most_started <= ALL_AT_ONCE, runs
            done = archived_hours(tmp_path)
            if waiting is None and len(done) > 24 * (1 + len(taken)):  # history is under way
                hour = Hour.of(utc_now()).next(len(taken) - LIVE)
                write_hour(tmp_path / "spool", "cam02", hour)
                waiting = hour, time.monotonic()
            elif waiting is not None and ("cam02", waiting[0]) in done:
                taken.append(time.monotonic() - waiting[1])
                waiting = None
            late = time.monotonic() - (waiting[1] if waiting is not None else began)
            assert late < LIVE_WITHIN + 300 * (waiting is None), f"{len(done)} archived, {len(runs)} runs wait or run"
            time.sleep(3)
        old = sum(camera == "cam01" for camera, _ in archived_hours(tmp_path))
        print(f"{old} of {HOURS} overdue hours archived in {time.monotonic() - began:.0f} s")
        print(f"at most {most_overdue} runs of them waited or ran, {most_started} runs of all were started")
        print(f"live hours were archived after {', '.join(f'{seconds:.0f} s' for seconds in taken)}")
        assert most_overdue > 0 and old < HOURS
        counted = instance.get_runs_count()
        assert counted < 200, f"{counted} runs"
