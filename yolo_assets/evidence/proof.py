"""A receipt that proved itself, with the bytes that carry its signature: what an evidence pack is built on.

Where the store keeps versions and something was written over an original, the original is taken, as all readers do.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_assets.archive.reading.read import read_receipt
from yolo_assets.archive.write_once.versions import parse_receipt
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectStore


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
        SignatureError, IntegrityError, BadInputError: as ``archive.write_once.versions.parse_receipt``.
    """
    receipt = parse_receipt(data, name, trusted)
    return Proven(name, receipt, data, receipt.signature.key_id if receipt.signature is not None else "")


def load_proven(archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys) -> Proven:
    """A receipt out of the archive.

    Raises:
        ObjectNotFoundError, SignatureError, IntegrityError, BadInputError: there is none that proves itself.
    """
    return prove(read_receipt(archive, name, trusted)[0], name, trusted)
