"""Archiving with retention, on a real bucket with object lock: set, proven, and requested again after a crash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.retention import protection_problems
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets_tests.support.one_round import run_archiver

HOUR = Hour.from_key("20260102_03")
NAME = ArchiveName("cam1", HOUR)
# Governance: the administrator of the test server may empty the bucket afterwards.
HELD = ArchiveOptions(retention_days=2, retention_mode="governance")
FillHour = Callable[..., SpoolHour]


@pytest.mark.s3
def test_archive_index_and_receipt_are_write_once_and_the_receipt_says_so(
    fill_hour: FillHour, signer: Signer, trusted: TrustedKeys, s3_locked_bucket, tmp_path: Path
) -> None:
    fill_hour()
    archive = Archive(open_store(s3_locked_bucket.url), trusted)
    before = utc_now()
    (result,) = run_archiver(tmp_path / "spool", archive, signer, options=HELD, grace_seconds=0)
    assert (result.status, result.reason) == ("archived", None)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert receipt.version_id is not None and receipt.retention_until is not None
    assert before + timedelta(days=2) <= receipt.retention_until <= utc_now() + timedelta(days=2, seconds=2)
    assert receipt.retention_mode == "governance"
    lock = archive.store.object_lock
    assert lock is not None
    for key in (NAME.archive_key, NAME.index_key, NAME.receipt_key):
        found = lock.get_retention(key, None)
        assert found is not None and found.until >= before + timedelta(days=2), key
    assert protection_problems(archive.part(receipt)) == []


@pytest.mark.s3
def test_a_run_that_ended_between_receipt_and_its_retention_is_made_good(
    fill_hour: FillHour, signer: Signer, trusted: TrustedKeys, s3_locked_bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = fill_hour()
    archive = Archive(open_store(s3_locked_bucket.url), trusted)
    from yolo_assets.archive import commit

    def dies(store: ObjectStore, key: str, *more: object) -> object:
        if key == NAME.receipt_key:
            raise KeyboardInterrupt
        return real(store, key, *more)  # pyright: ignore[reportArgumentType]

    real = commit.protect
    with monkeypatch.context() as patch:
        patch.setattr(commit, "protect", dies)
        with pytest.raises(KeyboardInterrupt):
            archive_hour(hour, archive, signer, HELD)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert any("no retention" in problem for problem in protection_problems(archive.part(receipt)))
    assert archive_hour(hour, archive, signer, HELD).status == "adopted"
    assert protection_problems(archive.part(receipt)) == []


def test_a_store_that_cannot_lock_gets_no_receipt(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    hour = fill_hour()
    with pytest.raises(UserError, match="YOLO_ASSETS_RETENTION_DAYS=0"):
        archive_hour(hour, archive, signer, HELD)
    assert archive.receipts("cam1", HOUR) == []
    assert archive_hour(hour, archive, signer).status == "archived"


@pytest.mark.s3
def test_readers_find_the_originals_whatever_was_written_over_them(
    fill_hour: FillHour, signer: Signer, trusted: TrustedKeys, s3_locked_bucket
) -> None:
    hour = fill_hour(frames=3)
    frame = "20260102_030000_000.jpg"
    content = (hour.path / frame).read_bytes()
    archive = Archive(open_store(s3_locked_bucket.url), trusted)
    archive_hour(hour, archive, signer, HELD)
    for key in (NAME.archive_key, NAME.index_key, NAME.receipt_key):
        archive.store.put(key, b"forged")
    assert archive.cat("cam1", frame=frame) == (frame, content)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert len(protection_problems(archive.part(receipt))) == 3
    archive.store.delete(NAME.index_key)
    assert archive.cat("cam1", frame=frame) == (frame, content)
    # The next run is not misled either: it knows that the hour is archived.
    assert archive_hour(hour, archive, signer, HELD).status == "nothing"
