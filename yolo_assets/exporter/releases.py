"""Releases: what each channel serves, what the gate said of the newest versions, and what each device runs of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, Metric

from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.models.fleet_status import (
    SILENT_AFTER,
    DeviceState,
    FleetHeartbeats,
    FleetStatus,
    fleet_status,
    read_heartbeats,
)
from yolo_assets.models.gate_status import GateState, gate_status
from yolo_assets.models.registry import BundleEntry, Registry
from yolo_assets.storage.base import ObjectStore

DEFAULT_CHANNEL = "stable"
NEWEST = 20
"""Versions whose verdict is read, newest first."""
_FINAL = frozenset[GateState]({"passed", "refused", "cannot tell"})
"""Verdicts that a version keeps."""


class Releases:
    """The releases of one model. Verdicts that cannot change any more are read once."""

    def __init__(self, registry: Registry, model: str) -> None:
        self._registry = registry
        self._model = model
        self._verdicts: dict[BundleEntry, GateState] = {}

    def pointers(self) -> Mapping[str, ChannelPointer]:
        """The trusted pointer of each channel."""
        found: dict[str, ChannelPointer] = {}
        for channel in self._registry.channel_names(self._model):
            try:
                pointer = self._registry.channel(self._model, channel).pointer()
            except (BadInputError, SignatureError):
                continue  # agents refuse it as well; ``families`` counts it
            if pointer is not None:
                found[channel] = pointer
        return found

    def families(self) -> Iterator[Metric]:
        """Channels and verdicts."""
        pointers = self.pointers()
        served = GaugeMetricFamily(
            "yolo_platform_release_info",
            "The number of the release that a channel serves; forced and unjudged as its pointer says.",
            labels=("channel", "model_version", "forced", "unjudged"),
        )
        moved = GaugeMetricFamily(
            "yolo_platform_release_timestamp_seconds", "When a channel was moved last.", labels=("channel",)
        )
        for channel, pointer in sorted(pointers.items()):
            flags = (str(bool(pointer.forced)).lower(), str(bool(pointer.unjudged)).lower())
            served.add_metric((channel, pointer.model_version, *flags), pointer.release)
            moved.add_metric((channel,), pointer.moved_at.timestamp())
        yield served
        yield moved
        channels = len(self._registry.channel_names(self._model))
        yield GaugeMetricFamily(
            "yolo_platform_untrusted_channels",
            "Channels whose pointer no trusted key signed, or that cannot be read.",
            value=channels - len(pointers),
        )
        yield from self._gate()

    def _gate(self) -> Iterator[Metric]:
        newest = self._registry.list_bundles(self._model)[-NEWEST:]
        self._verdicts = {entry: self._verdict(entry) for entry in newest}
        counts = Counter(self._verdicts.values())
        versions = GaugeMetricFamily(
            "yolo_platform_gate_versions",
            "The newest versions of the model, by the gate's verdict.",
            labels=("verdict",),
        )
        for verdict in get_args(GateState):
            versions.add_metric((_label(verdict),), counts[verdict])
        yield versions
        last = GaugeMetricFamily(
            "yolo_platform_gate_newest_info",
            "1 for the newest version of the model, with the gate's verdict.",
            labels=("model_version", "verdict"),
        )
        for entry in newest[-1:]:
            last.add_metric((f"{entry.name}/{entry.version}", _label(self._verdicts[entry])), 1)
        yield last

    def _verdict(self, entry: BundleEntry) -> GateState:
        known = self._verdicts.get(entry)
        if known in _FINAL:
            return known
        try:
            stored = self._registry.read_manifest(entry.name, entry.version, signed=False)
        except BadInputError:
            return "untrusted"
        return gate_status(self._registry, stored.manifest).state


def _label(verdict: GateState) -> str:
    return verdict.replace(" ", "_")


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
