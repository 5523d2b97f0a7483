"""Frames of the cold archive by their image path: found through receipts and indexes, read by one range read each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.reading.lookup import load_index
from yolo_assets.archive.reading.read import find_receipts, load_receipt, read_member, read_members
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.records import ArchiveRef
from yolo_assets.spool.files import portable_name
from yolo_assets.storage import ObjectNotFoundError, ObjectStore


@dataclass(frozen=True)
class Located:
    """A frame in the archive.

    Attributes:
        source: archive and member.
        sha256: of the frame's bytes, hexadecimal.
    """

    source: ArchiveRef
    sha256: str


class ArchivedFrames:
    """Receipts and indexes are fetched once each and kept: frames of a batch share hours."""

    def __init__(self, archive: ObjectStore, trusted: TrustedKeys) -> None:
        self._archive = archive
        self._trusted = trusted
        self._hours: dict[tuple[str, str], list[Receipt]] = {}
        self._indexes: dict[str, dict[str, IndexRow]] = {}
        self._receipts: dict[str, Receipt] = {}

    def locate(self, image_path: str) -> Located | None:
        """Where a frame lies; None when no archive holds it.

        Args:
            image_path: ``<camera>/<YYYYMMDD_HH>/<frame>``, relative to the spool root.

        Raises:
            BadInputError: not such a path.
            SignatureError, IntegrityError: a receipt or an index is not what it should be.
        """
        parts = image_path.split("/")
        if len(parts) != 3:
            raise BadInputError(
                f"{image_path!r} is no image path; it looks like cam01/20260102_03/20260102_030405_678.jpg"
            )
        camera, hour, frame = parts
        if (camera, hour) not in self._hours:
            found = find_receipts(self._archive, camera, Hour.from_key(hour), self._trusted)
            self._hours[camera, hour] = found
            self._receipts.update({receipt.archive_key: receipt for receipt in found})
        member = portable_name(frame)
        for receipt in self._hours[camera, hour]:
            row = self._index(receipt).get(member)
            if row is not None:
                return Located(ArchiveRef(archive_key=receipt.archive_key, member=member), row.sha256.hex())
        return None

    def read(self, frame: Located) -> bytes:
        """The bytes of one frame, by one range read.

        Raises:
            ObjectNotFoundError: the archive or the member is not there.
            IntegrityError: other bytes than were archived.
        """
        receipt, row = self._row(frame)
        return read_member(self._archive, receipt, row)

    def read_many(self, frames: Iterable[Located]) -> Iterator[tuple[Located, bytes]]:
        """Many frames, archive by archive, neighbours by one range read. The order is the archives' own.

        Raises:
            ObjectNotFoundError, IntegrityError: as ``read``.
        """
        wanted: dict[str, dict[str, Located]] = {}
        for frame in frames:
            self._row(frame)
            wanted.setdefault(frame.source.archive_key, {})[frame.source.member] = frame
        for key in sorted(wanted):
            receipt, rows = self._receipts[key], self._index(self._receipts[key])
            for row, pieces in read_members(self._archive, receipt, [rows[member] for member in wanted[key]]):
                yield wanted[key][row.name], b"".join(pieces)

    def _row(self, frame: Located) -> tuple[Receipt, IndexRow]:
        key = frame.source.archive_key
        if key not in self._receipts:
            self._receipts[key] = load_receipt(self._archive, ArchiveName.parse(key), self._trusted)
        receipt = self._receipts[key]
        row = self._index(receipt).get(frame.source.member)
        if row is None:
            raise ObjectNotFoundError(f"{key} holds no {frame.source.member}")
        if row.sha256.hex() != frame.sha256:
            raise IntegrityError(f"{frame.source.member} in {key} is not the frame that was labelled; its hash differs")
        return receipt, row

    def _index(self, receipt: Receipt) -> dict[str, IndexRow]:
        if receipt.archive_key not in self._indexes:
            self._indexes[receipt.archive_key] = {row.name: row for row in load_index(self._archive, receipt)}
        return self._indexes[receipt.archive_key]
