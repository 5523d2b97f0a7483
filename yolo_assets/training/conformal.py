"""Operating thresholds with a guaranteed miss rate, class by class: conformal risk control on frames that do not test.

Of an object that is like those of val, the chance of being overlooked is at most the miss rate, on average over such
choices of val (Angelopoulos, Bates, Fisch, Lei, Schuster: Conformal Risk Control, 2022). Objects count, not frames: one
that is seen in five frames and found in four of them is overlooked to a fifth.

Belongs here: the arithmetic, and running a model for it. Does not belong here: figures on test frames (``measuring``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import Thresholds
from yolo_assets.learning.records import DatasetItem
from yolo_assets.learning.training_folder import image_path
from yolo_assets.training.accuracy import Boxes, Matches, Units, match_frames
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image

_LOWEST = 0.001
"""A threshold below this would report noise."""


def guaranteed(matches: Matches, units: Units, names: Sequence[str], wanted: Mapping[str, float]) -> dict[str, float]:
    """The highest threshold of each class that keeps its miss rate.

    Args:
        matches: predictions from a low confidence on, against the truth of frames that did not train and do not test.
        units: which truth boxes are one object.
        names: by class id.
        wanted: miss rate by class.

    Returns:
        Threshold by class; a class whose rate no threshold keeps, or that has too few objects to promise it, is left
        out.
    """
    seen = np.zeros(len(matches.truth_class))
    found = matches.found >= 0
    seen[matches.found[found]] = matches.confidence[found]
    chosen: dict[str, float] = {}
    for c, name in enumerate(names):
        rate = wanted.get(name)
        of_class = matches.truth_class == c
        if rate is None or not of_class.any():
            continue
        threshold = _threshold(seen[of_class], units.of_truth[of_class], rate)
        if threshold is not None and threshold >= _LOWEST:
            chosen[name] = threshold
    return chosen


def _threshold(seen: NDArray[np.float64], unit: NDArray[np.int64], rate: float) -> float | None:
    """The highest confidence at which the mean share overlooked, with one more object missed, keeps a rate."""
    _, member, size = np.unique(unit, return_inverse=True, return_counts=True)
    objects = len(size)
    order = np.argsort(seen, kind="stable")
    # At a threshold just below the confidence of box k, all boxes of less confidence are overlooked. The edge reports
    # what is above a threshold, not at it: hence the step to the next smaller number.
    overlooked = np.concatenate(([0.0], np.cumsum(1 / size[member][order])))[:-1]
    below = np.searchsorted(seen[order], seen[order])  # of equal ones none is overlooked
    kept = (overlooked[below] + 1) / (objects + 1) <= rate
    if not kept.any():
        return None
    return float(np.nextafter(np.float32(seen[order][kept].max()), np.float32(0)))


def calibrated(model: Model, folder: Path, items: Sequence[DatasetItem], thresholds: Thresholds) -> Thresholds:
    """Thresholds that keep the miss rates that are wanted, with the rates that hold.

    Args:
        model: that ships.
        folder: dataset folder made by ``learning.training_folder``.
        items: its val frames.
        thresholds: ``miss_rate`` says what is wanted by class.
    """
    names = model.manifest.record_names
    truth = [Detections.of([b.bbox for b in i.boxes], [names.index(b.class_name) for b in i.boxes]) for i in items]
    predictions = [
        model.predict(decode_image((path := image_path(folder, item)).read_bytes(), path.name), confidence=_LOWEST)
        for item in items
    ]
    matches = match_frames(predictions, truth, len(names))
    objects = [name for item in items for name in item.object_ids or ("",) * len(item.boxes)]
    known = all(len(item.object_ids) == len(item.boxes) for item in items)
    units = Units.of([item.group for item in items], objects, Boxes.of(truth).frame, by_object=known)
    chosen = guaranteed(matches, units, names, thresholds.miss_rate)
    return thresholds.model_copy(
        update={
            "by_class": {**thresholds.by_class, **chosen},
            "miss_rate": {name: rate for name, rate in thresholds.miss_rate.items() if name in chosen},
        }
    )
