"""``ls``, ``show``, ``verify``, ``cat``, ``restore`` as people and scripts meet them: lines, exit codes, files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import cli, contents, refused
from yolo_assets_tests.cli.conftest import Call

DAY = ("--from", "2026-01-02T00:00:00Z", "--to", "2026-01-03T00:00:00Z")
NAME = "yolo_cam1_20260102_03"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with archived foreign hours of two cameras and keys; tests copy it or only look at it."""
    home = tmp_path_factory.mktemp("plant")
    for camera, hour in (("cam1", "20260102_03"), ("cam1", "20260102_07"), ("cam2", "20260102_03")):
        folder = home / "spool" / camera / hour
        folder.mkdir(parents=True)
        for second in range(3):
            stem = f"{hour}000{second}_000"
            found = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": second / 4}
            found["timestamp"] = "2026-01-02T03:00:00Z"
            record = {"image_path": f"{stem}.jpg", "detections": [found], "model_version": "v", "device_id": "d"}
            (folder / f"{stem}.jpg").write_bytes(b"\xff\xd8" + stem.encode() * 300)
            (folder / f"{stem}.json").write_text(json.dumps(record | {"batch_id": f"B{second}"}))
        (folder / "foreign.jpg").write_bytes(f"{camera} {hour}".encode())
    done = cli("archive", "run", "--grace", "0", "--keep-local", home=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def damaged(plant: Path, tmp_path: Path) -> Path:
    """A copy whose first receipt is damaged."""
    home = tmp_path / "home"
    shutil.copytree(plant, home)
    receipt = next((home / "archive").rglob(f"{NAME}.receipt.json"))
    receipt.chmod(0o644)
    receipt.write_text("{")
    return home


def test_a_bad_receipt_never_stops_the_others(damaged: Path, call: Call) -> None:
    done = call("archive", "ls", home=damaged, cwd=damaged)
    refused(done, "1 of 3 receipts are missing or untrusted", NAME)
    assert "UNTRUSTED" in done.stdout and len(done.stdout.splitlines()) == 3
    done = call("archive", "ls", "--json", home=damaged, cwd=damaged)
    assert [row.get("problem") is None for row in json.loads(done.stdout)] == [False, True, True]
    done = call("archive", "verify", "--verify", "full", home=damaged, cwd=damaged)
    refused(done, "1 of 3 archives are not what was archived", NAME)
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("yolo_")] == ["DIFFERS", "ok", "ok"]
    done = call("restore", *DAY, "--out", damaged / "back", home=damaged, cwd=damaged)
    refused(done, "not everything can be restored", NAME)
    assert contents(damaged / "back") == {
        path: sha for path, sha in contents(damaged / "spool").items() if "cam1/20260102_03" not in path
    }


