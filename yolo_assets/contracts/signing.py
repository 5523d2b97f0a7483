"""Ed25519 keys: who may sign, who is trusted, and what is proven by that.

What is written now is a DSSE envelope (``dsse``): one object where it is a commit point, or ``<key>.dsse`` beside bytes
that others read as they are. What earlier versions wrote (``old_signatures``) verifies as well.

Private keys are PKCS#8 PEM files of mode 0600; public keys PEM files ending ``.pub``. Trust comes from the files that
an operator names, never from a key that lies beside what is verified. A trusted key may count for a time only
(``trusted_key``).
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Record, canonical_json, is_json_object
from yolo_assets.contracts.dsse import Envelope, EnvelopeSet, PayloadKind, decode_base64, payload_type, signed_bytes
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.old_signatures import DetachedSignature, Signature, SignatureSet
from yolo_assets.contracts.trusted_key import HeldSince, TrustedKey, is_signed_later, signed_at

S = TypeVar("S", bound="SignedRecord")

_PACK = ("manifest.json", "manifest.sig")
"""What every evidence pack has."""


class SignedRecord(Record):
    """A record that is stored signed as a whole."""

    signature: Signature | None = Field(
        default=None, description="who signed it, once that is verified; it is no part of what is signed"
    )

    def payload(self) -> bytes:
        """The bytes that are signed: canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude={"signature"}))


@dataclass(frozen=True)
class SignedContent:
    """Bytes that a trusted key signed.

    Attributes:
        payload: what was signed: one JSON document.
        signature: the signature that proves it.
    """

    payload: bytes
    signature: Signature

    def record(self, kind: type[S], label: str) -> S:
        """The record in the payload, with its signature.

        Raises:
            BadInputError: it is no such record.
        """
        return kind.from_json(self.payload, label).model_copy(update={"signature": self.signature})


def fingerprint(public: Ed25519PublicKey) -> str:
    """SHA-256 of the 32 bytes of a public key; its first 16 digits are the key id."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()


def key_id_of(public: Ed25519PublicKey) -> str:
    """Name of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return fingerprint(public)[:16]


