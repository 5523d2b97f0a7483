"""Backfills against a plant's real services: from the command line, by GraphQL, and from the UI in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import urllib3
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES

from yolo_assets.catalog.read import query
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import cli
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.edge.page.conftest import OpenPage, browser, open_page
from yolo_assets_tests.support.plant_instance import plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import Database

__all__ = ["browser", "open_page"]
CAMERAS = ("cam01", "cam02")
HOURS = [Hour.of(utc_now()).next(-number) for number in (40, 39, 38, 37, 36, 35)]
LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]


@pytest.fixture
def plant(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlantServices]:
    environment = plant_environment(tmp_path, database) | {
        "YOLO_ASSETS_HOME": str(tmp_path),
        "YOLO_ASSETS_GRACE_SECONDS": "1",
        "YOLO_ASSETS_CLASSES": "crack",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for hour in HOURS:
        for camera in CAMERAS:
            write_hour(tmp_path / "spool", camera, hour)
    with PlantServices(tmp_path, environment, ("code", "daemon", "ui")) as services:
        yield services


def test_three_that_overlap_are_carried_out_and_nothing_is_twice(
    plant: PlantServices, tmp_path: Path, open_page: OpenPage
) -> None:
    """Beside the automation, which works on the same hours at the same time."""
    with dg.DagsterInstance.get() as instance:
        keys = [hour.partition_key for hour in HOURS]
        page = open_page(f"{plant.ui}/assets/hourly_archives")
        by_command = cli(
            *("backfill", "hourly_archives", "detections", "--force", "--json"),
            *("--from", HOURS[0].key, "--to", HOURS[-1].key),
            home=tmp_path,
            env=plant.environment,
        )
        assert by_command.returncode == 0, by_command.stderr
        by_graphql = launch(plant.ui, ["hourly_archives"], keys[1:5])
        by_ui = launch_in_the_ui(page, instance, keys[2:6])
        requested = {json.loads(by_command.stdout)["backfill"], by_graphql, by_ui}
        assert len(requested) == 3
        built = wait_for_backfills(instance, requested)
    assert built[by_graphql] == {("hourly_archives", key) for key in keys[1:5]}
    assert built[by_ui] == {("hourly_archives", key) for key in keys[2:6]}
    assert {("detections", key) for key in keys} <= built[json.loads(by_command.stdout)["backfill"]]
    wait_for_catalog(tmp_path, len(HOURS) * len(CAMERAS))
    rows = query(open_store((tmp_path / "store").as_uri()), "SELECT camera_id, hour, part FROM archives").rows()
    assert len(rows) == len(set(rows)) == len(HOURS) * len(CAMERAS)


def launch(url: str, assets: list[str], partitions: list[str]) -> str:
    """As a program does. Returns the id."""
    asked = {"assetSelection": [{"path": [asset]} for asset in assets], "partitionNames": partitions}
    body = {"query": LAUNCH, "variables": {"params": asked}}
    answer = urllib3.request("POST", f"{url}/graphql", json=body, timeout=60).json()
    launched = answer["data"]["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", answer
    return launched["backfillId"]


def launch_in_the_ui(page, instance: dg.DagsterInstance, partitions: list[str]) -> str:
    """As a person does: Materialize, the range, Launch backfill. Returns the id."""
    before = {backfill.backfill_id for backfill in instance.get_backfills()}
    page.get_by_role("button", name="Materialize…").first.click(timeout=60_000)
    dialog = page.get_by_role("dialog")
    field = dialog.locator("input[type=text]").first
    field.fill(f"[{partitions[0]}...{partitions[-1]}]")
    field.press("Enter")
    dialog.get_by_role("button", name="Launch backfill").click()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        added = {backfill.backfill_id for backfill in instance.get_backfills()} - before
        if added:
            (launched,) = added
            return launched
        page.wait_for_timeout(300)
    raise AssertionError("the UI launched nothing")


def wait_for_backfills(instance: dg.DagsterInstance, wanted: set[str]) -> dict[str, set[tuple[str, str]]]:
    """Until these have ended well. Returns what the runs of each materialized."""
    deadline, states = time.monotonic() + 600, {}
    while time.monotonic() < deadline:
        states = {found.backfill_id: found.status for found in instance.get_backfills() if found.backfill_id in wanted}
        if all(status in BULK_ACTION_TERMINAL_STATUSES for status in states.values()):
            assert {status.value for status in states.values()} == {"COMPLETED_SUCCESS"}, states
            return {backfill: materialized(instance, backfill) for backfill in wanted}
        time.sleep(1)
    raise AssertionError(f"still at work: {states}")


def materialized(instance: dg.DagsterInstance, backfill: str) -> set[tuple[str, str]]:
    made: set[tuple[str, str]] = set()
    for run in instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})):
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            event = entry.get_dagster_event().step_materialization_data.materialization
            made.add((event.asset_key.to_user_string(), event.partition or ""))
    return made


def wait_for_catalog(home: Path, archives: int) -> None:
    deadline, rows = time.monotonic() + 300, None
    while rows != archives and time.monotonic() < deadline:
        time.sleep(2)
        rows = query(open_store((home / "store").as_uri()), "SELECT count(*) FROM archives").rows()[0][0]
    assert rows == archives
