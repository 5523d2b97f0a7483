"""A release goes out in waves: canary devices, growing shares, every device. Gated by heartbeats, paused for a person.

    start → wave 0 (canary) → wave 1 … → every device → done
                 │ a device failed, or was silent for too long
                 └→ paused → a person goes on (the failed ones are excused) or aborts (the channel is rolled back)

Each wave is a release of the channel, with a number of its own, so that an old pointer is never accepted again; its
pointer names the devices and what the others keep. The record of the rollout is one signed object, moved by
compare-and-swap after the pointer: what was killed between the two is taken up at the next look. Does not belong here:
when somebody looks (``defs.release``, ``cli``), and what a device makes of a pointer (``edge.rollout``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.fleet import Heartbeat, SwapEvent
from yolo_assets.contracts.model import ChannelPointer, ReleasedModel, ReleaseWave
from yolo_assets.contracts.names import rollout_key
from yolo_assets.contracts.releasing import RolloutRecord, RolloutSettings, RolloutStep, devices_in_words
from yolo_assets.contracts.times import utc_now
from yolo_assets.models.fleet_status import SILENT_AFTER, read_heartbeats
from yolo_assets.models.promotion import Promoter, ReleaseRequest, RollbackRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError

WAVED_CHANNEL = "stable"
"""The channel that moves in waves; the others have few devices, chosen to be first."""
_BAD = ("refused", "failed", "rolled_back", "reverted")
_STEPS = 200


class RolloutRunningError(UserError):
    """Another rollout of the channel is not over."""

    may_pass = True


@dataclass(frozen=True)
class WaveVerdict:
    """The devices of a wave, as their heartbeats show them.

    Attributes:
        good: have the release, and their own trial of it is over.
        waiting: not yet, and the time is not over.
        failed: device to reason.
    """

    good: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict[str, str])


def plan_waves(settings: RolloutSettings, heartbeats: Iterable[Heartbeat], version: str) -> tuple[tuple[str, ...], ...]:
    """Which devices have the release in each wave: the canaries, then growing shares in an order by the version.

    Args:
        settings: of the plant.
        heartbeats: of the devices that are there now. One that is silent waits for the last wave, which is for all.
        version: so that it is not always the same devices that go first.
    """
    known = {beat.device_id for beat in heartbeats}
    canary = [device for device in settings.canary if device in known]
    rest = sorted(known - set(canary), key=lambda device: hashlib.sha256(f"{version} {device}".encode()).digest())
    waves: list[tuple[str, ...]] = [tuple(canary)] if canary else []
    for share in settings.waves:
        devices = tuple([*canary, *rest][: max(len(canary), math.ceil(share * len(known)))])
        if devices and len(devices) < len(known) and (not waves or len(devices) > len(waves[-1])):
            waves.append(devices)
    return tuple(waves)


def judge_wave(record: RolloutRecord, heartbeats: Iterable[Heartbeat], now: datetime) -> WaveVerdict:
    """How the devices of the present wave do.

    In the last wave every device counts that was there when the rollout began or came since; one that was silent all
    the time follows when it comes back.
    """
    beats = {beat.device_id: beat for beat in heartbeats}
    if record.devices is not None:
        devices = set(record.devices)
    else:
        since = record.started_at - SILENT_AFTER
        devices = {device for wave in record.waves for device in wave}
        devices |= {device for device, beat in beats.items() if beat.at >= since}
    good: list[str] = []
    waiting: list[str] = []
    failed: dict[str, str] = {}
    for device in sorted(devices - set(record.excused)):
        problem, done = _device(record, beats.get(device), now)
        if problem is not None:
            failed[device] = problem
        else:
            (good if done else waiting).append(device)
    return WaveVerdict(tuple(good), tuple(waiting), failed)


def _device(record: RolloutRecord, beat: Heartbeat | None, now: datetime) -> tuple[str | None, bool]:
    """Why a device has failed, or None; and whether it is done."""
    late = now - record.wave_since > timedelta(seconds=record.settings.timeout_seconds)
    if beat is None or now - beat.at > SILENT_AFTER:
        silent = "never sent a heartbeat" if beat is None else f"silent since {beat.at:%Y-%m-%d %H:%M:%S} UTC"
        return (silent, False) if late else (None, False)
    swap = _last_try(beat, record)
    if swap is not None and swap.result in _BAD:
        return f"{swap.result.replace('_', ' ')}: {swap.reason}", False
    if beat.model_version == record.model_version and (swap is None or swap.result == "committed"):
        return None, True
    if not late:
        return None, False
    if beat.model_version == record.model_version:
        return "still on trial", False
    pin = f", pinned to {beat.pinned}" if beat.pinned else ""
    return f"still runs {beat.model_version or 'no model'}{pin}", False


def _last_try(beat: Heartbeat, record: RolloutRecord) -> SwapEvent | None:
    """A device's newest attempt at the version since the rollout began, or the change away from it."""
    mine = [
        swap
        for swap in beat.swaps
        if swap.at >= record.started_at
        and (swap.target == record.model_version or (swap.source == record.model_version and swap.result in _BAD))
    ]
    return mine[-1] if mine else None


