"""The signatures that a pack rests on: those of its receipts, by archivers, and the one of the pack itself.

A pack is signed by a DSSE envelope with the bytes of ``manifest.json``. Version 0.1 signed it with 64 raw bytes,
Ed25519 over a context line and these bytes. The same key signs receipts; both forms begin with what a receipt's never
begins with, so neither can pass as the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from yolo_assets.archive.originals import parse_receipt
from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.evidence.manifest import ENVELOPE, MANIFEST, OLD_SIGNATURE

CONTEXT = b"yolo-assets/evidence-pack/v1\n"
"""Begins what version 0.1 signed."""
_SIGNATURE_SIZE = 64


def seal(signer: Signer, manifest: bytes) -> bytes:
    """The bytes of a manifest in a signed envelope, on one line with its line end."""
    return signer.seal(manifest, "evidence-pack").to_json() + b"\n"


def sealed_by(manifest: bytes, envelope: bytes, keys: TrustedKeys) -> str:
    """The id of the trusted key that signed a manifest.

    Raises:
        SignatureError: none of these keys did, or the manifest or the envelope was changed.
    """
    try:
        if not envelope.endswith(b"\n"):
            raise SignatureError(f"{ENVELOPE} was cut")
        content = keys.open(Envelope.parse(envelope[:-1], ENVELOPE), "evidence-pack", ENVELOPE)
    except SignatureError as error:
        raise SignatureError(f"the manifest is not signed by a trusted key, or was changed: {error}") from None
    if content.payload != manifest:
        raise SignatureError(f"{MANIFEST} is not what {ENVELOPE} holds; it was changed after it was signed")
    return content.signature.key_id


def sealed_by_old(manifest: bytes, signature: bytes, keys: TrustedKeys) -> str:
    """As ``sealed_by``, for the 64 raw bytes of version 0.1.

    Raises:
        SignatureError: as there.
    """
    if len(signature) != _SIGNATURE_SIZE:
        raise SignatureError(f"{OLD_SIGNATURE} is not a signature of {_SIGNATURE_SIZE} bytes")
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