def test_listing_says_when_there_is_nothing(plant: Path, tmp_path: Path, call: Call) -> None:
    def said(*argv: str | Path) -> str:
        done = call("archive", "ls", *argv, home=plant, cwd=plant)
        assert (done.returncode, done.stdout) == (0, ""), done
        return done.stderr

    (tmp_path / "empty").mkdir()
    assert "nothing is archived in" in said("--archive", tmp_path / "empty")
    assert "its hours are from 20260102_03 to 20260102_07" in said("--camera", "cam1", "--date", "2026-01-03")
    assert "nothing is archived in that time" in said("--from", "2026-01-03T00:00:00Z")
    for command in (("ls",), ("ls", *DAY), ("verify",)):
        done = call("archive", *command, "--camera", "cam9", home=plant, cwd=plant)
        refused(done, "nothing is archived of camera cam9; there are archives of cam1, cam2")
    refused(call("archive", "verify", "--archive", tmp_path / "empty", home=plant, cwd=plant), "no archive to verify")
    for limits, count in (
        (("--from", "2026-01-02T07:59:00Z"), 1),
        (("--to", "2026-01-02T04:00:00Z"), 2),
        (("--date", "2026-01-02"), 3),
        (("--camera", "cam1", *DAY), 2),
    ):
        done = call("archive", "ls", *limits, home=plant, cwd=plant)
        assert done.returncode == 0 and len(done.stdout.splitlines()) == count, limits


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--camera", "cam9", "--at", "2026-01-02T03:00:00Z"), ("nothing is archived of camera cam9", "cam1, cam2")),
        (("--camera", "cam1", "--frame", "20260102_050000_000.jpg"),
         ("no archive of hour 20260102_05", "20260102_07 after")),
        (("--camera", "cam1", "--frame", "20260102_030005_000.jpg"), ("among the 4 frames", "20260102_030002_000.jpg")),
        (("--camera", "cam1", "--at", "2026-01-02T02:59:59Z"),
         ("no frame archived within 24 hours", "20260102_03 after")),
        (("--camera", "cam1", "--at", "2026-02-02T03:00:00Z"),
         ("no frame archived within 24 hours", "20260102_07 before")),
        (("--camera", "cam1", "--frame", "foreign.jpg"), ("has no time in its name", "--hour")),
        (("--camera", "cam1", "--frame", "20260102_030000_000.json"), ("is not the name of a frame", "--hour")),
        (("--camera", "cam1", "--frame", "none.jpg", "--hour", "20260102_03"), ("among the 4 frames",)),
    ],
)  # fmt: skip
def test_cat_reports_what_is_missing_and_what_is_closest(
    argv: tuple[str, ...], words: tuple[str, ...], plant: Path, call: Call
) -> None:
    code = 2 if "--hour" in words else 1
    refused(call("archive", "cat", *argv, "-o", "frame", home=plant, cwd=plant), *words, code=code)
    assert not (plant / "frame").exists()


def test_cat_finds_by_time_also_in_the_hours_before_and_by_hour_what_has_no_time(
    plant: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "frame"
    for argv, hour, name, said in (
        (("--at", "2026-01-02T03:00:01.999Z"), "20260102_03", "20260102_030001_000.jpg", "bytes to"),
        (("--at", "2026-01-02T05:00:00Z"), "20260102_03", "20260102_030002_000.jpg", "this is the newest before it"),
        (("--frame", "foreign.jpg", "--hour", "20260102_07"), "20260102_07", "foreign.jpg", "bytes to"),
    ):
        done = call("archive", "cat", "--camera", "cam1", *argv, "-o", out, home=plant, cwd=plant)
        assert done.returncode == 0 and said in done.stderr, done
        assert out.read_bytes() == (plant / "spool" / "cam1" / hour / name).read_bytes()


def test_show_suggests_names_and_lists_every_member(plant: Path, call: Call) -> None:
    refused(
        call("archive", "show", "yolo_cam1_20260102_05", home=plant, cwd=plant), "20260102_03 before and 20260102_07"
    )
    refused(call("archive", "show", f"{NAME}_p2", home=plant, cwd=plant), f"there is no {NAME}_p2", "has part 1")
    done = call("archive", "show", NAME, "--members", home=plant, cwd=plant)
    assert done.returncode == 0 and sum("foreign.jpg" in line for line in done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--camera", "cam1", "--class", "dent"), ("no frame with class dent", "classes crack up to 0.50")),
        (("--class", "crack", "--min-confidence", "0.9"), ("confidence from 0.9", "crack up to 0.50", "cam1, cam2")),
        (("--batch", "B7"), ("no frame with batch B7", "batches B0, B1, B2")),
        (("--camera", "cam9"), ("nothing is archived of camera cam9",)),
        (("--camera", "cam1", "--from", "2026-01-02T04:00:00Z", "--to", "2026-01-02T06:00:00Z"),
         ("no archive of the hours 20260102_04 to 20260102_05", "03 before and 20260102_07 after")),
        (("--from", "2026-01-05T00:00:00Z", "--to", "2026-01-06T00:00:00Z"),
         ("no archive between", "archives of cam1, cam2")),
    ],
)  # fmt: skip
def test_restore_of_nothing_says_what_there_is(
    argv: tuple[str, ...], words: tuple[str, ...], plant: Path, call: Call
) -> None:
    times = () if "--from" in argv else DAY
    refused(call("restore", *times, *argv, "--out", "back", home=plant, cwd=plant), *words)
    assert not (plant / "back").exists()


