"""Golden frames: does the model find on this device what it found where it was built?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import GoldenDetection, GoldenFrame, ModelManifest
from yolo_assets.vision.boxes import Boxes

MIN_IOU = 0.9
CONFIDENCE_TOLERANCE = 0.05


class Predictor(Protocol):
    """What finds boxes: a `Model`."""

    manifest: ModelManifest

    def predict(self, bgr: NDArray[np.uint8]) -> Boxes:
        """Boxes of a frame at the manifest's operating point."""
        ...


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """A picture file as BGR uint8 ``[h, w, 3]``.

    Raises:
        BadInputError: not a picture.
    """
    import cv2

    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise BadInputError(f"{name} is not a picture that can be read; use JPEG or PNG")
    return np.asarray(picture, np.uint8)


def golden_detections(model: Predictor, bgr: NDArray[np.uint8]) -> tuple[GoldenDetection, ...]:
    """What a model finds in a frame, in the form a manifest keeps. For whoever builds a bundle.

    Boxes without area (found in the padding, clipped to the edge) are left out: they cannot be compared.
    """
    found = model.predict(bgr)
    return tuple(
        GoldenDetection(bbox=tuple(box), class_id=class_id, confidence=confidence)
        for box, class_id, confidence in zip(
            found.xyxy.tolist(), found.class_id.tolist(), found.confidence.tolist(), strict=True
        )
        if _has_area(box)
    )


def golden_problems(frame: GoldenFrame, data: bytes, model: Predictor) -> list[str]:
    """Compare one golden frame; each expected box is paired with the found box that overlaps it most.

    A box whose confidence lies within the tolerance of the operating threshold may be there or not: engines differ in
    the last digits. Everything else must be found with its class, IoU of at least 0.9 and a confidence within 0.05.

    Returns:
        Problems, one line each.
    """
    names = model.manifest.class_names
    try:
        found = model.predict(decode_image(data, frame.file))
    except BadInputError as error:
        return [f"golden frame {frame.file}: {error}"]
    unknown = [expected.class_id for expected in frame.detections if expected.class_id >= len(names)]
    problems = [f"class id {class_id} is not in the manifest" for class_id in unknown]
    expected = [detection for detection in frame.detections if detection.class_id < len(names)]
    problems += box_problems(expected, found, names, model.manifest.thresholds.confidence)
    return [f"golden frame {frame.file}: {problem}" for problem in problems]


def box_problems(wanted: Sequence[GoldenDetection], found: Boxes, names: Sequence[str], threshold: float) -> list[str]:
    """Where what was found in a frame is not what was wanted, by the rule of `golden_problems`.

    Args:
        wanted: with class ids that have a name.
        found: boxes at the operating threshold.
        names: of the classes, ordered.
        threshold: that operating threshold.

    Returns:
        Problems, one line each.
    """
    optional = threshold + CONFIDENCE_TOLERANCE
    free = {i for i in range(len(found)) if _has_area(found.xyxy[i])}
    problems: list[str] = []
    for expected in wanted:
        what = f"{names[expected.class_id]} at {[round(side) for side in expected.bbox]}"
        same = [i for i in free if found.class_id[i] == expected.class_id]
        overlap = {i: iou(found.xyxy[i], np.asarray(expected.bbox, np.float32)) for i in same}
        best = max(overlap, key=overlap.__getitem__, default=None)
        if best is None or overlap[best] < MIN_IOU:
            if expected.confidence > optional:
                nearest = f", nearest overlaps {overlap[best]:.2f}" if best is not None else ""
                problems.append(f"{what} was not found{nearest}")
            continue
        free.remove(best)
        if abs(float(found.confidence[best]) - expected.confidence) > CONFIDENCE_TOLERANCE:
            problems.append(f"{what} has confidence {found.confidence[best]:.2f}, expected {expected.confidence:.2f}")
    problems += [
        f"unexpected {names[found.class_id[i]]} at {found.xyxy[i].round().tolist()}"
        for i in sorted(free)
        if found.confidence[i] > optional
    ]
    return problems


def _has_area(box: Sequence[float] | NDArray[np.float32]) -> bool:
    return bool(box[2] > box[0] and box[3] > box[1])


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes ``[4]`` xyxy; 0 when both have no area."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    shared = float(width * height)
    total = float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - shared
    return shared / total if total > 0 else 0.0
