"""The result of a model on one frame. No pictures, no thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import format_time


def _expect(name: str, array: Any, dtype: type, shape: tuple[int, ...]) -> None:
    wanted = f"{np.dtype(dtype).name} {list(shape)}"
    if not isinstance(array, np.ndarray):
        raise BadInputError(f"{name} must be an array {wanted}, got {type(array).__name__}")
    if array.dtype != dtype or array.shape != shape:
        raise BadInputError(f"{name} must be {wanted}, got {array.dtype.name} {list(array.shape)}")


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of one frame, most confident first when they come from a raw head.

    Attributes:
        xyxy: float32 ``[n, 4]``, frame pixels, top-left origin, inside the frame.
        class_id: int32 ``[n]``, position in the manifest's ``class_names``.
        confidence: float32 ``[n]``, 0 to 1.
    """

    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.confidence)
        _expect("xyxy", self.xyxy, np.float32, (count, 4))
        _expect("class_id", self.class_id, np.int32, (count,))
        _expect("confidence", self.confidence, np.float32, (count,))
        if count and not (self.confidence.min() >= 0 and self.confidence.max() <= 1):  # NaN fails too
            raise BadInputError(
                f"confidence must lie in 0 to 1, got {self.confidence.min():g} to {self.confidence.max():g}; "
                "the model does not end in probabilities, export it again"
            )

    @classmethod
    def empty(cls) -> Boxes:
        """No box."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.confidence)

    def to_detections(self, class_names: Sequence[str], timestamp: datetime) -> list[dict[str, Any]]:
        """As the detection record carries them.

        Coordinates are rounded to 1/100 pixel and confidences to 4 places: finer digits differ between engines and
        would only make records longer.

        Args:
            class_names: ordered; position is the class id.
            timestamp: aware moment of capture.

        Returns:
            One dict a box with ``bbox``, ``class``, ``confidence``, ``timestamp``, as ``contracts.detection`` reads it.

        Raises:
            BadInputError: a class id has no name.
        """
        if len(self) and not 0 <= int(self.class_id.min()) <= int(self.class_id.max()) < len(class_names):
            raise BadInputError(
                f"class ids {self.class_id.min()} to {self.class_id.max()} do not fit {len(class_names)} class names"
            )
        moment = format_time(timestamp)
        return [
            {
                "bbox": [round(value, 2) for value in box],
                "class": class_names[class_id],
                "confidence": round(confidence, 4),
                "timestamp": moment,
            }
            for box, class_id, confidence in zip(
                self.xyxy.tolist(), self.class_id.tolist(), self.confidence.tolist(), strict=True
            )
        ]
