"""The promise of the extra ``archive``: a machine archives, verifies and restores without the large packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import clean_env, contents, refused

ABSENT = (
    *("dagster", "torch", "torchvision", "ultralytics", "cv2", "polars", "duckdb", "pandera", "openvino"),
    *("onnxruntime", "onnx", "fastapi", "uvicorn", "av", "yaml", "ruamel", "psutil", "watchfiles"),
)


def without(absent: tuple[str, ...]) -> str:
    """A program that is the command line on a machine without these packages."""
    return f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from yolo_assets.cli.main import main
main()
"""


TIMES = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")


def box(*argv: str | Path, home: Path, text: bool = True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", without(ABSENT), *map(str, argv)]
    return subprocess.run(command, env=clean_env(home), capture_output=True, text=text, timeout=60)


@pytest.fixture
def foreign_spool(tmp_path: Path) -> Path:
    """What somebody else's program left: no seal, records as JSON files, one that is none, one picture cut short."""
    hour = tmp_path / "spool" / "cam1" / "20260102_03"
    hour.mkdir(parents=True)
    for second in range(5):
        stem = f"20260102_03000{second}_000"
        found = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": second / 10, "timestamp": "2026-01-02T03:00:00Z"}
        record = {"image_path": f"{stem}.jpg", "detections": [found], "model_version": "v", "device_id": "d"}
        (hour / f"{stem}.jpg").write_bytes(b"\xff\xd8" + bytes([second]) * 3000 + b"\xff\xd9")
        (hour / f"{stem}.json").write_text(json.dumps(record))
    (hour / "20260102_030001_000.jpg").write_bytes(b"\xff\xd8\xff")
    (hour / "20260102_030002_000.json").write_text("{half a rec")
    return tmp_path / "spool"


def test_archive_verify_restore_without_the_large_packages(foreign_spool: Path, tmp_path: Path) -> None:
    before = contents(foreign_spool)
    done = box("archive", "run", "--grace", "0", "--verify", "full", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(done.stdout)] == ["archived"]
    assert contents(foreign_spool) == {}

    listed = json.loads(box("archive", "ls", "--json", home=tmp_path).stdout)
    assert [(row["frame_count"], row["bad_records"]) for row in listed] == [(5, 1)]
    done = box("archive", "verify", "--verify", "full", home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "ok" in done.stdout
    assert box("archive", "show", "yolo_cam1_20260102_03", "--members", home=tmp_path).returncode == 0

    frame = "20260102_030003_000.jpg"
    done = box("archive", "cat", "--camera", "cam1", "--frame", frame, home=tmp_path, text=False)
    assert (done.returncode, done.stdout) == (0, b"\xff\xd8" + bytes([3]) * 3000 + b"\xff\xd9")

    done = box("restore", "--camera", "cam1", *TIMES, "--out", tmp_path / "back", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "back") == before
    sure = ("--class", "crack", "--min-confidence", "0.35", "--frames-only")
    done = box("restore", "--camera", "cam1", *TIMES, *sure, "--out", tmp_path / "sure", home=tmp_path)
    assert [Path(name).name for name in contents(tmp_path / "sure")] == ["20260102_030004_000.jpg"], done.stderr
    assert box("models", "keygen", home=tmp_path / "other").returncode == 0


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (("catalog", "query", "SELECT 1"), "platform"),
        (("demo",), "platform"),
        (("up",), "platform"),
        (("simulate", "--out", "new", "--fps", "0.001"), "edge"),
        (("edge", "run", "--config", "edge.yaml"), "edge"),
        (("archive", "run", "--spool", ".", "--archive", "archive"), "archive"),
        (("storage", "doctor", "--archive", "s3://plant-cold/yolo"), "s3"),
        (("models", "list", "--store", "s3://plant-store/yolo"), "s3"),
    ],
)
def test_what_needs_more_says_what_to_install(argv: tuple[str, ...], extra: str, tmp_path: Path) -> None:
    (tmp_path / "edge.yaml").write_text("device_id: box1\n")
    absent = (*ABSENT, "pyarrow", "boto3", "botocore") if extra in ("archive", "s3") else ABSENT
    command = [sys.executable, "-c", without(absent), *argv]
    done = subprocess.run(command, env=clean_env(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    refused(done, "is not installed; it belongs to the extra")
    assert f"requirements-{extra}.txt" in done.stderr
    assert not (tmp_path / "new").exists()
