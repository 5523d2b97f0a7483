"""Pins that people set: the box stays on the version that serves, until they lift it."""

from __future__ import annotations

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.control import ModelControl
from yolo_assets.edge.rollout.state import Pin


class NothingToPinError(UserError):
    """No model serves."""


def pin(control: ModelControl, by: str) -> Pin:
    """Stay on the version that serves, whatever is released, until ``unpin``.

    Raises:
        NothingToPinError: no model serves.
    """
    with control.lock:
        slot = control.slots.current
        if slot is None:
            raise NothingToPinError("no model serves yet, so there is nothing to pin; promote a version first")
        version, left = slot.model.identity.version, control.state.last_release
        made = Pin(version=version, left_release=left, by=by, at=utc_now(), hold=True)
        control.change(pinned=made)
        control.swaps.note("pin", by, slot.label, "pinned", "stays until it is unpinned")
        return made


def unpin(control: ModelControl, by: str = "the agent") -> Pin | None:
    """Follow the channel again; the pin that was lifted, or None."""
    with control.lock:
        lifted, slot = control.state.pinned, control.slots.current
        if lifted is not None:
            control.change(pinned=None)
            target = slot.label if slot else None
            control.swaps.note("unpin", by, target, "unpinned", f"was pinned to {lifted.version} by {lifted.by}")
        return lifted
