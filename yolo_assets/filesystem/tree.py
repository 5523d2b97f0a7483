"""Cameras, hours and files of an archive by path, with what was read of an index kept for the next look.

The layout is that of a spool and of what ``restore`` writes: ``<camera>/<YYYYMMDD_HH>/<file>``, and ``part<N>/<file>``
below the hour where a later part holds another file of the same name. Does not belong here: fsspec (``archive_files``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.archive.listing import archived_hours, folders
from yolo_assets.archive.missing import missing_parts, no_receipt
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.archive.restore.placing import Places
from yolo_assets.archive.restore.plan import place_all
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import ARCHIVES, ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.storage.base import ObjectNotFoundError

MOST_ROWS = 500_000
"""Members whose place is kept in memory, about 150 MB; beyond, the hours longest out of use are forgotten."""
_RUN = 8 << 20
"""Bytes of neighbouring files that are read as one piece of work."""


@dataclass(frozen=True)
class ArchivedFile:
    """One file and where it lies.

    Attributes:
        path: ``<camera>/<YYYYMMDD_HH>/<file>``.
        part: the archive that holds it.
        row: its place there, and its hash.
    """

    path: str
    part: ArchivedPart
    row: IndexRow


@dataclass
class _ListedHour:
    """What was read of a camera-hour: its first part and one file of it, and later every file of every part."""

    first: ArchivedPart | None
    found: ArchivedFile | None = None
    files: dict[str, ArchivedFile] | None = None
    missing: tuple[ArchiveName, ...] = ()


class ArchiveTree:
    """Finds and reads files of an archive by path. Safe to share between threads.

    The first file of an hour costs three requests, however long the hour is: receipt, a piece of the index, the file.
    With the second the whole index is read, and from then on a file costs one. What is archived later is seen after
    ``forget``.
    """

    def __init__(self, archive: Archive, most_rows: int = MOST_ROWS) -> None:
        """Over an archive; nothing is read yet."""
        self.archive = archive
        self._most_rows = most_rows
        self._lock = threading.Lock()
        self._hours: OrderedDict[tuple[str, Hour], _ListedHour] = OrderedDict()
        self._rows = 0

    def forget(self) -> None:
        """Read everything anew from now on."""
        with self._lock:
            self._hours.clear()
            self._rows = 0

    def cameras(self) -> list[str]:
        """The cameras that have archives, in order: one request for each."""
        found = folders(self.archive, ARCHIVES)
        return [folder.removeprefix("camera=") for folder in found if folder.startswith("camera=")]

    def has_camera(self, camera_id: str) -> bool:
        """Whether anything is archived of a camera."""
        return next(iter(self.archive.store.list(f"{ARCHIVES}camera={camera_id}/")), None) is not None

    def hours(self, camera_id: str) -> list[Hour]:
        """The hours of a camera that have an archive, in order: one request per thousand."""
        return archived_hours(self.archive, camera_id)

    def files(self, camera_id: str, hour: Hour) -> dict[str, ArchivedFile]:
        """Every file of a camera-hour by its place below the hour, in the order of the archive; empty without one.

        Raises:
            IntegrityError: a part of the hour has no receipt, so there may be more files.
        """
        known = self._all_of(camera_id, hour)
        if known.missing:
            raise IntegrityError(f"the files of {camera_id} {hour} cannot be listed: {no_receipt(known.missing[0])}")
        return known.files or {}

    def find(self, camera_id: str, hour: Hour, place: str) -> ArchivedFile:
        """One file by its place below the hour.

        Raises:
            ObjectNotFoundError: it was not archived.
            SignatureError, IntegrityError: the receipt or the index is not what the archiver wrote.
        """
        with self._lock:
            known = self._hours.get((camera_id, hour))
        if known is None and "/" not in place:
            first = self.archive.first_part(camera_id, hour)
            row = None if first is None else first.find(portable_name(place))
            found = None
            if first is not None and row is not None:
                found = ArchivedFile(f"{camera_id}/{hour}/{place}", first, row)
            self._keep(camera_id, hour, _ListedHour(first, found))
            if found is not None:
                return found
        elif known is not None and known.found is not None and known.found.path == f"{camera_id}/{hour}/{place}":
            return known.found
        file = (self._all_of(camera_id, hour).files or {}).get(place)
        if file is None:
            raise ObjectNotFoundError(f"{camera_id}/{hour}/{place} is not in the archive {self.archive.url}")
        return file

    def find_at(self, camera_id: str, moment: datetime) -> ArchivedFile:
        """The newest frame of an hour that was captured at or before a moment, see ``Archive.frame_at``.

        Raises:
            ObjectNotFoundError, IntegrityError: see there.
        """
        part, row = self.archive.frame_at(camera_id, moment)
        return ArchivedFile(f"{camera_id}/{part.name.hour}/{native_name(row.name)}", part, row)

    def read(self, files: Iterable[ArchivedFile]) -> Iterator[tuple[ArchivedFile, bytes]]:
        """The bytes of files, each verified; neighbours are fetched together, others several at a time.

        Yields:
            File and bytes, each file once, by archive and place there.

        Raises:
            IntegrityError: the archive does not hold these bytes any more.
            ColdObjectError: an archive lies in a cold tier and has to be requested first.
        """
        for batch in in_order(_runs(files), _read_run):
            yield from batch

    def _all_of(self, camera_id: str, hour: Hour) -> _ListedHour:
        with self._lock:
            known = self._hours.get((camera_id, hour))
            if known is not None and known.files is not None:
                self._hours.move_to_end((camera_id, hour))
                return known
        first = known.first if known is not None else None
        receipts = self.archive.receipts(camera_id, hour, first and first.receipt)
        parts = [self.archive.part(receipt) for receipt in receipts]
        if not parts and first is not None:  # its receipt is hidden from listings, where versions are kept
            parts = [first]
        indexes = [part.index() for part in parts]
        placed = place_all(Places(), [part.receipt for part in parts], indexes)
        files = {
            "/".join(place): ArchivedFile("/".join((camera_id, hour.key, *place)), part, row)
            for part, places in zip(parts, placed, strict=True)
            for row, place in places.items()
        }
        found = _ListedHour(first, None, files, tuple(missing_parts(part.name for part in parts)))
        self._keep(camera_id, hour, found)
        return found

    def _keep(self, camera_id: str, hour: Hour, known: _ListedHour) -> None:
        with self._lock:
            before = self._hours.pop((camera_id, hour), None)
            if before is not None:
                self._rows -= _size(before)
            self._hours[camera_id, hour] = known
            self._rows += _size(known)
            while self._rows > self._most_rows and len(self._hours) > 1:
                _, oldest = self._hours.popitem(last=False)
                self._rows -= _size(oldest)


def _size(known: _ListedHour) -> int:
    return 1 + len(known.files or ())


def _runs(files: Iterable[ArchivedFile]) -> Iterator[list[ArchivedFile]]:
    """Files that lie one after the other in one archive, each run a piece of work."""
    once = {file.path: file for file in files}
    run: list[ArchivedFile] = []
    for file in sorted(once.values(), key=lambda file: (file.part.receipt.archive_key, file.row.offset)):
        if run and not (
            run[-1].part.receipt.archive_key == file.part.receipt.archive_key
            and run[-1].row.offset + run[-1].row.length == file.row.offset
            and file.row.offset + file.row.length - run[0].row.offset <= _RUN
        ):
            yield run
            run = []
        run.append(file)
    if run:
        yield run


def _read_run(run: Sequence[ArchivedFile]) -> list[tuple[ArchivedFile, bytes]]:
    by_row = {file.row: file for file in run}
    return [(by_row[row], b"".join(pieces)) for row, pieces in run[0].part.read_many(by_row)]
