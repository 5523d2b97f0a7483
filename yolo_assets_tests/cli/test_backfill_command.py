"""``yolo-assets backfill``: what it requests, and what it says of it; the daemon's own code carries it out."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from yolo_assets.contracts.times import Hour
from yolo_assets_tests.cli.command_line import refused
from yolo_assets_tests.cli.conftest import Call
from yolo_assets_tests.defs.hours_in_spool import write_hour, write_late
from yolo_assets_tests.support.backfill_daemon import BackfillDaemon, make_instance

DAY = Hour(datetime(2026, 3, 1, tzinfo=UTC))
RANGE = ("--from", "2026-03-01", "--to", "2026-03-01")
THERE = ["20260301_02", "20260301_03", "20260301_05"]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def no_pauses_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is retried at once instead of after seconds."""
    monkeypatch.setattr("dagster._core.definitions.policy.calculate_delay", lambda **_: 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three hours of two cameras in the spool: the others of the day hold nothing."""
    make_instance(tmp_path)
    for key in THERE:
        for camera in ("cam01", "cam02"):
            write_hour(tmp_path / "spool", camera, Hour.from_key(key))
    return tmp_path


@pytest.fixture
def command(call: Call, home: Path) -> Command:
    env = {"YOLO_ASSETS_GRACE_SECONDS": "0", "YOLO_ASSETS_CLASSES": "crack"}
    return lambda *words: call("backfill", *words, home=home, cwd=home, env=env)


@pytest.fixture
def daemon(command: Command, home: Path) -> Iterator[BackfillDaemon]:
    """It works when a test says so, and counts as running."""
    command("detections", *RANGE, "--dry-run")  # leaves the environment of the home behind
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance, BackfillDaemon(instance) as daemon:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "BACKFILL", "here", []))
        yield daemon


def answer(done: subprocess.CompletedProcess[str], code: int = 0) -> dict:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def requested(done: subprocess.CompletedProcess[str], asset: str = "detections") -> list[str]:
    return answer(done)["assets"][asset]["requested"]


def test_what_is_missing_or_failed_is_built_and_the_rest_is_left(
    command: Command, daemon: BackfillDaemon, home: Path
) -> None:
    (home / "store").write_text("a file where the store should be")
    first = command("detections", *RANGE, "--json")
    assert requested(first) == requested(first, "frames") == THERE, "frames are made in the same step"
    told = answer(first)
    assert (told["runs"], told["empty"], told["status"], told["cameras"]) == (2, 21, "requested", None)
    meanwhile = answer(command("detections", *RANGE, "--json"))
    assert (meanwhile["backfill"], meanwhile["assets"]["detections"]["at_work"]) == (None, 3)
    assert daemon.finish() == {told["backfill"]: "COMPLETED_FAILED"}
    (home / "store").unlink()
    again = answer(command("detections", *RANGE, "--json"))
    assert again["assets"]["detections"]["requested"] == THERE
    assert daemon.finish()[again["backfill"]] == "COMPLETED_SUCCESS"
    done = command("detections", *RANGE)
    assert done.returncode == 0 and "nothing is requested; --force builds again what is there" in done.stderr
    assert answer(command("detections", *RANGE, "--json"))["assets"]["detections"]["there"] == 3
    forced = ("detections", "--from", "2026-03-01-03:00", "--to", "2026-03-01T05:59:00Z", "--force")
    shown = command(*forced, "--dry-run")
    assert shown.stdout == (
        "detections  2 hours to build\nframes  2 hours to build\n2 runs of up to 72 hours  20260301_03 to 20260301_05\n"
    )
    assert len(daemon.instance.get_backfills()) == 2, "a dry run requests nothing"
    assert requested(command(*forced, "--json")) == THERE[1:]


def test_an_hour_without_its_input_waits_unless_both_are_named(
    command: Command, daemon: BackfillDaemon, home: Path
) -> None:
    alone = answer(command("camera_health", *RANGE, "--json"))
    assert (alone["backfill"], alone["assets"]["camera_health"]["without_input"]) == (None, 3)
    assert (
        "camera_health  0 hours to build  3 without detections and frames\n" in command("camera_health", *RANGE).stdout
    )
    both = answer(command("camera_health", "frames", *RANGE, "--json"))
    assert list(both["assets"]) == ["detections", "frames", "camera_health"]
    assert both["assets"]["camera_health"]["requested"] == THERE and both["runs"] == 2
    assert daemon.finish() == {both["backfill"]: "COMPLETED_SUCCESS"}
    made = daemon.instance.get_materialized_partitions(dg.AssetKey("camera_health"))
    assert made == {Hour.from_key(key).partition_key for key in THERE}
    (home / "store").rename(home / "elsewhere")
    (home / "store").write_text("a file where the store should be")
    answer(command("frames", "--from", THERE[2], "--to", THERE[2], "--force", "--json"))
    assert set(daemon.finish().values()) == {"COMPLETED_SUCCESS", "COMPLETED_FAILED"}
    assert requested(command("frames", *RANGE, "--dry-run", "--json"), "frames") == THERE[2:], "the newest run failed"
    assert requested(command("camera_health", *RANGE, "--force", "--dry-run", "--json"), "camera_health") == THERE


def test_waiting_ends_with_the_backfill_and_names_hours_and_causes(
    command: Command, daemon: BackfillDaemon, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.cli.backfill.sleep", lambda _: daemon.iterate())
    good = command("hourly_archives", *RANGE, "--wait", "--json")
    assert (answer(good)["status"], answer(good)["made"], answer(good)["failed"]) == ("completed_success", 3, [])
    (home / "store").write_text("a file where the store should be")
    bad = command("detections", *RANGE, "--wait", "--json")
    told = answer(bad, 1)
    assert told["status"] == "completed_failed" and told["made"] == 0
    assert {(row["asset"], *row["hours"]) for row in told["failed"]} == {
        ("detections", *THERE),
        ("frames", *THERE),
    }
    assert all(str(home / "store") in row["cause"] for row in told["failed"])
    line = command("detections", "--from", "20260301_05", "--to", "20260301_05", "--wait").stderr.splitlines()[-1]
    assert line.startswith("error: 2 of 2 hours of assets were not built: ") and "20260301_05" in line


def test_ctrl_c_leaves_the_backfill_running_and_says_so(
    command: Command, daemon: BackfillDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("yolo_assets.cli.backfill.sleep", pressed)
    done = command("hourly_archives", *RANGE, "--wait")
    (backfill,) = daemon.instance.get_backfills()
    assert done.returncode == 130 and backfill.status.value == "REQUESTED"
    assert f"backfill {backfill.backfill_id} goes on without this command" in done.stderr.splitlines()[-1]


def test_without_a_daemon_it_is_requested_and_said(command: Command, home: Path) -> None:
    done = command("hourly_archives", *RANGE, "--json")
    assert answer(done)["backfill"] and "begins when a Dagster daemon runs" in done.stderr
    waiting = command("hourly_archives", *RANGE, "--force", "--wait")
    assert waiting.returncode == 1 and waiting.stderr.splitlines()[-1].startswith("error: backfill ")
    assert command("hourly_archives", *RANGE, "--dry-run").returncode == 0


def test_wrong_questions_get_one_line(command: Command, home: Path) -> None:
    refused(command("detection", *RANGE), "there is no asset detection; try detections", code=2)
    refused(command("archive_catalog", *RANGE), "has no hours", "yolo-assets catalog rebuild", code=2)
    refused(command("trained_weights", *RANGE), "--select trained_weights", code=2)
    refused(command("raw_frames", *RANGE), "made outside Dagster", code=2)
    refused(command("detections", "--from", "march", "--to", "2026-03-01"), "--from", "names no hour", code=2)
    refused(command("detections", "--from", "2026-03-02", "--to", "2026-03-01"), "lies before", code=2)
    refused(command("detections", "--from", "2020-01-01", "--to", "2020-01-02"), "YOLO_ASSETS_FIRST_HOUR", code=2)
    refused(command("detections", "--from", "2099-01-01", "--to", "2099-01-02"), "are not over", code=2)
    refused(command("detections", *RANGE, "--camera", "cam 1"), "camera id", code=2)
    refused(command("detections", *RANGE, "--camera", "cam9"), "cam9 recorded nothing")
    (home / "dagster" / "dagster.yaml").unlink()
    refused(command("detections", *RANGE), "no Dagster instance", "yolo-assets up")


def test_one_camera_is_built_again_and_the_hour_is_described_whole(
    command: Command, daemon: BackfillDaemon, home: Path
) -> None:
    hour = ("--from", THERE[0], "--to", THERE[0])
    first = answer(command("detections", *hour, "--json"))
    assert daemon.finish() == {first["backfill"]: "COMPLETED_SUCCESS"}
    before = newest(daemon, "detections")
    tables = {path.stem: path for path in (home / "store" / "frames").rglob("*.parquet")}
    written = {camera: path.stat().st_mtime_ns for camera, path in tables.items()}
    limited = answer(command("detections", *hour, "--force", "--camera", "cam01", "--json"))
    assert (limited["cameras"], limited["assets"]["detections"]["requested"]) == (["cam01"], THERE[:1])
    assert daemon.finish()[limited["backfill"]] == "COMPLETED_SUCCESS"
    assert {camera for camera, path in tables.items() if path.stat().st_mtime_ns > written[camera]} == {"cam01"}
    after = newest(daemon, "detections")
    table = after.metadata["cameras"]
    assert isinstance(table, dg.TableMetadataValue)
    rows = {row.data["camera"]: row.data for row in table.records}
    assert [row["frames"] for row in rows.values()] == [3, 3] and rows["cam02"]["source"] == "built before"
    assert after.metadata["dagster/row_count"].value == before.metadata["dagster/row_count"].value == 6
    assert after.tags and before.tags
    assert after.tags["dagster/data_version"] == before.tags["dagster/data_version"]
    tables["cam02"].unlink()
    answer(command("detections", *hour, "--force", "--camera", "cam01", "--json"))
    daemon.finish()
    assert tables["cam02"].exists(), "an hour is not complete without its other camera"
    write_late(home / "spool", "cam02", Hour.from_key(THERE[0]))
    daemon.instance.report_runless_asset_event(
        dg.AssetMaterialization("raw_frames", partition=Hour.from_key(THERE[0]).partition_key)
    )
    answer(command("detections", *hour, "--force", "--camera", "cam01", "--json"))
    daemon.finish()
    assert newest(daemon, "detections").metadata["dagster/row_count"].value == 7, "what came since is not left out"


def newest(daemon: BackfillDaemon, asset: str) -> dg.AssetMaterialization:
    record = daemon.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records[0]
    assert record.asset_materialization is not None
    return record.asset_materialization


LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def test_graphql_and_the_command_know_of_each_other(command: Command, daemon: BackfillDaemon, home: Path) -> None:
    from dagster_graphql.test.utils import execute_dagster_graphql

    asked = {
        "assetSelection": [{"path": ["hourly_archives"]}],
        "partitionNames": [Hour.from_key(key).partition_key for key in THERE[:2]],
    }
    result = execute_dagster_graphql(daemon.workspace.create_request_context(), LAUNCH, {"params": asked})
    launched = result.data["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    rest = answer(command("hourly_archives", *RANGE, "--json"))
    assert rest["assets"]["hourly_archives"] == {"requested": THERE[2:], "there": 0, "at_work": 2, "without_input": 0}
    everything = answer(command("hourly_archives", *RANGE, "--force", "--json"))
    assert everything["assets"]["hourly_archives"]["requested"] == THERE
    ended = daemon.finish()
    assert ended == dict.fromkeys(
        (launched["backfillId"], rest["backfill"], everything["backfill"]), "COMPLETED_SUCCESS"
    )
    archived = sorted(path.name for path in (home / "archive").rglob("*.receipt.json"))
    assert len(archived) == len(set(archived)) == 6, "two cameras, three hours, asked for by three: each once"