def test_restore_reports_first_then_writes_and_continues(plant: Path, tmp_path: Path, call: Call) -> None:
    argv = ("restore", *DAY, "--batch", "B1", "--out", tmp_path / "back")
    told = json.loads(call(*argv, "--dry-run", "--json", home=plant, cwd=plant).stdout)
    assert (told["archives"], told["cameras"], told["hours"]) == (3, 2, 3)
    assert told["missing_bytes"] == told["bytes"] < told["free_bytes"] and not (tmp_path / "back").exists()
    line = call(*argv, "--dry-run", home=plant, cwd=plant).stdout
    assert line.startswith(f"{told['files']} files, {told['bytes']} bytes in 3 archives of 2 cameras")
    for skipped in (0, told["files"]):
        done = json.loads(call(*argv, "--json", home=plant, cwd=plant).stdout)
        assert (done["files"], done["skipped"]) == (told["files"] - skipped, skipped)
    assert sum(path.endswith(".jpg") for path in contents(tmp_path / "back")) == 3


def test_a_missing_receipt_is_reported_by_every_command(plant: Path, tmp_path: Path, call: Call) -> None:
    home = tmp_path / "home"
    shutil.copytree(plant, home)
    for receipt in (home / "archive").rglob("*cam2*.receipt.json"):
        receipt.unlink()
    for argv in (
        ("archive", "ls", "--camera", "cam2"),
        ("archive", "show", "yolo_cam2_20260102_03"),
        ("archive", "cat", "--camera", "cam2", "--frame", "20260102_030000_000.jpg", "-o", "frame"),
        ("restore", "--camera", "cam2", *DAY, "--out", "back"),
    ):
        line = refused(call(*argv, home=home, cwd=home), "lost or hidden", "archive verify yolo_cam2_20260102_03")
        assert "again from its spool" not in line
    refused(
        call("archive", "verify", "yolo_cam2_20260102_03", home=home, cwd=home),
        "1 of 1 archives", "receipt was lost", ".uploaded",
    )  # fmt: skip
    # In a range with others the rest is given, and the lost one named; with all cameras too.
    for camera in (("--camera", "cam2"), ()):
        refused(call("restore", *camera, *DAY, "--out", "back", home=home, cwd=home), "yolo_cam2_20260102_03")
    assert any(path.startswith("cam1/") for path in contents(home / "back"))
    for receipt in (home / "archive").rglob("*.receipt.json"):
        receipt.unlink()
    refused(call("archive", "ls", home=home, cwd=home), "none has a receipt", "cam1, cam2")
    # An archive without a receipt is on its way for a day, then it is a problem.
    done = call("archive", "verify", home=home, cwd=home)
    assert done.returncode == 1 and "3 archives without a receipt are less than a day old" in done.stderr
    for path in (home / "archive").rglob("yolo_*"):
        os.utime(path, (1, 1))
    refused(call("archive", "verify", home=home, cwd=home), "3 of 3 archives")


def test_a_timer_audits_its_part_each_day_and_coverage_counts(plant: Path, tmp_path: Path) -> None:
    """Through real processes: exit codes are what a timer sees."""
    home = tmp_path / "home"
    shutil.copytree(plant, home)
    days = [cli("archive", "verify", "--sample", "1/3", "--verify", "full", home=home) for _ in range(3)]
    assert [(done.returncode, done.stderr) for done in days] == [(0, "")] * 3
    assert "3 of 3 archives" in days[-1].stdout and "verified in full within the last 3 days" in days[-1].stdout
    told = json.loads(cli("archive", "verify", "--coverage", "--json", home=home).stdout)
    assert (told["archives"], told["full"], told["days"]) == (3, 3, 30)
    archive = next((home / "archive").rglob(f"{NAME}.tar.gz"))
    archive.unlink()
    refused(cli("archive", "verify", "--sample", "1/3", home=home), "1 of 3 archives are not what was archived", NAME)
    told = cli("archive", "verify", "--coverage", home=home)
    assert told.returncode == 0 and f"wrong when last verified: {NAME}" in told.stdout
    keys = tmp_path / "keys"
    shutil.move(home / "keys", keys)
    done = cli("archive", "verify", "--sample", "1/3", "--key", keys / "archiver.pub", home=home)
    assert done.returncode == 1 and "this audit is not signed" in done.stderr
