"""``make up`` for real: UI, daemon and agent as processes; a new hour goes through without anybody asking."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from yolo_assets.catalog.read import query
from yolo_assets.catalog.versions import read_pointer
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets.storage.faults import Effect
from yolo_assets_tests.support.faulty_stores import FaultLog, FaultOrder, faulty_environment
from yolo_assets_tests.support.records import frame_record

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))
ASSETS = "{ assetNodes { assetKey { path } } }"


def write_hour(spool: Path, camera: str) -> None:
    with SpoolWriter(spool, camera, "box01") as writer:
        for minute in range(3):
            moment = NIGHT.start + timedelta(minutes=minute)
            record = {"detections": [], "model_version": "line/v1", "device_id": "box01", "at": format_time(moment)}
            writer.write(moment, frame_record(record), b"\xff\xd8" + bytes(2000) + b"\xff\xd9")
        writer.seal(NIGHT)


def get(url: str, body: dict | None = None) -> bytes:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def wait_for(log: Path, pattern: str, process: subprocess.Popen, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text())
        if found:
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.2)
    raise AssertionError(f"{pattern} did not appear: {log.read_text()}")


@pytest.mark.parametrize(
    "fails",
    [
        pytest.param(None, id="sound"),
        pytest.param("after", id="each-operation-fails-once"),
        pytest.param("before", id="each-operation-has-no-effect-once", marks=pytest.mark.soak),
    ],
)
def test_up_serves_everything_and_the_daemon_carries_a_new_hour(tmp_path: Path, fails: Effect | None) -> None:
    """``fails``: in every process that ``up`` starts, each operation of each store fails once."""
    home, log, faults = tmp_path / "var", tmp_path / "up.log", tmp_path / "faults.log"
    write_hour(home / "spool", "cam01")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_ASSETS_", "DAGSTER_"))}
    env |= {"YOLO_ASSETS_HOME": str(home), "YOLO_ASSETS_GRACE_SECONDS": "1"}
    if fails is not None:
        env = faulty_environment(tmp_path / "hook", FaultOrder(each_once=fails, log=str(faults)), env)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "yolo_assets.cli.main", "up", "--cameras", "1", "--fps", "2"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
        )
    family: list[psutil.Process] = []
    try:
        page = wait_for(log, r"live page\s+(\S+)", process, 90)
        ui = wait_for(log, r"Dagster UI\s+(\S+)", process, 150)
        assert b"SIMULATED" in get(page) or b"simulated" in get(page)
        answer = json.loads(get(f"{ui}graphql", {"query": ASSETS}))
        keys = {node["assetKey"]["path"][-1] for node in answer["data"]["assetNodes"]}
        assert {"raw_frames", "hourly_archives", "archive_catalog", "trained_weights", "deployed_model"} <= keys
        family = psutil.Process(process.pid).children(recursive=True)
        store = open_store((home / "store").as_uri())
        deadline = time.monotonic() + 220
        while read_pointer(store) is None and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
        assert query(store, "SELECT camera_id, frame_count FROM archives").rows() == [("cam01", 3)]
    finally:
        if process.poll() is None:
            family = family or psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, log.read_text()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, "a child survived its parent"
    failed = {operation for operation, _ in FaultLog(faults).faults()}
    assert failed >= {"get", "put_if_absent", "compare_and_swap"} if fails else not failed
