"""Verifies archives that are in the store: receipt, index, archive, each against the one before it.

Every difference is reported; nothing is repaired and nothing is deleted. Does not belong here: which archives are due
(``audit``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.archive.options import VerifyHow
from yolo_assets.archive.packing.format import content
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import ArchivedPart, at_version
from yolo_assets.archive.retention import protection_problems
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import ArchiveName, is_frame
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.files import native_name
from yolo_assets.storage.base import ColdObjectError, ObjectInfo, ObjectNotFoundError, StoreUnavailableError
from yolo_assets.storage.retrying import read_whole

_DIFFERENCES = (ObjectNotFoundError, SignatureError, IntegrityError, BadInputError)
_WORKERS: dict[VerifyHow, int] = {"head": 8, "full": 3}
"""Archives at a time: a head waits for the network, a full read for hashes, which run in parallel."""
_MOST_PROBLEMS = 20
"""Damaged members of one archive that are named; the rest is counted."""


@dataclass
class VerifyReport:
    """What verifying one archive found.

    Attributes:
        name: stem of the archive.
        how: ``head``: receipt, index, size and ETag; ``full``: also every byte of the archive and of each member. What
            was really done: an archive in a cold tier is not read.
        problems: what differs, one line each; empty means good, if ``unchecked`` is None.
        unchecked: why the archive could not be verified to the end; one line, None when it was.
        members: files the index names.
        cold: verification in full was asked for, and the archive is in a tier that cannot be read at once.
        unprotected: why it could not be checked that the archive is write-once and that nothing was written over it;
            one line, None when that was checked. Credentials that may read may lack that right.
        bytes_read: bytes of the archive that were read.
        kept_until: end of the retention that its receipt promises; None when it promises none.
        receipt: its signature verified; None when there is none that counts.
    """

    name: str
    how: VerifyHow
    problems: list[str] = field(default_factory=list[str])
    unchecked: str | None = None
    cold: bool = False
    unprotected: str | None = None
    members: int = 0
    bytes_read: int = 0
    kept_until: datetime | None = None
    receipt: Receipt | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether all was verified that was asked for, and nothing differs."""
        return not self.problems and self.unchecked is None


def verify_archive(archive: Archive, name: ArchiveName, how: VerifyHow = "head") -> VerifyReport:
    """Check one archive; what differs, and what cannot be verified, is reported and not raised.

    Raises:
        StoreUnavailableError: the store stopped answering, so nothing can be said.
    """
    report = VerifyReport(name.stem, "head")
    try:
        _verify(archive, name, how, report)
    except _DIFFERENCES as error:
        report.problems.append(str(error))
    except StoreUnavailableError as error:
        if error.transient:
            raise
        report.unchecked = str(error)
    return report


def verify_archives(archive: Archive, names: Iterable[ArchiveName], how: VerifyHow = "head") -> Iterator[VerifyReport]:
    """``verify_archive`` of many, a few at a time, in the order of ``names``."""
    return in_order(names, lambda name: verify_archive(archive, name, how), _WORKERS[how])


def hidden_line(name: ArchiveName, marker: ObjectInfo) -> str:
    """One line for a receipt that a delete marker hides."""
    return (
        f"{name.receipt_key} was deleted: delete marker {marker.version_id} of {format_time(marker.modified_at)} hides "
        "it; remove the marker, and the archive is found again"
    )


def _verify(archive: Archive, name: ArchiveName, how: VerifyHow, report: VerifyReport) -> None:
    try:
        receipt = archive.receipt(name)
    except ObjectNotFoundError:
        report.problems.append(_without_receipt(archive, name))
        return
    report.receipt, report.kept_until = receipt, receipt.retention_until
    part = archive.part(receipt)
    rows = _rows(part, report)
    _protection(archive, part, report)
    info = archive.store.head(receipt.archive_key, version_id=receipt.version_id)
    expected = receipt.etag
    if info is None or info.etag != receipt.etag:
        copied = archive.copied.get(name.stem)
        if copied is not None:  # it was copied here, or from here: then this is the ETag that it has here
            found = archive.store.head(receipt.archive_key, version_id=copied.version_id)
            if found is not None and found.etag == copied.etag:
                info, expected = found, copied.etag
    if info is None:
        report.problems.append(f"{receipt.archive_key} is not in the store")
        return
    if info.size != receipt.archive_size:
        report.problems.append(f"{receipt.archive_key} has {info.size} bytes, its receipt says {receipt.archive_size}")
        return
    if how == "full":
        try:
            report.problems.extend(read_whole(lambda: _content_problems(part, rows, report)))
        except ColdObjectError:
            report.cold = True
        else:
            report.how = "full"
    if report.how == "head" and info.etag != expected:
        report.problems.append(
            f"{receipt.archive_key} was written again after its receipt: the ETag differs; verify it in full"
        )