class Rollouts:
    """The rollout of one channel of one model.

    Args:
        promoter: registry and promotion key.
        name: of the model.
        channel: that moves.
    """

    def __init__(self, promoter: Promoter, name: str, channel: str) -> None:
        self._promoter = promoter
        self._name = name
        self._channel = channel
        self._key = rollout_key(name, channel)
        self._etag: str | None = None

    def newest(self) -> RolloutRecord | None:
        """The newest rollout, over or not.

        Raises:
            SignatureError: it was not written by promotion.
        """
        head = self._promoter.registry.store.head(self._key)  # before it is read: what is read is as old, or newer
        self._etag = head.etag if head is not None else None
        return read_rollout(self._promoter.registry, self._name, self._channel)

    def start(
        self, request: ReleaseRequest, settings: RolloutSettings, heartbeats: Iterable[Heartbeat], now: datetime
    ) -> ChannelPointer:
        """Release a version to its first wave. Without a release to keep, or devices to choose from, to all at once.

        Args:
            request: what to release; again after a crash it continues.
            settings: of the plant.
            heartbeats: of the fleet.
            now: aware.

        Raises:
            RolloutRunningError: a rollout of another version is not over.
            UserError: as ``Promoter.promote``.
        """
        running = self.newest()
        if running is not None and running.state in ("running", "paused"):
            if running.version != request.version:
                raise RolloutRunningError(
                    f"the rollout of {running.model_version} on {self._channel} is {running.state}; let it end, or end "
                    f"it with: yolo-assets models rollout abort {self._name} --reason …"
                )
            pointer = self._pointer()
            if pointer is not None and pointer.version == request.version:
                return pointer
        others = self._others(request)
        alive = [
            beat
            for beat in heartbeats
            if beat.channel in (None, self._channel) and now - beat.at <= SILENT_AFTER
        ]  # fmt: skip
        waves = plan_waves(settings, alive, request.version) if others is not None else ()
        if others is None or not waves:
            return self._promoter.promote(request)
        pointer = self._promoter.promote(request, ReleaseWave(devices=waves[0], others=others))
        what = f"started {request.version}: {len(waves)} waves of {', '.join(str(len(one)) for one in waves)}, then all"
        record = RolloutRecord(
            name=self._name,
            channel=self._channel,
            version=request.version,
            manifest_sha256=pointer.manifest_sha256,
            others=others,
            waves=waves,
            release=pointer.release,
            started_at=now,
            wave_since=now,
            settings=settings,
            steps=(RolloutStep(at=now, by=request.by, what=f"{what}: {request.reason}"),),
        )
        self._write(record)
        return pointer

    def look(self, heartbeats: Iterable[Heartbeat], now: datetime) -> RolloutRecord | None:
        """Judge the present wave and take the step that follows: wait, the next wave, done, or pause.

        Returns:
            The rollout afterwards; None without one.
        """
        record = self.newest()
        if record is None or record.state in ("done", "aborted"):
            return record
        pointer = self._pointer()
        if pointer is None or pointer.version != record.version:
            serving = pointer.model_version if pointer is not None else "nothing that is trusted"
            return self._step(record, now, "platform", f"ended: the channel serves {serving}", state="aborted")
        if pointer.release > record.release:
            record = self._caught_up(record, pointer, now)
        verdict = judge_wave(record, [beat for beat in heartbeats if beat.channel in (None, self._channel)], now)
        if dict(verdict.failed) != record.failed:
            record = self._write(record.model_copy(update={"failed": dict(verdict.failed)}))
        if record.state == "paused":
            return record
        if len(verdict.failed) > record.settings.max_failed:
            why = "; ".join(f"{device} {reason}" for device, reason in verdict.failed.items())
            return self._step(record, now, "platform", f"paused in wave {record.wave}: {why}", state="paused")
        settled = now - record.wave_since >= timedelta(seconds=record.settings.settle_seconds)
        if verdict.waiting or not settled:
            return record
        if record.wave >= len(record.waves):
            return self._step(record, now, "platform", f"done: {len(verdict.good)} devices have it", state="done")
        return self._next_wave(record, now)

    def pause(self, by: str, reason: str, now: datetime) -> RolloutRecord:
        """Stop before the next wave until a person goes on."""
        return self._step(self._open(), now, by, f"paused: {reason}", state="paused")

    def resume(self, by: str, reason: str, now: datetime) -> RolloutRecord:
        """Go on; the devices that failed so far are excused, and the wave's time begins anew."""
        record = self._open()
        excused = tuple(sorted({*record.excused, *record.failed}))
        let_be = f" (excused: {', '.join(record.failed)})" if record.failed else ""
        changed: dict[str, Any] = {"excused": excused, "failed": {}, "wave_since": now}
        return self._step(record.model_copy(update=changed), now, by, f"goes on{let_be}: {reason}", state="running")

    def abort(self, by: str, reason: str, now: datetime) -> ChannelPointer:
        """Every device goes back to what the others kept, as a new release."""
        record = self._open()
        request = RollbackRequest(self._name, self._channel, by, reason, to_version=record.others.version)
        pointer = self._promoter.roll_back(request)
        self._step(record, now, by, f"aborted: {reason}; all go back to {record.others.version}", state="aborted")
        return pointer

    def _open(self) -> RolloutRecord:
        record = self.newest()
        if record is None or record.state in ("done", "aborted"):
            raise BadInputError(f"no rollout of {self._name} on {self._channel} is under way")
        return record

    def _others(self, request: ReleaseRequest) -> ReleasedModel | None:
        """What devices outside the wave keep: what the channel serves now, or what a broken start left them."""
        pointer = self._pointer()
        if pointer is None:
            return None
        if pointer.wave is not None:
            return pointer.wave.others
        return pointer.released if pointer.version != request.version else None

    def _pointer(self) -> ChannelPointer | None:
        return self._promoter.registry.channel(self._name, self._channel).pointer()

    def _next_wave(self, record: RolloutRecord, now: datetime) -> RolloutRecord:
        number = record.wave + 1
        devices = record.waves[number] if number < len(record.waves) else None
        pointer = self._promoter.promote(
            ReleaseRequest(
                name=self._name,
                version=record.version,
                channel=self._channel,
                by="platform",
                reason=f"wave {number} of the rollout: {devices_in_words(devices)}",
                expected_release=record.release,
                manifest_sha256=record.manifest_sha256,
            ),
            ReleaseWave(devices=devices, others=record.others) if devices is not None else None,
        )
        return self._caught_up(record, pointer, now)

    def _caught_up(self, record: RolloutRecord, pointer: ChannelPointer, now: datetime) -> RolloutRecord:
        """The record as the pointer has it, also where a process was killed between the two."""
        devices = pointer.wave.devices if pointer.wave is not None else None
        wave = len(record.waves) if devices is None else record.waves.index(devices)
        changed = {"wave": wave, "release": pointer.release, "wave_since": now}
        return self._step(
            record.model_copy(update=changed), now, "platform", f"wave {wave}: {devices_in_words(devices)}"
        )

    def _step(
        self, record: RolloutRecord, now: datetime, by: str, what: str, state: str | None = None
    ) -> RolloutRecord:
        steps = (*record.steps, RolloutStep(at=now, by=by, what=what))[-_STEPS:]
        return self._write(record.model_copy(update={"steps": steps, "state": state or record.state}))

    def _write(self, record: RolloutRecord) -> RolloutRecord:
        """Replace the record as it was read last.

        Raises:
            CasConflictError: another process changed it meanwhile, perhaps a person who paused; look again.
        """
        data = self._promoter.signer.seal(record.to_json(), "rollout").to_json()
        self._etag = self._promoter.registry.store.compare_and_swap(self._key, data, self._etag).etag
        return record


def release_in_waves(promoter: Promoter, settings: RolloutSettings) -> Callable[[ReleaseRequest], ChannelPointer]:
    """How a plant with a section ``rollout`` lets a version out: ``stable`` in waves, other channels at once."""

    def release(request: ReleaseRequest) -> ChannelPointer:
        if request.channel != WAVED_CHANNEL:
            return promoter.promote(request)
        fleet = read_heartbeats(promoter.registry.store)
        rollouts = Rollouts(promoter, request.name, request.channel)
        return rollouts.start(request, settings, fleet.heartbeats, utc_now())

    return release


def read_rollout(registry: Registry, name: str, channel: str) -> RolloutRecord | None:
    """The newest rollout of a channel, or None.

    Raises:
        SignatureError: it was not written by promotion.
        BadInputError: it is of another channel.
    """
    key = rollout_key(name, channel)
    try:
        record = RolloutRecord.from_json(registry.objects.document(key, "rollout"), key)
    except ObjectNotFoundError:
        return None
    if (record.name, record.channel) != (name, channel):
        raise SignatureError(f"{key} is the rollout of {record.name}/{record.channel}; it was copied there")
    return record
