"""SQLite of one machine: the event log does not wait for the disk at each event, and keeps it through a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.defs.sqlite_storage import SqliteEvents
from yolo_assets.local.dagster_home import prepare_dagster_home

WRITER = """
import os, signal, sys, dagster as dg

with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    instance.report_runless_asset_event(dg.AssetMaterialization("written"))
    print("written", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def dagster_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instance that nobody has opened; ``DAGSTER_HOME`` is not set, as in our commands."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return prepare_dagster_home(tmp_path)


@pytest.fixture
def instance(dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(dagster_home)) as opened:
        yield opened


@pytest.mark.parametrize("reference", [False, True], ids=["of the folder", "of a reference, as in a run's process"])
def test_an_event_does_not_wait_for_the_disk(instance: dg.DagsterInstance, reference: bool) -> None:
    if reference:
        instance = dg.DagsterInstance.from_ref(instance.get_ref())
    log = instance.event_log_storage
    assert isinstance(log, SqliteEvents)
    for connect in (log.index_connection, lambda: log.run_connection("a-run")):
        with connect() as connection:
            pragma = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")
            }
        # 1 is NORMAL, which is safe in the write-ahead mode alone.
        assert pragma == {"synchronous": 1, "journal_mode": "wal"}


def test_files_are_where_dagster_keeps_them(dagster_home: Path, instance: dg.DagsterInstance) -> None:
    """An installation that was made before goes on with its history."""

    @dg.asset
    def small() -> None: ...

    run = dg.materialize([small], instance=instance).run_id
    found = {str(path.relative_to(dagster_home)) for path in dagster_home.rglob("*.db")}
    history = {"history/runs.db", "history/runs/index.db", f"history/runs/{run}.db"}
    assert found == {*history, "schedules/schedules.db"}
    plain = dg.DagsterInstance.from_config(str(dagster_home), config_filename="absent.yaml")
    with plain:
        assert plain.get_latest_materialization_event(dg.AssetKey("small")) is not None


def test_a_killed_process_loses_no_event(dagster_home: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    killed = subprocess.run(
        [sys.executable, "-c", WRITER, str(dagster_home)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "written\n"), killed.stderr
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("written")) is not None
