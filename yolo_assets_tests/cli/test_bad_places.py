"""Places that cannot be used: not there, not writable, in the way. One line that names the place; nothing lost."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import cli, contents, refused
from yolo_assets_tests.cli.conftest import Call

TIMES = ("--from", "2026-01-02T03:00:00Z", "--to", "2026-01-02T04:00:00Z")
FRAME = "20260102_030001_000.jpg"
TRUNCATED = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01"  # a picture that a dying camera left


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one archived foreign hour, its spool still there; tests only look at it."""
    home = tmp_path_factory.mktemp("plant")
    hour = home / "spool" / "cam1" / "20260102_03"
    hour.mkdir(parents=True)
    for second in range(3):
        (hour / f"20260102_03000{second}_000.jpg").write_bytes(TRUNCATED + bytes([second]))
    done = cli("archive", "run", "--grace", "0", "--keep-local", home=home)
    assert done.returncode == 0, done.stderr
    (home / "file").write_text("a file where a folder should be")
    (home / "bundle").mkdir()
    return home


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("archive", "ls", "--archive", "typo"), ("there is no archive at", "typo", "correct --archive")),
        (("archive", "show", "yolo_cam1_20260102_03", "--archive", "typo"), ("there is no archive at",)),
        (("archive", "verify", "--archive", "typo"), ("there is no archive at",)),
        (("archive", "cat", "--camera", "cam1", "--frame", FRAME, "--archive", "typo"), ("there is no archive at",)),
        (("restore", "--camera", "cam1", *TIMES, "--out", "back", "--archive", "typo"), ("there is no archive at",)),
        (("catalog", "rebuild", "--archive", "typo"), ("there is no archive at",)),
        (("archive", "ls", "--archive", "file"), ("there is no archive at",)),
        (("archive", "ls", "--key", "nowhere.pub"), ("nowhere.pub is not a readable public key",)),
        (("archive", "ls", "--key", "file"), ("file is not a readable public key",)),
        (("archive", "cat", "--camera", "cam1", "--frame", FRAME, "-o", "bundle"), ("bundle: Is a directory",)),
        (("archive", "cat", "--camera", "cam1", "--frame", "20260102_030009_000.jpg"), ("20260102_030009_000.jpg",)),
        (("restore", "--camera", "cam1", *TIMES, "--out", "file"), ("file is not a folder; choose another one",)),
        (("simulate", "--out", "file"), ("file/lineA_cam01: Not a directory", "another path")),
        (("simulate", "--out", "new", "--model", "nowhere"), ("nowhere is not a model bundle",)),
        (("simulate", "--out", "new", "--model", "bundle"), ("bundle is not a model bundle",)),
        (("catalog", "stats", "--store", "file"), ("file is not a folder; correct the store's URL",)),
        (("catalog", "gaps"), ("no catalog in", "yolo-assets catalog rebuild")),
        (("models", "list", "--store", "file:///nonexistent/x/y"), ("/nonexistent/x is not a folder",)),
        (("models", "verify", "line/1", "--trusted-key", "nowhere.pub"), ("nowhere.pub is not a readable public key",)),
        (("edge", "status", "--url", "http://127.0.0.1:9/"), ("no agent answers at http://127.0.0.1:9/",)),
        (("edge", "run", "--config", "bundle"), ("cannot read the configuration", "Is a directory")),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line(
    argv: tuple[str, ...], words: tuple[str, ...], plant: Path, call: Call
) -> None:
    before = contents(plant)
    done = call(*argv, home=plant, cwd=plant)
    refused(done, *words, code=2 if argv[:2] == ("edge", "run") else 1)  # a configuration is an argument
    assert done.stdout == ""
    assert contents(plant) == before, "nothing may change, and a mistyped place is not made"
    assert not (plant / "typo").exists()


@pytest.mark.parametrize("command", ["models keygen", "demo", "up", "catalog rebuild"])
def test_a_home_that_is_a_file_is_one_line(command: str, plant: Path) -> None:
    done = cli(*command.split(), home=plant / "file", cwd=plant)
    assert str(plant / "file") in refused(done)
    assert (plant / "file").read_text() == "a file where a folder should be"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (
            {
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            },
            "cannot reach http://127.0.0.1:9",
        ),
    ],
)
@pytest.mark.parametrize(
    "argv",
    [
        ("archive", "ls", "--archive"),
        ("models", "list", "--store"),
        ("catalog", "query", "SELECT 1", "--store"),
        ("archive", "run", "--grace", "0", "--json", "--archive"),
    ],
    ids=" ".join,
)
def test_s3_that_does_not_answer_is_one_line_and_soon(
    argv: tuple[str, ...], env: dict[str, str], words: str, plant: Path, call: Call
) -> None:
    before, began = contents(plant / "spool"), time.monotonic()
    done = call(*argv, "s3://no-such-bucket/x", home=plant, cwd=plant, env=env)
    assert time.monotonic() - began < 20
    # Looking at models needs no key and says so in a line of its own; the last line is the error.
    *notes, last = done.stderr.splitlines()
    assert done.returncode == 1 and last.startswith("error: ") and words in last, done
    assert all(note.startswith("signatures are not checked") for note in notes)
    if "--json" in argv:
        (failed,) = json.loads(done.stdout)
        assert failed["status"] == "failed" and words in failed["reason"]
    else:
        assert done.stdout == ""
    assert contents(plant / "spool") == before


def test_a_truncated_picture_comes_back_byte_for_byte(plant: Path, tmp_path: Path) -> None:
    done = cli("restore", "--camera", "cam1", *TIMES, "--out", tmp_path / "back", "--frames-only", home=plant)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "back") == contents(plant / "spool")


