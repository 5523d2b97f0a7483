"""Reading back: one frame by one range read, whole hours, records; tampering is found, paths stay inside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.audit.verification import verify_archive
from yolo_assets.archive.packing.index import index_bytes, parse_index
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.restore.writing import restore
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import ArchiveName, is_frame
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import FrameRecord, read_records
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import ObjectNotFoundError, ObjectStore
from yolo_assets.storage.base import ObjectStream
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record
from yolo_assets_tests.support.signed import content, sealed, with_content

Contents = Callable[[Path], dict[str, bytes]]
FillHour = Callable[..., SpoolHour]
HOUR = Hour.from_key("20260102_03")
NAME = ArchiveName("cam1", HOUR)


@pytest.fixture
def hour(fill_hour: FillHour, archive: Archive, signer: Signer) -> SpoolHour:
    """Archived, its files still in the spool to compare with."""
    found = fill_hour()
    archive_hour(found, archive, signer)
    return found


class Counting(ForwardingStore):
    """Counts what is read of the archive itself."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.ranges: list[tuple[str, int]] = []

    def get_range(self, key: str, start: int, length: int, **options: Any) -> bytes:
        self.ranges.append((key, length))
        return super().get_range(key, start, length, **options)

    def stream(self, *_: Any, **__: Any) -> ObjectStream:
        raise AssertionError("the whole archive was read")


