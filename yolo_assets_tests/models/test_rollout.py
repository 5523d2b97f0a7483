"""A release in waves over a folder store, with devices that follow the pointer by the agent's own decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from yolo_assets.contracts.fleet import Heartbeat, SwapEvent
from yolo_assets.contracts.model import ChannelPointer, ModelIdentity
from yolo_assets.contracts.names import rollout_key
from yolo_assets.contracts.releasing import RolloutSettings
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.edge.rollout.decision import decide
from yolo_assets.edge.rollout.state import EdgeState
from yolo_assets.models.fleet_status import fleet_status, read_heartbeats
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.models.rollout import RolloutRunningError, Rollouts, release_in_waves
from yolo_assets.storage import ObjectStore
from yolo_assets.storage.base import CasConflictError
from yolo_assets_tests.models.release_support import promoter_of, put_back, save, write

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = RolloutSettings(canary=("edge-1",), waves=(0.5,), settle_seconds=600, timeout_seconds=900)


@dataclass
class Device:
    """A device without cameras: the agent's memory and decision, and the heartbeat that it would send."""

    name: str
    breaks_on: str = "none"
    silent_from: datetime | None = None
    state: EdgeState = field(default_factory=EdgeState)
    serving: ModelIdentity | None = None
    swaps: list[SwapEvent] = field(default_factory=list)

    def turn(self, pointer: ChannelPointer, now: datetime) -> Heartbeat | None:
        """One poll; None while it is silent."""
        if self.silent_from is not None and now >= self.silent_from:
            return None
        asked = pointer.for_device(self.name)
        action = decide(self.state, "primary", self.serving, asked).action
        if action in ("stage", "adopt"):
            self.take(asked, now)
        return Heartbeat(
            device_id=self.name, at=now, started_at=NOON, agent_version="1", engine="onnxruntime", channel="stable",
            model_version=self.serving.model_version if self.serving else None, swaps=tuple(self.swaps),
            release=self.state.primary.release or None,
        )  # fmt: skip

    def take(self, asked: ChannelPointer, now: datetime) -> None:
        source = self.serving.model_version if self.serving else None
        if asked.version == self.breaks_on:
            self.state = self.state.with_quarantined(asked.released, "finds nothing")
            self.tell(now, source, asked, "reverted", "finds nothing")
            return
        self.state = self.state.accepting("primary", asked.released).with_primary(model=asked.released)
        if self.serving != asked.identity:
            self.tell(now, source, asked, "committed", "healthy")
        self.serving = asked.identity

    def tell(self, now: datetime, source: str | None, asked: ChannelPointer, result, reason: str) -> None:
        event = SwapEvent(
            at=now, source=source, target=asked.model_version, result=result, reason=reason, seconds=1,
            release=asked.release,
        )  # fmt: skip
        self.swaps.append(event)


