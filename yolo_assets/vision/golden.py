"""Golden frames: does the model find on this device what it found where it was built?

Belongs here: comparing one frame, and making the expectation. Does not belong here: what follows from a problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import GoldenDetection, GoldenFrame, ModelManifest
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import class_overlaps, match
from yolo_assets.vision.pictures import decode_image

MIN_IOU = 0.9
CONFIDENCE_TOLERANCE = 0.05


class Detector(Protocol):
    """What finds boxes: a `Model`."""

    manifest: ModelManifest

    def predict(self, bgr: NDArray[np.uint8]) -> Detections:
        """Boxes of a frame at the manifest's operating point."""
        ...


def golden_detections(model: Detector, bgr: NDArray[np.uint8]) -> tuple[GoldenDetection, ...]:
    """What a model finds in a frame, in the form a manifest keeps: for building a bundle.

    Boxes without area (found in the padding, clipped to the edge) are left out: they cannot be compared.
    """
    found = model.predict(bgr)
    found = found[found.has_area]
    return tuple(
        GoldenDetection(bbox=tuple(box), class_id=class_id, confidence=confidence)
        for box, class_id, confidence in zip(
            found.xyxy.tolist(), found.class_id.tolist(), found.confidence.tolist(), strict=True
        )
    )


def golden_problems(frame: GoldenFrame, data: bytes, model: Detector) -> list[str]:
    """Compare one golden frame; each expected box is paired with the found box that overlaps it most.

    A box whose confidence lies within the tolerance of the operating threshold may be there or not: engines differ in
    the last digits. Everything else must be found with its class, IoU of at least 0.9 and a confidence within 0.05.

    Returns:
        Problems, one line each.
    """
    names = model.manifest.record_names
    try:
        found = model.predict(decode_image(data, frame.file))
    except BadInputError as error:
        return [f"golden frame {frame.file}: {error}"]
    unknown = [expected.class_id for expected in frame.detections if expected.class_id >= len(names)]
    problems = [f"class id {class_id} is not in the manifest" for class_id in unknown]
    expected = [detection for detection in frame.detections if detection.class_id < len(names)]
    problems += box_problems(expected, found, names, model.manifest.thresholds.of(names))
    return [f"golden frame {frame.file}: {problem}" for problem in problems]


def box_problems(
    expected: Sequence[GoldenDetection], found: Detections, names: Sequence[str], thresholds: Sequence[float]
) -> list[str]:
    """Where the detections of a frame differ from the expected ones, by the rule of `golden_problems`.

    Args:
        expected: with class ids that have a name.
        found: at the operating threshold.
        names: of the classes, ordered.
        thresholds: the operating threshold of each class.

    Returns:
        Problems, one line each.
    """
    optional = np.asarray(thresholds) + CONFIDENCE_TOLERANCE
    free = found.has_area
    overlaps = class_overlaps(Detections.of([d.bbox for d in expected], [d.class_id for d in expected]), found)
    problems: list[str] = []
    for detection, row, column in zip(expected, overlaps, match(overlaps, MIN_IOU), strict=True):
        place = f"{names[detection.class_id]} at {[round(side) for side in detection.bbox]}"
        if column < 0:
            if detection.confidence > optional[detection.class_id]:
                others = row[free & (found.class_id == detection.class_id)]
                nearest = f", nearest overlaps {others.max():.2f}" if others.size else ""
                problems.append(f"{place} was not found{nearest}")
            continue
        free[column] = False
        confidence = float(found.confidence[column])
        if abs(confidence - detection.confidence) > CONFIDENCE_TOLERANCE:
            problems.append(f"{place} has confidence {confidence:.2f}, expected {detection.confidence:.2f}")
    problems += [
        f"unexpected {names[found.class_id[i]]} at {found.xyxy[i].round().tolist()}"
        for i in np.flatnonzero(free)
        if found.confidence[i] > optional[found.class_id[i]]
    ]
    return problems