def pem_of(public: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


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
        return cls(key, key_id_of(key.public_key()))

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

    def public_bytes(self) -> bytes:
        """The public half, 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    def public_pem(self) -> bytes:
        """The public half, PEM."""
        return pem_of(self.private.public_key())

    def seal(self, payload: bytes, kind: PayloadKind) -> Envelope:
        """Sign bytes as they are, in an envelope that holds them."""
        return Envelope.of(payload, kind, self.key_id, self.private.sign(signed_bytes(kind, payload)))

    def co_sign(self, envelope: Envelope, kind: PayloadKind, label: str) -> Envelope:
        """An envelope with this key's signature added to those that it has."""
        data = signed_bytes(kind, envelope.content(label))
        return envelope.signed_also(self.key_id, self.private.sign(data))

    def sign_detached(self, data: bytes) -> DetachedSignature:
        """Sign bytes for a ``.sig`` object, which agents of version 0.1 read."""
        value = base64.b64encode(self.private.sign(data)).decode()
        return DetachedSignature(key_id=self.key_id, value=value, sha256=hashlib.sha256(data).hexdigest())


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
    """Make the pairs that are missing; an existing key is never replaced. Again, it changes nothing.

    Raises:
        BadInputError: a pair is damaged: a public key without its private one (a new private key would not fit it, and
            what was signed so far would no longer verify), or one that is not the half of that private key.
        SignatureError: a key that is there cannot be read.
    """
    for path in paths:
        public = path.with_name(path.name + ".pub")
        if public.exists() and not path.exists():
            raise BadInputError(
                f"{public} is there without its private key {path}: that key is elsewhere or lost; "
                "move the .pub file away to start with a new pair"
            )
    missing = {path for path in paths if not path.exists()}
    pairs = [KeyPair(path, Signer.load_or_create(path).key_id, path in missing) for path in paths]
    for pair in pairs:
        public = pair.path.with_name(pair.path.name + ".pub")
        if pair.key_id not in TrustedKeys.load([public]).keys:
            raise BadInputError(
                f"{public} is not the public half of {pair.path}; move it away, and run this again to write the right "
                "one"
            )
    return pairs


@dataclass(frozen=True)
class TrustedKeys:
    """The public keys a reader accepts, by key id, each for its time.

    Attributes:
        keys: by key id.
        held_since: what checkpoints show of stored objects; without it nothing that a revoked key signed counts.
    """

    keys: dict[str, TrustedKey]
    held_since: HeldSince | None = None

    @classmethod
    def of(cls, *signers: Signer) -> TrustedKeys:
        """Trust the public halves of these signers."""
        return cls({signer.key_id: TrustedKey(signer.private.public_key()) for signer in signers})

    @classmethod
    def load(cls, paths: Iterable[Path], *, pack: Path | None = None, to_show: bool = False) -> TrustedKeys:
        """Read PEM public keys; a folder stands for every ``*.pub`` in it.

        Args:
            paths: files and folders that a person named.
            pack: the evidence pack that they are to check, whole or not: no hard link of its keys is accepted either.
            to_show: also keys out of an evidence pack: to say whose signature it is, never to trust it.

        Raises:
            SignatureError: a path is missing, holds no Ed25519 public key, or lies in an evidence pack, or there is no
                key at all, or two files give the same key different times.
        """
        keys: dict[str, TrustedKey] = {}
        for path in paths:
            files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
            for file in [] if to_show else [path, *files]:
                if _lies_in_pack(file, pack):
                    raise SignatureError(
                        f"{file} lies in an evidence pack, and a false pack has a false key in it; get the plant's "
                        "public key in another way and compare it with the one in the pack"
                    )
            for file in files:
                key = TrustedKey.load(file)
                key_id = key_id_of(key.public)
                if key_id in keys and not keys[key_id].counts_like(key):
                    raise SignatureError(
                        f"{file} holds the key of {keys[key_id].purpose}.pub with other times; leave one of the files"
                    )
                keys.setdefault(key_id, key)
        if not keys:
            raise SignatureError("no trusted key was given; name the .pub file of the signing key in trusted_keys")
        return cls(keys)

    def also(self, others: TrustedKeys) -> TrustedKeys:
        """These keys and others; of a key that is in both, the times of the others hold."""
        return TrustedKeys({**self.keys, **others.keys}, self.held_since or others.held_since)

    def with_checkpoints(self, held_since: HeldSince) -> TrustedKeys:
        """The same keys; what a checkpoint from before its revocation holds counts also of a revoked key."""
        return TrustedKeys(self.keys, held_since)

    def named_by(self, envelopes: bytes | None, signatures: bytes | None) -> bool:
        """Whether the content of a ``.dsse`` or a ``.sig`` names one of these keys at all."""
        key_ids = {s.keyid for envelope in EnvelopeSet.parse(envelopes or b"").envelopes for s in envelope.signatures}
        if signatures is not None:
            key_ids |= {signature.key_id for signature in SignatureSet.from_json(signatures, ".sig").signatures}
        return not key_ids.isdisjoint(self.keys)

    def open(self, envelope: Envelope, kind: PayloadKind, label: str, *, stored: bytes | None = None) -> SignedContent:
        """The payload of an envelope that a trusted key signed.

        Args:
            envelope: as it is stored.
            kind: what its payload must be.
            label: what errors call it.
            stored: the bytes of the object that is signed, where they are not the envelope itself.

        Raises:
            SignatureError: no trusted key did in the time for which it counts, or it holds another kind of payload.
        """
        payload = envelope.content(label)
        if envelope.payload_type != payload_type(kind):
            raise SignatureError(f"{label} is signed as {envelope.payload_type!r}, not as a {kind}; it was put there")
        trusted = [signature for signature in envelope.signatures if signature.keyid in self.keys]
        if not trusted:
            raise SignatureError(f"{label} is signed by key {envelope.signatures[0].keyid}, which is not trusted here")
        data, refused = signed_bytes(kind, payload), ""
        for signature in trusted:
            if self._fits(signature.keyid, signature.sig, data, label):
                refused = self._refusal(signature.keyid, payload, kind, label, stored or envelope.to_json())
                if not refused:
                    return SignedContent(payload, Signature(key_id=signature.keyid, value=signature.sig))
        raise SignatureError(refused or f"the signature of {label} does not fit its content; it was changed")

    def signers(self, envelope: Envelope, kind: PayloadKind, label: str) -> set[str]:
        """Ids of the keys among these whose signature on an envelope is good and counts; a key counts once.

        Raises:
            SignatureError: it holds another kind of payload.
        """
        if envelope.payload_type != payload_type(kind):
            raise SignatureError(f"{label} is signed as {envelope.payload_type!r}, not as a {kind}; it was put there")
        payload, stored = envelope.content(label), envelope.to_json()
        data = signed_bytes(kind, payload)
        known = [one for one in envelope.signatures if one.keyid in self.keys]
        return {
            one.keyid
            for one in known
            if self._fits(one.keyid, one.sig, data, label)
            and not self._refusal(one.keyid, payload, kind, label, stored)
        }

    def open_document(self, data: bytes, kind: PayloadKind, label: str) -> SignedContent:
        """What a signed object holds: an envelope, or a JSON document with the signature inside, as version 0.1 wrote.

        Raises:
            SignatureError: not signed by a trusted key, or changed.
            BadInputError: not a JSON object at all.
        """
        document = _json_object(data, label)
        if "payloadType" in document:
            return self.open(Envelope.parse(data, label), kind, label)
        content = _old_content(document, label)
        self._verify_old(content.payload, content.signature, kind, label, data)
        return content

    def verify_detached(
        self, data: bytes, kind: PayloadKind, label: str, *, envelopes: bytes | None, signatures: bytes | None
    ) -> None:
        """Check that a trusted key signed bytes that lie beside their signatures.

        Args:
            data: the bytes.
            kind: what they are.
            label: what errors call them.
            envelopes: content of ``<key>.dsse``; None when there is none.
            signatures: content of ``<key>.sig``, as version 0.1 wrote it; None when there is none.

        Raises:
            SignatureError: none did.
        """
        fitting = EnvelopeSet.parse(envelopes).of_payload(data) if envelopes is not None else []
        problem: SignatureError | None = None
        for envelope in reversed(fitting):
            try:
                self.open(envelope, kind, label, stored=data)
                return
            except SignatureError as error:
                problem = problem or error
        if signatures is None:
            raise problem or _no_signature(label)
        try:
            self._verify_old_detached(data, signatures, kind, label)
        except SignatureError as error:
            raise problem or error from None

    def _verify_old_detached(self, data: bytes, raw: bytes, kind: PayloadKind, label: str) -> None:
        try:
            signatures = SignatureSet.from_json(raw, f"{label}.sig")
        except BadInputError as error:
            raise SignatureError(str(error)) from None
        digest = hashlib.sha256(data).hexdigest()
        fitting = [s for s in signatures.signatures if s.sha256 == digest]
        if not fitting:
            raise _no_signature(label)
        trusted = [s for s in fitting if s.key_id in self.keys]
        self._verify_old(data, (trusted or fitting)[-1], kind, label, data)

    def _verify_old(self, data: bytes, signature: Signature, kind: PayloadKind, label: str, stored: bytes) -> None:
        if signature.key_id not in self.keys:
            raise SignatureError(f"{label} is signed by key {signature.key_id}, which is not trusted here")
        if not self._fits(signature.key_id, signature.value, data, label):
            raise SignatureError(f"the signature of {label} does not fit its content; it was changed")
        if refused := self._refusal(signature.key_id, data, kind, label, stored):
            raise SignatureError(refused)

    def _refusal(self, key_id: str, payload: bytes, kind: PayloadKind, label: str, stored: bytes) -> str:
        """Why a good signature does not count by the time of its key; empty when it does."""
        key = self.keys[key_id]
        if not key.limited:
            return ""
        try:
            signed = signed_at(payload, kind)
        except BadInputError as error:
            return f"{label} is signed by key {key_id}, which counts for a time only: {error}"
        if is_signed_later(kind) and key.not_before is not None and signed is not None:
            signed = max(signed, key.not_before)
        held = self.held_since(hashlib.sha256(stored).hexdigest()) if self.held_since and key.revoked_at else None
        problem = key.problem(signed, held)
        return f"{label} is signed by key {key_id}, {problem}" if problem else ""

    def _fits(self, key_id: str, signature: str, data: bytes, label: str) -> bool:
        try:
            self.keys[key_id].public.verify(decode_base64(signature, label), data)
        except (InvalidSignature, SignatureError):
            return False
        return True


def unverified_content(data: bytes, label: str) -> SignedContent:
    """What a signed object holds and the signature it names, whoever made them: to find out whose it is.

    Raises:
        SignatureError: it is not signed at all.
        BadInputError: not a JSON object.
    """
    document = _json_object(data, label)
    if "payloadType" not in document:
        return _old_content(document, label)
    envelope = Envelope.parse(data, label)
    first = envelope.signatures[0]
    return SignedContent(envelope.content(label), Signature(key_id=first.keyid, value=first.sig))


def is_signed(data: bytes, label: str) -> bool:
    """Whether a stored object claims a signature at all, good or bad.

    Raises:
        BadInputError: not a JSON object.
    """
    document = _json_object(data, label)
    return "payloadType" in document or document.get("signature") is not None


def _old_content(document: dict[str, Any], label: str) -> SignedContent:
    """A document of version 0.1: the signed bytes are the canonical JSON of all but its ``signature``."""
    raw = document.get("signature")
    if not isinstance(raw, dict):
        raise SignatureError(f"{label} is not signed")
    try:
        signature = Signature.model_validate(raw)
    except ValidationError:
        raise SignatureError(f"the signature of {label} is malformed; it was changed") from None
    return SignedContent(
        canonical_json({key: value for key, value in document.items() if key != "signature"}), signature
    )


def _lies_in_pack(path: Path, pack: Path | None) -> bool:
    """Whether a key lies in this evidence pack or in any other, whatever link leads there."""
    real = path.resolve()
    if any(all((folder / name).is_file() for name in _PACK) for folder in [real, *real.parents]):
        return True
    if pack is None:
        return False
    try:
        return pack.resolve() in [real, *real.parents] or any(real.samefile(own) for own in pack.glob("keys/*.pub"))
    except OSError:  # the path does not exist: said where it is read
        return False


def _no_signature(label: str) -> SignatureError:
    return SignatureError(f"{label} has no signature for its content; it was changed or never released")


def _json_object(data: bytes, label: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise BadInputError(f"{label} is not JSON") from None
    if not is_json_object(document):
        raise BadInputError(f"{label} is not a signed JSON document")
    return document