class Hall:
    """The channel, its devices, and the clock."""

    def __init__(self, store: ObjectStore, signer: Signer, devices: int = 6) -> None:
        self.store, self.now = store, NOON
        write(store, "v1", "v2", "v3")
        self.promoter = promoter_of(Registry(store, TrustedKeys.of(signer)), signer)
        self.promoter.promote(ReleaseRequest("line", "v1", "stable", "anna", "first"))
        self.devices = {f"edge-{number}": Device(f"edge-{number}") for number in range(1, devices + 1)}
        self.rollouts = Rollouts(self.promoter, "line", "stable")
        self.beats: dict[str, Heartbeat] = {}
        self.pass_time(0)

    @property
    def pointer(self) -> ChannelPointer:
        found = self.promoter.registry.channel("line", "stable").pointer()
        assert found is not None
        return found

    def start(self, version: str = "v2", settings: RolloutSettings = SETTINGS) -> ChannelPointer:
        request = ReleaseRequest("line", version, "stable", "anna", "better")
        return self.rollouts.start(request, settings, self.beats.values(), self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        for device in self.devices.values():
            beat = device.turn(self.pointer, self.now)
            if beat is not None:
                self.beats[device.name] = beat

    def look(self, seconds: float = 0):
        self.pass_time(seconds)
        record = self.rollouts.look(self.beats.values(), self.now)
        assert record is not None
        self.pass_time(1)
        return record

    def running(self, version: str) -> set[str]:
        return {name for name, one in self.devices.items() if one.serving and one.serving.version == version}


@pytest.fixture
def hall(folder, signer) -> Hall:
    return Hall(folder, signer)


def test_waves_follow_each_other_when_every_device_is_well(hall: Hall) -> None:
    assert hall.start().wave is not None
    hall.pass_time(1)
    assert hall.running("v2") == {"edge-1"}
    assert hall.look(300).wave == 0, "well, and not settled"
    assert hall.look(301).wave == 1
    assert len(hall.running("v2")) == 3 and "edge-1" in hall.running("v2")
    fleet = fleet_status(read_heartbeats_of(hall), hall.pointer, hall.now)
    assert fleet.waiting() == [], "who is outside the wave runs what the pointer wants of it"
    assert hall.look(601).wave == 2
    assert hall.running("v2") == set(hall.devices) and hall.pointer.wave is None
    record = hall.look(601)
    assert (record.state, record.failed) == ("done", {})
    assert [step.what.partition(":")[0] for step in record.steps] == ["started v2", "wave 1", "wave 2", "done"]
    history = hall.promoter.registry.channel("line", "stable").history()
    assert [past.entry.pointer.release for past in history.releases] == [1, 2, 3, 4]
    before = history.version_before()
    assert before is not None and before.pointer.version == "v1"


def test_a_silent_device_has_failed_and_a_person_goes_on(hall: Hall) -> None:
    hall.devices["edge-1"].silent_from = hall.now
    hall.start()
    assert hall.look(800).state == "running", "it may still come"
    record = hall.look(200)
    assert record.state == "paused" and "silent since" in record.failed["edge-1"]
    assert hall.look(5000).state == "paused" and hall.running("v2") == set(), "nobody else gets it"
    record = hall.rollouts.resume("ben", "edge-1 is in repair", hall.now)
    assert (record.state, record.excused) == ("running", ("edge-1",)) and "ben" in {step.by for step in record.steps}
    assert hall.look(601).wave == 1
    assert hall.look(601).wave == 2
    assert hall.look(601).state == "done"
    hall.devices["edge-1"].silent_from = None
    hall.pass_time(1)
    assert "edge-1" in hall.running("v2"), "it follows when it comes back"


def test_a_late_joiner_keeps_what_the_others_have_then_follows(hall: Hall) -> None:
    hall.start()
    hall.pass_time(1)
    hall.devices["edge-9"] = Device("edge-9")
    hall.pass_time(1)
    assert hall.running("v1") >= {"edge-9"}, "not the release that is on trial"
    for _ in range(3):
        hall.look(601)
    record = hall.rollouts.newest()
    assert record is not None and record.state == "done" and "edge-9" in hall.running("v2")


def test_a_bad_device_pauses_and_abort_brings_all_back(hall: Hall) -> None:
    hall.devices["edge-1"].breaks_on = "v2"
    hall.start()
    trial = save(hall.store, "channels/line/stable.json")
    record = hall.look(5)
    assert record.state == "paused" and record.failed == {"edge-1": "reverted: finds nothing"}
    with pytest.raises(RolloutRunningError, match="rollout of line/v2 on stable is paused"):
        hall.start("v3")
    assert hall.rollouts.abort("anna", "misses cracks", hall.now).version == "v1"
    hall.pass_time(1)
    assert hall.running("v1") == set(hall.devices) and hall.pointer.wave is None
    put_back(hall.store, trial)  # its signature is still good
    hall.pass_time(1)
    assert hall.running("v1") == set(hall.devices), "the old wave is refused as a replay"


def test_a_kill_between_pointer_and_record_is_taken_up(hall: Hall) -> None:
    hall.start()
    hall.pass_time(1)
    before = save(hall.store, rollout_key("line", "stable"))
    hall.look(601)
    put_back(hall.store, before)
    assert hall.look().wave == 1 and hall.pointer.release == 3, "the wave is not released twice"


def test_a_channel_moved_by_hand_ends_the_rollout(hall: Hall) -> None:
    hall.start()
    hall.promoter.promote(ReleaseRequest("line", "v3", "stable", "ben", "urgent"))
    assert hall.look().state == "aborted"
    assert hall.running("v3") == set(hall.devices)


def test_a_pause_is_not_lost_to_a_platform_that_looks(hall: Hall) -> None:
    hall.start()
    hall.pass_time(601)
    other = Rollouts(hall.promoter, "line", "stable")
    assert other.newest() is not None
    hall.rollouts.pause("ben", "shift change", hall.now)
    record = hall.rollouts.newest()
    assert record is not None
    with pytest.raises(CasConflictError):
        other._write(record.model_copy(update={"state": "running"}))
    assert hall.look(601).state == "paused"


def test_without_devices_or_a_release_it_goes_to_all(folder, signer) -> None:
    write(folder, "v1", "v2")
    promoter = promoter_of(Registry(folder, TrustedKeys.of(signer)), signer)
    release = release_in_waves(promoter, SETTINGS)
    assert release(ReleaseRequest("line", "v1", "stable", "anna", "first")).wave is None
    assert release(ReleaseRequest("line", "v2", "stable", "anna", "no device yet")).wave is None
    assert release(ReleaseRequest("line", "v2", "canary", "anna", "its own few devices")).wave is None


def read_heartbeats_of(hall: Hall):
    from yolo_assets.contracts.names import fleet_key

    for beat in hall.beats.values():
        hall.store.put(fleet_key(beat.device_id), beat.to_json())
    return read_heartbeats(hall.store)
