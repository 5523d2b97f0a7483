"""A wish for a model, and why staging may put it aside."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from yolo_assets.contracts.model import ExpectedChange, ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout.loading import RefusedError
from yolo_assets.edge.rollout.swaps import Trigger

Role = Literal["box", "canary", "light"]


class SupersededError(RefusedError):
    """A newer notice arrived while this one was being prepared."""


class FrozenError(RefusedError):
    """A freeze window began while this one was being prepared."""


@dataclass(frozen=True)
class Notice:
    """A model that somebody wants to serve.

    Attributes:
        manifest_sha256: from the signed pointer; None when a person named the version.
        release: of the pointer; None when a person named the version.
        pinned_by: who named the version; the device stays on it until a release newer than the last accepted one.
        role: for the whole box, or beside its model.
        expected: what the pointer says that changes in the results.
        at: when it was wished for; a pin that is newer wins.
    """

    version: str
    manifest_sha256: str | None
    release: int | None
    trigger: Trigger
    reason: str
    pinned_by: str | None = None
    role: Role = "box"
    expected: ExpectedChange | None = None
    at: datetime = field(default_factory=utc_now, compare=False)

    @property
    def key(self) -> tuple[str, str | None, int | None, Role]:
        """Two notices with one key want the same."""
        return (self.version, self.manifest_sha256, self.release, self.role)

    def ref(self, name: str) -> ReleasedModel | None:
        """The model as the device knows it; None until the manifest of a version named by a person was read."""
        if self.manifest_sha256 is None:
            return None
        return ReleasedModel(
            name=name,
            version=self.version,
            manifest_sha256=self.manifest_sha256,
            release=self.release,
            expected=self.expected,
        )