class EveryRequest(ForwardingStore):
    """Notes the key of each request."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.keys: list[str] = []

    def _around(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        self.keys.append(key)
        return request()


def test_one_frame_is_one_range_read(hour: SpoolHour, archive: Archive, trusted: TrustedKeys) -> None:
    counting = Counting(archive.store)
    name, data = Archive(counting, trusted).cat("cam1", frame="20260102_030005_000.jpg")
    assert data == (hour.path / name).read_bytes()
    assert [key for key, _ in counting.ranges] == [NAME.archive_key]
    assert counting.ranges[0][1] < len(data) + 1024


@pytest.mark.parametrize("wanted", [{"frame": "20260102_030005_000.jpg"}, {"at": HOUR.start + timedelta(seconds=5)}])
def test_three_reads_find_a_frame_by_name_and_by_its_time(
    wanted: dict[str, Any],
    fill_hour: FillHour,
    archive: Archive,
    signer: Signer,
    trusted: TrustedKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yolo_assets.archive.packing.index.ROW_GROUP", 4)  # as in an hour of thousands
    for place in ("commit", "part"):
        monkeypatch.setattr(f"yolo_assets.archive.{place}.SMALL_INDEX", 0)
    hour = fill_hour()
    archive_hour(hour, archive, signer)
    counting = EveryRequest(archive.store)
    name, data = Archive(counting, trusted).cat("cam1", **wanted)
    assert (name, data) == ("20260102_030005_000.jpg", (hour.path / name).read_bytes())
    assert counting.keys == [NAME.receipt_key, NAME.index_key, NAME.archive_key]


def test_a_time_finds_the_newest_frame_before_it(hour: SpoolHour, archive: Archive, trusted: TrustedKeys) -> None:
    name, data = archive.cat("cam1", at=HOUR.start + timedelta(seconds=7, milliseconds=999))
    assert (name, data) == ("20260102_030007_000.jpg", (hour.path / name).read_bytes())
    wrongs: list[dict[str, Any]] = [{"at": HOUR.end}, {"frame": "20260102_030005_001.jpg"}]
    for wrong in wrongs:
        with pytest.raises(ObjectNotFoundError, match="has no"):
            archive.cat("cam1", **wrong)
    bads: list[dict[str, Any]] = [{}, {"frame": "x.jpg"}, {"frame": "20260102_030005_000.jpg", "at": HOUR.start}]
    for bad in bads:
        with pytest.raises(BadInputError):
            archive.cat("cam1", **bad)


def test_the_archive_gives_the_records_and_frames_of_the_spool(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path, contents: Contents
) -> None:
    (hour.path / "bad.json").write_bytes(b"{")
    (hour.path / "records.ndjson").write_bytes((hour.path / "records.ndjson").read_bytes() + b"torn\n")
    archive_hour(hour, archive, signer)
    local = list(hour.records())
    part = archive.part(archive.receipt(NAME))
    contents_of_part = part.contents()
    folder = FrameFolder.of("cam1", HOUR, contents_of_part.frames)
    assert list(read_records(contents_of_part.records, folder)) == [r for r in local if isinstance(r, FrameRecord)]
    assert sorted(map(repr, archive.hour_records("cam1", HOUR))) == sorted(map(repr, local))
    assert list(archive.hour_records("cam1", HOUR, hour)) == local
    rows = [row for row in part.index() if is_frame(row.name)]
    frames = {row.name: b"".join(pieces) for row, pieces in part.read_many(rows)}
    assert frames == {name: data for name, data in contents(hour.path).items() if name.endswith(".jpg")}


def test_listing_separates_cameras_and_days(hour: SpoolHour, archive: Archive) -> None:
    archive.store.put("receipts/date=2026-01-02/hour=03/notes.txt", b"x")
    assert list(archive.names()) == [NAME]
    assert list(archive.names(camera_id="cam1", hour=HOUR)) == [NAME]
    assert list(archive.names(camera_id="cam")) == list(archive.names(date="2026-01-03")) == []


def test_restore_returns_the_hour_and_continues_where_it_stopped(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, contents: Contents, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = restore(archive, "cam1", HOUR.start, HOUR.end, out)
    assert contents(out / "cam1" / HOUR.key) == contents(hour.path)
    (out / "cam1" / HOUR.key / "20260102_030001_000.jpg").unlink()
    own = out / "cam1" / HOUR.key / "20260102_030002_000.jpg"
    own.write_bytes(b"somebody's own work")
    again = restore(archive, "cam1", HOUR.start, HOUR.end, out)
    assert (again.files, again.skipped) == (1, whole.files - 2)
    (told,) = again.problems
    assert str(own) in told and own.read_bytes() == b"somebody's own work", "what is not ours never vanishes"
    own.unlink()
    assert restore(archive, "cam1", HOUR.start, HOUR.end, out).ok
    assert contents(out / "cam1" / HOUR.key) == contents(hour.path)


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [
        ({}, set(range(12))),
        ({"class_name": "crack"}, {0, 3, 6, 9}),
        ({"class_name": "crack", "min_confidence": 0.6}, {6, 9}),
        ({"min_confidence": 0.8}, {8, 9}),
        ({"batch": "B1"}, set(range(6))),
        ({"batch": "B1", "class_name": "dent"}, {1, 2, 4, 5}),
        ({"batch": "B3"}, set()),
    ],
)
def test_restore_by_what_was_seen(
    wanted: dict[str, Any],
    seconds: set[int],
    hour: SpoolHour,
    archive: Archive,
    trusted: TrustedKeys,
    tmp_path: Path,
) -> None:
    restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out", frames_only=True, **wanted)
    found = {int(path.name[13:15]) for path in (tmp_path / "out").rglob("*.*")}
    assert found == seconds


def test_restore_by_time_and_with_records(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path
) -> None:
    start = HOUR.start + timedelta(seconds=3)
    restore(archive, "cam1", start, start + timedelta(seconds=2), tmp_path / "out", class_name="dent")
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert names == {"20260102_030004_000.jpg", "20260102_030004_000.ndjson"}  # its own record, no one else's
    with pytest.raises(BadInputError, match="empty"):
        restore(archive, "cam1", start, start, tmp_path / "out")


def test_parts_that_hold_other_bytes_of_one_name_are_both_restored(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    name = "20260102_030001_000.jpg"
    first = (hour.path / name).read_bytes()
    (hour.path / name).write_bytes(b"second")
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    folder = tmp_path / "out" / "cam1" / HOUR.key
    assert ((folder / name).read_bytes(), (folder / "part2" / name).read_bytes()) == (first, b"second")


def test_restore_does_not_write_through_a_link(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cam1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInputError, match="symbolic link"):
        restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    assert not list((tmp_path / "elsewhere").rglob("*.jpg"))


def sign_again(archive: Archive, signer: Signer, **changes: Any) -> None:
    """What somebody who holds the archiver's key could do to a receipt."""
    document = content(archive.store.get(NAME.receipt_key)) | changes
    archive.store.put(NAME.receipt_key, sealed(signer, document, "receipt"))


