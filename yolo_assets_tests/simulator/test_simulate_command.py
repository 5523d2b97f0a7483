"""``yolo-assets simulate`` as a person runs it."""

import subprocess
import sys
from pathlib import Path

import orjson

from yolo_assets.spool.hours import list_hours


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "yolo_assets.cli.main", "simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_writes_hours_and_says_so(tmp_path: Path) -> None:
    arguments = ["--out", tmp_path / "s", "--cameras", "2", "--fps", "0.002", "--seed", "7", "--start", "20260102_03"]
    arguments += ["--truth", tmp_path / "t", "--change-at", "2026-01-02T03:30:00Z", "--dirty-lens-at", "20260102_03"]
    done = command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    report = orjson.loads(done.stdout)
    assert report["sealed"] == 2 and report["frames"] == 8 + 7 and report["model_version"] is None
    assert len(list_hours(tmp_path / "s")) == 2

    again = command(*arguments)
    assert again.returncode == 0 and "2 camera-hours were there already" in again.stdout
    other = command(*arguments, "--seed", "8")
    assert other.returncode == 1 and other.stderr.count("\n") == 1
    assert other.stderr.startswith("error: ") and "give another --out" in other.stderr


def test_wrong_calls_give_one_line_and_the_right_code(tmp_path: Path) -> None:
    bad_time = command("--out", tmp_path / "s", "--change-at", "yesterday")
    assert bad_time.returncode == 2 and "'yesterday' is not a time" in bad_time.stderr
    lonely = command("--out", tmp_path / "s", "--dirty-camera", "lineA_cam01")
    assert lonely.returncode == 2 and "--dirty-lens-at" in lonely.stderr
    assert command("--cameras", "2").returncode == 2
    assert not (tmp_path / "s").exists()


def test_help_has_an_example() -> None:
    shown = command("--help")
    assert shown.returncode == 0 and "Example: yolo-assets simulate" in " ".join(shown.stdout.split())
