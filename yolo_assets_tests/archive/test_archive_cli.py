"""The archive commands as a person runs them: exit codes, one-line errors, JSON, bytes on standard output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from yolo_assets.spool.hours import SpoolHour

FillHour = Callable[..., SpoolHour]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_ASSETS")}
    env["YOLO_ASSETS_HOME"] = str(tmp_path / "home")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        whole = [sys.executable, "-m", "yolo_assets.cli.main", *map(str, arguments)]
        return subprocess.run(whole, env=env, capture_output=True, timeout=60, check=False)

    return run


Command = Callable[..., subprocess.CompletedProcess[bytes]]


def test_the_whole_way_of_an_hour(command: Command, fill_hour: FillHour, contents: Contents, tmp_path: Path) -> None:
    hour = fill_hour()
    before = contents(hour.path)
    where = ("--archive", tmp_path / "cold")
    spool = ("--spool", tmp_path / "spool")

    done = command("archive", "run", *spool, *where, "--verify", "full")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"cam1 20260102_03  archived  15 files")
    assert contents(hour.path) == {}
    again = command("archive", "run", *spool, *where, "--json")
    assert (again.returncode, orjson.loads(again.stdout)) == (0, [])

    (row,) = orjson.loads(command("archive", "ls", *where, "--json").stdout)
    assert (row["camera_id"], row["frame_count"]) == ("cam1", 12)
    shown = orjson.loads(command("archive", "show", row["archive_key"], *where, "--members", "--json").stdout)
    assert {member["name"] for member in shown["members"]} == set(before)
    assert command("archive", "verify", row["archive_key"], *where, "--verify", "full").returncode == 0

    name = "20260102_030005_000.jpg"
    assert command("archive", "cat", *where, "--camera", "cam1", "--frame", name).stdout == before[name]
    out = tmp_path / "frame.jpg"
    at = command("archive", "cat", *where, "--camera", "cam1", "--at", "2026-01-02T03:00:05.500Z", "-o", out)
    assert (at.returncode, out.read_bytes()) == (0, before[name])

    times = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")
    restored = command("restore", *where, "--camera", "cam1", *times, "--out", tmp_path / "back", "--json")
    assert orjson.loads(restored.stdout)["files"] == len(before)
    assert contents(tmp_path / "back" / "cam1" / "20260102_03") == before

    archive = next((tmp_path / "cold").rglob("*.tar.gz"))
    archive.chmod(0o644)
    archive.write_bytes(archive.read_bytes()[:-1])
    bad = command("archive", "verify", *where)
    assert (bad.returncode, b"DIFFERS" in bad.stdout) == (1, True)


def test_keep_local_keeps_and_grace_0_takes_a_foreign_hour(
    command: Command, contents: Contents, tmp_path: Path
) -> None:
    folder = tmp_path / "spool" / "line-7" / "20260102_03"
    folder.mkdir(parents=True)
    (folder / "x.jpg").write_bytes(b"x")
    arguments = ("archive", "run", "--spool", tmp_path / "spool", "--archive", tmp_path / "cold")
    early = command(*arguments)
    assert (early.returncode, early.stdout, early.stderr) == (0, b"", b"no closed hour to archive\n")
    kept = command(*arguments, "--grace", "0", "--keep-local", "--json")
    (result,) = orjson.loads(kept.stdout)
    assert (result["status"], "reclaimed" in result) == ("archived", False)
    assert contents(folder) == {"x.jpg": b"x"}
    assert command(*arguments, "--grace", "0").returncode == 0
    assert contents(folder) == {}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("archive", "run", "--spool", "/nowhere"), 2, "there is no spool at /nowhere"),
        (("archive", "run", "--verify", "maybe"), 2, "use head or full"),
        (("archive", "run", "--hour", "noon"), 2, "--hour: 'noon' is not an hour"),
        (("archive", "ls"), 2, "give the archiver's public key with --key PUB"),
        (("archive", "cat", "--camera", "cam1"), 2, "either --frame NAME or --at TIME"),
        (("archive", "cat", "--camera", "cam1", "--at", "noon"), 2, "--at: 'noon' is not a time"),
        (("restore", "--camera", "c", "--from", "x", "--to", "y", "--out", "o"), 2, "--from: 'x' is not a time"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(command: Command, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = command(*arguments)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, len(lines), done.stdout) == (code, 1, b"")
    assert lines[0].startswith("error: ")
    assert says in lines[0]


def test_an_hour_that_fails_is_exit_1_and_stays(
    command: Command, fill_hour: FillHour, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour()
    before = contents(hour.path)
    cold = tmp_path / "cold"
    key = "receipts/date=2026-01-02/hour=03/yolo_cam1_20260102_03.receipt.json"
    (cold / key).parent.mkdir(parents=True)
    (cold / key).write_bytes(b"{}")
    done = command("archive", "run", "--spool", tmp_path / "spool", "--archive", cold)
    assert done.returncode == 1
    assert b"failed: " in done.stdout
    assert contents(hour.path) == before
