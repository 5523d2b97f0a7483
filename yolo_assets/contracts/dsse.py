"""DSSE envelopes: a payload, how to read it, and signatures over exactly these bytes.

What is signed is the pre-authentication encoding ``DSSEv1 <length> <type> <length> <payload>``: the payload's bytes as
they are, so no tool has to write JSON anew before it can verify, and its type, so that a signature for a receipt never
passes for one for a pointer. See https://github.com/secure-systems-lab/dsse. Belongs here: the envelope and its bytes.
Does not belong here: keys (``signing``), and the forms in which version 0.1 signed (``old_signatures``).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.contracts.errors import BadInputError, SignatureError

PayloadKind = Literal[
    "receipt",
    "seal",
    "device-key",
    "archive-audit-claim",
    "archive-audit",
    "archive-copy",
    "device-audit-line",
    "device-audit-head",
    "audit-trail",
    "model-manifest",
    "channel-pointer",
    "channel-release",
    "gate-report",
    "channel-statement",
    "release-proposal",
    "release-approval",
    "rollout",
    "validation-pack",
    "evidence-pack",
    "evidence-sums",
]
"""What is signed; ``application/vnd.yolo-assets.<kind>+json`` is its payload type."""

KEPT_ENVELOPES = 16
"""Envelopes beside an object: enough for every pointer that a slow reader may still hold."""


def payload_type(kind: PayloadKind) -> str:
    """The media type that stands in the envelope and is signed with the payload."""
    return f"application/vnd.yolo-assets.{kind}+json"


def signed_bytes(kind: PayloadKind, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of one of our payloads: the bytes that a signature covers."""
    return pre_authentication_encoding(payload_type(kind), payload)


def pre_authentication_encoding(media_type: str, payload: bytes) -> bytes:
    """The same for a payload of any media type, such as a statement in a format of others."""
    kind = media_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class EnvelopeSignature(Record):
    """One signature; ``sig`` is its bytes in base64: 64 of Ed25519, or DER of a P-256 key on statements for others."""

    keyid: str
    sig: str


class Envelope(Record):
    """One envelope; its JSON is canonical: payload, payloadType, signatures, no white space."""

    payload: str = Field(description="base64 of the bytes that are signed")
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[EnvelopeSignature, ...] = Field(min_length=1)

    @classmethod
    def of(cls, payload: bytes, kind: PayloadKind, key_id: str, signature: bytes) -> Envelope:
        """An envelope with one signature over ``signed_bytes(kind, payload)``."""
        return cls(
            payload=base64.b64encode(payload).decode(),
            payloadType=payload_type(kind),
            signatures=(EnvelopeSignature(keyid=key_id, sig=base64.b64encode(signature).decode()),),
        )

    def signed_also(self, key_id: str, signature: bytes) -> Envelope:
        """This envelope with one more signature over the same bytes; a key signs once."""
        if any(one.keyid == key_id for one in self.signatures):
            return self
        added = EnvelopeSignature(keyid=key_id, sig=base64.b64encode(signature).decode())
        return self.model_copy(update={"signatures": (*self.signatures, added)})

    @classmethod
    def parse(cls, data: bytes, label: str) -> Envelope:
        """An envelope out of exactly the bytes that were written.

        Raises:
            SignatureError: it is none, or the same is written in another way: somebody wrote it anew.
        """
        try:
            envelope = cls.from_json(data, label)
        except BadInputError:
            raise SignatureError(f"{label} is not a signed envelope; it was changed") from None
        if envelope.to_json() != data:
            raise SignatureError(f"{label} is not written as it was when it was signed; it was changed")
        return envelope

    def content(self, label: str) -> bytes:
        """The payload's bytes, whoever signed them.

        Raises:
            SignatureError: the payload is not base64 as it is written here.
        """
        return decode_base64(self.payload, label)


def decode_base64(text: str, label: str) -> bytes:
    """Bytes out of base64 with padding, and only as an encoder writes it: each text stands for other bytes.

    Raises:
        SignatureError: it is anything else.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise SignatureError(f"{label} holds a text that is not base64; it was changed")
    return data


@dataclass(frozen=True)
class EnvelopeSet:
    """The content of a ``.dsse`` object beside the bytes that are signed: an envelope a line, newest last.

    A set, because a pointer and its ``.dsse`` are two objects: the new envelope is added before the pointer moves, so
    that at each moment there is one for the pointer that is there. Lines that are no envelope are kept out.
    """

    envelopes: tuple[Envelope, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> EnvelopeSet:
        """Every line that is an envelope."""
        envelopes: list[Envelope] = []
        for line in data.split(b"\n"):
            try:
                envelopes.append(Envelope.parse(line, ".dsse"))
            except SignatureError:
                continue  # proves nothing
        return cls(tuple(envelopes))

    def to_bytes(self) -> bytes:
        """One line each, the last with its line end."""
        return b"".join(envelope.to_json() + b"\n" for envelope in self.envelopes)

    def with_envelope(self, added: Envelope) -> EnvelopeSet:
        """This set with one more at its end, once, cut to the newest ``KEPT_ENVELOPES``."""
        others = [envelope for envelope in self.envelopes if envelope != added]
        return EnvelopeSet(tuple([*others, added][-KEPT_ENVELOPES:]))

    def of_payload(self, payload: bytes) -> list[Envelope]:
        """The envelopes of these bytes, whoever signed them."""
        text = base64.b64encode(payload).decode()
        return [envelope for envelope in self.envelopes if envelope.payload == text]
