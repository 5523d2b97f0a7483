"""Archiving an hour: parts, resumption, adoption, late frames; what goes wrong leaves everything readable."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour, hour_lock
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.part_plan import load_plan
from yolo_assets.archive.upload import UploadJournal
from yolo_assets.contracts.errors import IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.spool.files import native_name
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectStore, StoreUnavailableError, open_store
from yolo_assets.storage.base import ObjectInfo, Payload, UploadedPart, unpaced
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets.storage.faults import FaultRule, FaultyStore, StoreCall, fail
from yolo_assets.storage.retrying import RetryBounds, RetryingStore
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record

Contents = Callable[[Path], dict[str, bytes]]
FillHour = Callable[..., SpoolHour]
HOUR = Hour.from_key("20260102_03")
MIB = 1 << 20
MD5 = hashlib.md5
IN_PARTS = ArchiveOptions(part_size=5 * MIB, whole=0)


def through(archive: Archive, store: ObjectStore) -> Archive:
    """The archive as seen through a decorated store, with retries around it."""
    return Archive(RetryingStore(store, RetryBounds(tries=3)), archive.trusted)


def faulty(archive: Archive, *rules: FaultRule) -> tuple[Archive, FaultyStore]:
    store = FaultyStore(archive.store, *rules)
    return through(archive, store), store


def cut(_: StoreCall) -> StoreUnavailableError:
    return StoreUnavailableError("the line is cut", transient=False)


def archived(archive: Archive, camera: str = "cam1", hour: Hour = HOUR) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for receipt in archive.receipts(camera, hour):
        for row in archive.part(receipt).index():
            found[native_name(row.name)] = archive.part(receipt).read(row)
    return found


def test_an_hour_becomes_one_archive_with_a_receipt(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour()
    before = contents(hour.path)
    outcome = archive_hour(hour, archive, signer, ArchiveOptions(verify="full"))
    assert outcome.status == "archived"
    assert archived(archive) == before == contents(hour.path)
    (receipt,) = archive.receipts("cam1", HOUR)
    assert receipt == outcome.receipt
    assert (receipt.file_count, receipt.frame_count, receipt.part) == (len(before), 12, 1)
    assert receipt.total_size == sum(map(len, before.values()))
    assert (receipt.model_versions, receipt.device_ids, receipt.batch_ids) == (("line/1",), ("box1",), ("B1", "B2"))
    assert {name: c.count for name, c in receipt.classes.items()} == {"crack": 4, "dent": 8}
    assert receipt.classes["crack"].max_confidence == 0.9
    assert (receipt.verified_how, receipt.start_time, receipt.end_time) == ("full", HOUR.start, HOUR.end)
    assert hour.receipts() == [receipt]
    assert hour.uncovered_members() == []
    assert load_plan(hour) is None
    assert archive_hour(hour, archive, signer).status == "nothing"


def test_late_frames_become_part_2_and_part_1_stays_as_it_was(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour()
    before = contents(hour.path)
    first = ArchiveName("cam1", HOUR)
    run_archiver(tmp_path / "spool", archive, signer)
    whole = archive.store.get(first.archive_key)
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        record = {"detections": [], "model_version": "m", "device_id": "d"}
        path = writer.write(HOUR.start + timedelta(minutes=9), frame_record(record), b"late").image_path
    late = contents(hour.path)
    assert {member.name for member in hour.uncovered_members()} == set(late)
    (result,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert result.status == "archived"
    assert [r.part for r in archive.receipts("cam1", HOUR)] == [1, 2]
    assert archive.store.get(first.archive_key) == whole
    assert archived(archive) == before | late
    assert Path(path).name in late
    assert contents(hour.path) == {}
    assert [r.part for r in hour.receipts()] == [1, 2]


def test_a_resumed_upload_sends_only_what_is_missing(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=30, size=MIB)

    broken, _ = faulty(archive, fail("upload_part", nth=4, times=None, error=cut))
    with pytest.raises(StoreUnavailableError, match="the line is cut"):
        archive_hour(hour, broken, signer, IN_PARTS)
    plan = load_plan(hour)
    assert plan is not None
    assert plan.upload_id is not None
    assert archive.receipts("cam1", HOUR) == []
    (hour.path / "arrived_meanwhile.jpg").write_bytes(b"is the next part")
    counted, fault = faulty(archive)
    outcome = archive_hour(hour, counted, signer)
    assert (outcome.resumed_parts, outcome.sent_parts) == (3, 4 + 1)
    assert fault.counts()["upload_part"] == 4
    assert outcome.receipt is not None and outcome.receipt.part == 2
    assert [one.file_count for one in archive.receipts("cam1", HOUR)] == [33, 1]
    assert hour.uncovered_members() == []
    assert archived(archive) == contents(hour.path)


def test_many_parts_are_hashed_by_one_md5_and_no_more(
    fill_hour: FillHour, archive: Archive, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MD5 is the dearest hash: of the whole for the receipt, and of nothing else."""
    hashed: list[int] = []

    class Counted:
        def __init__(self, data: bytes = b"", **_: object) -> None:
            self.inner = MD5(data, usedforsecurity=False)
            hashed.append(len(data))

        def update(self, data: memoryview) -> None:
            hashed.append(len(data))
            self.inner.update(data)

        def hexdigest(self) -> str:
            return self.inner.hexdigest()

    monkeypatch.setattr(hashlib, "md5", Counted)
    outcome = archive_hour(fill_hour(frames=12, size=MIB), archive, signer, IN_PARTS)
    assert outcome.sent_parts == 3 and outcome.receipt is not None
    assert sum(hashed) == outcome.receipt.archive_size


