"""The two forms in which version 0.1 signed: read for ever, written only beside what its agents have to read.

*Embedded*: a JSON document with ``signature`` over the canonical JSON of the rest. *Detached*: ``<key>.sig`` holds a
``SignatureSet``, signatures by the SHA-256 of the bytes they cover. Does not belong here: keys, and verification
with them (``signing``).
"""

from __future__ import annotations

from typing import Literal

from yolo_assets.contracts.base import Record

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
