"""A public key that somebody trusts, for which time it counts, and when something was signed.

A key counts always, unless its file says otherwise, in lines above the key (other tools pass over them)::

    not-before: 2026-01-01T00:00:00Z
    not-after: 2028-01-01T00:00:00Z
    revoked-at: 2027-06-01T00:00:00Z
    -----BEGIN PUBLIC KEY-----

``not-before`` and ``not-after`` are held against the time that the signed document itself names. Whoever has the key
can write any time there, so they are for keys that were put away in order. ``revoked-at`` is for a key that somebody
else may have: its signatures count only on documents of which something that this key did not sign shows that they
were there before. Belongs here: one key. Does not belong here: several of them, and verifying (``signing``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.contracts.base import is_json_object
from yolo_assets.contracts.dsse import PayloadKind
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.times import format_time, parse_time

HeldSince = Callable[[str], datetime | None]
"""By the SHA-256 of an object's stored bytes, in hexadecimal: the time of the earliest verified checkpoint that holds
the object; None when none does."""

_BEGIN = b"-----BEGIN"
_LIMITS = ("not-before", "not-after", "revoked-at")
_LIMIT = re.compile(r"(?P<name>(?:not|revoked|valid|expires)(?![a-z])[^:]*):(?P<time>.*)", re.IGNORECASE)
_SIGNED_AT: dict[PayloadKind, tuple[str, ...]] = {
    "receipt": ("verified_at",),
    "seal": ("sealed_at",),
    "device-key": ("at",),
    "archive-audit-claim": ("started_at",),
    "archive-audit": ("finished_at",),
    "device-audit-line": ("at",),
    "device-audit-head": ("at",),
    "model-manifest": ("created_at",),
    "channel-pointer": ("moved_at",),
    "channel-release": ("pointer", "moved_at"),
    "channel-statement": ("at",),
    "release-proposal": ("proposed_at",),
    "release-approval": ("at",),
    "audit-trail": ("at",),
    "rollout": ("wave_since",),
    "validation-pack": ("made_at",),
    "evidence-pack": ("made_at",),
}
"""Where a document says when it was signed. Kinds that are missing do not say it."""
_SIGNED_LATER: frozenset[PayloadKind] = frozenset({"model-manifest", "release-proposal", "rollout"})
"""Kinds whose time is that of the document; a key may sign it later."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key and for which time it counts.

    Attributes:
        public: the key.
        not_before: first moment at which it signs; None: always.
        not_after: first moment at which it signs no more; None: never.
        revoked_at: from then on somebody else may sign with it.
        purpose: whose it is, for people.
    """

    public: Ed25519PublicKey
    not_before: datetime | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    purpose: str = ""

    @property
    def limited(self) -> bool:
        """Whether there is a time at which it does not count."""
        return (self.not_before, self.not_after, self.revoked_at) != (None, None, None)

    def counts_like(self, other: TrustedKey) -> bool:
        """Whether another one counts for the same time."""
        mine, theirs = ((key.not_before, key.not_after, key.revoked_at) for key in (self, other))
        return mine == theirs

    def problem(self, signed: datetime | None, held: datetime | None = None) -> str | None:
        """Why a good signature of it does not count, as the end of a sentence; None when it does.

        Args:
            signed: when, as the document says; None: it does not say.
            held: when the document was there at the latest, shown by what this key did not sign; None: not shown.
        """
        if self.revoked_at is not None and (held is None or held >= self.revoked_at):
            return (
                f"which is revoked from {format_time(self.revoked_at)} on, and no checkpoint from before then holds it"
            )
        if signed is None:
            return None
        if self.not_before is not None and signed < self.not_before:
            return f"which counts from {format_time(self.not_before)} on, and it was signed {format_time(signed)}"
        if self.not_after is not None and signed >= self.not_after:
            return f"which counted until {format_time(self.not_after)}, and it was signed {format_time(signed)}"
        return None

    @classmethod
    def load(cls, path: Path) -> TrustedKey:
        """Read a PEM file, with the times above the key.

        Raises:
            SignatureError: it cannot be read, is no Ed25519 public key, or a time above the key is none.
        """
        try:
            data = path.read_bytes()
            key = serialization.load_pem_public_key(data)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged, or not a public key in PEM"
            raise SignatureError(f"{path} is not a readable public key: {reason}") from None
        if not isinstance(key, Ed25519PublicKey):
            raise SignatureError(f"{path} is not an Ed25519 public key")
        limits: dict[str, datetime] = {}
        for line in data.partition(_BEGIN)[0].decode("utf-8", "replace").splitlines():
            if match := _LIMIT.match(line.strip()):
                name = match["name"].strip().lower()
                if name not in _LIMITS or name in limits:
                    raise SignatureError(f"{path}: {line.strip()!r} is not understood; there are {', '.join(_LIMITS)}")
                try:
                    limits[name] = parse_time(match["time"].strip())
                except BadInputError as error:
                    raise SignatureError(f"{path}: {name}: {error}") from None
        return cls(key, limits.get("not-before"), limits.get("not-after"), limits.get("revoked-at"), purpose=path.stem)


def signed_at(payload: bytes, kind: PayloadKind) -> datetime | None:
    """When a document says that it was signed; None where its kind does not say it.

    Raises:
        BadInputError: its kind says it, and it does not.
    """
    path = _SIGNED_AT.get(kind)
    if path is None:
        return None
    value: object = None
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass
    for name in path:
        value = value.get(name) if is_json_object(value) else None
    if not isinstance(value, str):
        raise BadInputError(f"it has no {path[-1]}, so it is not known when it was signed")
    return parse_time(value)


def is_signed_later(kind: PayloadKind) -> bool:
    """Whether a key may sign a document of this kind after the time that it names."""
    return kind in _SIGNED_LATER
