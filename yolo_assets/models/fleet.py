"""The fleet as its heartbeats show it: which device runs which release, and who is behind.

Pure but for reading the heartbeats. Does not belong here: writing them (``edge``) and moving channels (``channels``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.names import FLEET
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore

SILENT_AFTER = timedelta(minutes=2)
"""A device whose heartbeat is older is not expected to take a release now."""

DeviceState = Literal["current", "behind", "pinned", "silent", "no_model"]


@dataclass(frozen=True)
class Device:
    """One device against the channel.

    Attributes:
        heartbeat: the last one.
        state: ``current`` runs the channel's version; ``pinned`` runs another on purpose; ``behind`` does not run it
            yet; ``silent`` has not been heard of; ``no_model`` has none.
        age: of the heartbeat.
    """

    heartbeat: Heartbeat
    state: DeviceState
    age: timedelta


@dataclass(frozen=True)
class Fleet:
    """All devices of one model, and the heartbeats that could not be read."""

    devices: tuple[Device, ...]
    problems: tuple[str, ...]

    def waiting(self) -> list[str]:
        """Devices that live and still have to take the release."""
        return [d.heartbeat.device_id for d in self.devices if d.state in ("behind", "no_model")]


def read_fleet(store: ObjectStore) -> tuple[list[Heartbeat], list[str]]:
    """Every heartbeat of the store, and a line for each that cannot be read."""
    beats: list[Heartbeat] = []
    problems: list[str] = []
    for info in store.list(FLEET):
        try:
            beats.append(Heartbeat.from_json(store.get(info.key), info.key))
        except ObjectNotFoundError:
            continue  # deleted between listing and reading
        except BadInputError as error:
            problems.append(str(error))
    return beats, problems


def judge_fleet(
    heartbeats: Iterable[Heartbeat], pointer: ChannelPointer, now: datetime, problems: Iterable[str] = ()
) -> Fleet:
    """Hold the devices on the pointer's channel against it.

    Args:
        heartbeats: of any device; those on other channels are left out.
        pointer: the channel as it stands.
        now: aware.
        problems: heartbeats that could not be read, one line each.
    """
    devices = []
    for beat in sorted(heartbeats, key=lambda beat: beat.device_id):
        if beat.channel not in (None, pointer.channel):
            continue
        devices.append(Device(beat, _state(beat, pointer, now), now - beat.at))
    return Fleet(tuple(devices), tuple(problems))


def _state(beat: Heartbeat, pointer: ChannelPointer, now: datetime) -> DeviceState:
    if now - beat.at > SILENT_AFTER:
        return "silent"
    if beat.model_version == pointer.model_version:
        return "current"
    if beat.pinned is not None:
        return "pinned"
    return "no_model" if beat.model_version is None else "behind"
