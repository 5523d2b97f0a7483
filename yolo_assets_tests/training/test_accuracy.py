"""Our average precision against COCO's and ultralytics' own, and the bootstrap against resampling by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolo_assets.training.accuracy import (
    MIN_GROUPS,
    average_precision,
    bootstrap_weights,
    confusion_counts,
    correct_at_thresholds,
    interval,
    match_frames,
    mean_ap,
    operating_point,
)
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import iou_matrix

CLASSES = 3


def frame(xyxy, class_id, confidence=None) -> Detections:
    return Detections.of(xyxy, class_id, confidence)


def scenes(seed: int, frames: int = 12) -> tuple[list[Detections], list[Detections]]:
    """Truth, and predictions that are moved, missing, doubled, of another class or from nowhere."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(frames):
        count = int(rng.integers(0, 5))
        low = rng.uniform(0, 200, (count, 2))
        boxes = np.hstack([low, low + rng.uniform(15, 60, (count, 2))])
        ids = rng.integers(0, CLASSES, count)
        truth.append(frame(boxes, ids))
        copies = rng.integers(0, 3, count)
        moved = np.repeat(boxes, copies, axis=0)
        moved = moved + rng.normal(0, 3, moved.shape)
        seen = np.where(rng.random(len(moved)) < 0.85, np.repeat(ids, copies), rng.integers(0, CLASSES, len(moved)))
        extra = rng.uniform(0, 200, (int(rng.integers(0, 4)), 2))
        xyxy = np.vstack([moved, np.hstack([extra, extra + 30])])
        seen = np.concatenate([seen, rng.integers(0, CLASSES, len(extra))])
        found.append(frame(xyxy, seen, rng.random(len(xyxy))))
    return found, truth


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_ultralytics(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    from ultralytics.utils.metrics import ap_per_class

    found, truth = scenes(seed)
    matches = match_frames(found, truth, CLASSES)
    target = np.concatenate([t.class_id for t in truth])
    *_, ap, classes, _, _, _, _, _ = ap_per_class(
        matches.correct.astype(float), matches.confidence, matches.class_id, target
    )
    ours = average_precision(matches)[0]
    np.testing.assert_allclose(ours[classes], ap, atol=2e-3)
    assert mean_ap(ours[None])[0] == pytest.approx(ap.mean(), abs=2e-3)


def coco_evaluation(predictions: list[Detections], truth: list[Detections]) -> Any:
    """The reference implementation on the same frames, images numbered from 1."""

    def rows(frames: list[Detections]) -> list[dict[str, Any]]:
        return [
            {"image_id": image, "category_id": int(c), "bbox": [*box[:2], *(box[2:] - box[:2])], "score": float(score)}
            for image, frame in enumerate(frames, 1)
            for box, c, score in zip(frame.xyxy.astype(float), frame.class_id, frame.confidence, strict=True)
        ]

    labels: Any = COCO()
    labels.dataset = {
        "images": [{"id": image} for image in range(1, len(truth) + 1)],
        "categories": [{"id": c} for c in range(CLASSES)],
        "annotations": [{"id": n, "area": 1.0, "iscrowd": 0, **row} for n, row in enumerate(rows(truth), 1)],
    }
    labels.createIndex()
    reference: Any = COCOeval(labels, labels.loadRes(rows(predictions)), "bbox")
    reference.params.areaRng, reference.params.areaRngLbl = reference.params.areaRng[:1], ["all"]
    reference.evaluate()
    reference.accumulate()
    return reference


@pytest.mark.parametrize("seed", range(8))
def test_matching_and_average_precision_are_those_of_coco(seed: int):
    predictions, truth = scenes(seed, frames=150)
    reference = coco_evaluation(predictions, truth)
    ours = match_frames(predictions, truth, CLASSES)
    for c in range(CLASSES):
        images = [e for e in reference.evalImgs if e is not None and e["category_id"] == c]
        scores = np.concatenate([e["dtScores"] for e in images])
        right = np.concatenate([e["dtMatches"] > 0 for e in images], axis=1).T
        order = np.argsort(-scores, kind="stable")
        rows = ours.class_id == c
        np.testing.assert_allclose(ours.confidence[rows], scores[order], atol=1e-9)
        np.testing.assert_array_equal(ours.correct[rows], right[order])
    # COCO samples precision at 101 recalls; ours integrates between them, as ultralytics does.
    precision = reference.eval["precision"][:, :, :, 0, -1]
    ap = average_precision(ours)[0]
    np.testing.assert_allclose(ap, precision.mean(axis=1).T, atol=0.01)  # one step of recall
    assert mean_ap(ap[None])[0] == pytest.approx(precision.mean(), abs=0.005)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_a_weight_is_a_repetition_of_its_frame(seed, weights):
    found, truth = scenes(seed, frames=8)
    repeated = [i for i, weight in enumerate(weights) for _ in range(weight)]
    ours = average_precision(match_frames(found, truth, CLASSES), np.array([weights]))[0]
    if not repeated:
        assert np.isnan(ours).all()
        return
    by_hand = average_precision(match_frames([found[i] for i in repeated], [truth[i] for i in repeated], CLASSES))[0]
    # Equal confidences of one repeated frame come in blocks here and one by one there.
    np.testing.assert_allclose(ours, by_hand, atol=0.03)


def test_perfect_and_empty_predictions():
    truth = [frame([[0, 0, 10, 10]], [0]), frame([[5, 5, 20, 20]], [1])]
    perfect = average_precision(match_frames(truth, truth, CLASSES))[0]
    np.testing.assert_allclose(perfect[:2], 0.995)  # the last of 101 points lies beyond the curve, as in ultralytics
    assert np.isnan(perfect[2]).all()  # no truth: proves nothing, and is not taken for the mean of the others
    none = [frame([], [], np.empty(0))] * 2
    assert mean_ap(average_precision(match_frames(none, truth, CLASSES)))[0] == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_each_truth_is_found_at_most_once_and_only_by_its_class(seed):
    found, truth = scenes(seed, frames=1)
    correct = correct_at_thresholds(found[0], truth[0])
    for c in range(CLASSES):
        assert correct[found[0].class_id == c].sum(0).max(initial=0) <= (truth[0].class_id == c).sum()
    overlap = iou_matrix(found[0].xyxy, truth[0].xyxy)
    assert not correct[overlap.max(1, initial=0) < 0.5].any()


def test_the_more_confident_of_two_gets_the_truth():
    truth = frame([[0, 0, 10, 10]], [0])
    found = frame([[0, 0, 10, 10], [0, 0, 10, 9]], [0, 0], np.array([0.5, 0.9]))
    correct = correct_at_thresholds(found, truth)
    assert correct[:, 0].tolist() == [False, True]
    assert correct[:, -1].tolist() == [True, False]  # at IoU 0.95 only the exact one counts


def test_operating_point_counts():
    truth = [frame([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 1]), frame([[0, 0, 10, 10]], [0])]
    found = [
        frame([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 1], np.array([0.9, 0.8])),
        frame([[0, 0, 10, 10]], [0], np.array([0.2])),
    ]
    hits, reports, objects = operating_point(match_frames(found, truth, 2), 0.5)
    assert (hits.tolist(), reports.tolist(), objects.tolist()) == ([1, 0], [1, 1], [2, 1])
    hits, _, objects = operating_point(match_frames(found, truth, 2), 0.1, np.array([False, True]))
    assert (hits.tolist(), objects.tolist()) == ([1, 0], [1, 0])
    assert confusion_counts(found, truth, 2, 0.5).tolist() == [[1, 0, 1], [0, 0, 1], [0, 1, 0]]


def test_the_bootstrap_draws_whole_groups():
    groups = [f"g{i // 3}" for i in range(36)]
    weights = bootstrap_weights(groups, 50, seed=1)
    assert weights.shape == (50, 36)
    assert (weights.reshape(50, 12, 3) == weights.reshape(50, 12, 3)[:, :, :1]).all()
    assert (weights.sum(1) == 36).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(groups, 50, seed=1))
    few = bootstrap_weights([f"g{i % (MIN_GROUPS - 1)}" for i in range(30)], 50, seed=1)
    assert len(np.unique(few, axis=1).T) == 30  # frames by themselves


def test_the_interval_narrows_with_more_frames_and_holds_the_value():
    widths = []
    for frames in (20, 320):
        found, truth = scenes(4, frames)
        matches = match_frames(found, truth, CLASSES)
        weights = bootstrap_weights([str(i) for i in range(frames)], 200, 0)
        samples = mean_ap(average_precision(matches, weights, thresholds=1))
        low, high = interval(samples, 0.95)
        assert low < mean_ap(average_precision(matches, thresholds=1))[0] < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
