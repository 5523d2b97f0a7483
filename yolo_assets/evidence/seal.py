r"""The signature of a pack: Ed25519 over a context line and the bytes of ``manifest.json``, 64 raw bytes.

The same key signs receipts, and a receipt's signature covers JSON, which begins with ``{``. A pack's begins with the
context line, so neither can ever pass as the other. Raw bytes, so that ``openssl pkeyutl`` checks them as they are.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature

from yolo_assets.contracts.errors import SignatureError
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
