"""``yolo-assets tables``: detection tables without Dagster, and what is not in them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import refused
from yolo_assets_tests.support.foreign import SPOOLS, spool_case

HOUR = "20241015_14"
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(call: Command, tmp_path: Path) -> Command:
    return lambda *words: call(*words, home=tmp_path / "home", cwd=tmp_path)


@pytest.mark.parametrize(
    ("case", "counts"),
    [
        ("seed_record", {"frames": 2, "detections": 1, "quarantined": 0}),
        ("image_path_spellings", {"frames": 9, "detections": 9, "quarantined": 0}),
        ("json_with_bom", {"frames": 4, "detections": 4, "quarantined": 0}),
        ("poison_captured_at", {"frames": 3, "detections": 3, "quarantined": 1}),
    ],
)
def test_an_hour_of_the_spool_and_then_of_the_archive(
    command: Command, tmp_path: Path, case: str, counts: dict[str, int]
) -> None:
    spool = spool_case(case, tmp_path)
    done = command("tables", "build", "--hour", HOUR, "--spool", spool, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, counts)
    archived = command("archive", "run", "--spool", spool, "--grace", "0")
    assert archived.returncode == 0 and not list(spool.rglob("*.jpg"))
    other = tmp_path / "other"
    done = command("tables", "build", "--hour", HOUR, "--spool", spool, "--store", other, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, counts)


def test_quarantine_names_file_line_and_reason(command: Command, tmp_path: Path) -> None:
    spool = spool_case("poison_captured_at", tmp_path)
    (spool / "good1" / HOUR / "more.jsonl").write_text('\n\n{"image_path": "zgood2/20241015_140009.jpg"}\n')
    done = command("tables", "build", "--hour", HOUR, "--spool", spool)
    assert done.returncode == 0 and "tables quarantine --hour 20241015_14" in done.stderr
    rows = {row["file"]: row for row in json.loads(command("tables", "quarantine", "--json").stdout)}
    assert set(rows) == {f"good1/{HOUR}/more.jsonl", f"poison/{HOUR}/odd.json"}
    assert rows[f"good1/{HOUR}/more.jsonl"]["line"] == 3
    poisoned = rows[f"poison/{HOUR}/odd.json"]
    assert poisoned["line"] is None and "outside the years 1 to 9999" in poisoned["reason"]
    assert json.loads(poisoned["raw"])["image_path"] == "odd.jpg"
    text = command("tables", "quarantine", "--hour", HOUR, "--camera", "good1")
    assert text.stdout.startswith(f"good1/{HOUR}/more.jsonl:3  ") and len(text.stdout.splitlines()) == 1
    none = command("tables", "quarantine", "--hour", "20241015_15")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "nothing is in quarantine\n")


def test_one_camera_that_cannot_be_read_fails_alone(command: Command, tmp_path: Path) -> None:
    spool = spool_case("poison_timestamp", tmp_path)
    assert command("archive", "run", "--spool", spool, "--grace", "0").returncode == 0
    for receipt in (tmp_path / "home" / "archive").rglob("yolo_good1_*.receipt.json"):
        receipt.chmod(0o644)
        receipt.write_text("{}")
    done = command("tables", "build", "--hour", HOUR, "--spool", spool, "--json")
    assert json.loads(done.stdout) == {"frames": 2, "detections": 2, "quarantined": 1}
    assert done.returncode == 1 and "error: 1 of 3 cameras have no tables, the first: good1" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_questions_get_one_line(command: Command, tmp_path: Path) -> None:
    spool = spool_case("seed_record", tmp_path)
    build = ("tables", "build", "--hour", HOUR)
    refused(command("tables", "build", "--hour", "99991231_23"), "--hour", "1970 to 2099", code=2)
    refused(command("tables", "build", "--hour", "yesterday"), "--hour", code=2)
    refused(command(*build, "--spool", spool, "--camera", "cam 1"), "camera id", code=2)
    refused(command(*build, "--spool", spool, "--camera", "cam9"), "no file of cam9")
    refused(command(*build, "--spool", tmp_path / "none"), "no file of hour", "there is no archive")
    refused(command(*build, "--spool", spool, "--archive", tmp_path / "none"), "there is no archive at")


def test_a_spool_of_every_foreign_case_gives_all_good_rows_in_one_call(command: Command, tmp_path: Path) -> None:
    spool = tmp_path / "all"
    for case in SPOOLS:
        for camera in spool_case(case, tmp_path / case).iterdir():
            renamed = Path(shutil.copytree(camera, spool / f"{case}-{camera.name}"))
            named = re.compile(rb"\b" + camera.name.encode() + rb"(?=[/\\])")
            for path in renamed.rglob("*.json"):
                path.write_bytes(named.sub(renamed.name.encode(), path.read_bytes()))
    done = command("tables", "build", "--hour", HOUR, "--spool", spool, "--json")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert json.loads(done.stdout) == {"frames": 38, "detections": 35, "quarantined": 2}
    rows = json.loads(command("tables", "quarantine", "--json").stdout)
    assert {row["camera_id"] for row in rows} == {"poison_captured_at-poison", "poison_timestamp-poison"}