def test_a_part_that_differs_in_the_store_is_sent_again(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=12, size=MIB)

    class Garbling(ForwardingStore):
        def upload_part(self, key: str, upload_id: str, number: int, data: Payload, **more: Any) -> UploadedPart:
            if number != 2:
                return super().upload_part(key, upload_id, number, data, **more)
            super().upload_part(key, upload_id, number, bytes(len(data)))
            raise StoreUnavailableError("the line is cut", transient=False)

    broken = through(archive, Garbling(archive.store))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, IN_PARTS)
    outcome = archive_hour(hour, archive, signer, ArchiveOptions(verify="full"))
    assert outcome.sent_parts >= 1
    assert archived(archive) == contents(hour.path)


def test_an_upload_that_disappeared_starts_again(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=12, size=MIB)

    broken, _ = faulty(archive, fail("complete_upload", times=None, error=cut))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, IN_PARTS)
    plan = load_plan(hour)
    assert plan is not None
    archive.store.abort_upload(plan.archive_key, str(plan.upload_id))
    outcome = archive_hour(hour, archive, signer)
    assert (outcome.resumed_parts, outcome.sent_parts) == (0, 3)
    assert archived(archive) == contents(hour.path)


@pytest.mark.parametrize("size", [3000, MIB])
def test_a_complete_whose_answer_was_lost_is_recognised(
    size: int, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(size=size)

    broken, _ = faulty(archive, fail("complete_upload", "put_if_absent", times=None, effect="after", error=cut))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, IN_PARTS)
    counted, fault = faulty(archive)
    outcome = archive_hour(hour, counted, signer)
    assert (outcome.status, outcome.sent_parts) == ("archived", 0)
    assert "upload_part" not in fault.counts()
    assert archived(archive) == contents(hour.path)


def test_a_short_outage_is_retried_and_a_long_one_leaves_the_hour_queued(
    fill_hour: FillHour, archive: Archive, signer: Signer, tmp_path: Path, contents: Contents
) -> None:
    hour = fill_hour()

    def busy(_: StoreCall) -> StoreUnavailableError:
        return StoreUnavailableError("busy")

    flaky, faults = faulty(archive, fail("put_if_absent", times=None, error=busy))
    before = contents(hour.path)
    (failed,) = run_archiver(tmp_path / "spool", flaky, signer)
    assert (failed.status, failed.reason) == ("failed", "busy")
    assert contents(hour.path) == before
    faults.heal()
    faults.add(fail("put_if_absent", times=2, error=busy))
    (done,) = run_archiver(tmp_path / "spool", flaky, signer)
    assert done.status == "archived"
    assert done.outcome is not None and done.outcome.retries == 2
    assert contents(hour.path) == {}


