"""The fleet as its heartbeats show it: which device runs which release, and which are behind.

Pure except for reading the heartbeats. Does not belong here: writing them (``edge``), moving channels (``promotion``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.names import FLEET
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore

ON_IT_WITHIN = timedelta(minutes=2)
"""From a promotion to every live device of it."""
SILENT_AFTER = timedelta(minutes=2)
"""A device whose heartbeat is older is not expected to take a release now."""

DeviceState = Literal["current", "behind", "pinned", "silent", "no_model"]


@dataclass(frozen=True)
class FleetHeartbeats:
    """The heartbeats of a store.

    Attributes:
        heartbeats: the last one of each device.
        unreadable: a line for each that cannot be read.
    """

    heartbeats: tuple[Heartbeat, ...]
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeviceStatus:
    """One device against the channel.

    Attributes:
        heartbeat: the last one.
        state: ``current`` runs what the channel asks of it, which outside the wave of a rollout is the version that
            the others keep; ``pinned`` runs another on purpose; ``behind`` does not run it
            yet; ``silent`` has sent no recent heartbeat; ``no_model`` has none.
        age: of the heartbeat.
        took: from the move of the channel until the device served it; None where it does not, or served it before.
    """

    heartbeat: Heartbeat
    state: DeviceState
    age: timedelta
    took: timedelta | None = None


@dataclass(frozen=True)
class FleetStatus:
    """All devices of one model, and the heartbeats that could not be read, one line each."""

    devices: tuple[DeviceStatus, ...]
    unreadable: tuple[str, ...]

    def waiting(self) -> list[str]:
        """Devices that are alive and still have to take the release."""
        return [device.heartbeat.device_id for device in self.devices if device.state in ("behind", "no_model")]


def read_heartbeats(store: ObjectStore) -> FleetHeartbeats:
    """Every heartbeat of the store root."""
    heartbeats: list[Heartbeat] = []
    unreadable: list[str] = []
    for info in store.list(FLEET):
        try:
            heartbeats.append(Heartbeat.from_json(store.get(info.key), info.key))
        except ObjectNotFoundError:
            continue  # deleted between listing and reading
        except BadInputError as error:
            unreadable.append(str(error))
    return FleetHeartbeats(tuple(heartbeats), tuple(unreadable))


def fleet_status(fleet: FleetHeartbeats, pointer: ChannelPointer, now: datetime) -> FleetStatus:
    """Compare the devices on the pointer's channel with it.

    Args:
        fleet: heartbeats of any device; those on other channels are skipped.
        pointer: the channel now.
        now: aware.
    """
    devices = [
        DeviceStatus(beat, _state(beat, pointer, now), now - beat.at, _took(beat, pointer))
        for beat in sorted(fleet.heartbeats, key=lambda beat: beat.device_id)
        if beat.channel in (None, pointer.channel)
    ]
    return FleetStatus(tuple(devices), fleet.unreadable)


def _took(beat: Heartbeat, pointer: ChannelPointer) -> timedelta | None:
    switched = [
        swap.at
        for swap in beat.swaps
        if swap.release == pointer.release and swap.result in ("committed", "switched")
    ]  # fmt: skip
    return min(switched) - pointer.moved_at if switched else None


def _state(beat: Heartbeat, pointer: ChannelPointer, now: datetime) -> DeviceState:
    if now - beat.at > SILENT_AFTER:
        return "silent"
    if beat.model_version == pointer.for_device(beat.device_id).model_version:
        return "current"
    if beat.pinned is not None:
        return "pinned"
    return "no_model" if beat.model_version is None else "behind"
