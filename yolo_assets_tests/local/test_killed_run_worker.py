"""A run worker that is killed, under a real daemon and the shipped settings.

Its pool is free and its run repeated; killed together with its code server, its run has ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from yolo_assets.local.dagster_home import prepare_dagster_home

CODE = """
import os, time
from pathlib import Path
import dagster as dg

STARTED = Path(os.environ["STARTED"])

@dg.asset(pool="archive_catalog")
def catalog() -> None:
    first = not any(STARTED.iterdir())
    (STARTED / f"{os.getpid()}").touch()
    if first:
        time.sleep(600)

@dg.sensor(target=dg.AssetSelection.all(), minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def ask(context):
    return [dg.RunRequest(run_key=key) for key in ("first", "second")]

defs = dg.Definitions([catalog], sensors=[ask], executor=dg.in_process_executor)
"""
SECONDS = 150


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    home = prepare_dagster_home(tmp_path)
    settings = (home / "dagster.yaml").read_text()
    quicker = settings.replace("poll_interval_seconds: 30", "poll_interval_seconds: 2")
    assert quicker != settings
    (home / "dagster.yaml").write_text(quicker)
    (tmp_path / "plant.py").write_text(CODE)
    (tmp_path / "started").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    with dg.DagsterInstance.get() as instance:
        instance.get_runs()
        with (tmp_path / "daemon.log").open("wb") as log:
            command = [Path(sys.executable).with_name("dagster-daemon"), "run", "-f", tmp_path / "plant.py"]
            daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield instance
        finally:
            family = psutil.Process(daemon.pid).children(recursive=True)
            daemon.send_signal(signal.SIGINT)
            daemon.wait(60)
            for process in psutil.wait_procs(family, timeout=30)[1]:
                process.kill()


@pytest.mark.soak
def test_a_killed_run_worker_frees_its_pool_and_is_repeated(plant: dg.DagsterInstance) -> None:
    os.kill(first_worker(), signal.SIGKILL)
    killed = time.monotonic()
    while len(plant.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))) < 2:
        assert time.monotonic() - killed < SECONDS, [run.status for run in plant.get_runs()]
        time.sleep(0.5)
    runs = plant.get_runs()
    assert sorted(run.status.value for run in runs) == ["FAILURE", "SUCCESS", "SUCCESS"]
    (failed,) = [run for run in runs if run.status is dg.DagsterRunStatus.FAILURE]
    assert failed.run_id in {run.tags.get("dagster/parent_run_id") for run in runs}, "the killed run was repeated"
    assert plant.event_log_storage.get_concurrency_info("archive_catalog").claimed_slots == []
    print(f"both runs ended {time.monotonic() - killed:.0f} s after the kill")


@pytest.mark.soak
def test_a_run_that_is_killed_with_its_code_server_ends(plant: dg.DagsterInstance) -> None:
    worker = first_worker()
    (run,) = plant.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    os.kill(psutil.Process(worker).ppid(), signal.SIGKILL)  # first, so that it cannot report the worker's end
    os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()
    while not plant.get_runs(dg.RunsFilter(run_ids=[run.run_id], statuses=[dg.DagsterRunStatus.FAILURE])):
        assert time.monotonic() - killed < SECONDS, [run.status for run in plant.get_runs()]
        time.sleep(0.2)
    print(f"the run had ended {time.monotonic() - killed:.0f} s after the kill")


def first_worker() -> int:
    """The process of the first run that began."""
    started = Path(os.environ["STARTED"])
    began = time.monotonic()
    while not any(started.iterdir()):
        assert time.monotonic() - began < SECONDS, "no run began"
        time.sleep(0.2)
    return int(next(started.iterdir()).name)
