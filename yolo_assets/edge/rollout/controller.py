"""The one place where a serving model changes: switch, commit, revert, rollback, pin. Slots and state on disk together.

Belongs here: what a change does, under one lock, so that a rollback and a commit never interleave. It is the same for
the primary model and the secondary ones: a canary that some cameras try, and a light model that takes over cameras
under load, each with a channel of its own. Does not belong here: getting a candidate ready (``staging``), deciding what
a pointer means (``decision``), evaluating a new model (``watch``), which cameras the light model has
(``edge.balancing``).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Unpack, get_args

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.history import Outcome, SwapAttempt, SwapLog, Trigger
from yolo_assets.edge.rollout.request import SupersededError
from yolo_assets.edge.rollout.state import EdgeState, Pin, PreparedModel, PrimaryFields, RoleFields, StateFile
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import Role, SecondaryRole, SlotManager

log = logging.getLogger(__name__)
_NAMES: dict[SecondaryRole, str] = {"canary": "the canary", "light": "the light model"}
SECONDARY_ROLES: tuple[SecondaryRole, ...] = get_args(SecondaryRole)


class NothingToRollBackError(UserError):
    """No previous model is loaded."""


class AlreadyRolledBackError(NothingToRollBackError):
    """A rollback led here; the only other model in memory is the one that it replaced."""


class NothingToPinError(UserError):
    """No model serves."""


@dataclass(frozen=True)
class Rollback:
    """A rollback that was done. ``seconds`` is the time until new inferences run on ``target``."""

    source: str
    target: str
    seconds: float
    pinned: Pin


class ModelControl:
    """Holds slots and state; every method is safe from any thread."""

    def __init__(self, slots: SlotManager[LoadedModel], state: StateFile, swaps: SwapLog) -> None:
        self.slots = slots
        self._state = state
        self.swaps = swaps
        self.lock = threading.RLock()
        self._reported: set[str] = set()
        self._seen_release = 0
        self.model_ready = threading.Event()

    @property
    def state(self) -> EdgeState:
        """What the device remembers."""
        return self._state.value

    @property
    def serving(self) -> LoadedModel | None:
        """The primary model."""
        slot = self.slots.current
        return slot.model if slot else None

    def change_primary(self, **fields: Unpack[PrimaryFields]) -> None:
        """Replace fields of the primary role's state, durably."""
        self._state.update(lambda state: state.with_primary(**fields))

    def change_role(self, role: Role, **fields: Unpack[RoleFields]) -> None:
        """Replace fields of a role's state, durably."""
        self._state.update(lambda state: state.with_role(role, **fields))

    def set_prepared(self, prepared: PreparedModel | None) -> None:
        """Remember, durably, which model is being prepared; None: none is."""
        self._state.update(lambda state: state.changed(prepared=prepared))

    def persist_pending(self) -> None:
        """Write what an earlier change could not write; does nothing else."""
        self._state.persist_pending()

    def saw_release(self, release: int) -> None:
        """A release of the primary channel was seen: an operator who names a version now knows of it."""
        self._seen_release = max(self._seen_release, release)

    def quarantine(self, model: ReleasedModel, reason: str) -> None:
        """Never try this release again."""
        self._state.update(lambda state: state.with_quarantined(model, reason).changed(prepared=None))

    def lift_quarantine(self, model: ReleasedModel) -> None:
        """Remove every entry against a model: an operator asked for it by name."""
        self._state.update(lambda state: state.without_quarantined(model.manifest_sha256))

    def warm_slot(self, manifest_sha256: str) -> Slot[LoadedModel] | None:
        """The slot that holds just this model already: then nothing needs to be loaded."""
        for slot in (self.slots.current, self.slots.previous, self.slots.canary, self.slots.light):
            if slot is not None and slot.model.identity.manifest_sha256 == manifest_sha256:
                return slot
        return None

    def commit(
        self,
        slot: Slot[LoadedModel],
        model: ReleasedModel,
        attempt: SwapAttempt,
        reason: str,
        *,
        pinned_by: str | None,
        watch: bool = False,
    ) -> SwapEvent:
        """Make a proven model the primary one. The state is durable before the switch: after a power cut it serves.

        A model that is still on trial never becomes the previous one: what a rollback leads to was committed.

        Args:
            slot: a fresh one, or a warm one.
            model: what the slot holds, with the release that brought it; None as release when asked for by name.
            attempt: the measurement to end.
            reason: for the audit log.
            pinned_by: the operator who asked for the version; it is pinned, or the channel would replace it at once.
            watch: serve it on trial, for ``confirm`` or ``revert`` to follow. Nothing is on trial without a model to go
                back to, and not the previous model, which was committed before.

        Raises:
            SupersededError: while the candidate was being prepared the device was rolled back or pinned, accepted a
                newer release, or retired this very slot.
            SpoolFullError: the state cannot be written; the old model continues to serve.
        """
        with self.lock:
            old, before = self.slots.current, self.state
            self._check_not_superseded(slot, model, attempt)
            pin = None
            if pinned_by is not None:
                newest = max(before.primary.release, self._seen_release)
                pin = Pin(version=model.version, left_release=newest, by=pinned_by, at=utc_now())
            same = old is not None and old.model.identity.manifest_sha256 == model.manifest_sha256  # asked for by name
            keep_old = not before.primary.on_trial and not same
            previous = self.newest_release_of(old) if keep_old else before.primary.previous
            if previous is not None and previous.manifest_sha256 == model.manifest_sha256:
                previous = None
            trial = watch and previous is not None and slot is not self.slots.previous
            trial = trial and (not same or before.primary.on_trial)

            def change(state: EdgeState) -> EdgeState:
                state = state.accepting("primary", model).with_primary(
                    model=model,
                    attempts=1 if trial else 0,
                    on_trial=trial,
                    previous=previous,
                    rolled_back=before.primary.rolled_back if same else None,
                )
                for role in SECONDARY_ROLES:
                    if slot is self.slots.secondary(role):
                        state = state.with_role(role, model=None, attempts=0)
                return state.changed(prepared=None, pinned=pin)

            self._state.update(change)
            attempt.mark_switch(self.slots.switch(slot, keep_old=keep_old))
            self.model_ready.set()
            result: Outcome = "switched" if trial else "committed"
            return self._end(attempt, old, model.model_version, result, reason, model)

    def confirm(self, slot: Slot[LoadedModel], attempt: SwapAttempt, reason: str) -> bool:
        """The trial went well: the model is committed.

        Returns:
            False when the slot is not on trial any more; nothing was done.
        """
        with self.lock:
            primary = self.state.primary
            if not primary.on_trial or primary.model is None or slot is not self.slots.current:
                return False
            self.change_primary(on_trial=False, attempts=0)
            self._end(attempt, None, slot.label, "committed", reason, primary.model)
            return True

    def revert(self, slot: Slot[LoadedModel], attempt: SwapAttempt, reason: str) -> bool:
        """The model on trial failed: the previous one serves again at once, and this release is quarantined.

        The switch comes first and the disk after, as with a rollback. The failed model's memory is freed.

        Returns:
            False when the slot is not on trial any more; nothing was done.
        """
        with self.lock:
            primary, target, pinned = self.state.primary, self.slots.previous, self.state.pinned
            failed = primary.model
            if not primary.on_trial or failed is None or slot is not self.slots.current or target is None:
                return False
            attempt.mark_switch(self.slots.switch(target, keep_old=False))
            if pinned is not None and pinned.version == failed.version:
                pinned = None  # the operator asked for something that does not work
            try:
                self._state.update(
                    lambda state: (
                        state.with_quarantined(failed, reason)
                        .with_primary(model=target.model.identity, attempts=0, on_trial=False, previous=None)
                        .changed(pinned=pinned)
                    ),
                    happened=True,
                )
            finally:
                self._end(attempt, slot, target.label, "reverted", reason, target.model.identity)
            log.warning("reverted from %s to %s: %s", slot.label, target.label, reason)
            return True

    def resume(self, slot: Slot[LoadedModel], model: ReleasedModel, attempt: SwapAttempt) -> None:
        """Serve a model of before the restart; the state changes only when it is not the one that served last."""
        with self.lock:
            attempt.mark_switch(self.slots.switch(slot))
            self.model_ready.set()
            self._end(attempt, None, model.model_version, "committed", "start from the cache", model)
            if model != self.state.primary.model:
                self.change_primary(model=model, attempts=0, on_trial=False, previous=None)

    def newest_release_of(self, slot: Slot[LoadedModel] | None) -> ReleasedModel | None:
        """What a slot holds, under its newest release number (``adopt`` may have raised it since it was loaded)."""
        if slot is None:
            return None
        primary, loaded = self.state.primary.model, slot.model.identity
        same = primary is not None and primary.manifest_sha256 == loaded.manifest_sha256
        return primary if same else loaded

    def adopt(self, role: Role, model: ReleasedModel) -> None:
        """Accept a release that needs no load: a new number of the model that serves in this role.

        For the primary role a pin that is outdated by it is lifted. On the channel of a secondary role the model may
        also be the primary one: then this role has none.
        """
        with self.lock:
            if role == "primary":
                self._adopt_primary(model)
                return
            current, known = self.slots.current, self.state.role(role).model
            if current is not None and current.model.identity.manifest_sha256 == model.manifest_sha256:
                self.end_secondary(role, f"its channel names {model.model_version}, which is the primary model")
            elif known is not None:
                self.change_role(role, model=_under_release(known, model))
            self._state.update(lambda state: state.accepting(role, model))

    def _adopt_primary(self, model: ReleasedModel) -> None:
        slot, state = self.slots.current, self.state
        if slot is None or slot.model.identity.manifest_sha256 != model.manifest_sha256:
            return  # the decision was made before a rollback or a revert
        if model.release is None or model.release < state.primary.release:
            return
        if state.pinned is not None and state.pinned.forbids(model.release):
            return
        before = state.primary
        if before.on_trial and before.model is not None:  # it is evaluated by what its first release is expected to do
            model = model.model_copy(update={"expected": before.model.expected})
        self._state.update(
            lambda state: (
                state.accepting("primary", model).with_primary(model=model).changed(prepared=None, pinned=None)
            )
        )
        if state.pinned is not None:
            reason = f"release {model.release} names it; was pinned by {state.pinned.by}"
            self.swaps.record("unpin", "the release channel", model.model_version, "unpinned", reason)

    def roll_back(self, by: str) -> Rollback:
        """Make the previous model serve at once on every camera, and pin it. A canary ends.

        The switch comes first and the disk after: an operator who rolls back has a production line that is going
        wrong. A second rollback never goes forward again: the model that was replaced stays warm, but only an operator
        or a release makes it serve again.

        Raises:
            AlreadyRolledBackError: the previous model is the one that the last rollback replaced.
            NothingToRollBackError: no previous model is loaded.
        """
        attempt = self.swaps.begin("rollback", by)
        with self.lock:
            target, source, primary = self.slots.previous, self.slots.current, self.state.primary
            if target is None or source is None:
                self.swaps.cancel(attempt)
                raise NothingToRollBackError("there is no previous model to roll back to; promote another version")
            replaced = primary.rolled_back
            if replaced is not None and replaced.manifest_sha256 == target.model.identity.manifest_sha256:
                self.swaps.cancel(attempt)
                raise AlreadyRolledBackError(
                    f"{source.label} serves since the rollback from {target.label}, and no older model is kept; to go "
                    f"forward again POST /v1/unpin, or POST /v1/models/reload with version {replaced.version}"
                )
            attempt.mark_switch(self.slots.switch(target))
            seconds = attempt.seconds
            self.slots.end_secondary("canary")
            model = target.model.identity
            pin = Pin(version=model.version, left_release=primary.release, by=by, at=utc_now())
            try:
                replaced = self.newest_release_of(source)
                self._state.update(
                    lambda state: (
                        state.with_primary(
                            model=model, attempts=0, on_trial=False, previous=replaced, rolled_back=replaced
                        )
                        .with_role("canary", model=None, attempts=0)
                        .changed(pinned=pin)
                    ),
                    happened=True,
                )
            finally:
                reason = f"by {by}; pinned until a release after {pin.left_release}"
                self._end(attempt, source, target.label, "rolled_back", reason, model)
            log.warning("rolled back from %s to %s by %s", source.label, target.label, by)
            return Rollback(source.label, target.label, seconds, pin)

    def pin(self, by: str) -> Pin:
        """Keep the version that serves, whatever is released, until ``unpin``.

        Raises:
            NothingToPinError: no model serves.
        """
        with self.lock:
            slot = self.slots.current
            if slot is None:
                raise NothingToPinError("no model serves yet, so there is nothing to pin; promote a version first")
            version, newest = slot.model.identity.version, self.state.primary.release
            pin = Pin(version=version, left_release=newest, by=by, at=utc_now(), hold=True)
            self._state.update(lambda state: state.changed(pinned=pin))
            self.swaps.record("pin", by, slot.label, "pinned", "stays until it is unpinned")
            return pin

    def unpin(self, by: str = "the agent") -> Pin | None:
        """Follow the channel again; the pin that was lifted, or None."""
        with self.lock:
            pin, slot = self.state.pinned, self.slots.current
            if pin is not None:
                self._state.update(lambda state: state.changed(pinned=None))
                target = slot.label if slot else None
                self.swaps.record("unpin", by, target, "unpinned", f"was pinned to {pin.version} by {pin.by}")
            return pin

    def start_secondary(
        self,
        role: SecondaryRole,
        slot: Slot[LoadedModel],
        model: ReleasedModel,
        cameras: tuple[str, ...],
        attempt: SwapAttempt,
        reason: str,
        *,
        start: int | None = None,
    ) -> SwapEvent:
        """Let a proven model serve in a secondary role. The state is durable first.

        Args:
            role: which.
            slot: a fresh one, or a warm one.
            model: what it holds, with its release on the role's channel.
            cameras: that it serves now.
            attempt: the measurement to end.
            reason: for the audit log.
            start: it served before a restart, and this is the number of its start since it last proved itself. A pin
                that was set since does not end it.

        Raises:
            SupersededError: meanwhile the device was pinned, this became the primary model, or the channel moved.
        """
        with self.lock:
            current, state = self.slots.current, self.state
            if slot.retiring:
                raise SupersededError(f"{slot.label} was withdrawn meanwhile")
            if state.role(role).supersedes(model):
                raise SupersededError(f"release {state.role(role).release} was accepted meanwhile")
            if state.pinned is not None and start is None:
                raise SupersededError(f"the device was pinned to {state.pinned.version} meanwhile")
            if current is None or current is slot:
                raise SupersededError(f"{_NAMES[role]} must be a different one from the primary model")
            newest = max(state.role(role).release, model.release or 0)
            self._state.update(
                lambda state: state.with_role(
                    role, model=model, attempts=start or 1, release=newest, manifest_sha256=model.manifest_sha256
                ).changed(prepared=None)
            )
            attempt.mark_switch(0.0)
            self.slots.start_secondary(role, slot, cameras)
            reason = f"{_scope(role, cameras)}: {reason}"
            return self._end(attempt, current, slot.label, "switched", reason, model)

    def end_secondary(self, role: SecondaryRole, reason: str, *, failed: Slot[LoadedModel] | None = None) -> bool:
        """The primary model serves every camera of this role again.

        Args:
            role: which one ends.
            reason: for the audit log.
            failed: its slot when it failed: its release is quarantined in the same step.

        Returns:
            False when there is none, or not that one any more.
        """
        attempt = self.swaps.begin("watch")
        with self.lock:
            slot, current, model = self.slots.secondary(role), self.slots.current, self.state.role(role).model
            if slot is None or current is None or (failed is not None and failed is not slot):
                self.swaps.cancel(attempt)
                return False
            attempt.mark_switch(0.0)
            self.slots.end_secondary(role)
            quarantined = model if failed is not None else None
            self._state.update(
                lambda state: (state.with_quarantined(quarantined, reason) if quarantined else state).with_role(
                    role, model=None, attempts=0
                ),
                happened=True,
            )
            result: Outcome = "committed" if failed is None else "reverted"
            text = f"{_NAMES[role]} ended: {reason}"
            self._end(attempt, slot, current.label, result, text, current.model.identity)
            level = logging.INFO if failed is None else logging.WARNING
            log.log(level, "%s %s ended: %s", _NAMES[role], slot.label, reason)
            return True

    def prove_secondary(self, role: SecondaryRole, slot: Slot[LoadedModel]) -> None:
        """It ran for a whole watch window: earlier deaths of the agent do not count against it."""
        with self.lock:
            if self.state.role(role).model is not None and slot is self.slots.secondary(role):
                self.change_role(role, attempts=0)

    def first_report(self, reason: str) -> bool:
        """Whether this reason was not reported before: a pointer that stays wrong is polled for ever."""
        with self.lock:
            new = reason not in self._reported
            self._reported.add(reason)
            return new

    def end_unchanged(
        self, attempt: SwapAttempt, target: str, result: Outcome, reason: str, model: ReleasedModel | None
    ) -> None:
        """Record how an attempt ended that changed no model."""
        self._end(attempt, self.slots.current, target, result, reason, model)
        log.warning("%s: %s %s", target, result, reason)

    def refuse(self, trigger: Trigger, target: str, reason: str, model: ReleasedModel | None) -> None:
        """Record that something was refused; the serving model is untouched."""
        self.end_unchanged(self.swaps.begin(trigger), target, "refused", reason, model)

    def _end(
        self,
        attempt: SwapAttempt,
        source: Slot[LoadedModel] | None,
        target: str,
        result: Outcome,
        reason: str,
        model: ReleasedModel | None,
    ) -> SwapEvent:
        return self.swaps.end(
            attempt,
            source=source.label if source else None,
            target=target,
            result=result,
            reason=reason,
            model=model,
        )

    def _check_not_superseded(self, slot: Slot[LoadedModel], model: ReleasedModel, attempt: SwapAttempt) -> None:
        """Under the lock: refuse what was right when it began and is not any more."""
        primary, pin = self.state.primary, self.state.pinned
        if slot.retiring:
            raise SupersededError(f"{slot.label} was withdrawn meanwhile")
        if model.release is None:
            if pin is not None and pin.at > attempt.requested_at:
                raise SupersededError(f"the device was pinned to {pin.version} meanwhile")
            return
        if pin is not None and pin.forbids(model.release):
            raise SupersededError(f"the device was pinned to {pin.version} meanwhile")
        if primary.supersedes(model):
            raise SupersededError(f"release {primary.release} was accepted meanwhile")


def _under_release(known: ReleasedModel, newer: ReleasedModel) -> ReleasedModel:
    """A model that serves, under a newer release of it; what it is expected to change stays."""
    return newer.model_copy(update={**dict(known.identity), "expected": known.expected}).released


def _scope(role: SecondaryRole, cameras: tuple[str, ...]) -> str:
    if role == "canary":
        return f"canary on {', '.join(cameras)}"
    return "light model, for cameras that would overload the device"
