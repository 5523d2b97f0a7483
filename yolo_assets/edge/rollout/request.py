"""A request for a model to serve, and the reasons for which a requested model may not serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ChannelPointer, ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.history import Trigger
from yolo_assets.edge.serving.slots import Role


class RefusedError(UserError):
    """The candidate is sound but must not replace the model that serves."""


class SupersededError(RefusedError):
    """Something newer was requested while this candidate was being prepared."""


class FrozenError(RefusedError):
    """A freeze window began while this candidate was being prepared."""


class UnfitError(UserError):
    """The candidate does not work on this device."""


@dataclass(frozen=True)
class UpdateRequest:
    """A model that should serve.

    Attributes:
        version: of the configured model.
        model: from the signed pointer; None when an operator named the version, until its manifest was read.
        trigger: what made the request.
        reason: for the audit log.
        requested_by: the operator who named the version; the device stays on it until a release newer than the last
            accepted one.
        role: in which it should serve.
        at: when it was requested; a pin that is newer wins.
    """

    version: str
    model: ReleasedModel | None
    trigger: Trigger
    reason: str
    requested_by: str | None = None
    role: Role = "primary"
    at: datetime = field(default_factory=utc_now, compare=False)

    @classmethod
    def by_pointer(cls, pointer: ChannelPointer, role: Role, reason: str) -> UpdateRequest:
        """What the pointer of a role's channel asks for."""
        return cls(pointer.version, pointer.released, "channel", reason, role=role)

    @classmethod
    def by_operator(cls, version: str, operator: str) -> UpdateRequest:
        """What an operator asks for by the name of its version."""
        return cls(version, None, "push", f"by {operator}", requested_by=operator)

    def same_as(self, other: UpdateRequest) -> bool:
        """Whether both ask for the same release of the same model in the same role."""
        return (self.version, self._release, self.role) == (other.version, other._release, other.role)

    @property
    def _release(self) -> tuple[str, int | None] | None:
        return (self.model.manifest_sha256, self.model.release) if self.model else None
