"""The archive: a store and the keys that may have signed its receipts. Everything that is read goes through it.

``Archive`` finds receipts and verifies them; ``ArchivedPart`` (``part``) gives the index, members and records of one.
Does not belong here: listing by time and sweeps over all hours (``listing``), and what is done with the files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import TypeVar

from yolo_assets.archive.missing import missing_parts, no_receipt, with_missing
from yolo_assets.archive.originals import copied_archives, oldest_version, parse_receipt
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.contracts.copies import CopiedArchive
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import ArchiveName, check_id, frame_time, holds_lines, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, format_time, hours_between, with_near_hours
from yolo_assets.spool.files import native_name
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.records import BadRecord, FrameRecord, RecordFile, merged_lines, read_records
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore, StoreUnavailableError

T = TypeVar("T")
R = TypeVar("R")

READERS = 8
"""Small reads in flight: a receipt is a few kilobytes, so the network's delay is all that counts."""
_AHEAD = 4
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class ReceiptResult:
    """A receipt, or why it is untrusted.

    Attributes:
        name: the archive it belongs to.
        receipt: its signature verified; None when it is untrusted or missing.
        problem: one line; None when all is well.
    """

    name: ArchiveName
    receipt: Receipt | None
    problem: str | None = None


@dataclass(frozen=True)
class Archive:
    """An archive root and whom it trusts. Safe to share between threads.

    Attributes:
        store: the archive root.
        trusted: keys that may have signed receipts and audit records.
    """

    store: ObjectStore
    trusted: TrustedKeys

    @property
    def url(self) -> str:
        """Where it is, for messages."""
        return self.store.url

    @cached_property
    def copied(self) -> dict[str, CopiedArchive]:
        """What statements say of archives that were copied, by stem; read once, see ``copied_archives``."""
        return copied_archives(self.store, self.trusted)

    def names(
        self, *, camera_id: str | None = None, hour: Hour | None = None, date: str | None = None
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
        for info in self.store.list(prefix):
            try:
                name = ArchiveName.parse(info.key)
            except BadInputError:
                continue
            if name.receipt_key == info.key and camera_id in (None, name.camera_id):
                yield name

    def receipt(self, name: ArchiveName) -> Receipt:
        """The receipt of an archive, its signature verified; the original, where another was written over it.

        Raises:
            ObjectNotFoundError: the archive was never finished.
            SignatureError: changed, or signed by a key that is not trusted.
            IntegrityError: it is the receipt of another archive.
        """
        return self.read_receipt(name)[1]

    def read_receipt(self, name: ArchiveName) -> tuple[bytes, Receipt]:
        """As ``receipt``, with the bytes as stored.

        Raises:
            ObjectNotFoundError, SignatureError, IntegrityError: see ``receipt``.
        """
        try:
            data = self.store.get(name.receipt_key)
            return data, parse_receipt(data, name, self.trusted)
        except (ObjectNotFoundError, SignatureError, IntegrityError, BadInputError) as error:
            # Where the store keeps versions, whatever was written over the original, or hides it, does not harm it.
            try:
                original = self.original_receipt(name)
            except StoreUnavailableError:
                original = None  # perhaps without the right to list versions: then what is there is reported
            if original is None:
                if isinstance(error, ObjectNotFoundError):
                    raise ObjectNotFoundError(no_receipt(name)) from None
                raise
            receipt, version = original
            return self.store.get(name.receipt_key, version_id=version.version_id), receipt

    def original_receipt(self, name: ArchiveName) -> tuple[Receipt, ObjectInfo] | None:
        """The receipt as it was first written, and the version it lies in; None when no version proves itself.

        A store without versions has no originals: None.
        """
        receipts: list[Receipt] = []

        def proves(data: bytes) -> bool:
            try:
                receipts.append(parse_receipt(data, name, self.trusted))
            except UserError:
                return False
            return True

        version = oldest_version(self.store, name.receipt_key, proves)
        return None if version is None else (receipts[0], version)

    def receipts(self, camera_id: str, hour: Hour, first: Receipt | None = None) -> list[Receipt]:
        """The receipts of a camera-hour, by part number, signatures verified.

        A part below one that is listed is looked for under a delete marker; else it is left out: ``missing_parts``
        names it.

        Args:
            camera_id: the camera.
            hour: the hour.
            first: the receipt of part 1, where it was read before.

        Raises:
            SignatureError, IntegrityError: see ``receipt``.
        """
        names = sorted(self.names(camera_id=check_id(camera_id), hour=hour))
        receipts: list[Receipt] = []
        for name in with_missing(names):
            try:
                receipts.append(first if first is not None and name.part == 1 else self.receipt(name))
            except ObjectNotFoundError:
                if name in names:
                    raise
        return receipts

    def read_receipts(self, names: Iterable[ArchiveName], readers: int = READERS) -> Iterator[ReceiptResult]:
        """Receipts of many archives, several at a time, in the order of ``names``; a bad one is a line like others.

        Raises:
            StoreUnavailableError: the store stopped answering. An object that it refuses for good is a line.
        """

        def read(name: ArchiveName) -> ReceiptResult:
            try:
                return ReceiptResult(name, self.receipt(name))
            except UserError as error:
                if isinstance(error, StoreUnavailableError) and error.transient:
                    raise
                return ReceiptResult(name, None, str(error))

        return in_order(names, read, readers)

    def part(self, receipt: Receipt) -> ArchivedPart:
        """Index, members and records of the archive that this receipt describes; nothing is read yet."""
        return ArchivedPart(self.store, receipt)

    def parts(self, camera_id: str, hour: Hour) -> list[ArchivedPart]:
        """The parts of a camera-hour, by number, with the receipts of ``receipts``.

        Raises:
            SignatureError, IntegrityError: see ``receipt``.
        """
        return [self.part(receipt) for receipt in self.receipts(camera_id, hour)]

    def hour_records(
        self, camera_id: str, hour: Hour, local: SpoolHour | None = None
    ) -> Iterator[FrameRecord | BadRecord]:
        """The records of a whole camera-hour: every part, and what still lies in the spool; each line once.

        A later part or the spool may hold a record file again, under the same name: a foreign producer went on writing
        to it. Of an NDJSON file the new lines are added, a per-frame file takes the earlier one's place.
        """
        contents = [part.contents() for part in self.parts(camera_id, hour)]
        frames = {name for content in contents for name in content.frames}
        sources = [content.records for content in contents]
        if local is not None:
            frames |= local.folder().frames
            sources.append(local.record_files())
        files: dict[str, RecordFile] = {}
        for file in (file for source in sources for file in source):
            earlier = files.get(file.name)
            if earlier is not None and holds_lines(file.name):
                file = merged_lines(earlier, file)
            files[file.name] = file
        return read_records(files.values(), FrameFolder.of(camera_id, hour, frames))

    def cat(self, camera_id: str, *, frame: str | None = None, at: datetime | None = None) -> tuple[str, bytes]:
        """One frame of one camera, by name or by time, also from the folder of the hour before or after.

        Args:
            camera_id: the camera.
            frame: file name, or ``portable_name`` of it; its hour follows from it.
            at: the newest frame of that hour captured at or before this moment is taken. One of the first part that was
                captured at this very moment is read without looking for a newer one.

        Returns:
            The frame's file name and its bytes, verified.

        Raises:
            BadInputError: neither or both given, or the frame name carries no time.
            ObjectNotFoundError: no such frame was archived.
            IntegrityError: by time: a part of the hour has no receipt, so a newer frame may lie in it.
        """
        if (frame is None) == (at is None):
            raise BadInputError("give either the name of a frame or a time")
        if frame is not None:
            part, row = self.frame_named(camera_id, frame)
        else:
            assert at is not None  # one of the two is given
            part, row = self.frame_at(camera_id, at)
        return native_name(row.name), part.read(row)

    def frame_named(self, camera_id: str, frame: str) -> tuple[ArchivedPart, IndexRow]:
        """Where a frame lies whose name holds its time; see ``cat``.

        Raises:
            BadInputError, ObjectNotFoundError: see ``cat``.
        """
        moment = frame_time(frame)
        if moment is None:
            raise BadInputError(f"{frame!r} has no time in its name, so its hour is unknown; find it with --at TIME")
        hour = Hour.of(moment)
        near = self.parts_near(camera_id, hour, moment, moment + _INSTANT)
        for part in chain(self._parts_one_by_one(camera_id, hour), near):
            row = part.find_frame(frame)
            if row is not None:
                return part, row
        raise ObjectNotFoundError(f"camera {camera_id} has no {frame} in the archives of hour {hour}")

    def frame_at(self, camera_id: str, at: datetime) -> tuple[ArchivedPart, IndexRow]:
        """Where the newest frame of an hour at or before a moment lies; see ``cat``.

        Raises:
            ObjectNotFoundError, IntegrityError: see ``cat``.
        """
        hour = Hour.of(at)
        first = self.first_part(camera_id, hour)
        found = None if first is None else first.newest_frame(at)
        if first is not None and found is not None and found[0] == at:  # none can be newer, wherever it lies
            return first, found[1]
        near = self.parts_near(camera_id, hour, hour.start, at + _INSTANT)
        newest = [
            (*frame_row, part)
            for part in chain(self._complete_parts(camera_id, hour, first), near)
            if (frame_row := found if part is first else part.newest_frame(at)) is not None
            and frame_row[0] >= hour.start
        ]
        if not newest:
            asked = f"frame at or before {format_time(at)}"
            raise ObjectNotFoundError(f"camera {camera_id} has no {asked} in the archives of hour {hour}")
        _, row, part = max(newest, key=lambda entry: (entry[0], entry[1].name))
        return part, row

    def parts_near(self, camera_id: str, hour: Hour, start: datetime, end: datetime) -> Iterator[ArchivedPart]:
        """The parts of the hour before and the hour after that hold a frame outside their hour, in ``[start, end)``.

        Args:
            camera_id: the camera.
            hour: whose own parts are not among them.
            start: first moment.
            end: first moment after the range.

        What of them is untrusted or damaged is passed over.
        """
        for near in hours_between(*with_near_hours(hour.start, hour.end)):
            if near == hour:
                continue
            for result in self.read_receipts(self.names(camera_id=camera_id, hour=near)):
                if result.receipt is not None and may_hold(self.part(result.receipt), start, end):
                    yield self.part(result.receipt)

    def _complete_parts(self, camera_id: str, hour: Hour, first: ArchivedPart | None) -> list[ArchivedPart]:
        """Every part of a camera-hour, with the first where it was found before, or an error."""
        parts = [self.part(receipt) for receipt in self.receipts(camera_id, hour, first and first.receipt)]
        parts = [first if first is not None and part.receipt is first.receipt else part for part in parts]
        if not parts:  # perhaps its only receipt is hidden, where versions are kept
            return list(self._parts_one_by_one(camera_id, hour))
        missing = missing_parts(part.name for part in parts)
        if missing:
            raise IntegrityError(
                f"which frame is the newest is uncertain; give one with --frame: {no_receipt(missing[0])}"
            )
        return parts

    def first_part(self, camera_id: str, hour: Hour) -> ArchivedPart | None:
        """The first part of a camera-hour, which nearly always is the only one, without a listing; None without one."""
        try:
            return self.part(self.receipt(ArchiveName(check_id(camera_id), hour)))
        except ObjectNotFoundError:
            return None

    def _parts_one_by_one(self, camera_id: str, hour: Hour) -> Iterator[ArchivedPart]:
        """Every part of a camera-hour; the first without a listing."""
        first = self.first_part(camera_id, hour)
        if first is not None:
            yield first
        for part in self.parts(camera_id, hour):
            if part.receipt.part > 1:
                yield part


def may_hold(part: ArchivedPart, start: datetime, end: datetime) -> bool:
    """``part.holds_outside``; a part that cannot be read holds nothing here, and is told when its own hour is asked.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    try:
        return part.holds_outside(start, end)
    except UserError as error:
        if isinstance(error, StoreUnavailableError) and error.transient:
            raise
        return False


def in_order(items: Iterable[T], work: Callable[[T], R], workers: int = READERS) -> Iterator[R]:
    """``map`` by a few threads: results in the order of ``items``, which are taken only a few ahead.

    The first error that ``work`` raises ends it; what had not begun by then does not begin.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="archive")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= workers * _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
