"""Two laws for every reader, over every foreign spool: one odd item never stops its neighbours, and what is not
understood is named, kept and counted.

Each case lies in a plant beside a camera of good frames. The commands run in this process; Dagster's assets and sensors
run in one of their own, because a plant whose oldest hour is of 2024 has other partitions than the tests around it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import duckdb
import numpy as np
import pytest

from yolo_assets.cli.main import main
from yolo_assets.contracts.times import Hour
from yolo_assets_tests.cli.command_line import clean_env
from yolo_assets_tests.support.foreign import SPOOLS, every_spool, spool_case

HOUR = Hour.from_key("20241015_14")
GOOD = "zz_neighbour"
ALL_TIME = ("--from", "1970-01-01T00:00:00Z", "--to", "2099-12-31T00:00:00Z")
FIRST_CAMERA = "aa_neighbour"


def add_neighbour(spool: Path, camera: str) -> set[str]:
    """Two good frames with a crack each, in the hour of the foreign ones."""
    folder = spool / camera / HOUR.key
    folder.mkdir(parents=True)
    names: set[str] = set()
    for second in (10, 20):
        stem = f"20241015_1400{second}_000"
        picture = np.full((120, 160, 3), second * 5, np.uint8)
        cv2.rectangle(picture, (40, 50), (120, 60), (0, 0, 255), -1)
        (folder / f"{stem}.jpg").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        record = {
            "image_path": f"{camera}/{HOUR.key}/{stem}.jpg",
            "detections": [
                {
                    "bbox": [40, 50, 120, 60],
                    "class": "crack",
                    "confidence": 0.93,
                    "timestamp": f"2024-10-15T14:00:{second}Z",
                }
            ],
            "model_version": "line/1",
            "device_id": "device1",
        }
        (folder / f"{stem}.json").write_text(json.dumps(record))
        names |= {f"{camera}/{HOUR.key}/{stem}.{ending}" for ending in ("jpg", "json")}
    return names


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def document(self) -> object:
        return json.loads(self.out)


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs a command in this process; a traceback or a code beyond 0 and 1 fails the test."""
    for name in [name for name in os.environ if name.startswith("YOLO_ASSETS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("YOLO_ASSETS_HOME", str(tmp_path))

    def run(line: str, *options: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["yolo-assets", *line.split(), *map(str, options)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        assert ended.value.code in (0, 1), f"{line} {options}: {printed.err}"
        assert "Traceback" not in printed.err
        assert sum(text.startswith("error: ") for text in printed.err.splitlines()) == ended.value.code
        return Ended(ended.value.code, printed.out, printed.err)

    return run


def plant(case: str, folder: Path) -> Path:
    spool = spool_case(case, folder)
    for camera in (FIRST_CAMERA, GOOD):  # before and after the foreign ones
        add_neighbour(spool, camera)
    return spool


@pytest.mark.parametrize("case", SPOOLS)
def test_no_command_loses_or_stops_at_a_foreign_item(case: str, tmp_path: Path, command: Command) -> None:
    spool = plant(case, tmp_path)
    was = files_below(spool)
    good = {name for name in was if name.startswith((FIRST_CAMERA, GOOD))}

    rows = command("archive run", "--grace", 0, "--keep-local", "--json").document
    assert isinstance(rows, list)
    skipped = [Path(row["path"]).relative_to(spool).as_posix() for row in rows if row["status"] == "skipped"]
    assert all(row["reason"] for row in rows if row["status"] == "skipped")
    assert all(row["status"] in ("archived", "skipped") for row in rows), rows

    cameras = sorted({name.split("/")[0] for name in was})
    for camera in cameras:
        command("restore", "--camera", camera, *ALL_TIME, "--out", tmp_path / "all")
    back = files_below(tmp_path / "all")
    assert good <= back.keys()
    for name, data in was.items():
        named = any(name == path or name.startswith(f"{path}/") for path in skipped)
        assert (back.get(name) == data) != named, f"{name}: archived as it was, or named as skipped"

    hours = sorted({row["hour"] for row in rows if row["status"] == "archived"})
    counts = [command("tables build", "--hour", hour, "--json").document for hour in hours]
    refused = command("tables quarantine", "--json").document
    frames = sum(count["frames"] for count in counts)  # type: ignore[index]
    whole = [row for row in refused if row["index"] is None]  # type: ignore[union-attr]
    archived = {name: data for name, data in was.items() if name in back}
    assert frames + len(whole) == number_of_records(archived), "each record is a row or in quarantine"
    assert all(row["reason"] and row["file"] for row in refused)  # type: ignore[union-attr]
    assert not [row for row in refused if row["camera_id"] in (FIRST_CAMERA, GOOD)]  # type: ignore[union-attr]

    assert command("catalog rebuild", "--json").code == 0
    found = command("catalog find", "--class", "crack", *ALL_TIME).out
    assert FIRST_CAMERA in found and GOOD in found
    for camera in (FIRST_CAMERA, GOOD):
        out = tmp_path / "cracks"
        assert command("restore", "--camera", camera, "--class", "crack", *ALL_TIME, "--out", out).code == 0
    assert files_below(tmp_path / "cracks").keys() == good

    pack = tmp_path / "pack"
    asked = [option for camera in cameras for option in ("--camera", camera)]
    made = command("evidence make", *asked, *ALL_TIME, "--out", pack)
    assert made.code == 0, made.err
    assert command("evidence verify", pack, "--key", tmp_path / "keys" / "archiver.pub").code == 0
    shown = {name.split("/")[-1] for name in files_below(pack)}
    assert {Path(name).name for name in good if name.endswith(".jpg")} <= shown


def number_of_records(files: dict[str, bytes]) -> int:
    """Lines and documents of the record files, whether they are records or not."""
    lines = [data.strip().splitlines() for name, data in files.items() if name.endswith((".ndjson", ".jsonl"))]
    return sum(map(len, lines)) + sum(name.endswith(".json") for name in files)


DAGSTER = """
import json, dagster as dg
from yolo_assets.definitions import defs
from yolo_assets_tests.support.automation_daemon import AutomationDaemon
with dg.DagsterInstance.get() as instance:
    daemon = AutomationDaemon(defs(), instance)
    daemon.settle(most=12)
    config = {"budget": 40, "since": "2024-10-15T14:00:00Z", "until": "2024-10-15T15:00:00Z"}
    batch = daemon.run("annotation_batch", config={"ops": {"annotation_batch": {"config": config}}})
    print(json.dumps([daemon.failed_ticks, batch or daemon.last_error()]))
"""


@pytest.mark.timeout(600)
def test_dagster_carries_every_camera_beside_foreign_ones(tmp_path: Path) -> None:
    home = tmp_path / "home"
    spool = every_spool(home)
    for camera in (FIRST_CAMERA, GOOD):
        add_neighbour(spool, camera)
    cameras = {path.parent.name for path in spool.glob("*/20241015_14")}
    assert len(cameras) > len(SPOOLS)
    env = clean_env(home) | {"YOLO_ASSETS_GRACE_SECONDS": "0", "DAGSTER_HOME": str(tmp_path / "dagster")}
    (tmp_path / "dagster").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DAGSTER], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[], True]
    receipts = [path.name for path in (home / "archive" / "receipts").rglob("*") if path.is_file()]
    tables = [path.as_posix() for path in (home / "store" / "frames").rglob("*.parquet")]
    for camera in cameras:
        assert any(camera in name for name in receipts), receipts
        assert any(camera in name for name in tables), tables
    with duckdb.connect(next((home / "store").rglob("*.duckdb")), read_only=True) as catalog:
        listed = {row[0] for row in catalog.execute("SELECT DISTINCT camera_id FROM archives").fetchall()}
    assert listed >= cameras
    batch = b"".join(path.read_bytes() for path in (home / "store" / "annotation").rglob("manifest.json"))
    assert FIRST_CAMERA.encode() in batch and GOOD.encode() in batch
