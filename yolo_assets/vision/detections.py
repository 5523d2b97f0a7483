"""The objects found in one frame, as arrays: one type for models, golden frames, the edge agent and evaluation.

Belongs here: the arrays, their checks, and their form in records. Does not belong here: comparing two sets of
detections (``matching``), thresholds, pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import format_time


def _check(name: str, array: Any, dtype: type, shape: tuple[int, ...]) -> None:
    expected = f"{np.dtype(dtype).name} {list(shape)}"
    if not isinstance(array, np.ndarray):
        raise BadInputError(f"{name} must be an array {expected}, got {type(array).__name__}")
    if array.dtype != dtype or array.shape != shape:
        raise BadInputError(f"{name} must be {expected}, got {array.dtype.name} {list(array.shape)}")


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one frame; the arrays are read-only. Indexing selects: ``found[found.class_id == 2]``.

    Attributes:
        xyxy: float32 ``[n, 4]``, frame pixels, top-left origin.
        class_id: int32 ``[n]``, position in an ordered list of class names.
        confidence: float32 ``[n]``, 0 to 1; ones for labels.
    """

    xyxy: NDArray[np.float32]
    class_id: NDArray[np.int32]
    confidence: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.confidence)
        _check("xyxy", self.xyxy, np.float32, (count, 4))
        _check("class_id", self.class_id, np.int32, (count,))
        _check("confidence", self.confidence, np.float32, (count,))
        if count and not (self.confidence.min() >= 0 and self.confidence.max() <= 1):  # NaN fails too
            raise BadInputError(
                f"confidence must lie in 0 to 1, got {self.confidence.min():g} to {self.confidence.max():g}; "
                "the model does not end in probabilities, export it again"
            )
        for field in fields(self):
            view = getattr(self, field.name).view()
            view.flags.writeable = False
            object.__setattr__(self, field.name, view)

    @classmethod
    def empty(cls) -> Detections:
        """No detection."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.int32), np.empty(0, np.float32))

    @classmethod
    def of(cls, xyxy: ArrayLike, class_id: ArrayLike, confidence: ArrayLike | None = None) -> Detections:
        """From anything that NumPy reads as numbers.

        Args:
            xyxy: ``[n, 4]``; an empty sequence is no box.
            class_id: ``[n]``.
            confidence: ``[n]``; None for labels, which are certain.

        Raises:
            BadInputError: shapes that do not fit together.
        """
        boxes, ids = np.asarray(xyxy, np.float32), np.asarray(class_id, np.int32)
        certain = np.ones(len(ids), np.float32)
        return cls(
            boxes if boxes.size else boxes.reshape(0, 4),
            ids,
            certain if confidence is None else np.asarray(confidence, np.float32),
        )

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Detections:
        """From the ``detections`` of a detection record.

        Args:
            records: dicts with ``bbox``, ``class`` and ``confidence``.
            class_names: ordered; position is the class id.

        Raises:
            BadInputError: a class that is not among the names, or a field that is missing.
        """
        ids = {name: position for position, name in enumerate(class_names)}
        try:
            return cls.of(
                [record["bbox"] for record in records],
                [ids[record["class"]] for record in records],
                [record["confidence"] for record in records],
            )
        except KeyError as error:
            raise BadInputError(f"a detection has an unknown class or lacks a field: {error}") from None

    def __len__(self) -> int:
        return len(self.confidence)

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | NDArray[np.integer]) -> Detections:
        """Those that a slice, a mask ``[n]`` or positions select, in that order."""
        return Detections(np.ascontiguousarray(self.xyxy[chosen]), self.class_id[chosen], self.confidence[chosen])

    @property
    def has_area(self) -> NDArray[np.bool_]:
        """Which boxes ``[n]`` cover any pixels; those found in the padding are clipped to a line."""
        x1, y1, x2, y2 = self.xyxy.T
        return (x2 > x1) & (y2 > y1)

    def to_records(self, class_names: Sequence[str], timestamp: datetime) -> list[dict[str, Any]]:
        """As the detection record carries them.

        Coordinates are rounded to 1/100 pixel and confidences to 4 places: finer digits differ between engines and
        would only make records longer. A box whose sides have changed places is left out, as a head that gives
        distances without a distribution (YOLO26) may make one: no record can hold it, and the others would be lost.

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
            if box[0] <= box[2] and box[1] <= box[3]
        ]
