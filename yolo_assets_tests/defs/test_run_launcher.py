"""What run monitoring learns of a run's process on one machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from yolo_assets.local.dagster_home import prepare_dagster_home

HERE = {"host": "localhost", "socket": "/tmp/a-code-server"}
ELSEWHERE = {"host": "code.plant.example", "port": 4000}


@dg.job
def nothing() -> None:
    """A job without ops."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """With the shipped configuration."""
    with dg.DagsterInstance.from_config(str(prepare_dagster_home(tmp_path))) as instance:
        yield instance


@pytest.mark.parametrize(("server", "after"), [(HERE, WorkerStatus.NOT_FOUND), (ELSEWHERE, WorkerStatus.RUNNING)])
def test_a_run_without_its_process_is_found(
    instance: dg.DagsterInstance, server: dict[str, object], after: WorkerStatus
) -> None:
    launcher = instance.run_launcher
    assert launcher.supports_check_run_worker_health
    run = instance.create_run_for_job(nothing, tags={GRPC_INFO_TAG: json.dumps(server)})
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING  # it has told nothing yet
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as worker:
        instance.report_engine_event("Started process for run.", run, EngineEventData.in_process(worker.pid))
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        worker.kill()
        worker.wait()
        assert launcher.check_run_worker_health(run).status is after


def test_another_process_with_its_number_is_not_the_run(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(nothing, tags={GRPC_INFO_TAG: json.dumps(HERE)})
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as later:
        instance.report_engine_event("Started process for run.", run, EngineEventData.in_process(later.pid))
        monkeypatch.setattr("psutil.Process.create_time", lambda process: 4e9)
        assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.NOT_FOUND
        later.kill()
