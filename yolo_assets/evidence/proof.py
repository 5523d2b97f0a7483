"""A receipt that proved itself, with the bytes that carry its signature: what an evidence pack is built on.

Where the store keeps versions and something was written over an original, the original is taken, as all readers do.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.reading.lookup import check_index
from yolo_assets.archive.retry import retry
from yolo_assets.archive.write_once.versions import original_index, original_receipt, parse_receipt
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError


@dataclass(frozen=True)
class Proven:
    """A receipt whose signature by a trusted key was checked.

    Attributes:
        name: the archive.
        receipt: parsed.
        data: the bytes as stored.
        signed_by: id of the key.
    """

    name: ArchiveName
    receipt: Receipt
    data: bytes
    signed_by: str


def prove(data: bytes, name: ArchiveName, trusted: TrustedKeys) -> Proven:
    """A receipt out of its bytes.

    Raises:
        SignatureError, IntegrityError, BadInputError: as ``archive.read.parse_receipt``.
    """
    receipt = parse_receipt(data, name, trusted)
    return Proven(name, receipt, data, receipt.signature.key_id if receipt.signature is not None else "")


def load_proven(archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys) -> Proven:
    """A receipt out of the archive.

    Raises:
        ObjectNotFoundError, SignatureError, IntegrityError, BadInputError: there is none that proves itself.
    """
    try:
        return prove(retry(archive.get, name.receipt_key), name, trusted)
    except StoreUnavailableError:
        raise
    except UserError:
        try:
            original = original_receipt(archive, name, trusted)
        except StoreUnavailableError:
            original = None  # perhaps without the right to list versions
        if original is None:
            raise
        version = original[1].version_id
        return prove(retry(archive.get, name.receipt_key, version_id=version), name, trusted)


def load_index_bytes(archive: ObjectStore, proven: Proven) -> tuple[bytes, list[IndexRow]]:
    """The index that a receipt names, as stored and as rows.

    Raises:
        ObjectNotFoundError, IntegrityError: there is none that the receipt names.
    """
    try:
        data = retry(archive.get, proven.receipt.index_key)
        return data, check_index(data, proven.receipt)
    except (ObjectNotFoundError, IntegrityError):
        try:
            original = original_index(archive, proven.receipt)
        except StoreUnavailableError:
            original = None
        if original is None:
            raise
        return original[0], check_index(original[0], proven.receipt)
