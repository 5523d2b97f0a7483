"""A canary on one box: the listed cameras run a candidate, the others keep their model.

Belongs here: what starting and ending one does to slots and state, under the lock of ``control``. Does not belong
here: getting the candidate ready (``staging``), judging it (``watching``).
"""

from __future__ import annotations

import logging

from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.edge.loading import LoadedModel
from yolo_assets.edge.reload.control import ModelControl, outdated
from yolo_assets.edge.reload.notice import SupersededError
from yolo_assets.edge.reload.slot import Slot
from yolo_assets.edge.reload.state import Candidate, ModelRef
from yolo_assets.edge.reload.swaps import Attempt

log = logging.getLogger(__name__)


def start(
    control: ModelControl,
    slot: Slot[LoadedModel],
    ref: ModelRef,
    cameras: tuple[str, ...],
    attempt: Attempt,
    reason: str,
    *,
    again: int | None = None,
) -> SwapEvent:
    """Let the canary's cameras run a proven candidate. The state is durable first.

    Args:
        control: slots and state.
        slot: a fresh one, or a warm one.
        ref: what it holds, with its release on the canary's channel.
        cameras: who gets it.
        attempt: the measurement to end.
        reason: for the audit log.
        again: it ran before a restart, and this is its start so-and-so since it last proved itself. A pin that was set
            since keeps it where it was.

    Raises:
        SupersededError: meanwhile the device was pinned, the whole box runs this model, or the channel went on.
    """
    with control.lock:
        current, state = control.slots.current, control.state
        if slot.retiring:
            raise SupersededError(f"{slot.label} was taken back meanwhile")
        if outdated(ref, state.canary_release, state.canary_manifest_sha256):
            raise SupersededError(f"release {state.canary_release} was accepted meanwhile")
        if state.pinned is not None and again is None:
            raise SupersededError(f"the device was pinned to {state.pinned.version} meanwhile")
        if current is None or current is slot:
            raise SupersededError("the canary needs another model than the one that serves the whole box")
        control.change(
            candidate=None,
            canary=Candidate(**ref.model_dump(), attempts=again or 1),
            canary_release=max(state.canary_release, ref.release or 0),
            canary_manifest_sha256=ref.manifest_sha256,
        )
        attempt.mark_switch(0.0)
        control.slots.start_canary(slot, cameras)
        return control.swaps.end(
            attempt,
            source=current.label,
            target=slot.label,
            result="switched",
            reason=f"canary on {', '.join(cameras)}: {reason}",
            release=ref.release,
        )


def end(control: ModelControl, reason: str, *, failed: Slot[LoadedModel] | None = None) -> bool:
    """Every camera runs the box's own model again.

    Args:
        control: slots and state.
        reason: for the audit log.
        failed: the canary's slot when it did not do: its release is quarantined.

    Returns:
        False when there is no canary, or not that one any more.
    """
    attempt = control.swaps.begin("watch")
    with control.lock:
        slot, current, known = control.slots.canary, control.slots.current, control.state.canary
        if slot is None or current is None or (failed is not None and failed is not slot):
            control.swaps.cancel(attempt)
            return False
        attempt.mark_switch(0.0)
        control.slots.end_canary()
        control.forget_canary(known if failed is not None else None, reason)
        control.swaps.end(
            attempt,
            source=slot.label,
            target=current.label,
            result="committed" if failed is None else "reverted",
            reason=f"the canary ended: {reason}",
            release=current.model.ref.release,
        )
        log.log(logging.INFO if failed is None else logging.WARNING, "canary %s ended: %s", slot.label, reason)
        return True


def follow(control: ModelControl, pointer: ModelRef) -> None:
    """Take over what a pointer of the canary's channel says where nothing must be loaded.

    That is a new number of the canary that runs, or the version that the whole box runs: then there is no canary.
    """
    with control.lock:
        current, known = control.slots.current, control.state.canary
        if current is not None and current.model.ref.manifest_sha256 == pointer.manifest_sha256:
            end(control, f"its channel names {pointer.label}, which the whole box runs")
        elif known is not None:
            control.change(canary=known.model_copy(update={"release": pointer.release}))
        control.change(canary_release=pointer.release, canary_manifest_sha256=pointer.manifest_sha256)


def prove(control: ModelControl, slot: Slot[LoadedModel]) -> None:
    """It ran for a whole watch window: earlier deaths of the agent are not held against it."""
    with control.lock:
        known = control.state.canary
        if known is not None and slot is control.slots.canary:
            control.change(canary=known.model_copy(update={"attempts": 0}))
