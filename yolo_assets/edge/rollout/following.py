"""What the agent does about a verified pointer: stage it, adopt its number, refuse it, or nothing.

Belongs here: acting on a verdict. Does not belong here: the verdict itself (``verdict``), when to look (``triggers``).
"""

from __future__ import annotations

from yolo_assets.contracts.model import ChannelPointer, ReleasedModel
from yolo_assets.edge.rollout import beside
from yolo_assets.edge.rollout.control import ModelControl
from yolo_assets.edge.rollout.notice import Notice, Role
from yolo_assets.edge.rollout.staging import Stager
from yolo_assets.edge.rollout.verdict import judge
from yolo_assets.edge.serving.slots import SecondaryRole


def follow_channel(control: ModelControl, stager: Stager, pointer: ChannelPointer) -> None:
    """The pointer of the box's own channel."""
    serving = control.serving
    control.saw(pointer.release)
    verdict = judge(control.state, serving.identity if serving else None, pointer)
    if verdict.action == "stage":
        stager.want(_notice(pointer, verdict.reason, "box"))
    elif verdict.action == "adopt":
        control.adopt(_ref(pointer))
    elif verdict.action == "refuse" and control.tell_once(verdict.reason):
        control.refuse("channel", pointer.model_version, verdict.reason, pointer.release)


def follow_beside(role: SecondaryRole, control: ModelControl, stager: Stager, pointer: ChannelPointer) -> None:
    """The pointer of a channel beside the box's own. Without a model for the whole box there is nothing beside it."""
    serving, slot = control.serving, control.slots.secondary(role)
    if serving is None:
        return
    verdict = judge(control.state.as_channel_of(role), slot.model.identity if slot else None, pointer)
    if verdict.action == "refuse":
        if control.tell_once(f"{role}: {verdict.reason}"):
            control.refuse("channel", pointer.model_version, f"{role}: {verdict.reason}", pointer.release)
    elif verdict.action == "adopt" or (
        verdict.action == "stage" and serving.identity.manifest_sha256 == pointer.manifest_sha256
    ):
        beside.follow(control, role, _ref(pointer))
    elif verdict.action == "stage":
        stager.want(_notice(pointer, verdict.reason, role))


def _notice(pointer: ChannelPointer, reason: str, role: Role) -> Notice:
    return Notice(
        version=pointer.version,
        manifest_sha256=pointer.manifest_sha256,
        release=pointer.release,
        trigger="channel",
        reason=reason,
        role=role,
        expected=pointer.expected,
    )


def _ref(pointer: ChannelPointer) -> ReleasedModel:
    return ReleasedModel(
        name=pointer.name,
        version=pointer.version,
        manifest_sha256=pointer.manifest_sha256,
        release=pointer.release,
        expected=pointer.expected,
    )
