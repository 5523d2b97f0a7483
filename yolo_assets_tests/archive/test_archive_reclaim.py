"""Local deletion: only what a verified archive holds, compared by content, at the last moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.reclaim import MARKER_DAYS, reclaim_hour
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.spool.hours import SpoolHour
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.signed import content, with_content

Contents = Callable[[Path], dict[str, bytes]]
FillHour = Callable[..., SpoolHour]
HOUR = Hour.from_key("20260102_03")
NAME = ArchiveName("cam1", HOUR)


@pytest.fixture
def hour(fill_hour: FillHour, archive: Archive, signer: Signer) -> SpoolHour:
    """Archived, and all its files still here."""
    found = fill_hour()
    archive_hour(found, archive, signer)
    return found


def test_archived_files_go_and_the_marker_stays(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, contents: Contents
) -> None:
    before = contents(hour.path)
    report = reclaim_hour(hour, archive, hot_hours=0, now=utc_now())
    assert (report.files, report.bytes, report.kept) == (len(before), sum(map(len, before.values())), 0)
    assert os.listdir(hour.path) == [".uploaded"]
    assert reclaim_hour(hour, archive, hot_hours=0, now=utc_now()).files == 0


def test_hot_hours_keep_files_here(hour: SpoolHour, archive: Archive, trusted: TrustedKeys) -> None:
    soon = HOUR.end + timedelta(hours=48) - timedelta(milliseconds=1)
    report = reclaim_hour(hour, archive, hot_hours=48, now=soon)
    assert (report.files, report.kept) == (0, 15)
    assert reclaim_hour(hour, archive, hot_hours=48, now=HOUR.end + timedelta(hours=48)).files == 15


def test_what_differs_or_came_later_stays(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, contents: Contents
) -> None:
    changed = hour.path / "20260102_030003_000.jpg"
    status = changed.stat()
    data = bytearray(changed.read_bytes())
    data[0] ^= 1
    changed.write_bytes(data)
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time, other bytes
    (hour.path / "late.jpg").write_bytes(b"late")
    reclaim_hour(hour, archive, hot_hours=0, now=utc_now())
    assert contents(hour.path) == {changed.name: bytes(data), "late.jpg": b"late"}


@pytest.mark.parametrize(
    "damage", ["archive gone", "archive replaced", "archive cut", "index changed", "receipt changed"]
)
def test_nothing_goes_when_the_store_is_not_as_it_was(
    damage: str, hour: SpoolHour, archive: Archive, trusted: TrustedKeys, contents: Contents
) -> None:
    before = contents(hour.path)
    data = archive.store.get(NAME.archive_key)
    if damage == "archive gone":
        archive.store.delete(NAME.archive_key)
    elif damage == "archive replaced":
        archive.store.put(NAME.archive_key, bytes(len(data)))
    elif damage == "archive cut":
        archive.store.put(NAME.archive_key, data[:-1])
    elif damage == "index changed":
        archive.store.put(NAME.index_key, archive.store.get(NAME.index_key) + b" ")
    else:
        receipt = archive.store.get(NAME.receipt_key)
        assert content(receipt)["file_count"] == 15
        archive.store.put(NAME.receipt_key, with_content(receipt, content(receipt) | {"file_count": 16}))
    try:
        report = reclaim_hour(hour, archive, hot_hours=0, now=utc_now())
        assert report.files == 0
        assert len(report.problems) == 1
    except (IntegrityError, SignatureError):
        pass
    assert contents(hour.path) == before


def test_a_store_moved_to_other_disks_is_compared_by_content(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys
) -> None:
    archive.store.put(NAME.archive_key, archive.store.get(NAME.archive_key))  # same bytes, another ETag
    assert reclaim_hour(hour, archive, hot_hours=0, now=utc_now()).kept == 0


def test_another_key_deletes_nothing(hour: SpoolHour, archive: Archive, contents: Contents, tmp_path: Path) -> None:
    before = contents(hour.path)
    stranger = TrustedKeys.of(Signer.load_or_create(tmp_path / "stranger"))
    with pytest.raises(SignatureError):
        reclaim_hour(hour, Archive(archive.store, stranger), hot_hours=0, now=utc_now())
    assert contents(hour.path) == before


def test_an_empty_hour_goes_after_a_week_and_not_before(
    hour: SpoolHour, archive: Archive, signer: Signer, tmp_path: Path
) -> None:
    now = utc_now()
    run_archiver(tmp_path / "spool", archive, signer, now=now)
    assert os.listdir(hour.path) == [".uploaded"]
    run_archiver(tmp_path / "spool", archive, signer, now=now + timedelta(days=MARKER_DAYS - 1))
    assert hour.path.exists()
    run_archiver(tmp_path / "spool", archive, signer, now=now + timedelta(days=MARKER_DAYS, hours=1))
    assert not hour.path.exists()


def test_unfinished_files_of_a_crashed_writer_are_swept(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys
) -> None:
    (hour.path / ".tmp-1-1").write_bytes(b"half a frame")
    now = utc_now()
    reclaim_hour(hour, archive, hot_hours=0, now=now)
    assert (hour.path / ".tmp-1-1").exists()
    reclaim_hour(hour, archive, hot_hours=0, now=now + timedelta(hours=2))
    assert not (hour.path / ".tmp-1-1").exists()
