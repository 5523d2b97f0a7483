"""Verifies archives that are in the store: receipt, index, archive, each against the one before it.

Belongs here: looking and telling every difference. Nothing is repaired and nothing is deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from yolo_assets.archive.commit import VerifyHow
from yolo_assets.archive.pack import IndexRow
from yolo_assets.archive.read import load_index, load_receipt, read_members
from yolo_assets.archive.retry import retry
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import ArchiveName, is_frame
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.spool.files import native_name
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore


@dataclass
class VerifyReport:
    """What verifying one archive found.

    Attributes:
        name: stem of the archive.
        how: ``head``: receipt, index, size and ETag; ``full``: also every byte of the archive and of each member.
        problems: one line each; empty means good.
        members: files the index names.
        bytes_read: bytes of the archive that were read.
    """

    name: str
    how: VerifyHow
    problems: list[str] = field(default_factory=list)
    members: int = 0
    bytes_read: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.problems


def verify_archive(
    archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys, how: VerifyHow = "head"
) -> VerifyReport:
    """Check one archive; what differs is reported, not raised.

    Raises:
        StoreUnavailableError: the store cannot be asked, so nothing can be said.
    """
    report = VerifyReport(name.stem, how)
    try:
        receipt = load_receipt(archive, name, trusted)
        rows = load_index(archive, receipt)
    except (ObjectNotFoundError, SignatureError, IntegrityError, BadInputError) as error:
        report.problems.append(str(error))
        return report
    report.members = len(rows)
    report.problems.extend(_index_problems(receipt, rows))
    info = retry(archive.head, receipt.archive_key, version_id=receipt.version_id)
    if info is None:
        report.problems.append(f"{receipt.archive_key} is not in the store")
        return report
    if info.size != receipt.archive_size:
        report.problems.append(f"{receipt.archive_key} has {info.size} bytes, its receipt says {receipt.archive_size}")
    elif how == "full":
        report.problems.extend(_content_problems(archive, receipt, rows, report))
    elif info.etag != receipt.etag:
        report.problems.append(
            f"{receipt.archive_key} was written again after its receipt: the ETag differs; verify it in full"
        )
    return report


def _index_problems(receipt: Receipt, rows: list[IndexRow]) -> Iterator[str]:
    frames = sum(is_frame(native_name(row.name)) for row in rows)
    found = (len(rows), frames, sum(row.size for row in rows))
    said = (receipt.file_count, receipt.frame_count, receipt.total_size)
    if found != said:
        yield f"{receipt.index_key} has (files, frames, bytes) = {found}, the receipt says {said}"


def _content_problems(
    archive: ObjectStore, receipt: Receipt, rows: list[IndexRow], report: VerifyReport
) -> Iterator[str]:
    def digests() -> tuple[str, str]:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        report.bytes_read = 0
        for chunk in archive.stream(receipt.archive_key, version_id=receipt.version_id):
            report.bytes_read += len(chunk)
            sha256.update(chunk)
            md5.update(chunk)
        return sha256.hexdigest(), md5.hexdigest()

    sha256, md5 = retry(digests)
    if sha256 != receipt.sha256:
        yield f"{receipt.archive_key} is damaged: its SHA-256 is {sha256}, the receipt says {receipt.sha256}"
    if md5 != receipt.md5_checksum:
        yield f"{receipt.archive_key} is damaged: its MD5 is {md5}, the receipt says {receipt.md5_checksum}"
    # The archive may be whole and its index lie: each member where the index says, with the hash it says.
    for row, pieces in read_members(archive, receipt, rows):
        try:
            report.bytes_read += row.length
            for _ in pieces:
                pass
        except IntegrityError as error:
            yield f"{row.name}: {error}"
