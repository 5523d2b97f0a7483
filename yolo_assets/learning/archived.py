"""Frames of the cold archive by their image path: found through receipts and indexes, read by one range read each.

Does not belong here: choosing frames (``sampling``), and receipts themselves (``archive``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.records import ArchiveRef
from yolo_assets.spool.files import portable_name
from yolo_assets.storage import ObjectNotFoundError
from yolo_assets.storage.base import ColdObjectError

UNREADABLE = (BadInputError, ColdObjectError, IntegrityError, ObjectNotFoundError, SignatureError)
"""What is wrong with one archive or one frame, while the store itself answers."""


@dataclass(frozen=True)
class FrameLocation:
    """Where a frame lies in the archive.

    Attributes:
        source: archive and member.
        sha256: of the frame's bytes, hexadecimal.
    """

    source: ArchiveRef
    sha256: str


class ArchivedFrames:
    """Finds and reads frames. Receipts and indexes are fetched once each and kept: frames of a batch share hours."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._hours: dict[tuple[str, str], list[Receipt]] = {}
        self._indexes: dict[str, dict[str, IndexRow]] = {}
        self._receipts: dict[str, Receipt] = {}

    def locate(self, image_path: str) -> FrameLocation | None:
        """Where a frame lies; None when no archive holds it.

        Args:
            image_path: ``<camera>/<YYYYMMDD_HH>/<frame>``, relative to the spool root.

        Raises:
            BadInputError: not such a path.
            SignatureError, IntegrityError: a receipt is untrusted, or an index is not the one it names.
        """
        parts = image_path.split("/")
        if len(parts) != 3:
            raise BadInputError(
                f"{image_path!r} is not an image path; one is like cam01/20260102_03/20260102_030405_678.jpg"
            )
        camera, hour, frame = parts
        if (camera, hour) not in self._hours:
            receipts = self._archive.receipts(camera, Hour.from_key(hour))
            self._hours[camera, hour] = receipts
            self._receipts.update({receipt.archive_key: receipt for receipt in receipts})
        for receipt in self._hours[camera, hour]:
            index = self._index(receipt)
            row = index.get(frame) or index.get(portable_name(frame))
            if row is not None:
                return FrameLocation(ArchiveRef(archive_key=receipt.archive_key, member=row.name), row.sha256.hex())
        return None

    def read(self, frame: FrameLocation) -> bytes:
        """The bytes of one frame, by one range read.

        Raises:
            ObjectNotFoundError: the archive or the member is not there.
            IntegrityError: other bytes than were archived.
        """
        receipt, row = self._row(frame)
        return self._archive.part(receipt).read(row)

    def read_many(self, frames: Iterable[FrameLocation]) -> Iterator[tuple[FrameLocation, bytes]]:
        """Many frames, archive by archive, neighbours by one range read. The order is the archives' own.

        Raises:
            ObjectNotFoundError, IntegrityError: as ``read``.
        """
        by_archive: dict[str, dict[str, FrameLocation]] = {}
        for frame in frames:
            self._row(frame)
            by_archive.setdefault(frame.source.archive_key, {})[frame.source.member] = frame
        for key in sorted(by_archive):
            receipt, rows = self._receipts[key], self._index(self._receipts[key])
            for row, pieces in self._archive.part(receipt).read_many(rows[member] for member in by_archive[key]):
                yield by_archive[key][row.name], b"".join(pieces)

    def read_each(self, frames: Iterable[FrameLocation]) -> Iterator[tuple[FrameLocation, bytes | UserError]]:
        """As ``read_many``, but a frame that cannot be read is an error in its place, and all others come."""
        by_archive: dict[str, dict[str, FrameLocation]] = {}
        for frame in frames:
            by_archive.setdefault(frame.source.archive_key, {})[frame.source.member] = frame
        for key in sorted(by_archive):
            waiting = by_archive[key]
            try:
                for frame, data in self.read_many(list(waiting.values())):
                    del waiting[frame.source.member]
                    yield frame, data
            except UNREADABLE:
                for frame in waiting.values():
                    yield frame, self._read_or_error(frame)

    def _read_or_error(self, frame: FrameLocation) -> bytes | UserError:
        try:
            return self.read(frame)
        except UNREADABLE as error:
            return error

    def _row(self, frame: FrameLocation) -> tuple[Receipt, IndexRow]:
        key = frame.source.archive_key
        if key not in self._receipts:
            self._receipts[key] = self._archive.receipt(ArchiveName.parse(key))
        receipt = self._receipts[key]
        row = self._index(receipt).get(frame.source.member)
        if row is None:
            raise ObjectNotFoundError(f"{key} holds no {frame.source.member}")
        if row.sha256.hex() != frame.sha256:
            raise IntegrityError(f"{frame.source.member} in {key} is not the frame that was labelled; its hash differs")
        return receipt, row

    def _index(self, receipt: Receipt) -> dict[str, IndexRow]:
        if receipt.archive_key not in self._indexes:
            self._indexes[receipt.archive_key] = {row.name: row for row in self._archive.part(receipt).index()}
        return self._indexes[receipt.archive_key]
