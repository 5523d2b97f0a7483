"""A model in memory with what the agent must know about it. Does not belong here: loading one (``edge.rollout``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import ModelManifest, ReleasedModel
from yolo_assets.vision.detections import Detections


class Predictor(Protocol):
    """What the agent needs of a model."""

    def predict(self, bgr: NDArray[np.uint8]) -> Detections:
        """Detections in one frame, uint8 ``[h, w, 3]`` BGR; safe to call from several threads."""
        ...

    def predict_many(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detections in several frames, in order."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        predictor: runs it.
        manifest: of its bundle.
        identity: which model it is, under the release number with which it was loaded.
        engine: name of the engine that runs it.
        batch: frames that are best inferred at once.
    """

    predictor: Predictor
    manifest: ModelManifest
    identity: ReleasedModel
    engine: str
    batch: int = 1

    def close(self) -> None:
        """Free the engine's memory."""
        self.predictor.close()
