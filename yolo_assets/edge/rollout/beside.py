"""Models beside the box's own: a canary that some cameras try, a light one that takes cameras over under load.

Each follows a channel of its own. Belongs here: what starting and ending one does to slots and state, under the lock of
``control``. Does not belong here: getting it ready (``staging``), judging a canary (``watching``), deciding which
cameras the light one has (``edge.balancing``).
"""

from __future__ import annotations

import logging

from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.rollout.control import ModelControl, outdated
from yolo_assets.edge.rollout.notice import SupersededError
from yolo_assets.edge.rollout.state import Candidate
from yolo_assets.edge.rollout.swaps import Attempt
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import SecondaryRole

log = logging.getLogger(__name__)
_NAMES: dict[SecondaryRole, str] = {"canary": "the canary", "light": "the light model"}


def start(
    control: ModelControl,
    role: SecondaryRole,
    slot: Slot[LoadedModel],
    ref: ReleasedModel,
    cameras: tuple[str, ...],
    attempt: Attempt,
    reason: str,
    *,
    again: int | None = None,
) -> SwapEvent:
    """Let a proven model serve beside the box's own. The state is durable first.

    Args:
        control: slots and state.
        role: what for.
        slot: a fresh one, or a warm one.
        ref: what it holds, with its release on the role's channel.
        cameras: who gets it now.
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
        if outdated(ref, state.release_of(role), state.manifest_of(role)):
            raise SupersededError(f"release {state.release_of(role)} was accepted meanwhile")
        if state.pinned is not None and again is None:
            raise SupersededError(f"the device was pinned to {state.pinned.version} meanwhile")
        if current is None or current is slot:
            raise SupersededError(f"{_NAMES[role]} must be another one than the model that serves the whole box")
        control.change(
            **{
                "candidate": None,
                role: Candidate(**ref.model_dump(), attempts=again or 1),
                f"{role}_release": max(state.release_of(role), ref.release or 0),
                f"{role}_manifest_sha256": ref.manifest_sha256,
            }
        )
        attempt.mark_switch(0.0)
        control.slots.start_secondary(role, slot, cameras)
        return control.swaps.end(
            attempt,
            source=current.label,
            target=slot.label,
            result="switched",
            reason=f"{_where(role, cameras)}: {reason}",
            release=ref.release,
        )


def end(control: ModelControl, role: SecondaryRole, reason: str, *, failed: Slot[LoadedModel] | None = None) -> bool:
    """Every camera runs the box's own model again.

    Args:
        control: slots and state.
        role: which one ends.
        reason: for the audit log.
        failed: its slot when it did not do: its release is quarantined.

    Returns:
        False when there is none, or not that one any more.
    """
    attempt = control.swaps.begin("watch")
    with control.lock:
        slot, current, known = control.slots.secondary(role), control.slots.current, control.state.beside(role)
        if slot is None or current is None or (failed is not None and failed is not slot):
            control.swaps.cancel(attempt)
            return False
        attempt.mark_switch(0.0)
        control.slots.end_secondary(role)
        control.forget_beside(role, known if failed is not None else None, reason)
        control.swaps.end(
            attempt,
            source=slot.label,
            target=current.label,
            result="committed" if failed is None else "reverted",
            reason=f"{_NAMES[role]} ended: {reason}",
            release=current.model.identity.release,
        )
        level = logging.INFO if failed is None else logging.WARNING
        log.log(level, "%s %s ended: %s", _NAMES[role], slot.label, reason)
        return True


def follow(control: ModelControl, role: SecondaryRole, pointer: ReleasedModel) -> None:
    """Take over what a pointer of the role's channel says where nothing must be loaded.

    That is a new number of the model that runs beside, or the version that the whole box runs: then there is none.
    """
    with control.lock:
        current, known = control.slots.current, control.state.beside(role)
        if current is not None and current.model.identity.manifest_sha256 == pointer.manifest_sha256:
            end(control, role, f"its channel names {pointer.model_version}, which the whole box runs")
        elif known is not None:
            control.change(**{role: known.model_copy(update={"release": pointer.release})})
        control.change(**{f"{role}_release": pointer.release, f"{role}_manifest_sha256": pointer.manifest_sha256})


def prove(control: ModelControl, role: SecondaryRole, slot: Slot[LoadedModel]) -> None:
    """It ran for a whole watch window: earlier deaths of the agent are not held against it."""
    with control.lock:
        known = control.state.beside(role)
        if known is not None and slot is control.slots.secondary(role):
            control.change(**{role: known.model_copy(update={"attempts": 0})})


def _where(role: SecondaryRole, cameras: tuple[str, ...]) -> str:
    return f"canary on {', '.join(cameras)}" if role == "canary" else "light model, for cameras that would be too much"
