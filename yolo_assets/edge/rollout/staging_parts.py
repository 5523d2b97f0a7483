"""What staging and restarting share: the parts they work with, slots that report their end, the audit entry."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.rollout.control import ModelControl
from yolo_assets.edge.rollout.live import LiveTap
from yolo_assets.edge.rollout.loading import Loader
from yolo_assets.edge.rollout.model_cache import ModelCache
from yolo_assets.edge.rollout.swaps import Attempt, Outcome, SwapLog
from yolo_assets.edge.serving.slots import SecondaryRole
from yolo_assets.storage.base import ObjectStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagingParts:
    """Everything between a notice and a serving model."""

    config: AgentConfig
    store: ObjectStore
    cache: ModelCache
    loader: Loader
    control: ModelControl
    swaps: SwapLog
    live: LiveTap

    @property
    def name(self) -> str:
        """Of the configured model."""
        return self.config.model

    @property
    def canary_cameras(self) -> tuple[str, ...]:
        """Empty when none are configured."""
        return self.config.canary.cameras if self.config.canary else ()

    def has(self, role: SecondaryRole) -> bool:
        """Whether the configuration wants a model in this role."""
        return (self.config.canary if role == "canary" else self.config.light) is not None

    def end(self, attempt: Attempt, ref: ReleasedModel, result: Outcome, reason: str) -> None:
        """Record how an attempt ended that did not change the model."""
        current = self.control.slots.current
        self.swaps.end(
            attempt,
            source=current.label if current else None,
            target=ref.model_version,
            result=result,
            reason=reason,
            release=ref.release,
        )
        log.warning("%s: %s %s", ref.model_version, result, reason)


def in_words(error: BaseException) -> str:
    """One line; the type too where the text alone would not say what happened."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) and text else f"{type(error).__name__}: {text}"[:500]
