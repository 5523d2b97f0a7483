"""The one place where the serving model changes: switch, commit, revert, rollback. Slots and state on disk together.

Belongs here: what a change does, under one lock, so that a rollback and a commit never interleave. Does not belong
here: getting a candidate ready (``staging``), deciding what a pointer means (``verdict``), pins and the canary
(``pins``, ``beside``), which share the lock.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.notice import SupersededError
from yolo_assets.edge.rollout.state import Candidate, EdgeState, Pin, StateFile
from yolo_assets.edge.rollout.swaps import Attempt, SwapLog, Trigger
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import SecondaryRole, SlotManager

log = logging.getLogger(__name__)
_BESIDE: tuple[SecondaryRole, ...] = ("canary", "light")


class NothingToRollBackError(UserError):
    """No previous model is loaded."""


class AlreadyRolledBackError(NothingToRollBackError):
    """A rollback led here; the only other model in memory is the one that it left."""


@dataclass(frozen=True)
class Rollback:
    """Answer of a rollback. ``seconds`` is the time until new inferences run on ``target``."""

    source: str
    target: str
    seconds: float
    pinned: Pin


def outdated(ref: ReleasedModel, last_release: int, last_manifest_sha256: str | None) -> bool:
    """Whether a release is older than the last one that was accepted, or another one under its number."""
    if ref.release is None:
        return False
    another = last_manifest_sha256 not in (None, ref.manifest_sha256)
    return ref.release < last_release or (ref.release == last_release and another)


class ModelControl:
    """Holds slots and state; every method is safe from any thread."""

    def __init__(self, slots: SlotManager[LoadedModel], state: StateFile, swaps: SwapLog) -> None:
        self.slots = slots
        self._state = state
        self.swaps = swaps
        self.lock = threading.RLock()
        self._told: set[str] = set()
        self._seen_release = 0
        self.model_ready = threading.Event()

    @property
    def state(self) -> EdgeState:
        """What the device remembers."""
        return self._state.value

    @property
    def serving(self) -> LoadedModel | None:
        """The model that answers now."""
        slot = self.slots.current
        return slot.model if slot else None

    def change(self, **fields: object) -> None:
        """Replace fields of the state, durably."""
        self._state.update(lambda state: state.model_copy(update=fields))

    def settle(self) -> None:
        """Write what an earlier change could not be written of; does nothing else."""
        self._state.settle()

    def saw(self, release: int) -> None:
        """A release of the box's channel was seen: who asks for a version by hand now knows of it."""
        self._seen_release = max(self._seen_release, release)

    def quarantine(self, ref: ReleasedModel, reason: str) -> None:
        """Never try this release again."""
        self._state.update(lambda state: state.with_quarantined(ref, reason).model_copy(update={"candidate": None}))

    def forget_beside(self, role: SecondaryRole, failed: ReleasedModel | None, reason: str) -> None:
        """Its cameras have the box's model again; one that ``failed`` is quarantined in the same step."""
        self._state.update(
            lambda state: (state.with_quarantined(failed, reason) if failed else state).model_copy(update={role: None}),
            happened=True,
        )

    def forgive(self, ref: ReleasedModel) -> None:
        """Hold nothing against a model any more: a person asked for it by name."""
        self._state.update(lambda state: state.without_quarantined(ref.manifest_sha256))

    def warm_slot(self, manifest_sha256: str) -> Slot[LoadedModel] | None:
        """The slot that holds just this model already: then nothing needs to be loaded."""
        for slot in (self.slots.current, self.slots.previous, self.slots.canary, self.slots.light):
            if slot is not None and slot.model.identity.manifest_sha256 == manifest_sha256:
                return slot
        return None

    def commit(
        self,
        slot: Slot[LoadedModel],
        ref: ReleasedModel,
        attempt: Attempt,
        reason: str,
        *,
        pinned_by: str | None,
        watch: bool = False,
    ) -> SwapEvent:
        """Make a proven model serve. The state is durable before the switch: after a power cut the same model answers.

        A model that is still on trial never becomes the previous one: what a rollback leads to was committed.

        Args:
            slot: a fresh one, or a warm one.
            ref: what the slot holds, with the release that brought it; None as release when asked for by hand.
            attempt: the measurement to end.
            reason: for the audit log.
            pinned_by: who asked for the version by hand; it is pinned, or the channel would take it back at once.
            watch: serve it on trial, for ``keep`` or ``revert`` to follow. Nothing is on trial without a model to go
                back to, and not the previous model, which was committed before.

        Raises:
            SupersededError: while the candidate was being prepared the device was rolled back or pinned, accepted a
                newer release, or took this very slot back.
            SpoolFullError: the state cannot be written; the old model goes on serving.
        """
        with self.lock:
            old, before = self.slots.current, self.state
            self._check_not_overtaken(slot, ref, attempt)
            pin = None
            if pinned_by is not None:
                left = max(before.last_release, self._seen_release)
                pin = Pin(version=ref.version, left_release=left, by=pinned_by, at=utc_now())
            same = old is not None and old.model.identity.manifest_sha256 == ref.manifest_sha256  # asked for by name
            keep_old = before.trial is None and not same
            behind = self.ref_of(old) if keep_old else before.previous
            if behind is not None and behind.manifest_sha256 == ref.manifest_sha256:
                behind = None
            trial = watch and behind is not None and slot is not self.slots.previous
            trial = trial and (not same or before.trial is not None)
            fields: dict[str, object] = {
                "current": ref,
                "previous": behind,
                "candidate": None,
                "trial": Candidate(**ref.model_dump()) if trial else None,
                "left": before.left if same else None,
                "pinned": pin,
            }
            if ref.release is not None:
                fields |= {"last_release": ref.release, "last_manifest_sha256": ref.manifest_sha256}
            for role in _BESIDE:
                if slot is self.slots.secondary(role):
                    fields[role] = None
            self.change(**fields)
            attempt.mark_switch(self.slots.switch(slot, keep_old=keep_old))
            self.model_ready.set()
            return self.swaps.end(
                attempt,
                source=old.label if old else None,
                target=ref.model_version,
                result="switched" if trial else "committed",
                reason=reason,
                release=ref.release,
            )

    def keep(self, slot: Slot[LoadedModel], attempt: Attempt, reason: str) -> bool:
        """The trial is over and went well: the model is committed.

        Returns:
            False when the slot is not on trial any more; nothing was done.
        """
        with self.lock:
            trial = self.state.trial
            if trial is None or slot is not self.slots.current:
                return False
            self.change(trial=None)
            self.swaps.end(
                attempt, source=None, target=slot.label, result="committed", reason=reason, release=trial.release
            )
            return True

    def revert(self, slot: Slot[LoadedModel], attempt: Attempt, reason: str) -> bool:
        """The model on trial does not do: the previous one serves again at once, and this release is quarantined.

        The switch comes first and the disk after, as with a rollback. The bad model's memory is freed.

        Returns:
            False when the slot is not on trial any more; nothing was done.
        """
        with self.lock:
            trial, target = self.state.trial, self.slots.previous
            if trial is None or slot is not self.slots.current or target is None:
                return False
            attempt.mark_switch(self.slots.switch(target, keep_old=False))
            gone = {"current": target.model.identity, "previous": None, "trial": None}
            if self.state.pinned is not None and self.state.pinned.version == trial.version:
                gone["pinned"] = None  # whoever asked for it by hand asked for something that does not work
            try:
                self._state.update(
                    lambda state: state.with_quarantined(trial, reason).model_copy(update=gone), happened=True
                )
            finally:
                self.swaps.end(
                    attempt,
                    source=slot.label,
                    target=target.label,
                    result="reverted",
                    reason=reason,
                    release=target.model.identity.release,
                )
            log.warning("reverted from %s to %s: %s", slot.label, target.label, reason)
            return True

    def resume(self, slot: Slot[LoadedModel], ref: ReleasedModel, attempt: Attempt) -> None:
        """Serve a model of before the restart; the state changes only when it is not the one that served last."""
        with self.lock:
            attempt.mark_switch(self.slots.switch(slot))
            self.model_ready.set()
            self.swaps.end(
                attempt,
                source=None,
                target=ref.model_version,
                result="committed",
                reason="start from the cache",
                release=ref.release,
            )
            if ref != self.state.current:
                self.change(current=ref, previous=None, trial=None)

    def ref_of(self, slot: Slot[LoadedModel] | None) -> ReleasedModel | None:
        """What a slot holds, under its newest release number (``adopt`` may have raised it since it was loaded)."""
        if slot is None:
            return None
        known, loaded = self.state.current, slot.model.identity
        return known if known is not None and known.manifest_sha256 == loaded.manifest_sha256 else loaded

    def adopt(self, ref: ReleasedModel) -> None:
        """Take over the number of a newer release of the version that serves; a pin that it outdates is lifted."""
        with self.lock:
            slot, state = self.slots.current, self.state
            if slot is None or slot.model.identity.manifest_sha256 != ref.manifest_sha256:
                return  # the decision was made before a rollback or a revert
            if ref.release is None or ref.release < state.last_release:
                return
            if state.pinned is not None and state.pinned.forbids(ref.release):
                return
            trial = state.trial
            self.change(
                candidate=None,
                current=ref,
                trial=trial.model_copy(update={"release": ref.release}) if trial else None,
                pinned=None,
                last_release=ref.release,
                last_manifest_sha256=ref.manifest_sha256,
            )
            if state.pinned is not None:
                why = f"release {ref.release} names it; was pinned by {state.pinned.by}"
                self.swaps.note("unpin", "the release channel", ref.model_version, "unpinned", why)

    def roll_back(self, by: str) -> Rollback:
        """Make the previous model serve at once on every camera, and pin it. A canary ends.

        The switch comes first and the disk after: whoever asks for a rollback has a line that is going wrong. A second
        rollback never goes forward again: the model that was left stays warm, but only a person or a release brings it
        back.

        Raises:
            AlreadyRolledBackError: the previous model is the one that the last rollback left.
            NothingToRollBackError: no previous model is loaded.
        """
        attempt = self.swaps.begin("rollback", by)
        with self.lock:
            target, source = self.slots.previous, self.slots.current
            if target is None or source is None:
                self.swaps.cancel(attempt)
                raise NothingToRollBackError("there is no previous model to roll back to; promote another version")
            left = self.state.left
            if left is not None and left.manifest_sha256 == target.model.identity.manifest_sha256:
                self.swaps.cancel(attempt)
                raise AlreadyRolledBackError(
                    f"{source.label} serves since the rollback from {target.label}, and no older model is kept; to go "
                    f"forward again POST /v1/unpin, or POST /v1/models/reload with version {left.version}"
                )
            attempt.mark_switch(self.slots.switch(target))
            seconds = attempt.seconds
            self.slots.end_secondary("canary")
            pin = Pin(version=target.model.identity.version, left_release=self.state.last_release, by=by, at=utc_now())
            try:
                left = self.ref_of(source)
                done = {"current": target.model.identity, "previous": left, "left": left, "pinned": pin}
                done |= {"trial": None, "canary": None}
                self._state.update(lambda state: state.model_copy(update=done), happened=True)
            finally:
                self.swaps.end(
                    attempt,
                    source=source.label,
                    target=target.label,
                    result="rolled_back",
                    reason=f"by {by}; pinned until a release after {pin.left_release}",
                    release=target.model.identity.release,
                )
            log.warning("rolled back from %s to %s by %s", source.label, target.label, by)
            return Rollback(source.label, target.label, seconds, pin)

    def _check_not_overtaken(self, slot: Slot[LoadedModel], ref: ReleasedModel, attempt: Attempt) -> None:
        """Under the lock: refuse what was right when it began and is not any more."""
        state, pin = self.state, self.state.pinned
        if slot.retiring:
            raise SupersededError(f"{slot.label} was taken back meanwhile")
        if ref.release is None:
            if pin is not None and pin.at > attempt.asked_at:
                raise SupersededError(f"the device was pinned to {pin.version} meanwhile")
            return
        if pin is not None and pin.forbids(ref.release):
            raise SupersededError(f"the device was pinned to {pin.version} meanwhile")
        if outdated(ref, state.last_release, state.last_manifest_sha256):
            raise SupersededError(f"release {state.last_release} was accepted meanwhile")

    def tell_once(self, reason: str) -> bool:
        """Whether this reason was not told before: a pointer that stays wrong is polled for ever."""
        with self.lock:
            new = reason not in self._told
            self._told.add(reason)
            return new

    def refuse(
        self, trigger: Trigger, target: str, reason: str, release: int | None, attempt: Attempt | None = None
    ) -> None:
        """Record that something was refused; the serving model is untouched."""
        current = self.slots.current
        self.swaps.end(
            attempt or self.swaps.begin(trigger),
            source=current.label if current else None,
            target=target,
            result="refused",
            reason=reason,
            release=release,
        )
        log.warning("refused %s: %s", target, reason)