def _without_receipt(archive: Archive, name: ArchiveName) -> str:
    """What is left of an archive whose receipt is nowhere, and what can be done about it."""
    stored = [key for key in (name.archive_key, name.index_key) if archive.store.head(key) is not None]
    if not stored:
        return f"{name.receipt_key} is not in the store, nor the archive, nor its index; nothing of {name.stem} is left"
    return (
        f"{name.receipt_key} is not in the store, and {' and '.join(stored)} {'are' if len(stored) > 1 else 'is'}: the "
        "receipt was lost, or the archive was never finished; put the receipt back from a backup or from .uploaded in "
        "the spool's hour, or archive the hour again while the spool has its files"
    )


def _protection(archive: Archive, part: ArchivedPart, report: VerifyReport) -> None:
    try:
        copied = archive.copied.get(part.name.stem) if _lies_elsewhere(part) else None
        report.problems.extend(protection_problems(part, copied))
    except StoreUnavailableError as error:
        if error.transient:
            raise
        report.unprotected = str(error)


def _lies_elsewhere(part: ArchivedPart) -> bool:
    """Whether the store does not know the version that the receipt names: it is a copy, or the object is gone."""
    receipt, lock = part.receipt, part.store.object_lock
    if receipt.version_id is None:
        return receipt.retention_until is not None and lock is None
    return lock is None or part.store.head(receipt.archive_key, version_id=receipt.version_id) is None


def _rows(part: ArchivedPart, report: VerifyReport) -> list[IndexRow]:
    """The index; one that is damaged is a problem, and the archive is still compared with its receipt."""
    receipt = part.receipt
    try:
        rows = part.index()
        frames = sum(is_frame(native_name(row.name)) for row in rows)
    except _DIFFERENCES as error:
        report.problems.append(str(error))
        return []
    report.members = len(rows)
    counted = (len(rows), frames, sum(row.size for row in rows))
    signed = (receipt.file_count, receipt.frame_count, receipt.total_size)
    if counted != signed:
        report.problems.append(f"{receipt.index_key} has (files, frames, bytes) = {counted}, the receipt says {signed}")
    return rows


def _content_problems(part: ArchivedPart, rows: list[IndexRow], report: VerifyReport) -> list[str]:
    """Every byte, read once: the hashes of the whole, and each member where the index says, with the hash it says."""
    receipt = part.receipt
    key = receipt.archive_key
    stream = _HashedStream(at_version(part.store, receipt, lambda v: part.store.stream(key, version_id=v)))
    damaged: list[str] = []
    for row in sorted(rows, key=lambda row: row.offset):
        problem = _member_problem(stream, receipt, row)
        if problem is not None:
            damaged.append(problem)
    stream.skip_to(None)
    report.bytes_read = stream.position
    problems: list[str] = []
    if stream.sha256.hexdigest() != receipt.sha256:
        problems.append(
            f"{receipt.archive_key} is damaged: its SHA-256 is {stream.sha256.hexdigest()}, "
            f"the receipt says {receipt.sha256}"
        )
    if stream.md5.hexdigest() != receipt.md5_checksum:
        problems.append(
            f"{receipt.archive_key} is damaged: its MD5 is {stream.md5.hexdigest()}, "
            f"the receipt says {receipt.md5_checksum}"
        )
    if len(damaged) > _MOST_PROBLEMS:
        damaged[_MOST_PROBLEMS:] = [f"and {len(damaged) - _MOST_PROBLEMS} more members"]
    return problems + damaged


def _member_problem(stream: _HashedStream, receipt: Receipt, row: IndexRow) -> str | None:
    """What is wrong with one member; the archive may be whole and its index lie."""
    if row.offset < stream.position:
        return f"{row.name}: the index puts it inside another member"
    stream.skip_to(row.offset)
    digest = hashlib.sha256()
    mtime = int(Hour.from_key(receipt.hour).start.timestamp())
    folder = f"{receipt.camera_id}/{receipt.hour}"
    try:
        for piece in content(stream.take(row.length), folder, native_name(row.name), row.size, mtime):
            digest.update(piece)
    except (IntegrityError, BadInputError) as error:
        problem = f"{row.name}: {error}"
    else:
        problem = None if digest.digest() == row.sha256 else f"{row.name}: its SHA-256 is not the one in the index"
    stream.skip_to(row.offset + row.length)
    return problem


class _HashedStream:
    """An object read once from begin to end: hashes all of it, and hands out stretches on the way."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.position = 0
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def take(self, length: int) -> Iterator[bytes]:
        """The next ``length`` bytes, fewer at the end."""
        while length and self._fill():
            piece = self._rest[:length]
            self._rest = self._rest[len(piece) :]
            self.position += len(piece)
            length -= len(piece)
            yield bytes(piece)

    def skip_to(self, position: int | None) -> None:
        """Read on to a position, None to the end, without handing out anything."""
        while (position is None or self.position < position) and self._fill():
            step = len(self._rest) if position is None else min(len(self._rest), position - self.position)
            self._rest = self._rest[step:]
            self.position += step

    def _fill(self) -> bool:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self.sha256.update(chunk)
            self.md5.update(chunk)
            self._rest = memoryview(chunk)
        return True
