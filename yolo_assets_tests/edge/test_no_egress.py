"""The agent in a network namespace without a route: it works, and nothing in it tries to connect anywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from yolo_assets_tests.edge.plant import Plant
from yolo_assets_tests.support.no_route import nothing_left


def unsharable() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False, timeout=30)
    return done.returncode == 0


needs_namespace = pytest.mark.skipif(not unsharable(), reason="no network namespaces may be made here (unshare -rn)")


def run(plant: Plant, seconds: float, engine: str) -> dict[str, Any]:
    plant.register("1")
    plant.promote("1")
    folder = str(plant.photos("photos", 6))
    camera = {"kind": "folder", "camera_id": "cam1", "path": folder, "loop": True, "pace": "realtime", "fps": 10}
    simulated = {"kind": "simulated", "camera_ids": ["lineA_cam01"], "fps": 2, "width": 160, "height": 128}
    outputs = [{"kind": "webhook", "name": "near", "url": "http://127.0.0.1:9/"}]
    config = plant.config_file([camera, simulated], engine={"kind": engine}, outputs=outputs, alarms=[{"name": "any"}])
    report = plant.root / "report.json"
    box = ["-m", "yolo_assets_tests.edge.no_egress_box", str(config), str(seconds), str(report)]
    command = ["unshare", "-rn", sys.executable, *box]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 120)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text())


def check(found: dict[str, Any]) -> None:
    nothing_left(found)
    status = found["status"]
    assert found["exit"] == 0 and status["ready"] and status["model"]["version"] == "line/1"
    assert all(camera["processed"] > 0 for camera in status["cameras"].values())


@needs_namespace
def test_nothing_calls_home(plant: Plant) -> None:
    check(run(plant, 8, "auto"))


@pytest.mark.soak
@pytest.mark.timeout(900)
@needs_namespace
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_nothing_calls_home_for_ten_minutes(plant: Plant, engine: str) -> None:
    check(run(plant, 600, engine))
