"""A receipt that was lost or hidden while a later part has one: no reader passes over it, and no audit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.audit.audit import audit, coverage
from yolo_assets.archive.audit.census import take_census
from yolo_assets.archive.audit.verification import verify_archives
from yolo_assets.archive.listing import archives_between, archives_there, list_hour, read_hours
from yolo_assets.archive.missing import missing_parts, with_missing
from yolo_assets.archive.restore.one_frame import one_frame
from yolo_assets.archive.restore.writing import restore
from yolo_assets.catalog.publish import publish
from yolo_assets.catalog.read import ask, open_catalog
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import ArchiveName, frame_name
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets_tests.support.one_round import run_archiver

FillHour = Callable[..., SpoolHour]
Contents = Callable[[Path], dict[str, bytes]]
HOUR = Hour.from_key("20260102_03")
FIRST, SECOND = ArchiveName("cam1", HOUR), ArchiveName("cam1", HOUR, 2)


def fill(archive: Archive, signer: Signer, fill_hour: FillHour, tmp_path: Path) -> dict[str, bytes]:
    """An hour in two parts: twelve frames, and one that came late. What was in it, by name."""
    hour = fill_hour()
    files = {member.name: (hour.path / member.name).read_bytes() for member in hour.members()}
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    (hour.path / frame_name(HOUR.start + timedelta(minutes=30))).write_bytes(b"late")
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert list(archives_between(archive)) == [FIRST, SECOND]
    return files | {frame_name(HOUR.start + timedelta(minutes=30)): b"late"}


def test_missing_parts_are_those_below_one_that_is_there() -> None:
    names = [
        ArchiveName("c", HOUR, 4),
        ArchiveName("c", HOUR, 2),
        ArchiveName("d", HOUR),
        ArchiveName("c", HOUR.next()),
    ]
    assert missing_parts(names) == [ArchiveName("c", HOUR), ArchiveName("c", HOUR, 3)]
    assert [name.part for name in with_missing(names) if (name.camera_id, name.hour) == ("c", HOUR)] == [1, 2, 3, 4]
    assert len(missing_parts([ArchiveName("c", HOUR, 10**9)])) < 1000, "a stranger's file fills no memory"


def test_a_lost_part_is_named_by_every_reader(
    archive: Archive, signer: Signer, trusted: TrustedKeys, fill_hour: FillHour, tmp_path: Path, contents: Contents
) -> None:
    fill(archive, signer, fill_hour, tmp_path)
    archive.store.delete(FIRST.receipt_key)
    done = restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    assert not done.ok and len(done.problems) == 1 and FIRST.stem in done.problems[0]
    assert list(contents(tmp_path / "out" / "cam1" / HOUR.key).values()) == [b"late"]
    with pytest.raises(IntegrityError, match=rf"archive verify {FIRST.stem}$"):
        one_frame(archive, "cam1", at=HOUR.end - timedelta(seconds=1))
    late = frame_name(HOUR.start + timedelta(minutes=30))
    assert one_frame(archive, "cam1", frame=late).data == b"late"
    problems = {one.name: one.problem for one in archive.read_receipts(archives_between(archive))}
    assert problems[FIRST] and problems[SECOND] is None
    (hour,) = read_hours(archive, [list_hour(archive, HOUR)])
    assert [one.key for one in hour.untrusted] == [FIRST.receipt_key] and len(hour.receipts) == 1
    census = take_census(archive, camera_id="cam1")
    assert set(census.gone) == {FIRST.stem} and census.names == [FIRST, SECOND], "however new the archive is"
    reports = list(census.completed(verify_archives(archive, census.names)))
    assert [report.ok for report in reports] == [False, True] and "receipt was lost" in reports[0].problems[0]


def test_an_hour_without_any_receipt_is_named_by_what_lies_there(
    archive: Archive, signer: Signer, trusted: TrustedKeys, fill_hour: FillHour, tmp_path: Path
) -> None:
    fill(archive, signer, fill_hour, tmp_path)
    for name in (FIRST, SECOND):
        archive.store.delete(name.receipt_key)
    for camera in ("cam1", None):
        assert archives_there(archive, HOUR.start, HOUR.end, camera_id=camera) == [FIRST, SECOND]
        assert archives_there(archive, HOUR.end, HOUR.next(30).end, camera_id=camera) == []
        assert archives_there(archive, HOUR.next(-30).start, HOUR.start, camera_id=camera) == []
        done = restore(archive, camera, HOUR.start, HOUR.end, tmp_path / "out")
        assert len(done.problems) == 2 and not done.files
    assert archives_there(archive, HOUR.start, HOUR.end, camera_id="cam") == []


@pytest.mark.s3
def test_a_part_under_a_delete_marker_is_found_and_the_marker_reported(
    make_bucket: Callable[..., Any], signer: Signer, trusted: TrustedKeys, fill_hour: FillHour, tmp_path: Path,
    contents: Contents,
) -> None:  # fmt: skip
    bucket = make_bucket(versioned=True)
    archive = Archive(open_store(bucket.url), trusted)
    store = open_store((tmp_path / "store").as_uri())
    files = fill(archive, signer, fill_hour, tmp_path)
    # Written over: every reader takes the original, and so does the catalog.
    archive.store.put(SECOND.receipt_key, b"{}")
    made = publish(store, archive, from_receipts=True)
    assert (made.archives, made.problems) == (2, ())
    bucket.client.delete_object(Bucket=bucket.name, Key=f"root/{FIRST.receipt_key}")

    assert restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out").ok
    assert contents(tmp_path / "out" / "cam1" / HOUR.key) == files
    assert [receipt.part for receipt in archive.receipts("cam1", HOUR)] == [1, 2]
    newest = one_frame(archive, "cam1", at=HOUR.start + timedelta(minutes=10))
    assert newest.name == frame_name(HOUR.start + timedelta(seconds=11)), "not an older one of another hour"
    census = take_census(archive, camera_id="cam1")
    first, _ = census.completed(verify_archives(archive, census.names))
    assert not first.ok and any("delete marker" in line for line in first.problems)
    of_the_day = publish(store, archive, dates=[HOUR.date])
    for made in (of_the_day, publish(store, archive, from_receipts=True)):
        (problem,) = made.problems
        assert problem.key == FIRST.receipt_key and "delete marker" in problem.problem
    with open_catalog(store) as connection:
        assert ask(connection, "SELECT part FROM archives")["part"].to_list() == [2]

    # The last part leaves no gap in the numbers: what lies beside the receipts tells.
    bucket.client.delete_object(Bucket=bucket.name, Key=f"root/{SECOND.receipt_key}")
    assert restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "again").ok
    assert contents(tmp_path / "again" / "cam1" / HOUR.key) == files
    assert one_frame(archive, "cam1", at=HOUR.start + timedelta(minutes=10)).name == newest.name
    assert len(publish(store, archive, from_receipts=True).problems) == 2


def test_what_has_no_receipt_for_a_day_is_found_by_every_audit(
    archive: Archive, signer: Signer, trusted: TrustedKeys, fill_hour: FillHour, tmp_path: Path
) -> None:
    fill(archive, signer, fill_hour, tmp_path)
    archive.store.delete(SECOND.receipt_key)
    share, three_days_ago = Fraction(1, 30), time.time() - 3 * 86400
    young = audit(archive, signer, share)
    assert young.ok and young.unfinished == 1
    for path in (tmp_path / "archive").rglob(f"{SECOND.stem}.*"):
        os.utime(path, (three_days_ago, three_days_ago))
    for left in ("both", "index", "archive"):
        kept = {key: archive.store.get(key) for key in (SECOND.archive_key, SECOND.index_key)}
        if left != "both":
            archive.store.delete(SECOND.archive_key if left == "index" else SECOND.index_key)
        done = audit(archive, signer, share)
        assert set(done.problems) == {SECOND.stem} == set(done.coverage.wrong) and not done.unfinished, left
        for key, data in kept.items():
            archive.store.put(key, data)
        for path in (tmp_path / "archive").rglob(f"{SECOND.stem}.*"):
            os.utime(path, (three_days_ago, three_days_ago))


def test_what_has_disappeared_is_found_by_earlier_audits(
    archive: Archive, signer: Signer, trusted: TrustedKeys, fill_hour: FillHour, tmp_path: Path
) -> None:
    fill(archive, signer, fill_hour, tmp_path)
    start = HOUR.start + timedelta(days=9)
    assert audit(archive, signer, Fraction(1), now=start).head == 2
    kept = {key: archive.store.get(key) for key in (SECOND.archive_key, SECOND.index_key, SECOND.receipt_key)}
    for key in kept:
        archive.store.delete(key)
    # Long after the record of its last look, too: each audit hands on what it knows.
    for day in (1, 2, 40, 80):
        done = audit(archive, signer, Fraction(1, 2), now=start + timedelta(days=day))
        assert set(done.problems) == {SECOND.stem}, day
    assert SECOND.stem in coverage(archive, 3, start + timedelta(days=80)).wrong
    over = audit(archive, signer, Fraction(1, 2), now=start + timedelta(days=95))
    assert over.ok, "somebody removed it on purpose"
    for key, data in kept.items():
        archive.store.put(key, data)
    assert audit(archive, signer, Fraction(1), "full", start + timedelta(days=96)).ok