@pytest.mark.parametrize("name", ["../../evil.jpg", "/tmp/evil.jpg", "..", "a/b.jpg", "\\x2e\\x2e\\x2fevil.jpg"])
def test_restore_refuses_a_path_even_in_a_signed_index(
    name: str, hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    rows = archive.part(archive.receipt(NAME)).index()
    data = index_bytes([*rows[:-1], IndexRow(name, rows[-1].offset, rows[-1].length, rows[-1].size, rows[-1].sha256)])
    archive.store.put(NAME.index_key, data)
    sign_again(archive, signer, index_sha256=hashlib.sha256(data).hexdigest())
    done = restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    assert [("paths are refused" in line, done.files) for line in done.problems] == [(True, len(rows) - 1)]
    assert not list(tmp_path.rglob("evil*"))


def flip(archive: Archive, key: str, position: int) -> None:
    data = bytearray(archive.store.get(key))
    data[position] ^= 1
    archive.store.put(key, bytes(data))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_flipped_bit_in_the_archive_is_found(
    share: float, hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path, contents: Contents
) -> None:
    assert verify_archive(archive, NAME, "full").ok
    flip(archive, NAME.archive_key, int(share * archive.receipt(NAME).archive_size))
    assert not verify_archive(archive, NAME, "head").ok  # the ETag tells that it was written again
    report = verify_archive(archive, NAME, "full")
    assert any("SHA-256" in problem for problem in report.problems)
    assert len(report.problems) >= 3  # SHA-256, MD5 and the member it hit
    done = restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    assert len(done.problems) == 1 and not done.ok
    assert contents(tmp_path / "out" / "cam1" / HOUR.key).items() < contents(hour.path).items()
    assert done.files == len(contents(hour.path)) - 1


def test_a_changed_index_is_found(hour: SpoolHour, archive: Archive, trusted: TrustedKeys) -> None:
    flip(archive, NAME.index_key, 100)
    assert not verify_archive(archive, NAME).ok
    with pytest.raises(IntegrityError, match="not what its receipt says"):
        archive.cat("cam1", frame="20260102_030005_000.jpg")


def test_an_index_that_lies_is_found_by_its_content(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys
) -> None:
    rows = parse_index(archive.store.get(NAME.index_key), "index")
    swapped = [rows[0], IndexRow(rows[2].name, *_rest(rows[1])), IndexRow(rows[1].name, *_rest(rows[2])), *rows[3:]]
    data = index_bytes(swapped)
    archive.store.put(NAME.index_key, data)
    sign_again(archive, signer, index_sha256=hashlib.sha256(data).hexdigest())
    assert verify_archive(archive, NAME).ok
    assert len(verify_archive(archive, NAME, "full").problems) == 2
    with pytest.raises(IntegrityError):
        archive.part(archive.receipt(NAME)).read(swapped[1])


def _rest(row: IndexRow) -> tuple[int, int, int, bytes]:
    return row.offset, row.length, row.size, row.sha256


@pytest.mark.parametrize("change", [{"frame_count": 11}, {"sha256": "0" * 64}, {"verified_how": "full"}])
def test_a_changed_receipt_is_found(
    change: dict[str, Any], hour: SpoolHour, archive: Archive, trusted: TrustedKeys
) -> None:
    receipt = archive.store.get(NAME.receipt_key)
    archive.store.put(NAME.receipt_key, with_content(receipt, content(receipt) | change))
    with pytest.raises(SignatureError, match="was changed"):
        archive.receipts("cam1", HOUR)
    assert not verify_archive(archive, NAME).ok


def test_a_receipt_of_another_archive_is_found(hour: SpoolHour, archive: Archive, trusted: TrustedKeys) -> None:
    other = ArchiveName("cam2", HOUR)
    archive.store.put(other.receipt_key, archive.store.get(NAME.receipt_key))
    with pytest.raises(IntegrityError, match="moved or copied"):
        archive.receipt(other)


def test_an_archive_that_is_missing_is_reported(hour: SpoolHour, archive: Archive, trusted: TrustedKeys) -> None:
    archive.store.delete(NAME.archive_key)
    assert verify_archive(archive, NAME).problems == [f"{NAME.archive_key} is not in the store"]
    assert not verify_archive(archive, ArchiveName("cam1", HOUR.next())).ok


def test_late_frames_are_found_by_every_reader(
    hour: SpoolHour, archive: Archive, signer: Signer, trusted: TrustedKeys, tmp_path: Path
) -> None:
    run_archiver(tmp_path / "spool", archive, signer)
    found = {"bbox": [0, 0, 1, 1], "class": "late", "confidence": 1, "timestamp": "2026-01-02T03:40:00Z"}
    with SpoolWriter(tmp_path / "spool", "cam1", "box1") as writer:
        record = {"detections": [found], "model_version": "m", "device_id": "d"}
        writer.write(HOUR.start + timedelta(minutes=40), frame_record(record), b"late")
    run_archiver(tmp_path / "spool", archive, signer, grace_seconds=0)
    assert archive.cat("cam1", frame="20260102_034000_000.jpg")[1] == b"late"
    assert archive.cat("cam1", at=HOUR.start + timedelta(minutes=59))[1] == b"late"
    assert len(list(archive.hour_records("cam1", HOUR))) == 13
    done = restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out", class_name="late", frames_only=True)
    assert (done.files, done.archives) == (1, 1)


def test_a_full_disk_while_restoring_is_one_line(
    hour: SpoolHour, archive: Archive, trusted: TrustedKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.write", full)
        with pytest.raises(UserError, match="cannot write"):
            restore(archive, "cam1", HOUR.start, HOUR.end, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
