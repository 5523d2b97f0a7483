"""Reads the archive: receipts that prove themselves, indexes that fit them, single frames by one range read.

Nothing is returned unverified: a receipt needs a signature by a trusted key, an index the hash in its receipt, a
member the hash in its index.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO

from yolo_assets.archive.packing.format import content
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.reading.lookup import find_member, load_index, newest_frame
from yolo_assets.archive.reading.parts import missing_parts, no_receipt, with_missing
from yolo_assets.archive.retry import retry
from yolo_assets.archive.write_once.versions import original_receipt, parse_receipt
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import (
    ArchiveName,
    check_id,
    is_frame,
    is_record_file,
    parse_frame_name,
    receipts_prefix,
)
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import BadRecord, RecordFile, read_records
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError

_WINDOW = 8 << 20
"""Bytes of one range read when many members are wanted."""


def list_archives(
    archive: ObjectStore, *, camera_id: str | None = None, hour: Hour | None = None, date: str | None = None
) -> Iterator[ArchiveName]:
    """Names of the archives that have a receipt, in key order; all of them, or of one camera, hour or date.

    Keys that are no receipt of ours are passed over.

    Raises:
        BadInputError: not a camera id, or not a date.
    """
    if camera_id is not None:
        check_id(camera_id)
    prefix = receipts_prefix(hour, date)
    if hour is not None and camera_id is not None:
        prefix += ArchiveName(camera_id, hour).stem
    for info in archive.list(prefix):
        try:
            name = ArchiveName.parse(info.key)
        except BadInputError:
            continue
        if name.receipt_key == info.key and camera_id in (None, name.camera_id):
            yield name


def load_receipt(archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys) -> Receipt:
    """The receipt of an archive, its signature checked; the original, where another was written over it.

    Raises:
        ObjectNotFoundError: the archive was never finished.
        SignatureError: changed, or signed by a key that is not trusted.
        IntegrityError: it is the receipt of another archive.
    """
    return read_receipt(archive, name, trusted)[1]


def read_receipt(archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys) -> tuple[bytes, Receipt]:
    """As ``load_receipt``, with the bytes as stored.

    Raises:
        ObjectNotFoundError, SignatureError, IntegrityError: see ``load_receipt``.
    """
    try:
        data = retry(archive.get, name.receipt_key)
        return data, parse_receipt(data, name, trusted)
    except (ObjectNotFoundError, SignatureError, IntegrityError, BadInputError) as error:
        # Where the store keeps versions, whatever was written over the original, or hides it, does not harm it.
        try:
            original = original_receipt(archive, name, trusted)
        except StoreUnavailableError:
            original = None  # perhaps without the right to list versions: then what is there is what is told
        if original is None:
            if isinstance(error, ObjectNotFoundError):
                raise ObjectNotFoundError(no_receipt(name)) from None
            raise
        receipt, version = original
        return retry(archive.get, name.receipt_key, version_id=version.version_id), receipt


def find_receipts(archive: ObjectStore, camera_id: str, hour: Hour, trusted: TrustedKeys) -> list[Receipt]:
    """Every part of a camera-hour, by part number, signatures checked.

    A part below one that is listed is looked for under a delete marker; else it is left out: ``missing_parts`` tells.

    Raises:
        SignatureError, IntegrityError: see ``load_receipt``.
    """
    names = retry(lambda: sorted(list_archives(archive, camera_id=check_id(camera_id), hour=hour)))
    found: list[Receipt] = []
    for name in with_missing(names):
        try:
            found.append(load_receipt(archive, name, trusted))
        except ObjectNotFoundError:
            if name in names:
                raise
    return found


def read_member(archive: ObjectStore, receipt: Receipt, row: IndexRow) -> bytes:
    """One file out of an archive by one range read, hash checked.

    Raises:
        IntegrityError: the archive does not hold these bytes any more.
    """
    data = retry(archive.get_range, receipt.archive_key, row.offset, row.length, version_id=receipt.version_id)
    return b"".join(_checked([data], receipt, row))


def read_members(
    archive: ObjectStore, receipt: Receipt, rows: Iterable[IndexRow]
) -> Iterator[tuple[IndexRow, Iterator[bytes]]]:
    """Many files, neighbours fetched together, big ones in pieces: bounded memory.

    Yields:
        The row, and its bytes in pieces. Read them to the end before the next row: the hash is checked there.
    """
    window: list[IndexRow] = []
    for row in sorted(rows, key=lambda row: row.offset):
        fits = window and row.offset + row.length - window[0].offset <= _WINDOW
        if window and not (fits and row.offset == window[-1].offset + window[-1].length):
            yield from _read_window(archive, receipt, window)
            window = []
        if row.length > _WINDOW:
            yield row, _checked(_pieces(archive, receipt, row), receipt, row)
        else:
            window.append(row)
    if window:
        yield from _read_window(archive, receipt, window)


def iter_frames(archive: ObjectStore, receipt: Receipt) -> Iterator[tuple[str, bytes]]:
    """Every frame of an archive: file name and verified bytes, in archive order."""
    rows = [row for row in load_index(archive, receipt) if is_frame(native_name(row.name))]
    for row, pieces in read_members(archive, receipt, rows):
        yield native_name(row.name), b"".join(pieces)


def archive_records(
    archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys
) -> Iterator[DetectionRecord | BadRecord]:
    """The records of one archive: the stream that ``SpoolHour.records`` gave before the hour left the spool."""
    receipt = load_receipt(archive, name, trusted)
    yield from read_records(_record_files(archive, receipt))


def hour_records(
    archive: ObjectStore, camera_id: str, hour: Hour, trusted: TrustedKeys, local: SpoolHour | None = None
) -> Iterator[DetectionRecord | BadRecord]:
    """The records of a whole camera-hour: every part, and what still lies in the spool; each line once.

    A later part or the spool may hold a record file again, under the same name: a foreign producer went on writing to
    it. Of an NDJSON file the new lines are added, a per-frame file takes the earlier one's place.
    """
    sources = [_record_files(archive, receipt) for receipt in find_receipts(archive, camera_id, hour, trusted)]
    if local is not None:
        sources.append(local.record_files())
    files: dict[str, RecordFile] = {}
    for file in (file for source in sources for file in source):
        earlier = files.get(file.name)
        files[file.name] = file if earlier is None else _merged(earlier, file)
    return read_records(files.values())


def cat(
    archive: ObjectStore, camera_id: str, trusted: TrustedKeys, *, frame: str | None = None, at: datetime | None = None
) -> tuple[str, bytes]:
    """One frame of one camera, by name or by time.

    Args:
        archive: the archive root.
        camera_id: the camera.
        trusted: keys that may have signed receipts.
        frame: file name; its hour follows from it.
        at: the newest frame of that hour captured at or before this moment is taken.

    Returns:
        The frame's file name and its bytes, verified.

    Raises:
        BadInputError: neither or both given, or the frame name carries no time.
        ObjectNotFoundError: no such frame was archived.
        IntegrityError: by time: a part of the hour has no receipt, so a newer frame may lie in it.
    """
    if (frame is None) == (at is None):
        raise BadInputError("name one frame: either by its name or by a time")
    moment = at if frame is None else parse_frame_name(frame)
    if moment is None:
        raise BadInputError(f"{frame!r} has no time in its name, so its hour is unknown; name it by --at TIME")
    hour = Hour.of(moment)
    if frame is not None:
        for receipt in _parts(archive, camera_id, hour, trusted):
            row = find_member(archive, receipt, portable_name(frame))
            if row is not None:
                return frame, read_member(archive, receipt, row)
    else:
        found = [
            (*newest, receipt)
            for receipt in _all_parts(archive, camera_id, hour, trusted)
            if (newest := newest_frame(archive, receipt, moment)) is not None
        ]
        if found:
            _, row, receipt = max(found, key=lambda one: (one[0], one[1].name))
            return native_name(row.name), read_member(archive, receipt, row)
    wanted = frame or f"frame at or before {format_time(moment)}"
    raise ObjectNotFoundError(f"camera {camera_id} has no {wanted} in the archives of hour {hour}")


def _all_parts(archive: ObjectStore, camera_id: str, hour: Hour, trusted: TrustedKeys) -> list[Receipt]:
    """Every part of a camera-hour, or an error."""
    receipts = find_receipts(archive, camera_id, hour, trusted)
    if not receipts:  # perhaps its only receipt is hidden, where versions are kept
        return list(_parts(archive, camera_id, hour, trusted))
    missing = missing_parts(ArchiveName.parse(receipt.archive_key) for receipt in receipts)
    if missing:
        raise IntegrityError(f"the newest frame cannot be told, name one by --frame: {no_receipt(missing[0])}")
    return receipts


def _parts(archive: ObjectStore, camera_id: str, hour: Hour, trusted: TrustedKeys) -> Iterator[Receipt]:
    """Every part of a camera-hour; the first, which nearly always is the only one, without a listing."""
    try:
        yield load_receipt(archive, ArchiveName(check_id(camera_id), hour), trusted)
    except ObjectNotFoundError:
        pass
    for receipt in find_receipts(archive, camera_id, hour, trusted):
        if receipt.part > 1:
            yield receipt


def _record_files(archive: ObjectStore, receipt: Receipt) -> list[RecordFile]:
    prefix = f"{receipt.camera_id}/{receipt.hour}"
    return [
        RecordFile(
            native_name(row.name),
            f"{prefix}/{row.name}",
            lambda row=row: io.BytesIO(read_member(archive, receipt, row)),
        )
        for row in load_index(archive, receipt)
        if is_record_file(native_name(row.name))
    ]


def _merged(earlier: RecordFile, later: RecordFile) -> RecordFile:
    if not later.name.lower().endswith(".ndjson"):
        return later

    def both() -> IO[bytes]:
        with earlier.open() as first, later.open() as second:
            lines = dict.fromkeys(line.rstrip(b"\r\n") for stream in (first, second) for line in stream)
        return io.BytesIO(b"".join(line + b"\n" for line in lines))

    return RecordFile(later.name, later.source, both)


def _read_window(
    archive: ObjectStore, receipt: Receipt, window: Sequence[IndexRow]
) -> Iterator[tuple[IndexRow, Iterator[bytes]]]:
    start = window[0].offset
    length = window[-1].offset + window[-1].length - start
    data = memoryview(retry(archive.get_range, receipt.archive_key, start, length, version_id=receipt.version_id))
    for row in window:
        yield row, _checked([bytes(data[row.offset - start : row.offset - start + row.length])], receipt, row)


def _pieces(archive: ObjectStore, receipt: Receipt, row: IndexRow) -> Iterator[bytes]:
    for start in range(row.offset, row.offset + row.length, _WINDOW):
        length = min(_WINDOW, row.offset + row.length - start)
        yield retry(archive.get_range, receipt.archive_key, start, length, version_id=receipt.version_id)


def _checked(chunks: Iterable[bytes], receipt: Receipt, row: IndexRow) -> Iterator[bytes]:
    """The file in a gzip member; fails at the end when its hash is not the index's."""
    mtime = int(Hour.from_key(receipt.hour).start.timestamp())
    digest = hashlib.sha256()
    for piece in content(chunks, f"{receipt.camera_id}/{receipt.hour}", native_name(row.name), row.size, mtime):
        digest.update(piece)
        yield piece
    if digest.digest() != row.sha256:
        raise IntegrityError(f"{row.name} in {receipt.archive_key} is not the file that was archived; its hash differs")
