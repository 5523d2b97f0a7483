"""The key that signs what is given to others: P-256, because OpenSSF model signing takes no Ed25519.

A private key is a PKCS#8 PEM file of mode 0600; its public half lies beside it as ``<name>.pem``, not ``.pub``: those
are the keys that receipts and releases are verified with. Nothing in this project trusts an export key. Does not belong
here: what it signs.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from yolo_assets.contracts.dsse import Envelope, EnvelopeSignature, pre_authentication_encoding
from yolo_assets.contracts.errors import SignatureError

IN_TOTO = "application/vnd.in-toto+json"
"""Media type of in-toto statements in an envelope."""


@dataclass(frozen=True)
class ExportKey:
    """A key pair that signs for others.

    Attributes:
        path: of the private key.
        private: the key.
        created: False when the pair existed already.
    """

    path: Path
    private: ec.EllipticCurvePrivateKey
    created: bool = False

    @classmethod
    def load_or_create(cls, path: Path) -> ExportKey:
        """Read the key, making the pair first where there is none; a key that is there is never replaced.

        Raises:
            SignatureError: what is there is no P-256 key, or cannot be read.
            OSError: the folder cannot be written.
        """
        created = False
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(pem)
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # exclusive: the loser of a race reads the winner's key
                created = True
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        key = cls(path, _read(path), created)
        if not key.public_path.exists() or key.public_path.read_bytes() != key.public_pem:
            temporary = path.with_name(f".{path.name}.pem.{os.getpid()}")
            temporary.write_bytes(key.public_pem)
            temporary.replace(key.public_path)
        return key

    @property
    def public_path(self) -> Path:
        """Where its public half lies, PEM."""
        return self.path.with_name(f"{self.path.name}.pem")

    @property
    def public_pem(self) -> bytes:
        """The public half, PEM."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public half's PEM file: what model signing calls the hint, and ``sha256sum`` prints."""
        return hashlib.sha256(self.public_pem).hexdigest()

    def seal_statement(self, statement: bytes) -> Envelope:
        """An in-toto statement in a DSSE envelope: ECDSA with SHA-256, the signature as DER."""
        signed = pre_authentication_encoding(IN_TOTO, statement)
        signature = self.private.sign(signed, ec.ECDSA(hashes.SHA256()))
        return Envelope(
            payload=base64.b64encode(statement).decode(),
            payloadType=IN_TOTO,
            signatures=(EnvelopeSignature(keyid=self.fingerprint, sig=base64.b64encode(signature).decode()),),
        )


def _read(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is damaged, or not a key"
        raise SignatureError(
            f"{path} is not a readable private key: {reason}; restore it from a backup, or move it away and make one "
            "with: yolo-assets models keygen"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignatureError(f"{path} is no P-256 key; move it away and make one with: yolo-assets models keygen")
    return key
