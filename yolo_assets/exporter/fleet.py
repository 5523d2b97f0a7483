"""The fleet, from the heartbeats in the store: how many devices are in which state, and what each runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric

from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.models.fleet_status import (
    SILENT_AFTER,
    DeviceState,
    FleetHeartbeats,
    FleetStatus,
    fleet_status,
    read_heartbeats,
)
from yolo_assets.storage.base import ObjectStore

DEFAULT_CHANNEL = "stable"


def fleet_families(store: ObjectStore, pointers: Mapping[str, ChannelPointer], now: datetime) -> Iterator[Metric]:
    """Every device that ever sent a heartbeat.

    Args:
        store: the store root.
        pointers: the trusted pointer of each channel; a device on another one can only be silent or not.
        now: aware.
    """
    fleet = read_heartbeats(store)
    states = Counter(dict.fromkeys((*get_args(DeviceState), "no_release"), 0))
    beats = GaugeMetricFamily(
        "yolo_platform_device_heartbeat_timestamp_seconds", "When a device sent its last heartbeat.", labels=("device",)
    )
    info = GaugeMetricFamily(
        "yolo_platform_device_info",
        "1 for each device, with its state and what it runs.",
        labels=("device", "state", "channel", "model_version", "agent_version", "engine"),
    )
    for beat in fleet.heartbeats:
        channel = beat.channel or DEFAULT_CHANNEL
        pointer = pointers.get(channel)
        if pointer is not None:
            status: FleetStatus = fleet_status(FleetHeartbeats((beat,)), pointer, now)
            state: str = status.devices[0].state
        else:
            state = "silent" if now - beat.at > SILENT_AFTER else "no_release"
        states[state] += 1
        beats.add_metric((beat.device_id,), beat.at.timestamp())
        labels = (beat.device_id, state, channel, beat.model_version or "", beat.agent_version, beat.engine)
        info.add_metric(labels, 1)
    devices = GaugeMetricFamily(
        "yolo_platform_devices", "Devices by state against the release of their channel.", labels=("state",)
    )
    for state, number in sorted(states.items()):
        devices.add_metric((state,), number)
    yield devices
    yield beats
    yield info
    yield GaugeMetricFamily(
        "yolo_platform_unreadable_heartbeats", "Heartbeats that cannot be read.", value=len(fleet.unreadable)
    )
