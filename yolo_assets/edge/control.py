"""The one place where the serving model changes: commit, rollback, pin. Slots in memory and state on disk together.

Belongs here: what a change does, under one lock, so that a rollback and a commit never interleave. Does not belong
here: getting a candidate ready (``staging``), deciding what a pointer means (``verdict``).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.loading import LoadedModel, RefusedError
from yolo_assets.edge.slots import Slot, SlotManager
from yolo_assets.edge.state import EdgeState, ModelRef, Pin, StateFile
from yolo_assets.edge.swaps import Attempt, SwapLog, Trigger

log = logging.getLogger(__name__)


class NothingToRollBackError(UserError):
    """No previous model is loaded."""


@dataclass(frozen=True)
class Rollback:
    """Answer of a rollback. ``seconds`` is the time until new inferences run on ``target``."""

    source: str
    target: str
    seconds: float
    pinned: Pin


class ModelControl:
    """Holds slots and state; every method is safe from any thread."""

    def __init__(self, slots: SlotManager[LoadedModel], state: StateFile, swaps: SwapLog) -> None:
        self.slots = slots
        self._state = state
        self._swaps = swaps
        self._lock = threading.RLock()
        self._told: set[str] = set()
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

    def quarantine(self, ref: ModelRef, reason: str) -> None:
        """Never try this release again."""
        self._state.update(lambda state: state.with_quarantined(ref, reason).model_copy(update={"candidate": None}))

    def warm_slot(self, manifest_sha256: str) -> Slot[LoadedModel] | None:
        """The previous slot, when it holds just this model: then nothing needs to be loaded."""
        slot = self.slots.previous
        return slot if slot is not None and slot.model.ref.manifest_sha256 == manifest_sha256 else None

    def commit(
        self, slot: Slot[LoadedModel], ref: ModelRef, attempt: Attempt, reason: str, *, pinned_by: str | None
    ) -> SwapEvent:
        """Make a proven model serve. The state is durable before the switch: after a power cut the same model answers.

        Args:
            slot: a fresh one, or the warm previous one.
            ref: what the slot holds, with the release that brought it; None as release when asked for by hand.
            attempt: the measurement to end.
            reason: for the audit log.
            pinned_by: who asked for the version by hand; it is pinned, or the channel would take it back at once.

        Raises:
            RefusedError: the device was rolled back or pinned while the candidate was being prepared.
            SpoolFullError: the state cannot be written; the old model goes on serving.
        """
        with self._lock:
            old = self.slots.current
            before = self.state
            if ref.release is not None and before.pinned is not None and ref.release <= before.pinned.left_release:
                raise RefusedError(f"the device was pinned to {before.pinned.version} meanwhile")
            pin = None
            if pinned_by is not None:
                pin = Pin(version=ref.version, left_release=before.last_release, by=pinned_by, at=utc_now())
            fields: dict[str, object] = {
                "current": ref,
                "previous": self._ref_of(old),
                "candidate": None,
                "pinned": pin,
            }
            if ref.release is not None:
                fields |= {"last_release": ref.release, "last_manifest_sha256": ref.manifest_sha256}
            self._state.update(lambda state: state.model_copy(update=fields))
            attempt.mark_switch(self.slots.switch(slot))
            self.model_ready.set()
            return self._swaps.end(
                attempt,
                source=old.label if old else None,
                target=ref.label,
                result="committed",
                reason=reason,
                release=ref.release,
            )

    def resume(self, slot: Slot[LoadedModel], ref: ModelRef, attempt: Attempt) -> None:
        """Serve a model of before the restart; the state changes only when it is not the one that served last."""
        with self._lock:
            attempt.mark_switch(self.slots.switch(slot))
            self.model_ready.set()
            self._swaps.end(
                attempt,
                source=None,
                target=ref.label,
                result="committed",
                reason="start from the cache",
                release=ref.release,
            )
            if ref != self.state.current:
                self.change(current=ref, previous=None)

    def _ref_of(self, slot: Slot[LoadedModel] | None) -> ModelRef | None:
        """What a slot holds, under its newest release number (``adopt`` may have raised it since it was loaded)."""
        if slot is None:
            return None
        known, loaded = self.state.current, slot.model.ref
        return known if known is not None and known.manifest_sha256 == loaded.manifest_sha256 else loaded

    def adopt(self, ref: ModelRef) -> None:
        """Take over the number of a newer release of the version that serves; a pin that it outdates is lifted."""
        with self._lock:
            self.change(current=ref, pinned=None, last_release=ref.release, last_manifest_sha256=ref.manifest_sha256)

    def roll_back(self, by: str) -> Rollback:
        """Make the previous model serve at once, and pin it.

        The switch comes first and the disk after: whoever asks for a rollback has a line that is going wrong.

        Raises:
            NothingToRollBackError: no previous model is loaded.
        """
        attempt = self._swaps.begin("rollback")
        with self._lock:
            target, source = self.slots.previous, self.slots.current
            if target is None or source is None:
                self._swaps.cancel(attempt)
                raise NothingToRollBackError("there is no previous model to roll back to; promote another version")
            attempt.mark_switch(self.slots.switch(target))
            seconds = attempt.seconds
            pin = Pin(version=target.model.ref.version, left_release=self.state.last_release, by=by, at=utc_now())
            try:
                self.change(current=target.model.ref, previous=self._ref_of(source), pinned=pin)
            finally:
                self._swaps.end(
                    attempt,
                    source=source.label,
                    target=target.label,
                    result="rolled_back",
                    reason=f"by {by}; pinned until a release after {pin.left_release}",
                    release=target.model.ref.release,
                )
            log.warning("rolled back from %s to %s by %s", source.label, target.label, by)
            return Rollback(source.label, target.label, seconds, pin)

    def unpin(self) -> Pin | None:
        """Follow the channel again; the pin that was lifted, or None."""
        with self._lock:
            pin = self.state.pinned
            if pin is not None:
                self.change(pinned=None)
            return pin

    def tell_once(self, reason: str) -> bool:
        """Whether this reason was not told before: a pointer that stays wrong is polled for ever."""
        with self._lock:
            new = reason not in self._told
            self._told.add(reason)
            return new

    def refuse(
        self, trigger: Trigger, target: str, reason: str, release: int | None, attempt: Attempt | None = None
    ) -> None:
        """Record that something was refused; the serving model is untouched."""
        current = self.slots.current
        self._swaps.end(
            attempt or self._swaps.begin(trigger),
            source=current.label if current else None,
            target=target,
            result="refused",
            reason=reason,
            release=release,
        )
        log.warning("refused %s: %s", target, reason)
