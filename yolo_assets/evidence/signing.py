"""The signatures that a pack rests on: those of its receipts, by archivers, and the one of the pack itself.

A pack's signature is Ed25519 over a context line and the bytes of ``manifest.json``, 64 raw bytes. The same key signs
receipts, and a receipt's signature covers JSON, which begins with ``{``. A pack's begins with the context line, so
neither can ever pass as the other. Raw bytes, so that ``openssl pkeyutl`` checks them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from yolo_assets.archive.originals import parse_receipt
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys

CONTEXT = b"yolo-assets/evidence-pack/v1\n"


def seal(signer: Signer, manifest: bytes) -> bytes:
    """Sign the bytes of a manifest; 64 bytes."""
    return signer.private.sign(CONTEXT + manifest)


def sealed_by(manifest: bytes, signature: bytes, keys: TrustedKeys) -> str:
    """The id of the key whose signature this is.

    Raises:
        SignatureError: of none of these keys, or the manifest or the signature was changed.
    """
    for key_id, key in keys.keys.items():
        try:
            key.verify(signature, CONTEXT + manifest)
        except InvalidSignature:
            continue
        return key_id
    raise SignatureError("the manifest is not signed by a trusted key, or was changed after it was signed")


@dataclass(frozen=True)
class ProvenReceipt:
    """A receipt whose signature by a trusted key was verified, with the bytes that carry the signature.

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


def prove(data: bytes, name: ArchiveName, trusted: TrustedKeys) -> ProvenReceipt:
    """A receipt out of its bytes.

    Raises:
        SignatureError, IntegrityError, BadInputError: as ``archive.originals.parse_receipt``.
    """
    receipt = parse_receipt(data, name, trusted)
    return ProvenReceipt(name, receipt, data, receipt.signature.key_id if receipt.signature is not None else "")
