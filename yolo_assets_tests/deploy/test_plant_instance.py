"""A plant's Dagster instance: PostgreSQL and compute logs on S3, by the files that are shipped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
import yaml

from yolo_assets.shipped import plant_dagster_yaml, shipped_file
from yolo_assets_tests.conftest import S3Bucket
from yolo_assets_tests.support.plant_instance import plant_environment
from yolo_assets_tests.support.postgres_server import Database


def test_a_plant_has_all_settings_of_one_machine_and_its_storage() -> None:
    one, plant = (yaml.safe_load(text) for text in (shipped_file("dagster.yaml").read_text(), plant_dagster_yaml()))
    assert {name: plant[name] for name in one} == one
    assert plant.keys() - one.keys() == {"storage", "compute_logs"}


@pytest.fixture
def instance(
    tmp_path: Path, database: Database, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> dg.DagsterInstance:
    for name, value in plant_environment(tmp_path, database, compute_logs=s3_bucket.name).items():
        monkeypatch.setenv(name, value)
    return dg.DagsterInstance.get()


@pytest.mark.s3
def test_a_run_is_in_postgres_and_what_it_prints_in_the_bucket(
    instance: dg.DagsterInstance, database: Database, s3_bucket: S3Bucket
) -> None:
    @dg.asset
    def talkative() -> None:
        print("a line on standard output")

    with instance:
        result = dg.materialize([talkative], instance=instance)
        assert database.query("SELECT run_id, status FROM runs") == [(result.run_id, "SUCCESS")]
        assert database.query("SELECT asset_key FROM asset_keys") == [('["talkative"]',)]
        listed = s3_bucket.client.list_objects_v2(Bucket=s3_bucket.name)["Contents"]
        (out,) = [entry["Key"] for entry in listed if entry["Key"].endswith(".out")]
        assert out.startswith(f"compute-logs/storage/{result.run_id}/")
        body = s3_bucket.client.get_object(Bucket=s3_bucket.name, Key=out)["Body"].read()
        assert body == b"a line on standard output\n"
        (captured,) = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
        data = captured.get_dagster_event().logs_captured_data
        shown = instance.compute_log_manager.get_log_data([result.run_id, "compute_logs", data.file_key])
        assert shown.stdout == b"a line on standard output\n"


def test_all_questions_share_connections_also_after_a_cut(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in plant_environment(tmp_path, database).items():
        monkeypatch.setenv(name, value)

    def server_processes(*instances: Any) -> set[int]:
        found: set[int] = set()
        for instance in instances:
            storages = (instance.run_storage.connect, instance.event_log_storage.index_connection)
            for connect in (*storages, instance.schedule_storage.connect):
                with connect() as connection:
                    found.add(connection.execute(sqlalchemy.text("SELECT pg_backend_pid()")).scalar_one())
        return found

    with dg.DagsterInstance.get() as first, dg.DagsterInstance.get() as second:
        (number,) = server_processes(first, second)
        database.query(f"SELECT pg_terminate_backend({number})")
        assert first.get_runs_count() == 0
        (later,) = server_processes(first, second)
        assert later != number
        forked = _in_a_fork(lambda: str(server_processes(first)))
        assert forked.startswith("{") and forked != str({later}), "two processes on one connection"
        assert server_processes(first) == {later}


def _in_a_fork(answer: Callable[[], str]) -> str:
    """What a forked process answers."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, answer().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return told
