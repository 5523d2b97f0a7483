"""A threshold keeps the miss rate that it promises, by object, and promises none that it cannot keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.model import Thresholds
from yolo_assets.training.accuracy import Boxes, Units, match_boxes
from yolo_assets.training.conformal import guaranteed


def thresholds(scores: NDArray[np.float64], rate: float, frames: int = 1) -> dict[str, float]:
    """One class, an object a frame (or in several frames), found with the given scores."""
    count = len(scores)
    frame = np.arange(count)
    boxes = np.tile([0.0, 0, 10, 10], (count, 1))
    none = np.zeros(count, np.int64)
    matches = match_boxes(Boxes(boxes, none, scores, frame), Boxes(boxes, none, np.ones(count), frame), count, 1)
    names = [str(i // frames) for i in range(count)]
    return guaranteed(matches, Units.of(names, names, frame, by_object=True), ["crack"], {"crack": rate})


def test_the_miss_rate_holds_on_objects_that_were_not_seen():
    rng = np.random.default_rng(1)
    missed = []
    for _ in range(400):
        threshold = thresholds(rng.beta(4, 2, 60), 0.1)["crack"]
        missed.append(float((rng.beta(4, 2, 500) <= threshold).mean()))
    assert 0.05 < np.mean(missed) <= 0.1  # kept, and not by reporting everything


def test_no_promise_without_enough_objects_or_where_they_are_never_found():
    assert thresholds(np.full(8, 0.9), 0.1) == {}
    assert 0.89 < thresholds(np.full(9, 0.9), 0.1)["crack"] < 0.9  # the edge reports what is above a threshold
    assert thresholds(np.concatenate([np.zeros(20), np.full(20, 0.9)]), 0.1) == {}


def test_five_frames_of_one_object_are_one_object():
    scores = np.repeat(np.linspace(0.1, 0.9, 12), 5)
    assert thresholds(scores, 0.05, frames=5) == {}
    assert thresholds(scores, 0.05) != {}


def test_a_manifest_without_thresholds_by_class_reads_as_before():
    assert Thresholds().model_dump() == {"confidence": 0.25, "iou": 0.7, "max_detections": 300}
    both = Thresholds(by_class={"crack": 0.1}, miss_rate={"crack": 0.05})
    assert Thresholds.from_json(both.to_json()) == both
    assert both.of(["pore", "crack"]) == [0.25, 0.1]
