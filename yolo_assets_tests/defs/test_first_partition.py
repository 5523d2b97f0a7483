"""The first partition follows the plant's oldest hour, in every process, and no wrong clock moves it to 1970."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.partitions import LATEST_FIRST, SETTING, early_hours, first_hour, remember_first_hour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.cli.command_line import clean_env
from yolo_assets_tests.support.records import frame_record

OLD = Hour.from_key("20240301_02")


@pytest.fixture(autouse=True)
def no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)


@pytest.fixture
def plant(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def add_hour(settings: Settings, hour: str, camera: str = "cam01") -> None:
    (settings.spool / camera / hour).mkdir(parents=True, exist_ok=True)


def test_an_empty_plant_begins_where_every_plant_does(plant: Settings) -> None:
    assert first_hour(plant) == LATEST_FIRST
    assert not plant.home.exists(), "loading the definitions makes no home"


def test_the_oldest_hour_of_any_camera_is_first(plant: Settings) -> None:
    add_hour(plant, "20250101_00", "cam01")
    add_hour(plant, OLD.key, "cam02")
    add_hour(plant, "20261001_00", "cam03")
    assert first_hour(plant) == OLD


def test_the_spool_is_listed_once_also_where_no_hour_is_older(plant: Settings) -> None:
    add_hour(plant, "20261001_00")
    assert first_hour(plant) == LATEST_FIRST
    assert (plant.home / "first-partition").read_text() == f"{LATEST_FIRST.partition_key}\n"


def test_it_stays_when_that_hour_is_archived_and_gone(plant: Settings) -> None:
    add_hour(plant, OLD.key)
    assert first_hour(plant) == OLD
    (plant.spool / "cam01" / OLD.key).rmdir()
    add_hour(plant, "20250101_00")
    assert first_hour(plant) == OLD


def test_it_only_moves_to_earlier_hours(plant: Settings) -> None:
    assert remember_first_hour(plant, OLD)
    assert remember_first_hour(plant, OLD.next())
    assert first_hour(plant) == OLD


@pytest.mark.parametrize("hour", ["19700101_00", "20000101_00", "99991231_23", "no hour", "20240230_00"])
def test_an_odd_folder_moves_nothing(plant: Settings, hour: str) -> None:
    add_hour(plant, hour)
    add_hour(plant, OLD.key)
    assert first_hour(plant) == OLD


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"2024", b"99991231_23"])
def test_a_damaged_file_is_written_anew(plant: Settings, content: bytes) -> None:
    add_hour(plant, OLD.key)
    (plant.home / "first-partition").write_bytes(content)
    assert first_hour(plant) == OLD
    assert (plant.home / "first-partition").read_text() == f"{OLD.partition_key}\n"


def test_the_setting_decides(plant: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    add_hour(plant, OLD.key)
    monkeypatch.setenv(SETTING, "2025-06-01-00:00")
    assert first_hour(plant).partition_key == "2025-06-01-00:00"
    assert "set YOLO_ASSETS_FIRST_HOUR" in early_hours(plant, [OLD], "hours")
    monkeypatch.setenv(SETTING, "yesterday")
    with pytest.raises(BadInputError, match=r"YOLO_ASSETS_FIRST_HOUR.*'yesterday' is not an hourly partition"):
        first_hour(plant)


def test_a_sensor_names_earlier_hours_and_moves_the_first(plant: Settings) -> None:
    assert early_hours(plant, [LATEST_FIRST.next()], "hours") == ""
    sentence = early_hours(plant, [Hour.from_key("19700101_00"), OLD, OLD.next()], "hours")
    assert sentence.startswith("3 hours before 2026-01-01-00:00 have no partition, the earliest is 1970-01-01-00:00")
    assert f"partitions begin with {OLD.partition_key}" in sentence
    assert first_hour(plant) == OLD
    before = Hour.of(utc_now() - timedelta(days=11 * 366))
    assert "if its clock was right, set YOLO_ASSETS_FIRST_HOUR" in early_hours(plant, [before], "hours")
    assert first_hour(plant) == OLD


def test_a_spool_of_2024_goes_through_dagster(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with SpoolWriter(home / "spool", "cam01", "device1") as writer:
        at = datetime(2024, 3, 1, 2, 5, tzinfo=UTC)
        record = {"detections": [], "model_version": "line/v1", "device_id": "device1"}
        writer.write(at, frame_record(record), b"\xff\xd8" + bytes(2000) + b"\xff\xd9")
        writer.seal(OLD)
    env = clean_env(home) | {"DAGSTER_HOME": str(tmp_path / "dagster")}
    (tmp_path / "dagster").mkdir()
    command = ["asset", "materialize", "-m", "yolo_assets.definitions", "--partition", OLD.partition_key]
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *command, "--select", "hourly_archives"],
        env=env | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((home / "archive").rglob("*cam01*20240301_02*")), done.stderr[-2000:]