def test_another_archive_under_the_key_is_never_overwritten(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour()
    name = ArchiveName("cam1", HOUR)
    archive.store.put(name.archive_key, b"somebody else's")
    outcome = archive_hour(hour, archive, signer)
    assert outcome.receipt is not None
    assert outcome.receipt.part == 2
    assert archive.store.get(name.archive_key) == b"somebody else's"
    assert archived(archive) == contents(hour.path)


def test_an_hour_archived_from_another_device_is_adopted_by_content(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour()
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")  # other times, same bytes
    archive_hour(hour, archive, signer)
    other = SpoolHour.of(tmp_path / "copy", "cam1", HOUR)
    (other.path / "20260102_030000_000.jpg").write_bytes(b"not what was archived")
    other_signer = Signer.load_or_create(tmp_path / "keys2" / "archiver")
    with pytest.raises(SignatureError):
        archive_hour(other, Archive(archive.store, TrustedKeys.of(other_signer)), other_signer)
    both = TrustedKeys.of(signer, other_signer)
    outcome = archive_hour(other, Archive(archive.store, both), other_signer)
    assert (outcome.status, outcome.receipt.part if outcome.receipt else None) == ("archived", 2)
    second = Archive(archive.store, both).receipts("cam1", HOUR)[1]
    assert [row.name for row in archive.part(second).index()] == ["20260102_030000_000.jpg"]
    third = SpoolHour.of(tmp_path / "third", "cam1", HOUR)
    shutil.copytree(hour.path, third.path, ignore=shutil.ignore_patterns(".uploaded*"))
    assert archive_hour(third, Archive(archive.store, both), signer).status == "adopted"
    assert len(Archive(archive.store, both).receipts("cam1", HOUR)) == 2


def test_a_store_whose_part_etags_are_no_md5_is_resumed_by_the_journal(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=30, size=MIB)

    def opaque(part: UploadedPart) -> UploadedPart:
        return replace(part, etag=f"kms-{part.etag[:8]}")

    class Opaque(ForwardingStore):
        cut_at: int | None = 4

        def upload_part(self, key: str, upload_id: str, number: int, data: Payload, **more: Any) -> UploadedPart:
            if number == self.cut_at:
                raise StoreUnavailableError("cut", transient=False)
            return opaque(super().upload_part(key, upload_id, number, data, **more))

        def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
            return [opaque(part) for part in super().list_parts(key, upload_id)]

        def complete_upload(
            self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None
        ) -> ObjectInfo:
            return super().complete_upload(key, upload_id, super().list_parts(key, upload_id))

    store = Opaque(archive.store)
    broken = through(archive, store)
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, IN_PARTS)
    plan = load_plan(hour)
    assert plan is not None and plan.upload_id is not None
    noted = UploadJournal.of(hour, plan).parts(plan.upload_id)
    assert set(noted) >= {1, 2, 3} and 4 not in noted
    # A line that was cut by a crash is no line.
    (hour.path / ".archiving.parts").open("ab").write(b"6 0123")
    store.cut_at = None
    counted = FaultyStore(store)
    again = through(archive, counted)
    outcome = archive_hour(hour, again, signer, IN_PARTS)
    assert (outcome.resumed_parts, outcome.sent_parts) == (len(noted), counted.counts()["upload_part"])
    assert archived(archive) == contents(hour.path)
    assert not (hour.path / ".archiving.parts").exists()


def test_an_hour_whose_single_put_broke_goes_in_parts(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=12, size=MIB)
    options = ArchiveOptions(part_size=5 * MIB)

    broken, _ = faulty(archive, fail("put_if_absent", times=None, error=cut))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, options)
    store, counted = faulty(archive)
    outcome = archive_hour(hour, store, signer, options)
    assert (outcome.sent_parts, counted.counts()["upload_part"]) == (3, 3)
    assert archived(archive) == contents(hour.path)


