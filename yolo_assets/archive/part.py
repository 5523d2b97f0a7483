"""One archive, by its verified receipt: its index, its members, its records. Nothing is returned unverified.

An index must have the hash in its receipt, a member the hash in its index. One member is found with one small read, a
row group of the index, whose hash is in the signed receipt. Receipts of earlier versions hold the hash of the index's
footer instead, which is read first and holds those of the row groups. Does not belong here: parsing an index
(``packing.index``), and finding receipts (``archive``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from yolo_assets.archive.originals import check_index, oldest_version
from yolo_assets.archive.packing.format import content
from yolo_assets.archive.packing.index import parse_footer, parse_group, parse_group_alone
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.contracts.names import ArchiveName, frame_time, is_frame, is_record_file
from yolo_assets.contracts.receipt import IndexGroup, Receipt
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.records import RecordFile
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore, StoreUnavailableError
from yolo_assets.storage.fallback import FallbackStore

T = TypeVar("T")

SMALL_INDEX = 48 << 10
"""An index up to this size is read at once: one request instead of two. A thousand members have about so much."""
_WINDOW = 8 << 20
"""Bytes of one range read when many members are read."""


@dataclass(frozen=True)
class PartContents:
    """The members of a part that records are read with.

    Attributes:
        frames: file names of the pictures.
        records: the record files; each is read when it is opened.
    """

    frames: list[str]
    records: list[RecordFile]


@dataclass(frozen=True)
class ArchivedPart:
    """One archive in a store, as its receipt describes it. Opening one reads nothing.

    Attributes:
        store: the archive root.
        receipt: its signature verified.
    """

    store: ObjectStore
    receipt: Receipt

    @property
    def name(self) -> ArchiveName:
        """Camera, hour and part."""
        return ArchiveName.parse(self.receipt.archive_key)

    def index(self) -> list[IndexRow]:
        """The member index, all of it, checked against the receipt; the original, where it was overwritten.

        Raises:
            IntegrityError: it is not the index that the receipt was written for.
        """
        return self.read_index()[1]

    def read_index(self) -> tuple[bytes, list[IndexRow]]:
        """As ``index``, with the bytes as stored.

        Raises:
            IntegrityError: see ``index``.
        """
        try:
            data = self.store.get(self.receipt.index_key)
            return data, check_index(data, self.receipt)
        except (ObjectNotFoundError, IntegrityError) as error:
            try:
                original = self.original_index()
            except StoreUnavailableError:
                original = None  # perhaps without the right to list versions
            if original is not None:
                return original[0], check_index(original[0], self.receipt)
            return self._of_copy(error, ArchivedPart.read_index)

    def original_index(self) -> tuple[bytes, ObjectInfo] | None:
        """The index that the receipt was written for, and the version it lies in; None when none proves itself."""
        data = b""

        def proves(candidate: bytes) -> bool:
            nonlocal data
            data = candidate
            return hashlib.sha256(candidate).hexdigest() == self.receipt.index_sha256

        version = oldest_version(self.store, self.receipt.index_key, proves, size=self.receipt.index_size)
        return None if version is None else (data, version)

    def find(self, name: str) -> IndexRow | None:
        """The row of one member, by its portable name; None when the archive does not hold it.

        Raises:
            IntegrityError: see ``index``.
        """
        for rows in self._groups(lambda group: group.first <= name <= group.last):
            for row in rows:
                if row.name == name:
                    return row
        return None

    def find_frame(self, name: str) -> IndexRow | None:
        """The row of one member by its file name, or by its portable name, as listings show it; None without one."""
        row = self.find(portable_name(name))
        return self.find(name) if row is None and portable_name(name) != name else row

    def newest_frame(self, moment: datetime) -> tuple[datetime, IndexRow] | None:
        """When the newest frame captured at or before ``moment`` was taken, and its row; None when there is none.

        Raises:
            IntegrityError: see ``index``.
        """
        # Frame names begin with their time, and a name that lacks the "_n" of a taken one sorts before it.
        bound = f"{moment:%Y%m%d_%H%M%S}_{moment.microsecond // 1000:03d}~"
        for rows in self._groups(lambda group: group.first <= bound, newest_first=True):
            taken = ((frame_time(row.name), row) for row in rows)
            earlier = [(time, row) for time, row in taken if time is not None and time <= moment]
            if earlier:
                return max(earlier, key=lambda pair: (pair[0], pair[1].name))
        return None

    def holds_outside(self, start: datetime, end: datetime) -> bool:
        """Whether it holds a frame that was captured outside its hour and in ``[start, end)``.

        The receipt tells. One of a version that did not count such frames does not; then the names in the index do, at
        the cost of one or two small reads, and a frame whose name holds no time is not seen.

        Raises:
            IntegrityError: see ``index``.
        """
        if self.receipt.outside_hour is not None:
            return self.receipt.outside_hour.touches(start, end)
        hour, first, last = self.name.hour, f"{start:%Y%m%d_%H%M%S}", f"{end:%Y%m%d_%H%M%S}~"
        for rows in self._groups(lambda group: group.first <= last and group.last >= first):
            for row in rows:
                moment = frame_time(row.name)
                if moment is not None and start <= moment < end and moment not in hour:
                    return True
        return False

    def read(self, row: IndexRow) -> bytes:
        """One file by one range read, hash checked; from the copy of the archive, where this one is damaged.

        Raises:
            IntegrityError: the archive does not hold these bytes any more.
        """
        return self._whole(self._range(row.offset, row.length), row)

    def read_many(self, rows: Iterable[IndexRow]) -> Iterator[tuple[IndexRow, Iterator[bytes]]]:
        """Many files, neighbours fetched together, big ones in pieces: bounded memory.

        What is damaged here comes from the copy of the archive, but for files above 8 MiB: of those pieces are out.

        Yields:
            The row, and its bytes in pieces. Read them to the end before the next row: the hash is checked there.
        """
        window: list[IndexRow] = []
        for row in sorted(rows, key=lambda row: row.offset):
            fits = window and row.offset + row.length - window[0].offset <= _WINDOW
            if window and not (fits and row.offset == window[-1].offset + window[-1].length):
                yield from self._read_window(window)
                window = []
            if row.length > _WINDOW:
                yield row, self._checked(self._pieces(row), row)
            else:
                window.append(row)
        if window:
            yield from self._read_window(window)

    def contents(self, rows: Sequence[IndexRow] | None = None) -> PartContents:
        """What the members are to a reader of records, by the index.

        Args:
            rows: of the index, where they were read before.

        Raises:
            IntegrityError: see ``index``.
        """
        folder = f"{self.receipt.camera_id}/{self.receipt.hour}"
        named = [(native_name(row.name), row) for row in (self.index() if rows is None else rows)]
        return PartContents(
            frames=[name for name, _ in named if is_frame(name)],
            records=[
                RecordFile(name, f"{folder}/{row.name}", lambda row=row: io.BytesIO(self.read(row)))
                for name, row in named
                if is_record_file(name)
            ],
        )

    def _groups(self, selects: Callable[[IndexGroup], bool], *, newest_first: bool = False) -> Iterator[list[IndexRow]]:
        """The rows of the row groups that are selected, one group after the other."""
        key, size = self.receipt.index_key, self.receipt.index_size
        footer = None
        groups = self.receipt.index_groups
        if size is not None and size > SMALL_INDEX and groups is None:
            footer, groups = self._footer(size)
        if groups is None or size is None:  # a short index, one of an older writer, or one that was overwritten
            yield self.index()
            return
        numbered = [(number, group) for number, group in enumerate(groups) if selects(group)]
        for number, group in sorted(numbered, key=lambda pair: pair[1].last, reverse=newest_first):
            data = self.store.get_range(key, group.start, group.length)
            if not _fits(data, group.sha256):  # what reads all of it finds the original
                yield self.index()
                return
            if footer is None:
                yield parse_group_alone(group, data, key)
            else:
                yield parse_group(footer, size, number, group.start, data, key)

    def _footer(self, size: int) -> tuple[bytes, Sequence[IndexGroup] | None]:
        """The end of an index of ``size`` bytes, and the row groups that it names; None when it proves none."""
        key, tail, sha256 = self.receipt.index_key, self.receipt.index_footer_size, self.receipt.index_footer_sha256
        if tail is None or sha256 is None:
            return b"", None
        footer = self.store.get_range(key, size - tail, tail)
        return footer, parse_footer(footer, size, key) if _fits(footer, sha256) else None

    def _range(self, start: int, length: int) -> bytes:
        key = self.receipt.archive_key
        return at_version(
            self.store, self.receipt, lambda version: self.store.get_range(key, start, length, version_id=version)
        )

    def _read_window(self, window: Sequence[IndexRow]) -> Iterator[tuple[IndexRow, Iterator[bytes]]]:
        start = window[0].offset
        data = memoryview(self._range(start, window[-1].offset + window[-1].length - start))
        for row in window:
            member = bytes(data[row.offset - start : row.offset - start + row.length])
            yield row, (self._whole(one, row) for one in (member,))  # checked when it is read: a bad one stops no other

    def _pieces(self, row: IndexRow) -> Iterator[bytes]:
        for start in range(row.offset, row.offset + row.length, _WINDOW):
            yield self._range(start, min(_WINDOW, row.offset + row.length - start))

    def _whole(self, data: bytes, row: IndexRow) -> bytes:
        """The file in a gzip member that was read whole."""
        try:
            return b"".join(self._checked([data], row))
        except IntegrityError as error:
            return self._of_copy(error, lambda part: part.read(row))

    def _of_copy(self, damage: UserError, read: Callable[[ArchivedPart], T]) -> T:
        """What the copy has of something that is damaged here; without a copy that is better, the damage stands."""
        if not isinstance(self.store, FallbackStore):
            raise damage
        try:
            found = read(ArchivedPart(self.store.copy, self.receipt))
        except (IntegrityError, ObjectNotFoundError, StoreUnavailableError):
            raise damage from None
        self.store.answered_by_copy("damaged", str(damage))
        return found

    def _checked(self, chunks: Iterable[bytes], row: IndexRow) -> Iterator[bytes]:
        """The file in a gzip member; fails at the end when its hash is not the index's."""
        receipt = self.receipt
        mtime = int(Hour.from_key(receipt.hour).start.timestamp())
        digest = hashlib.sha256()
        for piece in content(chunks, f"{receipt.camera_id}/{receipt.hour}", native_name(row.name), row.size, mtime):
            digest.update(piece)
            yield piece
        if digest.digest() != row.sha256:
            raise IntegrityError(
                f"{row.name} in {receipt.archive_key} is not the file that was archived; its hash differs"
            )


def at_version(store: ObjectStore, receipt: Receipt, read: Callable[[str | None], T]) -> T:
    """Read an archive in the version that its receipt names; in a copy, which has others, as it lies there.

    Args:
        store: where it is read.
        receipt: of the archive.
        read: reads a version; None: the newest. What it gives is checked against a hash by whoever asks.

    Raises:
        ObjectNotFoundError: it is not there in any version.
    """
    if receipt.version_id is None or store.object_lock is None:
        return read(None)
    try:
        return read(receipt.version_id)
    except ObjectNotFoundError:
        return read(None)


def _fits(data: bytes, sha256: str) -> bool:
    return hashlib.sha256(data).hexdigest() == sha256
