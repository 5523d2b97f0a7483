"""Finds the original among the versions of an object: what was archived stays readable, whatever was written over it.

Belongs here: receipts and indexes, which are read by their names and proven by signature and hash. The archive itself
is read by the version id in its receipt and needs no search. What lies over an original tells ``protect``.

The original is the oldest version that proves itself. Later ones cannot take its place, not even with a good signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import orjson

from yolo_assets.archive.retry import retry
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore


def parse_receipt(data: bytes, name: ArchiveName, trusted: TrustedKeys) -> Receipt:
    """The receipt in these bytes, its signature checked.

    Raises:
        BadInputError: it is no receipt.
        SignatureError: changed, or signed by a key that is not trusted.
        IntegrityError: it is the receipt of another archive.
    """
    receipt = Receipt.from_json(data, name.receipt_key)
    trusted.verify_document(orjson.loads(data), name.receipt_key)
    said = (receipt.camera_id, receipt.hour, receipt.part, receipt.archive_key, receipt.index_key)
    if said != (name.camera_id, name.hour.key, name.part, name.archive_key, name.index_key):
        raise IntegrityError(f"{name.receipt_key} is the receipt of {receipt.name}; it was moved or copied")
    return receipt


def original_receipt(
    archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys
) -> tuple[Receipt, ObjectInfo] | None:
    """The receipt as it was first written, and the version it lies in; None when no version proves itself.

    A store without versions has no originals: None.
    """
    found: list[Receipt] = []

    def proves(data: bytes) -> bool:
        try:
            found.append(parse_receipt(data, name, trusted))
        except UserError:
            return False
        return True

    version = oldest_that(archive, name.receipt_key, proves)
    return None if version is None else (found[0], version)


def original_index(archive: ObjectStore, receipt: Receipt) -> tuple[bytes, ObjectInfo] | None:
    """The index that the receipt was written for, and the version it lies in; None when there is none any more."""
    found: list[bytes] = []

    def proves(data: bytes) -> bool:
        found[:] = [data]
        return hashlib.sha256(data).hexdigest() == receipt.index_sha256

    version = oldest_that(archive, receipt.index_key, proves, size=receipt.index_size)
    return None if version is None else (found[0], version)


def oldest_that(
    archive: ObjectStore, key: str, proves: Callable[[bytes], bool], *, size: int | None = None
) -> ObjectInfo | None:
    """The oldest version of a small object whose bytes pass ``proves``; ``size`` leaves out those of another size."""
    lock = archive.object_lock
    if lock is None:
        return None
    for version in reversed(retry(lock.versions, key)):
        if version.deleted or (size is not None and version.size != size):
            continue
        try:
            data = retry(archive.get, key, version_id=version.version_id)
        except ObjectNotFoundError:  # its lifecycle ended since the listing
            continue
        if proves(data):
            return version
    return None
