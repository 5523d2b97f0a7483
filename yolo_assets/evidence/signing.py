"""The signatures that a pack rests on, of its receipts and of itself, and the keys that a checker may trust.

Everything is signed as DSSE signs: Ed25519 over a payload's type, length and bytes. In a pack the signatures lie raw,
64 bytes each, and beside a receipt the bytes that its own covers, so that ``openssl pkeyutl`` checks them as they are
and no tool has to serialise JSON again. A pack of the first form was signed over a context line and ``manifest.json``.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime

import orjson
from cryptography.exceptions import InvalidSignature

from yolo_assets.archive.originals import parse_receipt
from yolo_assets.contracts.dsse import PayloadKind, signed_bytes
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys

_FIRST_CONTEXT = b"yolo-assets/evidence-pack/v1\n"


def seal(signer: Signer, manifest: bytes, kind: PayloadKind = "evidence-pack") -> bytes:
    """Sign the bytes of a manifest, or with ``evidence-sums`` those of ``SHA256SUMS``; 64 bytes."""
    return signer.private.sign(signed_bytes(kind, manifest))


def sealed_by(
    manifest: bytes,
    signature: bytes,
    keys: TrustedKeys,
    kind: PayloadKind = "evidence-pack",
    version: int = 2,
    at: datetime | None = None,
) -> str:
    """The id of the key whose signature this is.

    Args:
        manifest: the bytes that were signed.
        signature: 64 bytes.
        keys: that are tried.
        kind: see ``seal``.
        version: of the pack; 1 is the first form.
        at: when it was signed, as the manifest says; held against the time for which a key counts.

    Raises:
        SignatureError: of none of these keys, or the bytes or the signature were changed.
    """
    signed = _FIRST_CONTEXT + manifest if version == 1 else signed_bytes(kind, manifest)
    for key_id, key in keys.keys.items():
        try:
            key.public.verify(signature, signed)
        except InvalidSignature:
            continue
        if key.limited and (problem := key.problem(at)):
            raise SignatureError(f"it is signed by key {key_id}, {problem}")
        return key_id
    raise SignatureError("it is not signed by a trusted key, or was changed after it was signed")


@dataclass(frozen=True)
class ProvenReceipt:
    """A receipt whose signature by a trusted key was verified, with the bytes that carry the signature.

    Attributes:
        name: the archive.
        receipt: parsed.
        data: the bytes as stored.
        signed_by: id of the key.
        signed: the bytes that the signature covers.
        signature: 64 bytes.
    """

    name: ArchiveName
    receipt: Receipt
    data: bytes
    signed_by: str
    signed: bytes
    signature: bytes


def prove(data: bytes, name: ArchiveName, trusted: TrustedKeys) -> ProvenReceipt:
    """A receipt out of its bytes.

    Raises:
        SignatureError, IntegrityError, BadInputError: as ``archive.originals.parse_receipt``.
    """
    receipt = parse_receipt(data, name, trusted)
    content = trusted.open_document(data, "receipt", name.receipt_key)
    is_envelope = "payloadType" in orjson.loads(data)
    signed = signed_bytes("receipt", content.payload) if is_envelope else content.payload
    return ProvenReceipt(
        name, receipt, data, content.signature.key_id, signed, base64.b64decode(content.signature.value)
    )