def test_a_frame_that_is_not_there_is_exit_1_every_time(plant: Path) -> None:
    """Reading the index starts nothing that could still be at work, and abort, when the process ends."""
    for _ in range(5):
        refused(cli("archive", "cat", "--camera", "cam1", "--frame", "20260102_030009_000.jpg", home=plant))


def test_nothing_found_is_reported(plant: Path, tmp_path: Path) -> None:
    done = cli("restore", "--camera", "cam2", *TIMES, "--out", tmp_path / "back", home=plant)
    refused(done, "nothing is archived of camera cam2; there are archives of cam1")
    assert not (tmp_path / "back").exists()


def test_a_range_of_all_time_is_answered_at_once(plant: Path, tmp_path: Path) -> None:
    times = ("--from", "0001-01-01T00:00:00Z", "--to", "9999-12-31T00:00:00Z")
    done = cli("restore", "--camera", "cam1", *times, "--out", tmp_path / "back", "--json", home=plant, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 3
    assert contents(tmp_path / "back") == contents(plant / "spool")


@pytest.fixture
def read_only(plant: Path, tmp_path: Path) -> Iterator[Path]:
    """The plant's home, mounted so that even root cannot write to it."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    for options in (("--bind", str(plant)), ("-o", "remount,bind,ro", str(plant))):
        done = subprocess.run(["mount", *options, str(mounted)], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_read_only_plant_can_be_read_and_says_so_when_written(read_only: Path, plant: Path, tmp_path: Path) -> None:
    before = contents(plant)
    restore = ("restore", "--camera", "cam1", *TIMES, "--out", tmp_path / "back")
    refused(cli(*restore, home=read_only), "nothing was done, because the audit trail in", "mounted read-only")
    assert not (tmp_path / "back").exists()
    (tmp_path / "centre").mkdir()
    done = cli(*restore, "--store", tmp_path / "centre", home=read_only)
    assert done.returncode == 0, done.stderr
    refused(cli("simulate", "--out", read_only / "new", home=read_only), "new", "Read-only file system")
    refused(cli("catalog", "rebuild", home=read_only), "is mounted read-only; mount it writable")
    refused(cli("models", "keygen", home=read_only / "new"), "Read-only file system")
    # The spool cannot be written, so nothing may be deleted there; the archive is elsewhere.
    done = cli("archive", "run", "--grace", "0", "--archive", tmp_path / "cold", home=read_only)
    noted, _, done.stderr = done.stderr.partition("\n")
    assert "figures cannot be kept in" in noted and "Read-only file system" in noted
    refused(done, "1 of 1 hours failed", "Read-only file system")
    assert contents(plant) == before


def test_an_unmounted_archive_takes_nothing_from_the_spool(plant: Path, tmp_path: Path) -> None:
    nas = tmp_path / "nas"
    nas.mkdir()
    run = ("archive", "run", "--grace", "0", "--archive", nas)
    assert cli(*run, home=plant).returncode == 0
    fill = ("simulate", "--out", plant / "spool", "--cameras", "1", "--fps", "0.001", "--start", "20260102_05")
    assert cli(*fill, home=plant).returncode == 0
    before = contents(plant / "spool")
    nas.rename(tmp_path / "away")
    nas.mkdir()
    refused(cli(*run, home=plant), "is no store, and this machine has stored there before; mount the disk")
    assert before and contents(plant / "spool") == before and not list(nas.iterdir())
    nas.rmdir()
    (tmp_path / "away").rename(nas)
    assert cli(*run, home=plant).returncode == 0
    assert not list((plant / "spool").rglob("*.jpg"))


LOCATIONS = (
    *("archive run --archive", "archive ls --archive", "archive run --spool", "archive run --metrics-file"),
    *("archive cat --camera cam1 --frame x.jpg -o", "models list --store", "models export line/1 --out"),
    *("catalog rebuild --store", "catalog rebuild --archive", "storage doctor --archive", "storage doctor --store"),
    *("storage init --dry-run --archive", "storage policy --out", "edge init --out", "edge init --out e.yaml --units"),
    *("edge run --config e.yaml --spool", "edge run --config e.yaml --store", "simulate --out"),
    *("simulate --out s --truth", "edge audit verify --device d --store"),
    *("tables build --hour 20260102_03 --spool", "tables build --hour 20260102_03 --store", "datasets build --store"),
    *("labels import x.json --archive", "tables quarantine --store", "platform init --out"),
    f"restore {' '.join(TIMES)} --out",
    f"evidence make --camera cam1 --reason r {' '.join(TIMES)} --out",
)


@pytest.mark.parametrize("options", LOCATIONS)
def test_a_location_of_another_kind_is_refused_and_not_made(
    options: str, plant: Path, tmp_path: Path, call: Call
) -> None:
    before = contents(plant)
    for text, words in (
        ("C:\\arch", "is a path of Windows; mount it"),
        ("\\\\nas\\share", "is the name of a share; mount it"),
        ("gs://bucket/x", "use file:///absolute/path or s3://bucket/prefix"),
        ("", "the location is empty"),
    ):
        refused(call(*options.split(), text, home=plant, cwd=tmp_path), words, code=2)
    assert contents(plant) == before and not list(tmp_path.iterdir())


def test_an_empty_location_is_refused(plant: Path, tmp_path: Path) -> None:
    before = contents(plant)
    refused(cli("archive", "run", "--archive", "", home=plant, cwd=tmp_path), "the location is empty", code=2)
    assert contents(plant) == before and not list(tmp_path.glob("archives"))
