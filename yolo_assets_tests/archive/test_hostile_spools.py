"""Spools as bad days leave them: strange names, damaged lists, closed folders, wrong clocks, a disk without space."""

import errno
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive import part_plan as plans
from yolo_assets.archive.archive import Archive
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.reclaim import MARKER_DAYS
from yolo_assets.archive.service import archiver as service
from yolo_assets.archive.service.archiver import closed_hours
from yolo_assets.contracts.names import PLAN, SEALED
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage.faults import FaultyStore, fail, refused
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.small_disk import small_disk

FillHour = Callable[..., SpoolHour]
HOUR = Hour.from_key("20260102_03")


def names(archive: Archive, trusted: TrustedKeys, camera: str = "cam1", hour: Hour = HOUR) -> list[list[str]]:
    """Names of the members of each part."""
    return [[row.name for row in archive.part(receipt).index()] for receipt in archive.receipts(camera, hour)]


def test_files_with_names_like_our_own_are_archived_like_any_other(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    hour = fill_hour(2)
    odd = {".uploaded-frame.jpg", ".tmp-frame.jpg", ".uploadedx", ".uploaded.p2x", ".tmp-1", ".archiving.json.bak"}
    for name in odd:
        (hour.path / name).write_bytes(name.encode())
    os.utime(hour.path / ".tmp-frame.jpg", (1, 1))  # old enough to be swept, were it ours
    assert {result.status for result in run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)} == {
        "archived"
    }
    assert odd <= set(names(archive, trusted)[0])


def test_a_foreign_file_next_to_old_markers_is_never_removed(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    hour = fill_hour(2)
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    (hour.path / ".uploaded-frame.jpg").write_bytes(b"a picture")
    later = utc_now() + timedelta(days=MARKER_DAYS + 1)
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0, now=later)
    assert ".uploaded-frame.jpg" in names(archive, trusted)[1]


