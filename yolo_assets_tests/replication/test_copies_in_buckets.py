"""Replication between a folder and Ceph, both ways: retention, legal holds, versions of another bucket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.verification import verify_archives
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.retention import hold
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import utc_now
from yolo_assets.replication.compare import compare
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.faults import FaultyStore, fail
from yolo_assets.storage.retrying import RetryBounds, RetryingStore
from yolo_assets_tests.support.two_places import TwoPlaces

if TYPE_CHECKING:
    from yolo_assets_tests.conftest import S3Bucket

pytestmark = pytest.mark.s3
HOUR = "20260102_03"
NAME = ArchiveName.parse(f"yolo_cam1_{HOUR}")


def verified(places: TwoPlaces, url: str) -> None:
    """Every archive of a place is what was archived, by head and in full, and every frame of it can be read."""
    archive = Archive(open_store(url), places.trusted)
    for how in ("head", "full"):
        for report in verify_archives(archive, list(archive.names()), how):
            assert report.ok, (how, report.problems)
    for name in archive.names():
        part = archive.part(archive.receipt(name))
        assert all(part.read(row) for row in part.index())


def test_from_a_folder_to_ceph_and_on_to_another_folder(tmp_path: Path, s3_bucket: S3Bucket) -> None:
    places = TwoPlaces(tmp_path, second=s3_bucket.url)
    places.record(HOUR, frames=4, size=4 << 20)
    places.archive(ArchiveOptions(whole=0))
    target = FaultyStore(open_store(places.second), fail("upload_part", nth=2, times=None))
    with pytest.raises(StoreUnavailableError):
        places.replicate(second=RetryingStore(target, RetryBounds(tries=1)))
    done = places.replicate()
    assert done.counts.parts_resumed >= 1, "the first part stayed in Ceph"
    verified(places, places.second)
    first, second = (Archive(open_store(url), places.trusted) for url in (places.first, places.second))
    found = compare(first, second, deep=True)
    assert found.ok and found.by_checksum == found.same == 4

    onward = TwoPlaces(tmp_path, first=places.second, second=(tmp_path / "third").as_uri())
    assert onward.replicate().counts.archives == 1
    verified(onward, onward.second)
    assert onward.objects(onward.second).items() >= places.objects(places.first).items()


def test_retention_and_holds_go_along(tmp_path: Path, make_bucket: Callable[..., S3Bucket]) -> None:
    here, there = make_bucket(locked=True), make_bucket(locked=True)
    places = TwoPlaces(tmp_path, first=here.url, second=there.url)
    places.record(HOUR)
    # Short enough that the buckets of this test can be removed after it, long enough to be seen.
    places.archive(ArchiveOptions(retention_days=1, retention_mode="governance"))
    first = Archive(open_store(places.first), places.trusted)
    hold(first, NAME, True)
    done = places.replicate()
    assert (done.counts.without_lock, done.counts.without_hold) == (0, 0)
    store = open_store(places.second)
    lock = store.object_lock
    assert lock is not None
    for key in (NAME.archive_key, NAME.index_key, NAME.receipt_key):
        kept = lock.get_retention(key, None)
        assert kept is not None and kept.until > utc_now() + timedelta(hours=23) and lock.get_legal_hold(key, None)
    verified(places, places.second)
    moved = Archive(store, places.trusted)
    store.put(NAME.archive_key, b"written over the copy")
    (report,) = verify_archives(Archive(store, places.trusted), [NAME], "full")
    assert any("was overwritten" in line for line in report.problems)
    assert moved.copied[NAME.stem].locked
    hold(first, NAME, False)
    for info in (NAME.archive_key, NAME.index_key, NAME.receipt_key):
        lock.set_legal_hold(info, lock.versions(info)[-1].version_id, False)


def test_a_plain_second_place_says_what_it_cannot_keep(tmp_path: Path, make_bucket: Callable[..., S3Bucket]) -> None:
    places = TwoPlaces(tmp_path, first=make_bucket(locked=True).url)
    places.record(HOUR)
    places.archive(ArchiveOptions(retention_days=1, retention_mode="governance"))
    first = Archive(open_store(places.first), places.trusted)
    hold(first, NAME, True)
    done = places.replicate()
    assert (done.counts.without_lock, done.counts.without_hold) == (1, 1)
    verified(places, places.second)
    hold(first, NAME, False)