def test_a_single_put_that_arrived_unseen_is_adopted(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=12, size=MIB)

    broken, _ = faulty(archive, fail("put_if_absent", times=None, effect="after", error=cut))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer)
    store, counted = faulty(archive)
    outcome = archive_hour(hour, store, signer)
    assert (outcome.status, outcome.sent_parts) == ("archived", 0)
    assert "upload_part" not in counted.counts()
    assert archived(archive) == contents(hour.path)


def test_markers_of_one_store_do_not_count_in_another(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour()
    archive_hour(hour, archive, signer)
    other = Archive(open_store((tmp_path / "other").as_uri()), trusted)
    assert archive_hour(hour, other, signer).status == "archived"
    assert archived(other) == contents(hour.path)


def test_a_file_that_keeps_changing_stays_and_the_rest_goes(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=12, size=MIB)
    busy = hour.path / "zz_growing.bin"
    busy.write_bytes(b"0")

    class Growing(ForwardingStore):
        def create_upload(self, key: str) -> str:
            with busy.open("ab") as file:
                file.write(b"1")
            return super().create_upload(key)

    store = through(archive, Growing(archive.store))
    outcome = archive_hour(hour, store, signer, IN_PARTS)
    assert outcome.status == "archived"
    assert [(p.path.name, "changed" in p.reason) for p in outcome.left] == [("zz_growing.bin", True)]
    assert archived(archive) == {n: d for n, d in contents(hour.path).items() if n != busy.name}
    assert [member.name for member in hour.uncovered_members()] == [busy.name]
    assert archive_hour(hour, archive, signer).receipt.part == 2  # type: ignore[union-attr]
    assert archived(archive) == contents(hour.path)


def test_links_and_folders_are_left_and_reported(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    hour = fill_hour()
    (tmp_path / "secret").write_text("not for the archive")
    (hour.path / "link.jpg").symlink_to(tmp_path / "secret")
    (hour.path / "folder").mkdir()
    (result,) = run_archiver(tmp_path / "spool", archive, signer)
    assert result.outcome is not None
    assert {problem.path.name for problem in result.outcome.left} == {"link.jpg", "folder"}
    assert "link.jpg" not in archived(archive)
    assert (hour.path / "link.jpg").is_symlink()
    assert (tmp_path / "secret").read_text() == "not for the archive"


def test_a_foreign_hour_with_odd_names_is_archived_like_our_own(
    archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents, tmp_path: Path
) -> None:
    hour = SpoolHour.of(tmp_path / "spool", "line-7", HOUR)
    hour.path.mkdir(parents=True)
    record = b'{"image_path":"line-7/20260102_03/x.jpg","detections":[],"model_version":"v8","device_id":"plc"}'
    files = {
        b"x.jpg": b"\xff\xd8",
        b"x.json": record,
        b"\xff\xfe.jpg": b"raw",
        b"a\nb \\ c.jpg": b"odd",
        b"y.json": b"{",
    }
    for name, data in files.items():
        (hour.path / os.fsdecode(name)).write_bytes(data)
    now = utc_now()
    assert run_archiver(tmp_path / "spool", archive, signer, now=now) == []  # written just now: not quiet yet
    (result,) = run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert result.status == "archived"
    found = archived(archive, "line-7")
    assert {os.fsencode(name): data for name, data in found.items()} == files
    (receipt,) = archive.receipts("line-7", HOUR)
    assert (receipt.model_versions, receipt.device_ids, receipt.bad_records) == (("v8",), ("plc",), 1)
    assert contents(hour.path) == {}


def test_one_failing_hour_does_not_stop_the_others(
    fill_hour: FillHour, archive: Archive, signer: Signer, tmp_path: Path
) -> None:
    hour = fill_hour()
    for camera in ("cam0", "cam2"):
        shutil.copytree(hour.path, tmp_path / "spool" / camera / HOUR.key)

    store, _ = faulty(archive, fail("put_if_absent", key="*cam1*", times=None, error=cut))
    results = run_archiver(tmp_path / "spool", store, signer, grace_seconds=0)
    assert [(r.camera_id, r.status) for r in results] == [
        ("cam0", "archived"),
        ("cam1", "failed"),
        ("cam2", "archived"),
    ]


def test_an_hour_locked_by_another_process_is_skipped(
    fill_hour: FillHour, archive: Archive, signer: Signer, tmp_path: Path
) -> None:
    hour = fill_hour()
    with hour_lock(hour):
        (result,) = run_archiver(tmp_path / "spool", archive, signer)
        assert result.status == "busy"
        with pytest.raises(FolderBusyError):
            archive_hour(hour, archive, signer)


@pytest.mark.parametrize("how", ["head", "full"])
def test_a_store_that_garbles_is_caught_before_the_receipt(
    how: Any, fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour()
    before = contents(hour.path)

    class Garbling(ForwardingStore):
        def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
            if key.endswith(".tar.gz"):
                view = memoryview(unpaced(data))
                return super().put_if_absent(key, view[:-1] if how == "head" else bytes(view[:-1]) + b"!")
            return super().put_if_absent(key, data, md5=md5)

    store = through(archive, Garbling(archive.store))
    with pytest.raises(IntegrityError):
        archive_hour(hour, store, signer, ArchiveOptions(verify=how))
    assert archive.receipts("cam1", HOUR) == []
    assert contents(hour.path) == before
    outcome = archive_hour(hour, archive, signer, ArchiveOptions(verify=how))  # the damaged object stays where it is
    assert outcome.receipt is not None
    assert outcome.receipt.part == 2
    assert archived(archive) == before


def test_a_full_disk_under_spool_and_store_is_one_line_and_loses_nothing(
    fill_hour: FillHour, archive: Archive, signer: Signer, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    hour = fill_hour()
    before = contents(hour.path)
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "write", full)
        patch.setattr(os, "pwrite", full)
        with pytest.raises(UserError, match="the disk or quota is full; free space"):
            archive_hour(hour, archive, signer)
    assert contents(hour.path) == before
    assert archive_hour(hour, archive, signer).status == "archived"


def test_a_plan_that_no_longer_fits_is_made_again(
    fill_hour: FillHour, archive: Archive, signer: Signer, trusted: TrustedKeys, contents: Contents
) -> None:
    hour = fill_hour(frames=12, size=MIB)

    broken, _ = faulty(archive, fail("complete_upload", times=None, error=cut))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, IN_PARTS)
    (hour.path / "20260102_030001_000.jpg").write_bytes(b"rewritten by somebody")
    assert archive_hour(hour, archive, signer, IN_PARTS).status == "archived"
    assert archived(archive) == contents(hour.path)


def test_on_every_store_an_hour_is_resumed_and_read_back(
    store: ObjectStore, fill_hour: FillHour, signer: Signer, trusted: TrustedKeys, contents: Contents, tmp_path: Path
) -> None:
    hour = fill_hour(frames=12, size=MIB)
    before = contents(hour.path)
    archive = Archive(store, trusted)

    broken, _ = faulty(archive, fail("upload_part", nth=3, times=None, error=cut))
    with pytest.raises(StoreUnavailableError):
        archive_hour(hour, broken, signer, IN_PARTS)
    counted, fault = faulty(archive)
    (result,) = run_archiver(tmp_path / "spool", counted, signer, options=ArchiveOptions(verify="full"))
    assert result.outcome is not None
    assert (result.outcome.resumed_parts, fault.counts()["upload_part"]) == (2, 1)
    assert archived(archive) == before
    assert contents(hour.path) == {}
    moved = replace(hour, path=tmp_path / "again" / "cam1" / HOUR.key)
    moved.path.mkdir(parents=True)
    for name, data in before.items():
        (moved.path / name).write_bytes(data)
    assert archive_hour(moved, archive, signer).status == "adopted"
