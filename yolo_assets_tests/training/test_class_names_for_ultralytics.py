"""Class names of any script go through ultralytics and the exported file, without a request to the internet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

SCRIPT = """
import json, socket, sys
from pathlib import Path

asked = []
def refuse(*address, **_):
    asked.append(str(address))
    raise OSError("no network here")
socket.getaddrinfo = socket.create_connection = refuse
import matplotlib.font_manager
matplotlib.font_manager.findSystemFonts = lambda *_: []  # a machine without Arial

folder = Path(sys.argv[1])
from yolo_assets.training.environment import load_ultralytics, quiet_environment
quiet_environment(folder / "config", 1)
load_ultralytics()
from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset

names = dict(enumerate(json.loads(sys.argv[2])))
(folder / "images").mkdir()
(folder / "data.yaml").write_text("train: images\\nval: images\\nnames: " + json.dumps(names))
data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
model = YOLO("yolo11n.yaml", task="detect")
model.model.names = data["names"]
model.export(format="onnx", imgsz=32, simplify=False, verbose=False)
from yolo_assets.vision.onnx_file import read_onnx
found = read_onnx(Path("yolo11n.onnx").read_bytes()).class_names
print(json.dumps([list(found), asked]))
"""


@pytest.mark.parametrize("given", [["划痕", "edge crack", "on", "012"], ["crack", "undercut"]])
def test_names_survive_training_and_export(tmp_path: Path, given: list[str]) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), orjson.dumps(given).decode()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    names, asked = orjson.loads(done.stdout.splitlines()[-1])
    assert names == given
    assert asked == []
