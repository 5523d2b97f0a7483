"""The keys of devices that a plant enrolled: statements, each signed by promotion's key, and what they come to.

The first statement on a key, ``keys/devices/<key id>.json`` of the store, enrols it; later ones end or revoke it. Each
names the one before by its hash, none is ever changed. Trust comes from promotion's key, which is given from outside:
an archiver cannot enrol the device whose seals it takes. Belongs here: the statements and reading them. Does not belong
here: where they are stored (``custody``), and what a device signs (``spool.sealing``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.dsse import Envelope, decode_base64
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.names import parse_device_key
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys, fingerprint, key_id_of
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.contracts.trusted_key import TrustedKey

SealState = Literal["enrolled", "not enrolled", "ended", "revoked", "differs", "not checked", "not sealed"]
"""Of an archive: sealed by an enrolled device's key, by one that was not enrolled then, by one that had ended or was
revoked, sealed otherwise than it is archived, by a key of which nothing could be found out, or by no device at all."""


@dataclass(frozen=True)
class SealVerdict:
    """What the seal of an archive is worth.

    Attributes:
        state: in one word or two.
        why: the same as a sentence, without a full stop.
    """

    state: SealState
    why: str


class DeviceKeyStatement(Record):
    """``keys/devices/<key id>[.<number>].json``: one thing that was said about a device's key."""

    schema_version: Literal[1] = 1
    change: Literal["enrolled", "ended", "revoked"]
    number: int = Field(ge=1, description="of the statements on this key, from 1")
    previous: str | None = Field(description="SHA-256 of the statement before, as it is stored; null in the first")
    key_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    device_id: str
    public_key: str = Field(description="32 bytes in base64")
    since: Time = Field(description="from then on it holds: the key counts, counts no more, or may be somebody else's")
    at: Time = Field(description="when it was said")
    by: str = Field(description="who said it")
    reason: str = ""
    replaces: str | None = Field(default=None, description="the key of the same device that this one follows")

    def public(self, label: str) -> Ed25519PublicKey:
        """The key.

        Raises:
            IntegrityError: it is none, or not the one that the statement is about.
        """
        try:
            key = Ed25519PublicKey.from_public_bytes(decode_base64(self.public_key, label))
        except (ValueError, SignatureError):
            raise IntegrityError(f"{label} holds no public key") from None
        if key_id_of(key) != self.key_id:
            raise IntegrityError(f"{label} names another key than the one that it holds")
        return key


