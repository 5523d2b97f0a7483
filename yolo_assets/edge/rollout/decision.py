"""What a verified channel pointer means for this device, and acting on it.

The decision is a pure function of the state. Does not belong here: when to read a channel (``channel_poller``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from yolo_assets.contracts.model import ChannelPointer, ModelIdentity
from yolo_assets.edge.rollout.controller import ModelControl
from yolo_assets.edge.rollout.request import UpdateRequest
from yolo_assets.edge.rollout.state import EdgeState
from yolo_assets.edge.serving.slots import Role

Action = Literal["stage", "adopt", "ignore", "refuse"]
"""``stage``: fetch and try it. ``adopt``: it serves already, only its number is new. ``refuse``: it must not serve."""


@dataclass(frozen=True)
class Decision:
    """What to do, with the reason in words."""

    action: Action
    reason: str


def decide(state: EdgeState, role: Role, serving: ModelIdentity | None, pointer: ChannelPointer) -> Decision:
    """Decide about a verified pointer of a role's channel.

    Args:
        state: what the device remembers.
        role: whose channel it is. Any pin keeps a secondary role as it is.
        serving: the model that serves in this role now.
        pointer: signed by a trusted key.
    """
    accepted = state.role(role)
    if pointer.release < accepted.release:
        return Decision(
            "refuse",
            f"release {pointer.release} is older than release {accepted.release}, which this device accepted: "
            "a replayed pointer; promote again to make a new release",
        )
    if accepted.supersedes(pointer):
        return Decision("refuse", f"release {pointer.release} was accepted before with another manifest")
    pinned = state.pinned
    if pinned is not None and (role != "primary" or pinned.forbids(pointer.release)):
        hold = pinned.hold or role != "primary"
        end = "it is unpinned" if hold else f"a release after {pinned.left_release}"
        return Decision("ignore", f"pinned to {pinned.version} until {end}")
    bad = state.quarantined(pointer.manifest_sha256, pointer.release)
    if bad is not None:
        return Decision("ignore", f"release {pointer.release} failed here and is not tried again: {bad.reason}")
    if serving is not None and serving.manifest_sha256 == pointer.manifest_sha256:
        if pointer.release == accepted.release:
            return Decision("ignore", f"release {pointer.release} serves")
        return Decision("adopt", f"release {pointer.release} names the version that serves")
    return Decision("stage", f"release {pointer.release} by {pointer.moved_by}: {pointer.reason}")


def follow(
    control: ModelControl, request: Callable[[UpdateRequest], bool], role: Role, pointer: ChannelPointer
) -> None:
    """Do what the pointer of a role's channel asks for: stage the model, adopt its number, refuse it, or nothing.

    Args:
        control: slots and state.
        request: takes what must be staged.
        role: whose channel it is. There is no secondary model without a primary one.
        pointer: signed by a trusted key.
    """
    if role == "primary":
        control.saw_release(pointer.release)
        slot = control.slots.current
    else:
        slot = control.slots.secondary(role)
        if control.serving is None:
            return
    decision = decide(control.state, role, slot.model.identity if slot else None, pointer)
    action = decision.action
    if action == "stage" and role != "primary" and _is_primary(control, pointer):
        action = "adopt"
    if action == "stage":
        request(UpdateRequest.by_pointer(pointer, role, decision.reason))
    elif action == "adopt":
        control.adopt(role, pointer.released)
    elif action == "refuse":
        reason = decision.reason if role == "primary" else f"{role}: {decision.reason}"
        if control.first_report(reason):
            control.refuse("channel", pointer.model_version, reason, pointer.released)


def _is_primary(control: ModelControl, pointer: ChannelPointer) -> bool:
    serving = control.serving
    return serving is not None and serving.identity.manifest_sha256 == pointer.manifest_sha256
