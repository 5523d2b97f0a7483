"""What a channel pointer means for this device: a pure decision over the state. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from yolo_assets.contracts.model import ChannelPointer, ReleasedModel
from yolo_assets.edge.rollout.state import EdgeState

Action = Literal["stage", "adopt", "ignore", "refuse"]
"""``stage``: fetch and try it. ``adopt``: it serves already, only its number is new. ``refuse``: it must not."""


@dataclass(frozen=True)
class Verdict:
    """The decision, with the reason in words."""

    action: Action
    reason: str


def judge(state: EdgeState, serving: ReleasedModel | None, pointer: ChannelPointer) -> Verdict:
    """Decide about a verified pointer.

    Args:
        state: what the device remembers.
        serving: the model that answers now.
        pointer: signed by a trusted key.
    """
    if pointer.release < state.last_release:
        return Verdict(
            "refuse",
            f"release {pointer.release} is older than release {state.last_release}, which this device accepted: "
            "a replayed pointer; promote again to make a new release",
        )
    same_number = pointer.release == state.last_release
    if same_number and state.last_manifest_sha256 not in (None, pointer.manifest_sha256):
        return Verdict("refuse", f"release {pointer.release} was accepted before with another manifest")
    if state.pinned is not None and state.pinned.forbids(pointer.release):
        end = "it is unpinned" if state.pinned.hold else f"a release after {state.pinned.left_release}"
        return Verdict("ignore", f"pinned to {state.pinned.version} until {end}")
    bad = state.quarantined(pointer.manifest_sha256, pointer.release)
    if bad is not None:
        return Verdict("ignore", f"release {pointer.release} failed here and is not tried again: {bad.reason}")
    if serving is not None and serving.manifest_sha256 == pointer.manifest_sha256:
        if same_number:
            return Verdict("ignore", f"release {pointer.release} serves")
        return Verdict("adopt", f"release {pointer.release} names the version that serves")
    return Verdict("stage", f"release {pointer.release} by {pointer.moved_by}: {pointer.reason}")
