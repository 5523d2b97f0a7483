"""Does one way to run a model find what float32 finds? Compared by the boxes, as people would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.model import GoldenDetection
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.golden import box_problems, golden_detections
from yolo_assets.vision.model import Model

_FAINT = 0.01
"""A picture in which nothing reaches the operating point is compared by its faint boxes: best scores, not places."""
_FAINT_TOLERANCE = 0.05

Frames = Sequence[NDArray[np.uint8]]


class Expected:
    """What a float32 engine found."""

    def __init__(self, model: Model, frames: Frames) -> None:
        """Run the frames.

        Raises:
            UserError: the model fails here.
        """
        self._frames = frames
        self._detections: list[tuple[GoldenDetection, ...]] = [golden_detections(model, frame) for frame in frames]
        self._faint = [_best_scores(model, frame) for frame in frames]

    @property
    def boxes(self) -> int:
        """How many there are to compare."""
        return sum(map(len, self._detections))

    def problem(self, model: Model) -> str | None:
        """Why another way to run the same model must not be used; None when it agrees."""
        threshold = model.manifest.thresholds.confidence
        for number, (frame, wanted, faint) in enumerate(zip(self._frames, self._detections, self._faint, strict=True)):
            try:
                problems = box_problems(wanted, model.predict(frame), model.manifest.class_names, threshold)
                apart = float(np.abs(_best_scores(model, frame) - faint).max())
            except UserError as error:
                return str(error)
            if problems:
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                return f"differs from f32 in picture {number}: {problems[0]}{more}"
            if apart > _FAINT_TOLERANCE:
                return f"differs from f32 in picture {number}: a class's best score by {apart:.3f}"
        return None


def _best_scores(model: Model, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The best confidence of each class, 0 where nothing is even faint."""
    found: Detections = model.predict(frame, confidence=_FAINT)
    best = np.zeros(len(model.manifest.class_names), np.float32)
    np.maximum.at(best, found.class_id, found.confidence)
    return best