@pytest.mark.parametrize("name", [".tmp-dir", ".tmp-1-2"])
def test_a_folder_with_a_name_like_our_own_harms_nothing(
    name: str, tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer
) -> None:
    hour = fill_hour(2)
    (hour.path / name).mkdir()
    os.utime(hour.path / name, (1, 1))
    (result,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert result.status == "archived" and not list(hour.path.glob("*.jpg"))
    assert result.outcome is not None and [left.path.name for left in result.outcome.left] == [name]


def test_a_camera_that_cannot_be_listed_fails_alone(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = fill_hour(2)
    bad = SpoolHour.of(tmp_path / "spool", "cam0", HOUR)
    bad.path.mkdir(parents=True)
    (bad.path / "20260102_030000_000.jpg").write_bytes(b"x")
    (tmp_path / "spool" / "cam9" / HOUR.key).mkdir(parents=True)
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path == bad.path:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    results = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert {result.camera_id: result.status for result in results} == {"cam0": "failed", "cam1": "archived"}
    assert results[0].reason is not None and f"{bad.path}: Permission denied" in results[0].reason
    assert not list(good.path.glob("*.jpg"))


@pytest.mark.parametrize(
    ("error", "failure", "says"),
    [
        (OSError(errno.EINVAL, "Invalid argument"), "spool", "Invalid argument"),
        (OSError(errno.ENOLCK, "No locks available"), "spool", "No locks available"),
        (OverflowError("date value out of range"), "other", "OverflowError: date value out of range"),
        (RecursionError("too deep"), "other", "RecursionError"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "other", "UnicodeEncodeError"),
        (ValueError("of\ntwo lines"), "other", "of two lines"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_is_wrong_with_one_camera_the_others_are_archived(
    error: Exception,
    failure: str,
    says: str,
    tmp_path: Path,
    fill_hour: FillHour,
    archive: Archive,
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_hour(2)
    spool = tmp_path / "spool"
    shutil.copytree(spool / "cam1", spool / "cam0")
    shutil.copytree(spool / "cam1", spool / "cam2")
    archive_hour = service.archive_hour

    def poisoned(hour: SpoolHour, *rest: Any) -> object:
        if hour.camera_id == "cam1":
            raise error
        return archive_hour(hour, *rest)

    monkeypatch.setattr(service, "archive_hour", poisoned)
    results = run_archiver(spool, archive, signer, grace_seconds=0)
    assert {r.camera_id: r.status for r in results} == {"cam0": "archived", "cam1": "failed", "cam2": "archived"}
    failed = results[1]
    assert failed.failure == failure
    assert failed.reason is not None and len(failed.reason.splitlines()) == 1
    assert str(spool / "cam1" / HOUR.key) in failed.reason and says in failed.reason


def test_a_folder_that_cannot_be_removed_stops_no_other(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_hour(2)

    def refuse(*_: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(service, "retire_hour", refuse)
    (result,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert result.status == "archived"


def test_times_that_lie_ahead_keep_no_hour_open(fill_hour: FillHour, tmp_path: Path) -> None:
    hour = fill_hour(2, seal=False)
    ahead = (utc_now() + timedelta(days=25_000)).timestamp()
    os.utime(next(hour.path.glob("*.jpg")), (ahead, ahead))
    for path in hour.path.iterdir():
        if path.stat().st_mtime != ahead:
            os.utime(path, (1.7e9, 1.7e9))
    found = closed_hours(tmp_path / "spool", now=utc_now())
    assert found.ready == [hour] and "times in the future" in found.problems[0].reason


def test_an_hour_in_the_future_is_reported(tmp_path: Path) -> None:
    future = SpoolHour.of(tmp_path, "cam1", Hour.of(utc_now()).next(24 * 365))
    future.path.mkdir(parents=True)
    (future.path / "a.jpg").write_bytes(b"x")
    found = closed_hours(tmp_path, grace_seconds=0, now=utc_now())
    assert found.ready == [] and found.ahead == [future] and [one.path for one in found.problems] == [future.path]


def test_a_file_changed_without_a_new_time_becomes_another_part(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    hour = fill_hour(2)
    run_archiver(tmp_path / "spool", archive, signer, keep_local=True, grace_seconds=0)
    frame = sorted(hour.path.glob("*.jpg"))[0]
    before = frame.stat()
    frame.write_bytes(bytes(before.st_size))
    os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns))
    (first,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert first.reclaimed is not None
    (problem,) = first.reclaimed.problems
    assert problem.path == frame and "becomes another part" in problem.reason
    (second,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert second.status == "archived" and not frame.exists()
    assert names(archive, trusted)[1] == [frame.name]


@pytest.mark.parametrize("damage", [b"{bad", b"", b"\0" * 64])
def test_a_damaged_list_of_what_is_archived_is_made_again(
    damage: bytes, tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    hour = fill_hour(2)
    run_archiver(tmp_path / "spool", archive, signer, keep_local=True, grace_seconds=0)
    (hour.path / ".uploaded.members").write_bytes(damage)
    assert hour.uncovered_members() == hour.members()
    (result,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert result.status == "adopted" and not list(hour.path.glob("*.jpg"))
    assert len(names(archive, trusted)) == 1


def test_a_folder_in_the_plans_place_is_reported(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer
) -> None:
    hour = fill_hour(2)
    (hour.path / PLAN).mkdir()
    (result,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert result.status == "failed" and result.reason is not None and str(hour.path / PLAN) in result.reason


def test_adopting_an_earlier_part_keeps_the_plan_of_a_later_one(
    tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer
) -> None:
    hour = fill_hour(2)
    run_archiver(tmp_path / "spool", archive, signer, keep_local=True, grace_seconds=0)
    (hour.path / "late.jpg").write_bytes(os.urandom(6 << 20))
    (hour.path / "later.jpg").write_bytes(os.urandom(6 << 20))
    options = ArchiveOptions(part_size=5 << 20, whole=0)

    cut = Archive(FaultyStore(archive.store, fail("complete_upload", error=refused)), archive.trusted)
    (broken,) = run_archiver(tmp_path / "spool", cut, signer, options=options, grace_seconds=0)
    assert broken.status == "failed"
    begun = plans.load_plan(hour)
    assert begun is not None and begun.upload_id is not None
    (hour.path / ".uploaded").unlink()
    (result,) = run_archiver(tmp_path / "spool", archive, signer, options=options, grace_seconds=0)
    assert result.status == "archived" and result.outcome is not None
    assert result.outcome.resumed_parts >= 2 and result.outcome.sent_parts <= 1


@pytest.mark.parametrize("whole", [112 << 20, 0])
def test_a_disk_without_a_free_byte_is_emptied(
    whole: int, tmp_path: Path, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    spool = tmp_path / "spool"
    with small_disk(spool, "16m") as refused:
        if refused:
            pytest.skip(refused)
        hour = fill_hour(3, 4 << 20)
        with (hour.path / "rest.bin").open("wb", buffering=0) as rest, pytest.raises(OSError, match="No space"):
            while True:
                rest.write(bytes(4096))
        before = {path.name for path in hour.path.iterdir()}
        options = ArchiveOptions(part_size=5 << 20, whole=whole)
        (result,) = run_archiver(spool, archive, signer, options=options, grace_seconds=0)
        assert result.status == "archived", result.reason
        assert result.outcome is not None and "the disk is full" in result.outcome.left[-1].reason
        assert not list(hour.path.glob("*.jpg")) and not (hour.path / SEALED).exists()
        assert set(names(archive, trusted)[0]) == before
        assert run_archiver(spool, archive, signer, grace_seconds=0) == []