@dataclass(frozen=True)
class DeviceKey:
    """What the statements on one key come to.

    Attributes:
        key_id: as signatures name it.
        device_id: whose it is.
        key: with the time for which it counts.
        statements: all of them, in order.
    """

    key_id: str
    device_id: str
    key: TrustedKey
    statements: tuple[DeviceKeyStatement, ...]

    @property
    def in_use(self) -> bool:
        """Whether nobody ended or revoked it, nor said from when on."""
        return self.key.not_after is None and self.key.revoked_at is None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the 32 bytes of the public key, which a person compares."""
        return fingerprint(self.key.public)

    @classmethod
    def of(cls, key_id: str, objects: Sequence[tuple[str, bytes]], trusted: TrustedKeys) -> DeviceKey:
        """Out of the statements on one key.

        Args:
            key_id: of the key.
            objects: label and stored bytes of each statement, in order.
            trusted: keys that may have signed them.

        Raises:
            SignatureError: one is not signed by a trusted key.
            BadInputError, IntegrityError: one is no statement, is about another key, or the chain has a gap.
        """
        statements: list[DeviceKeyStatement] = []
        previous: str | None = None
        for label, data in objects:
            content = trusted.open(Envelope.parse(data, label), "device-key", label)
            one = DeviceKeyStatement.from_json(content.payload, label)
            one.public(label)
            if (one.key_id, one.number, one.previous) != (key_id, len(statements) + 1, previous):
                raise IntegrityError(f"{label} does not follow the statement before it; one was changed or removed")
            owner = statements[0].device_id if statements else one.device_id
            if (one.change == "enrolled") == bool(statements) or one.device_id != owner:
                raise IntegrityError(f"{label} does not fit the enrolment of key {key_id}")
            previous = hashlib.sha256(data).hexdigest()
            statements.append(one)
        if not statements:
            raise IntegrityError(f"there is no statement on key {key_id}")
        ends = [one.since for one in statements if one.change == "ended"]
        revocations = [one.since for one in statements if one.change == "revoked"]
        first = statements[0]
        key = TrustedKey(
            first.public(objects[0][0]),
            not_before=first.since,
            not_after=min(ends, default=None),
            revoked_at=min(revocations, default=None),
            purpose=first.device_id,
        )
        return cls(key_id, first.device_id, key, tuple(statements))


@dataclass(frozen=True)
class EnrolledDevices:
    """The keys of devices that a plant enrolled.

    Attributes:
        keys: by key id.
        problems: statements that do not count, and why, by key id.
        unchecked: why no statement could be read; empty when they were.
    """

    keys: Mapping[str, DeviceKey] = field(default_factory=dict[str, DeviceKey])
    problems: Mapping[str, str] = field(default_factory=dict[str, str])
    unchecked: str = ""

    @classmethod
    def of(cls, objects: Mapping[str, bytes], trusted: TrustedKeys) -> EnrolledDevices:
        """Out of stored statements; what does not count is a problem of its key, and harms no other.

        Args:
            objects: by their key in the store.
            trusted: keys that may have signed them, given from outside.
        """
        by_key: dict[str, list[tuple[int, str, bytes]]] = {}
        for name, data in objects.items():
            parsed = parse_device_key(name)
            if parsed is not None:
                by_key.setdefault(parsed[0], []).append((parsed[1], name, data))
        keys: dict[str, DeviceKey] = {}
        problems: dict[str, str] = {}
        for key_id, found in by_key.items():
            try:
                keys[key_id] = DeviceKey.of(key_id, [(name, data) for _, name, data in sorted(found)], trusted)
            except UserError as error:
                problems[key_id] = str(error)
        return cls(keys, problems)

    def of_device(self, device_id: str) -> list[DeviceKey]:
        """The keys of one device, by the time from which they count."""
        return sorted((key for key in self.keys.values() if key.device_id == device_id), key=_since)

    def verdict(
        self,
        key_id: str | None,
        problem: str | None,
        *,
        device_ids: Sequence[str],
        sealed: tuple[datetime, datetime],
        held: datetime,
    ) -> SealVerdict:
        """What the seal of an archive is worth.

        Args:
            key_id: of the key that signed the seal; None: there is no seal that proves anything.
            problem: what does not fit, as the receipt says it.
            device_ids: devices that the archive's records name; empty: not known.
            sealed: earliest and latest time of the seal: twice the same where it is known.
            held: when the archiver had it, by its signed receipt: then it was there, whoever has the device's key now.
        """
        if problem is not None:
            return SealVerdict("differs", problem)
        if key_id is None:
            return SealVerdict("not sealed", "no device sealed it")
        if self.unchecked:
            return SealVerdict("not checked", f"whether key {key_id} is enrolled is not known: {self.unchecked}")
        found = self.keys.get(key_id)
        if found is None:
            why = self.problems.get(key_id)
            return SealVerdict("not enrolled", f"key {key_id} is not enrolled" + (f": {why}" if why else ""))
        owner, key = f"key {key_id} of {found.device_id}", found.key
        if device_ids and found.device_id not in device_ids:
            return SealVerdict("not enrolled", f"{owner} sealed an hour of {', '.join(device_ids)}")
        if key.revoked_at is not None and held >= key.revoked_at:
            return SealVerdict("revoked", f"{owner} is revoked from {format_time(key.revoked_at)} on")
        if key.not_after is not None and sealed[0] >= key.not_after:
            return SealVerdict("ended", f"{owner} counted until {format_time(key.not_after)}")
        if key.not_before is not None and sealed[1] < key.not_before:
            return SealVerdict("not enrolled", f"{owner} counts from {format_time(key.not_before)} on")
        return SealVerdict("enrolled", f"sealed by {found.device_id} with its enrolled key {key_id}")

    def verdict_on(self, receipt: Receipt) -> SealVerdict:
        """What the seal of the archive of a receipt is worth."""
        custody, closed = receipt.custody, Hour.from_key(receipt.hour).end
        if custody is None:
            return self.verdict(None, None, device_ids=(), sealed=(closed, closed), held=receipt.verified_at)
        return self.verdict(
            custody.key_id,
            custody.problem,
            device_ids=receipt.device_ids,
            sealed=(custody.sealed_at or closed, custody.sealed_at or receipt.verified_at),
            held=receipt.verified_at,
        )


def public_key_in(text: str) -> Ed25519PublicKey:
    """A public key out of PEM.

    Raises:
        BadInputError: it holds none.
    """
    try:
        key = serialization.load_pem_public_key(text.encode())
    except ValueError:
        raise BadInputError("there is no public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInputError("it is not an Ed25519 key")
    return key


def _since(key: DeviceKey) -> tuple[datetime, str]:
    return key.statements[0].since, key.key_id
