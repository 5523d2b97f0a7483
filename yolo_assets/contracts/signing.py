"""Ed25519 signatures over bytes and over JSON documents.

Two forms. *Embedded*: a document carries ``signature`` over its canonical JSON without that field (receipts: one
object is the commit point). *Detached*: ``<key>.sig`` holds a ``SignatureSet``, signatures by the SHA-256 of the bytes
they cover. A set rather than one signature, because a channel pointer and its ``.sig`` are two objects: the new
signature is added before the pointer moves, so the pointer can be verified at every moment.

Private keys are PKCS#8 PEM files of mode 0600; public keys PEM files ending ``.pub``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from yolo_assets.contracts.base import Record, canonical_json
from yolo_assets.contracts.errors import BadInputError, SignatureError

KEPT_SIGNATURES = 16
"""Signatures a set keeps: enough for every pointer a slow reader may still hold."""


class Signature(Record):
    """One Ed25519 signature."""

    algorithm: Literal["ed25519"] = "ed25519"
    key_id: str
    value: str


class DetachedSignature(Signature):
    """A signature stored apart from the bytes it covers, identified by their hash."""

    sha256: str


class SignatureSet(Record):
    """The content of a ``.sig`` object, newest last."""

    signatures: tuple[DetachedSignature, ...] = ()

    def with_signature(self, added: DetachedSignature) -> SignatureSet:
        """This set with one more, replacing those of the same bytes and key, cut to the newest ``KEPT_SIGNATURES``."""
        others = [s for s in self.signatures if (s.sha256, s.key_id) != (added.sha256, added.key_id)]
        return SignatureSet(signatures=tuple([*others, added][-KEPT_SIGNATURES:]))


def _key_id(public: Ed25519PublicKey) -> str:
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


@dataclass(frozen=True)
class Signer:
    """Holds a private key. Promotion has one, the archiver has its own; training has none."""

    private: Ed25519PrivateKey
    key_id: str

    @classmethod
    def load(cls, path: Path) -> Signer:
        """Read a PKCS#8 PEM file.

        Raises:
            SignatureError: missing, unreadable, or not an Ed25519 key.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            raise SignatureError(f"no signing key at {path}; make one with: yolo-assets models keygen") from None
        except (OSError, ValueError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged, or not a key"
            raise SignatureError(
                f"{path} is not a readable private key: {reason}; restore it from a backup, or move it away and make "
                "one with: yolo-assets models keygen"
            ) from None
        if not isinstance(key, Ed25519PrivateKey):
            raise SignatureError(f"{path} is not an Ed25519 key; make one with: yolo-assets models keygen")
        return cls(key, _key_id(key.public_key()))

    @classmethod
    def load_or_create(cls, path: Path) -> Signer:
        """Read the key, making the pair first when it is missing; ``<path>.pub`` is written beside it.

        Two processes may race: the loser of the exclusive creation reads the winner's key.
        """
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(pem)
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # exclusive: never replaces a key that is there
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        signer = cls.load(path)
        public_path = path.with_name(path.name + ".pub")
        if not public_path.exists():
            temporary = public_path.with_name(f".{public_path.name}.{os.getpid()}")
            temporary.write_bytes(signer.public_pem())
            temporary.replace(public_path)
        return signer

    def public_pem(self) -> bytes:
        """The public half, PEM."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, data: bytes) -> Signature:
        """Sign bytes as they are."""
        return Signature(key_id=self.key_id, value=base64.b64encode(self.private.sign(data)).decode())

    def sign_detached(self, data: bytes) -> DetachedSignature:
        """Sign bytes for a ``.sig`` object."""
        signature = self.sign(data)
        return DetachedSignature(
            key_id=signature.key_id, value=signature.value, sha256=hashlib.sha256(data).hexdigest()
        )

    def sign_document(self, document: dict[str, Any]) -> dict[str, Any]:
        """A copy of ``document`` with ``signature`` over the canonical JSON of the rest."""
        body = {key: value for key, value in document.items() if key != "signature"}
        return {**body, "signature": self.sign(canonical_json(body)).model_dump(mode="json")}


@dataclass(frozen=True)
class KeyPair:
    """A private key, with ``<path>.pub`` beside it.

    Attributes:
        path: of the private key, mode 0600.
        key_id: as signatures name it.
        created: False when the pair existed already.
    """

    path: Path
    key_id: str
    created: bool


def create_key_pairs(paths: Sequence[Path]) -> list[KeyPair]:
    """Make the pairs that are missing; an existing key is never replaced.

    Raises:
        BadInputError: nothing is missing, or a public key is there without its private one: a new private key would
            not fit it, and what was signed so far would no longer verify.
        SignatureError: a private key that is there cannot be read.
    """
    for path in paths:
        public = path.with_name(path.name + ".pub")
        if public.exists() and not path.exists():
            raise BadInputError(
                f"{public} is there without its private key {path}: that key is elsewhere or lost; "
                "move the .pub file away to start with a new pair"
            )
    missing = {path for path in paths if not path.exists()}
    if not missing:
        raise BadInputError(
            f"{' and '.join(str(path) for path in paths)} exist already and are not overwritten; move them away to "
            "start with new pairs"
        )
    return [KeyPair(path, Signer.load_or_create(path).key_id, path in missing) for path in paths]


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys a reader accepts, by key id."""

    keys: dict[str, Ed25519PublicKey]

    @classmethod
    def of(cls, *signers: Signer) -> TrustedKeys:
        """Trust the public halves of these signers."""
        return cls({signer.key_id: signer.private.public_key() for signer in signers})

    @classmethod
    def load(cls, paths: Iterable[Path]) -> TrustedKeys:
        """Read PEM public keys; a folder stands for every ``*.pub`` in it.

        Raises:
            SignatureError: a path is missing or holds no Ed25519 public key, or there is no key at all.
        """
        keys: dict[str, Ed25519PublicKey] = {}
        for path in paths:
            for file in sorted(path.glob("*.pub")) if path.is_dir() else [path]:
                try:
                    key = serialization.load_pem_public_key(file.read_bytes())
                except (OSError, ValueError) as error:
                    reason = (
                        error.strerror if isinstance(error, OSError) else "it is damaged, or not a public key in PEM"
                    )
                    raise SignatureError(f"{file} is not a readable public key: {reason}") from None
                if not isinstance(key, Ed25519PublicKey):
                    raise SignatureError(f"{file} is not an Ed25519 public key")
                keys[_key_id(key)] = key
        if not keys:
            raise SignatureError("no trusted key was given; name the .pub file of the signing key in trusted_keys")
        return cls(keys)

    def verify(self, data: bytes, signature: Signature, label: str) -> None:
        """Check one signature over bytes.

        Raises:
            SignatureError: unknown key, or the signature does not fit.
        """
        key = self.keys.get(signature.key_id)
        if key is None:
            raise SignatureError(f"{label} is signed by key {signature.key_id}, which is not trusted here")
        try:
            key.verify(base64.b64decode(signature.value, validate=True), data)
        except (InvalidSignature, ValueError):
            raise SignatureError(f"the signature of {label} does not fit its content; it was changed") from None

    def verify_detached(self, data: bytes, signatures: SignatureSet, label: str) -> None:
        """Check that a set holds a good signature of these bytes by a trusted key.

        Raises:
            SignatureError: none does.
        """
        digest = hashlib.sha256(data).hexdigest()
        fitting = [s for s in signatures.signatures if s.sha256 == digest]
        if not fitting:
            raise SignatureError(f"{label} has no signature for its content; it was changed or never released")
        trusted = [s for s in fitting if s.key_id in self.keys]
        self.verify(data, (trusted or fitting)[-1], label)

    def verify_document(self, document: dict[str, Any], label: str) -> None:
        """Check the embedded ``signature`` of a JSON document.

        Raises:
            SignatureError: missing, untrusted, or not fitting.
        """
        raw = document.get("signature")
        if not isinstance(raw, dict):
            raise SignatureError(f"{label} is not signed")
        body = {key: value for key, value in document.items() if key != "signature"}
        try:
            signature = Signature.model_validate(raw)
        except ValidationError:
            raise SignatureError(f"the signature of {label} is malformed; it was changed") from None
        self.verify(canonical_json(body), signature, label)
