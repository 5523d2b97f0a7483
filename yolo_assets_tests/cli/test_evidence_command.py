"""The commands as a person runs them; checking a pack needs neither network nor any large package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import clean_env, cli, refused
from yolo_assets_tests.cli.conftest import Call
from yolo_assets_tests.evidence.evidence_world import START, Plant, files_of

ALONE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {
            "cv2", "supervision", "fpdf", "jinja2", "duckdb", "polars", "matplotlib", "PIL", "dagster", "torch",
            "pyarrow", "fontTools", "uharfbuzz", "boto3", "yaml", "scipy"
        }:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def refuse(event, arguments):
    if event.startswith("socket."):
        raise AssertionError(f"the network was asked for: {event} {arguments}")

sys.meta_path.insert(0, Absent())
sys.addaudithook(refuse)
from yolo_assets.cli.main import main
main()
"""
TIMES = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A plant with one archived hour."""
    Plant(tmp_path).hour()
    return tmp_path


def alone(*argv: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, *map(str, argv)]
    return subprocess.run(command, env=clean_env(home), capture_output=True, text=True, timeout=60)


def test_made_here_and_verified_elsewhere_without_network_or_large_packages(home: Path, tmp_path: Path) -> None:
    out = home / "audit" / "pack"
    asked = ("--camera", "cam1", *TIMES, "--class", "crack", "--reason", "Audit 17", "--by", "A. Berg")
    done = cli("evidence", "make", *asked, "--out", out, home=home)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("2 frames, 2 records, 2 detections")

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(out, elsewhere / "pack")
    shutil.copy(home / "keys" / "archiver.pub", elsewhere / "plant.pub")
    out.rename(home / "away")
    good = alone("evidence", "verify", elsewhere / "pack", "--key", elsewhere / "plant.pub", home=elsewhere)
    assert (good.returncode, good.stderr) == (0, ""), good
    assert good.stdout.count(" ok ") == 12

    unknown = alone("evidence", "verify", elsewhere / "pack", home=elsewhere)
    refused(unknown, "proves nothing by that", "--key PUB")
    own = next((elsewhere / "pack" / "keys").glob("*.pub"))
    refused(alone("evidence", "verify", elsewhere / "pack", "--key", own, home=elsewhere), "lies in an evidence pack")
    page = elsewhere / "pack" / "report.pdf"
    page.write_bytes(page.read_bytes()[:-1])
    bad = alone("evidence", "verify", elsewhere / "pack", "--key", elsewhere / "plant.pub", "--json", home=elsewhere)
    refused(bad, "files: report.pdf has", "it was changed")
    told = json.loads(bad.stdout)
    assert not told["ok"] and told["pack"]["asked_by"] == "A. Berg"
    assert {check["name"]: check["verdict"] for check in told["checks"]}["findings"] == "not checked"
    refused(alone("evidence", "make", *asked, "--out", home / "x", home=home), "pip install --no-index")


def test_an_incomplete_pack_is_kept_and_no_success(home: Path, call: Call) -> None:
    Plant(home).hour(start=START + timedelta(hours=1))
    next((home / "archive").rglob("*_04.receipt.json")).unlink()
    asked = ("evidence", "make", "--camera", "cam1", *TIMES[:2], "--to", "2026-01-02T05:00:00Z", "--json")
    done = call(*asked, "--out", home / "pack", home=home, cwd=home)
    refused(done, "is incomplete and says so: 1 camera-hour could not be read", "yolo_cam1_20260102_04")
    assert not json.loads(done.stdout)["complete"] and (home / "pack" / "manifest.sig").is_file()
    checked = call("evidence", "verify", home / "pack", "--key", home / "keys" / "archiver.pub", home=home, cwd=home)
    assert checked.returncode == 0, checked


@pytest.mark.parametrize(
    ("argv", "words", "code"),
    [
        (TIMES, ("--camera C, --batch B",), 2),
        (("--camera", "cam1", *TIMES[2:], *TIMES[:2], "--to", "2026-01-02T03:00:00Z"), ("--to must be later",), 2),
        (("--camera", "cam1", "--from", "today", *TIMES[2:]), ("--from", "today"), 2),
        (("--camera", "../x", *TIMES), ("is not a camera id",), 2),
        (("--camera", "cam1", *TIMES, "--class", "rust"), ("nothing that is archived answers",), 1),
        (("--camera", "cam1", *TIMES, "--max-frames", "2"), ("more than 2 frames match", "--max-frames"), 1),
        (("--camera", "cam1", *TIMES, "--archive", "nowhere"), ("there is no archive",), 1),
        (("--camera", "cam1", *TIMES, "--reason", "x" * 3000), ("at most 2000",), 1),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_line(
    argv: tuple[str, ...], words: tuple[str, ...], code: int, home: Path, call: Call
) -> None:
    before = outside_the_store(home)
    refused(call("evidence", "make", *argv, "--out", home / "pack", home=home, cwd=home), *words, code=code)
    assert outside_the_store(home) == before and not (home / "pack").exists()
    assert not (home / "store" / "catalog").exists()
    told = b"".join(path.read_bytes() for path in (home / "store").rglob("audit/trail/*.json"))
    assert bool(told) == (code == 1 and "--archive" not in argv), "a question that was looked into is on record"


def outside_the_store(home: Path) -> dict[str, bytes]:
    return {path: data for path, data in files_of(home).items() if not path.startswith("store/")}
