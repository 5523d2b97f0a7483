"""``archive run`` on spools that are no tidy folder of our own: strangers' folders, read-only, on a share."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from yolo_assets_tests.cli.command_line import cli, refused
from yolo_assets_tests.support.foreign import spool_case

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(call: Command, tmp_path: Path) -> Command:
    return lambda *words: call(*words, home=tmp_path / "home", cwd=tmp_path)


def untidy(spool: Path) -> set[Path]:
    """Put what is no hour into a spool; returns what must be named."""
    folders = ["Line B/20241015_14", "cam_y/2026-11-26T16", "late/20241015_13/sub", "late/99991231_23"]
    for folder in folders:
        (spool / folder).mkdir(parents=True)
        (spool / folder / "a.jpg").write_bytes(b"x")
    (spool / "loose.jpg").write_bytes(b"x")
    (spool / "late" / "loose.jpg").write_bytes(b"x")
    (spool / "link").symlink_to(spool / "late")
    return {spool / folder for folder in ["Line B", *folders[1:], "loose.jpg", "late/loose.jpg", "link"]}


def test_what_is_skipped_stands_in_json_metrics_and_exit_code(command: Command, tmp_path: Path) -> None:
    spool = spool_case("hour_border", tmp_path)
    odd = untidy(spool)
    (spool / "late" / "20241015_14" / "extra").mkdir()  # within an hour that is archived
    page = tmp_path / "archiver.prom"
    run = ("archive", "run", "--spool", spool, "--grace", "0", "--json", "--metrics-file", page)
    done = command(*run)
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    alone = [row for row in rows if row["status"] == "skipped"]
    assert {Path(row["path"]) for row in alone} == odd and all(row["reason"] for row in alone)
    hours = {row["hour"]: row for row in rows if row["status"] == "archived"}
    assert set(hours) == {"20241015_14", "20241015_15"}
    assert [Path(left["path"]).name for left in hours["20241015_14"]["left"]] == ["extra"]
    assert f"yolo_assets_archive_skipped {len(odd) + 1}.0" in page.read_text()

    strict = command(*run, "--strict")
    assert strict.returncode == 1 and json.loads(strict.stdout)
    assert f"error: {len(odd) + 1} folders or files were skipped" in strict.stderr
    refused(command("archive", "run", "--spool", spool, "--strict", "--every", "5"), "--strict", code=2)


def test_a_tidy_spool_is_strictly_fine(command: Command, tmp_path: Path) -> None:
    spool = spool_case("seed_record", tmp_path)
    done = command("archive", "run", "--spool", spool, "--grace", "0", "--json", "--strict")
    assert (done.returncode, [row["status"] for row in json.loads(done.stdout)]) == (0, ["archived"])


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    made = subprocess.run(["mount", "--bind", folder, folder], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {made.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_spool_is_archived_and_kept(tmp_path: Path) -> None:
    spool = spool_case("seed_record", tmp_path)
    before = {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()}
    page, home = tmp_path / "archiver.prom", tmp_path / "home"
    run = ("archive", "run", "--spool", spool, "--grace", "0", "--json", "--metrics-file", page)
    with read_only(spool):
        told = cli(*run, home=home)
        assert told.returncode == 1 and "Read-only file system" in told.stderr and "--keep-local" in told.stderr
        first = cli(*run, "--keep-local", home=home)
        again = cli(*run, "--keep-local", home=home)
    assert [json.loads(done.stdout)[0]["status"] for done in (first, again)] == ["archived", "nothing"]
    assert {path: path.read_bytes() for path in spool.rglob("*") if path.is_file()} == before
    assert "yolo_assets_archive_backlog_bytes 0.0" in page.read_text()
    # Once it can be written the same archive covers it: no second part, and what is archived goes.
    done = cli(*run, home=home)
    (row,) = json.loads(done.stdout)
    assert (row["status"], row["receipt"]["part"], row["reclaimed"]["files"]) == ("adopted", 1, 4)


def test_a_share_without_folder_sync_and_locks_is_archived(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_case("seed_record", tmp_path)
    sync, flock = os.fsync, fcntl.flock

    def on_share(descriptor: int) -> bool:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_relative_to(spool)

    def share_sync(descriptor: int) -> None:
        if on_share(descriptor) and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    def share_flock(descriptor: int, kind: int) -> None:
        if on_share(descriptor):
            raise OSError(errno.ENOLCK, "No locks available")
        flock(descriptor, kind)

    monkeypatch.setattr(os, "fsync", share_sync)
    monkeypatch.setattr(fcntl, "flock", share_flock)
    done = command("archive", "run", "--spool", spool, "--grace", "0", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.returncode, row["status"], row["reclaimed"]["files"]) == (0, "archived", 4)
