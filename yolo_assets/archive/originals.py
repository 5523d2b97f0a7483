"""What proves a receipt or an index, and which stored version is the original: the oldest one that verifies.

What was archived stays readable, whatever was written over it, where a store keeps versions. Later versions cannot take
the place of the original, not even with a good signature. Archives themselves are read by the version id in their
receipt and need no search. Does not belong here: reporting what was written over an original (``retention``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from yolo_assets.archive.packing.index import parse_index
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.copies import CopiedArchive, CopyStatement
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.names import COPIES, ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore


def parse_receipt(data: bytes, name: ArchiveName, trusted: TrustedKeys) -> Receipt:
    """The receipt in these bytes, its signature verified.

    Raises:
        BadInputError: it is no receipt.
        SignatureError: changed, or signed by a key that is not trusted.
        IntegrityError: it is the receipt of another archive.
    """
    receipt = trusted.open_document(data, "receipt", name.receipt_key).record(Receipt, name.receipt_key)
    named = (receipt.camera_id, receipt.hour, receipt.part, receipt.archive_key, receipt.index_key)
    if named != (name.camera_id, name.hour.key, name.part, name.archive_key, name.index_key):
        raise IntegrityError(f"{name.receipt_key} is the receipt of {receipt.name}; it was moved or copied")
    return receipt


def check_index(data: bytes, receipt: Receipt) -> list[IndexRow]:
    """The rows of an index from its bytes, wherever they come from. Not parsed before its hash fits.

    Raises:
        IntegrityError: it is not the index that the receipt was written for.
    """
    if hashlib.sha256(data).hexdigest() != receipt.index_sha256:
        raise IntegrityError(f"{receipt.index_key} is not what its receipt says; it was changed or damaged")
    return parse_index(data, receipt.index_key)


def oldest_version(
    store: ObjectStore, key: str, proves: Callable[[bytes], bool], *, size: int | None = None
) -> ObjectInfo | None:
    """The oldest version of a small object whose bytes pass ``proves``; None on a store that keeps no versions.

    Args:
        store: the archive root.
        key: of the object.
        proves: whether these bytes are the original.
        size: leaves out versions of another size.
    """
    lock = store.object_lock
    if lock is None:
        return None
    for version in reversed(lock.versions(key)):
        if version.deleted or (size is not None and version.size != size):
            continue
        try:
            data = store.get(key, version_id=version.version_id)
        except ObjectNotFoundError:  # its lifecycle ended since the listing
            continue
        if proves(data):
            return version
    return None


def copied_archives(store: ObjectStore, trusted: TrustedKeys) -> dict[str, CopiedArchive]:
    """How archives lie here that were copied here, by their stem; a later statement counts. Untrusted ones do not.

    One small read per thousand archives.
    """
    found: dict[str, CopiedArchive] = {}
    for info in store.list(f"{COPIES}date="):
        try:
            statement = trusted.open_document(store.get(info.key), "archive-copy", info.key).record(
                CopyStatement, info.key
            )
        except (ObjectNotFoundError, SignatureError, BadInputError):
            continue
        if statement.first.rstrip("/") == store.url.rstrip("/"):
            continue  # it tells how they lie elsewhere
        found.update((entry.name, entry) for entry in statement.archives)
    return found
