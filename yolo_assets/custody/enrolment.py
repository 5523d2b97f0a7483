"""Keys of devices in the store root: enrolled, ended, revoked by write-once statements, and read back."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from yolo_assets.contracts.device_keys import DeviceKey, DeviceKeyStatement, EnrolledDevices
from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import DEVICE_KEYS, FLEET, check_id, device_key_key, parse_device_key
from yolo_assets.contracts.signing import Signer, TrustedKeys, key_id_of
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.storage.base import AlreadyExistsError, ObjectNotFoundError, ObjectStore

Change = Literal["ended", "revoked"]


def read_statements(store: ObjectStore) -> dict[str, bytes]:
    """Every statement on keys of devices, by its key in the store.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    names = [info.key for info in store.list(DEVICE_KEYS) if parse_device_key(info.key) is not None]
    return {name: store.get(name) for name in names}


def enrolled_devices(store: ObjectStore, trusted: TrustedKeys) -> EnrolledDevices:
    """The keys of devices that count.

    Args:
        store: the store root.
        trusted: keys that may have enrolled them: promotion's, given from outside.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    return EnrolledDevices.of(read_statements(store), trusted)


def keys_in_use(store: ObjectStore) -> dict[str, str]:
    """The key that each device of the fleet runs with, by device id, as its newest heartbeat names it.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    found: dict[str, str] = {}
    for info in store.list(FLEET):
        try:
            beat = Heartbeat.from_json(store.get(info.key), info.key)
        except (BadInputError, ObjectNotFoundError):
            continue  # of a newer agent, or just removed: told by the fleet's own state
        if isinstance(beat.audit, Envelope):
            found[beat.device_id] = beat.audit.signatures[0].keyid
    return found


@dataclass(frozen=True)
class Registrar:
    """Enrols, renews and revokes keys of devices.

    Attributes:
        store: the store root.
        signer: promotion's key.
        trusted: keys that may have signed earlier statements.
        by: who does it.
    """

    store: ObjectStore
    signer: Signer
    trusted: TrustedKeys
    by: str

    def devices(self) -> EnrolledDevices:
        """What is enrolled."""
        return enrolled_devices(self.store, self.trusted)

    def enroll(
        self,
        device_id: str,
        public: Ed25519PublicKey,
        *,
        since: datetime | None = None,
        reason: str = "",
        replaces: str | None = None,
    ) -> tuple[DeviceKey, bool]:
        """Enrol a key; once more, it changes nothing.

        Args:
            device_id: whose it is.
            public: the key.
            since: from when on it counts; now by default.
            reason: why, in a person's words.
            replaces: the key that it follows.

        Returns:
            The key, and whether it is new.

        Raises:
            BadInputError: the key is enrolled for another device, or what is stored of it does not count.
        """
        key_id, now = key_id_of(public), utc_now()
        known = self._known(key_id)
        if known is not None:
            if known.device_id != check_id(device_id, "device id"):
                raise BadInputError(f"key {key_id} is enrolled for {known.device_id}; a device has a key of its own")
            if not known.in_use:
                raise BadInputError(f"key {key_id} has ended or is revoked, for ever; give {device_id} a new one")
            return known, False
        raw = public.public_bytes_raw()
        self._write(
            DeviceKeyStatement(
                change="enrolled",
                number=1,
                previous=None,
                key_id=key_id,
                device_id=check_id(device_id, "device id"),
                public_key=base64.b64encode(raw).decode(),
                since=since or now,
                at=now,
                by=self.by,
                reason=reason,
                replaces=replaces,
            )
        )
        return self._there(key_id), True

    def close(
        self, key_id: str, change: Change, *, since: datetime | None = None, reason: str = ""
    ) -> tuple[DeviceKey, bool]:
        """End or revoke a key; once more, it changes nothing unless it is to hold from an earlier time on.

        Args:
            key_id: of the key.
            change: ended: it was put away; revoked: somebody else may have it.
            since: from when on; now by default.
            reason: why, in a person's words.

        Returns:
            The key, and whether something was written.

        Raises:
            BadInputError: it is not enrolled.
        """
        known = self._known(key_id)
        if known is None:
            raise BadInputError(f"key {key_id} is not enrolled; yolo-assets keys ls shows those that are")
        limit = known.key.revoked_at if change == "revoked" else known.key.not_after
        if limit is not None and (since is None or since >= limit):
            return known, False
        last = known.statements[-1]
        name = device_key_key(key_id, last.number)
        self._write(
            DeviceKeyStatement(
                change=change,
                number=last.number + 1,
                previous=hashlib.sha256(self.store.get(name)).hexdigest(),
                key_id=key_id,
                device_id=known.device_id,
                public_key=last.public_key,
                since=since or utc_now(),
                at=utc_now(),
                by=self.by,
                reason=reason,
            )
        )
        return self._there(key_id), True

    def rotate(
        self, device_id: str, public: Ed25519PublicKey, *, at: datetime | None = None, reason: str = ""
    ) -> tuple[DeviceKey, list[DeviceKey]]:
        """Enrol a device's new key and end those that it had: they count until then, the new one from then on.

        Interrupted, the same call finishes it.

        Returns:
            The new key, and the keys that ended.

        Raises:
            BadInputError: the device has no key, or nothing changes.
        """
        key_id, moment = key_id_of(public), at or utc_now()
        before = [key for key in self.devices().of_device(device_id) if key.key_id != key_id]
        if not before:
            raise BadInputError(f"{device_id} has no other key; enrol its first one with: yolo-assets keys enroll")
        fresh, _ = self.enroll(device_id, public, since=moment, reason=reason, replaces=before[-1].key_id)
        begun = fresh.key.not_before or moment
        ended = [self.close(key.key_id, "ended", since=begun, reason=reason) for key in before if key.in_use]
        return fresh, [key for key, _ in ended]

    def _known(self, key_id: str) -> DeviceKey | None:
        devices = self.devices()
        if key_id in devices.problems:
            raise BadInputError(f"what is stored of key {key_id} does not count: {devices.problems[key_id]}")
        return devices.keys.get(key_id)

    def _there(self, key_id: str) -> DeviceKey:
        known = self._known(key_id)
        if known is None:
            raise IntegrityError(f"key {key_id} was written and is not in the store; inspect it, then run this again")
        return known

    def _write(self, statement: DeviceKeyStatement) -> None:
        name = device_key_key(statement.key_id, statement.number)
        try:
            self.store.put_if_absent(name, self.signer.seal(statement.to_json(), "device-key").to_json())
        except AlreadyExistsError:
            raise BadInputError(
                f"somebody else said something of key {statement.key_id} at {format_time(statement.at)}; look with "
                "yolo-assets keys ls, then run this again"
            ) from None
