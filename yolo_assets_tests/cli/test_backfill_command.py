"""``yolo-assets backfill``: what it requests, and what it says of it. The daemon's own code carries it out, in process."""

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
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.backfill_daemon import BackfillDaemon, make_instance

DAY = Hour(datetime(2026, 3, 1, tzinfo=UTC))
RANGE = ("--from", "2026-03-01", "--to", "2026-03-01")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three hours of two cameras in the spool: the others of the day hold nothing."""
    make_instance(tmp_path)
    for number in (2, 3, 5):
        for camera in ("cam01", "cam02"):
            write_hour(tmp_path / "spool", camera, DAY.next(number))
    return tmp_path


@pytest.fixture
def command(call: Call, home: Path) -> Command:
    env = {"YOLO_ASSETS_GRACE_SECONDS": "0", "YOLO_ASSETS_CLASSES": "crack"}
    return lambda *words: call("backfill", *words, home=home, cwd=home, env=env)


@pytest.fixture
def daemon(command: Command, home: Path) -> Iterator[BackfillDaemon]:
    command("detections", *RANGE, "--dry-run")  # sets the environment of the process
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance, BackfillDaemon(instance) as daemon:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "BACKFILL", "here", []))
        yield daemon


def requested(done: subprocess.CompletedProcess[str], asset: str) -> list[str]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["assets"][asset]["requested"]


def test_hours_that_are_missing_or_failed_are_built_and_others_left(
    command: Command, daemon: BackfillDaemon, home: Path
) -> None:
    (home / "store").write_text("a file where the store should be")
    first = command("detections", *RANGE, "--json")
    assert requested(first, "detections") == requested(first, "frames") == ["20260301_02", "20260301_03", "20260301_05"]
    answer = json.loads(first.stdout)
    assert (answer["runs"], answer["empty"], answer["status"]) == (2, 21, "requested")
    assert requested(command("detections", *RANGE, "--json"), "detections") == [], "a backfill has them at work"
    assert set(daemon.finish().values()) == {"COMPLETED_FAILED"}
    (home / "store").unlink()
    assert requested(command("detections", *RANGE, "--json"), "detections") == requested(first, "detections")
    assert daemon.finish()[answer["backfill"]] == "COMPLETED_FAILED"
    again = command("detections", *RANGE, "--json")
    assert requested(again, "detections") == [] and json.loads(again.stdout)["backfill"] is None
    assert json.loads(again.stdout)["assets"]["detections"]["there"] == 3
    forced = command("detections", "--from", "20260301_03", "--to", "2026-03-01T05:59:00Z", "--force", "--dry-run")
    assert "detections  2 hours to build\n" in forced.stdout and "2 runs of up to 24 hours" in forced.stdout
    assert "nothing is requested" in command("detections", *RANGE).stderr
