"""Archives in a cold tier: requested once, with the time to come back, restored when they can be read. On ministack."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.audit.audit import audit
from yolo_assets.archive.audit.verification import verify_archive
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.archive.restore.one_frame import ColdFrameError, one_frame
from yolo_assets.archive.restore.plan import Thaw, cold_archives, plan_restore
from yolo_assets.archive.restore.writing import carry_out, restore
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store

HOUR = Hour.from_key("20260102_03")
NAME = ArchiveName("cam1", HOUR)
FRAME = "20260102_030005_000.jpg"


@pytest.fixture
def cold(
    checked_bucket: Any, fill_hour: Callable[..., SpoolHour], signer: Signer, trusted: TrustedKeys
) -> Callable[[str], Archive]:
    """One archived hour whose archive moves to a cold tier, as a lifecycle rule does it: same bytes, same ETag."""
    client, bucket = checked_bucket.client, f"{checked_bucket.name}-plain"
    client.create_bucket(Bucket=bucket)  # without versions, of whose restores ministack's HEAD does not tell
    archive = Archive(open_store(f"s3://{bucket}/root"), trusted)
    archive_hour(fill_hour(), archive, signer)

    def move(tier: str) -> Archive:
        body = archive.store.get(NAME.archive_key)
        client.put_object(Bucket=bucket, Key=f"root/{NAME.archive_key}", Body=body, StorageClass=tier)
        return archive

    return move


def wait_until_readable(archive: Archive) -> None:
    receipt, patience = archive.receipt(NAME), time.monotonic() + 20
    while not archive.store.restore_state(receipt.archive_key, receipt.version_id).readable:
        assert time.monotonic() < patience
        time.sleep(0.2)


def test_restore_requests_once_reports_when_and_continues_later(
    cold: Callable[[str], Archive], trusted: TrustedKeys, tmp_path: Path
) -> None:
    archive, out = cold("GLACIER"), tmp_path / "out"
    span = (archive, "cam1", HOUR.start, HOUR.end, out)
    plan = plan_restore(archive, FrameFilter(HOUR.start, HOUR.end, "cam1"), out)
    (looked,) = cold_archives(archive, plan)
    assert (looked.archive_key, looked.asked) == (NAME.archive_key, False) and "was not requested" in looked.when

    first = restore(*span, thaw=Thaw("bulk", 3))
    assert (first.files, first.ok) == (0, False)
    assert [(one.asked, one.when) for one in first.waiting] == [(True, "in 5 to 12 hours")]
    second = restore(*span)
    assert [one.asked for one in second.waiting] == [False] and "on its way" in second.waiting[0].when
    with pytest.raises(ColdFrameError, match=r"on its way .* run the same command again"):
        one_frame(archive, "cam1", frame=FRAME)
    wait_until_readable(archive)
    third = restore(*span)
    assert third.ok and third.files == plan.files
    assert one_frame(archive, "cam1", frame=FRAME).data == (out / "cam1" / HOUR.key / FRAME).read_bytes()


def test_conditions_on_records_request_only_where_a_match_is_possible(
    cold: Callable[[str], Archive], trusted: TrustedKeys, tmp_path: Path
) -> None:
    archive, out = cold("DEEP_ARCHIVE"), tmp_path / "out"
    never = plan_restore(archive, FrameFilter(HOUR.start, HOUR.end, class_name="scratch"), out, thaw=Thaw())
    assert not never.hours and not never.waiting
    wanted = FrameFilter(HOUR.start, HOUR.end, class_name="crack", min_confidence=0.9)
    looked = plan_restore(archive, wanted, out)
    assert [one.asked for one in looked.waiting] == [False]
    with pytest.raises(BadInputError, match="no expedited retrieval"):
        plan_restore(archive, wanted, out, thaw=Thaw("expedited"))
    plan = plan_restore(archive, wanted, out, thaw=Thaw())
    assert [(one.asked, one.when) for one in plan.waiting] == [(True, "within 12 hours")]
    assert [one.asked for one in carry_out(archive, plan, out).waiting] == [True]
    wait_until_readable(archive)
    done = restore(archive, None, HOUR.start, HOUR.end, out, class_name="crack", min_confidence=0.9)
    assert done.ok and [path.name for path in out.rglob("*.jpg")] == ["20260102_030009_000.jpg"]


def test_cat_requests_the_archive_and_nothing_else(cold: Callable[[str], Archive], trusted: TrustedKeys) -> None:
    archive = cold("GLACIER")
    at = HOUR.start + timedelta(seconds=5)
    with pytest.raises(ColdFrameError, match="was requested; come back in 1 to 5 minutes"):
        one_frame(archive, "cam1", at=at, thaw=Thaw("expedited", 1))
    wait_until_readable(archive)
    assert one_frame(archive, "cam1", at=at).name == FRAME


def test_a_cold_archive_is_verified_without_being_requested(
    cold: Callable[[str], Archive], signer: Signer, trusted: TrustedKeys
) -> None:
    archive = cold("GLACIER")
    report = verify_archive(archive, NAME, "full")
    assert (report.how, report.cold, report.bytes_read) == ("head", True, 0)
    assert report.ok
    done = audit(archive, signer, Fraction(1), "full")
    assert (done.ok, done.full, done.cold, done.coverage.full, done.coverage.head) == (True, 0, 1, 0, 1)
    receipt = archive.receipt(NAME)
    assert archive.store.restore_state(receipt.archive_key, receipt.version_id).status == "cold"
