"""Our average precision against COCO's and ultralytics' own, and the standard errors against resampling by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolo_assets.training.accuracy import (
    Boxes,
    Units,
    average_precision,
    confusion_counts,
    match_frames,
    mean_ap,
    operating_point,
    ultralytics_map50,
)
from yolo_assets.training.measuring import Measured, changes_against, gain_over
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import class_overlaps, iou_matrix, match

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


@pytest.mark.parametrize("seed", range(2))
def test_the_figure_beside_ours_is_that_of_ultralytics(seed, tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    from ultralytics.utils.metrics import ap_per_class

    found, truth = scenes(seed)
    matches = match_frames(found, truth, CLASSES)
    target = np.concatenate([t.class_id for t in truth])
    *_, ap, _classes, _, _, _, _, _ = ap_per_class(
        matches.correct.astype(float), matches.confidence, matches.class_id, target
    )
    assert ultralytics_map50(matches, np.ones(CLASSES, bool)) == pytest.approx(ap[:, 0].mean(), abs=1e-3)


def coco_evaluation(predictions: list[Detections], truth: list[Detections], classes: int = CLASSES) -> Any:
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
        "categories": [{"id": c} for c in range(classes)],
        "annotations": [{"id": n, "area": 1.0, "iscrowd": 0, **row} for n, row in enumerate(rows(truth), 1)],
    }
    labels.createIndex()
    reference: Any = COCOeval(labels, labels.loadRes(rows(predictions)), "bbox")
    reference.params.areaRng, reference.params.areaRngLbl = reference.params.areaRng[:1], ["all"]
    reference.evaluate()
    reference.accumulate()
    return reference


def ordinary(seed: int) -> tuple[list[Detections], list[Detections], int]:
    return *scenes(seed, frames=150), CLASSES


def few_frames(seed: int) -> tuple[list[Detections], list[Detections], int]:
    return *scenes(seed, frames=6), CLASSES


def equal_confidences(seed: int) -> tuple[list[Detections], list[Detections], int]:
    found, truth = scenes(seed, frames=40)
    return [frame(f.xyxy, f.class_id, np.round(f.confidence, 1)) for f in found], truth, CLASSES


def equal_boxes(seed: int) -> tuple[list[Detections], list[Detections], int]:
    found, truth = scenes(seed, frames=40)
    twice = [frame(np.repeat(t.xyxy, 2, axis=0), np.repeat(t.class_id, 2)) for t in truth]
    return (
        [frame(np.repeat(f.xyxy, 2, axis=0), np.repeat(f.class_id, 2), np.repeat(f.confidence, 2)) for f in found],
        twice,
        CLASSES,
    )


def bad_model(seed: int) -> tuple[list[Detections], list[Detections], int]:
    found, truth = scenes(seed, frames=80)
    return [frame(f.xyxy + 12, f.class_id, f.confidence) for f in found], truth, CLASSES


def many_classes(seed: int) -> tuple[list[Detections], list[Detections], int]:
    found, truth = scenes(seed, frames=120)
    return (
        [frame(f.xyxy, f.class_id + 3 * (np.arange(len(f)) % 26), f.confidence) for f in found],
        [frame(t.xyxy, t.class_id + 3 * (np.arange(len(t)) % 26)) for t in truth],
        80,
    )


def class_without_predictions(seed: int) -> tuple[list[Detections], list[Detections], int]:
    found, truth = scenes(seed, frames=60)
    return [f[f.class_id != 1] for f in found], truth, CLASSES


def class_without_truth(seed: int) -> tuple[list[Detections], list[Detections], int]:
    found, truth = scenes(seed, frames=60)
    return found, [t[t.class_id != 1] for t in truth], CLASSES


def crowded(seed: int) -> tuple[list[Detections], list[Detections], int]:
    rng = np.random.default_rng(seed)
    found, truth, _ = ordinary(seed)
    noise = [rng.uniform(0, 200, (130, 2)) for _ in found[:4]]
    full = []
    for one, low in zip(found[:4], noise, strict=True):
        xyxy = np.vstack([one.xyxy, np.hstack([low, low + 25])])
        full.append(frame(xyxy, np.append(one.class_id, np.zeros(130)), np.append(one.confidence, rng.random(130))))
    return [*full, *found[4:]], truth, CLASSES


KINDS = [ordinary, few_frames, equal_confidences, equal_boxes, bad_model, many_classes]
KINDS += [class_without_predictions, class_without_truth, crowded]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_mean_average_precision_is_that_of_coco(kind: Any, seed: int):
    predictions, truth, classes = kind(seed)
    reference = coco_evaluation(predictions, truth, classes)
    precision = reference.eval["precision"][:, :, :, 0, -1]
    expected = np.where((precision > -1).all(axis=1), precision.mean(axis=1), np.nan).T
    ap = average_precision(match_frames(predictions, truth, classes))
    np.testing.assert_allclose(ap, expected, atol=1e-3)
    assert mean_ap(ap) == pytest.approx(precision[precision > -1].mean(), abs=1e-3)
    assert mean_ap(ap[:, :1]) == pytest.approx(precision[0][precision[0] > -1].mean(), abs=1e-3)


def test_matches_are_those_of_coco():
    predictions, truth, classes = ordinary(3)
    reference = coco_evaluation(predictions, truth)
    ours = match_frames(predictions, truth, classes)
    for c in range(CLASSES):
        images = [e for e in reference.evalImgs if e is not None and e["category_id"] == c]
        scores = np.concatenate([e["dtScores"] for e in images])
        right = np.concatenate([e["dtMatches"] > 0 for e in images], axis=1).T
        order = np.argsort(-scores, kind="stable")
        rows = ours.class_id == c
        np.testing.assert_allclose(ours.confidence[rows], scores[order], atol=1e-9)
        np.testing.assert_array_equal(ours.correct[rows], right[order])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_all_frames_at_once_match_as_one_by_one(seed):
    found, truth = scenes(seed, frames=4)
    together = match_frames(found, truth, CLASSES)
    for number, (ours, labels) in enumerate(zip(found, truth, strict=True)):
        order = np.argsort(-ours.confidence, kind="stable")
        alone = match(class_overlaps(ours, labels)[order], 0.5) >= 0
        np.testing.assert_array_equal(together.correct[together.frame == number, 0], alone)


def test_perfect_and_empty_predictions():
    truth = [frame([[0, 0, 10, 10]], [0]), frame([[5, 5, 20, 20]], [1])]
    perfect = average_precision(match_frames(truth, truth, CLASSES))
    np.testing.assert_allclose(perfect[:2], 1)
    assert np.isnan(perfect[2]).all()  # no truth: proves nothing, and is not taken for the mean of the others
    none = [frame([], [], np.empty(0))] * 2
    assert mean_ap(average_precision(match_frames(none, truth, CLASSES))) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_each_truth_is_found_at_most_once_and_only_by_its_class(seed):
    found, truth = scenes(seed, frames=1)
    matches = match_frames(found, truth, CLASSES)
    for c in range(CLASSES):
        assert matches.correct[matches.class_id == c].sum(0).max(initial=0) <= (truth[0].class_id == c).sum()
    taken = matches.found[matches.found >= 0]
    assert len(np.unique(taken)) == len(taken)
    order = np.argsort(-found[0].confidence, kind="stable")
    overlap = iou_matrix(found[0].xyxy, truth[0].xyxy)[order]
    assert not matches.correct[overlap.max(1, initial=0) < 0.5].any()


def test_the_more_confident_of_two_gets_the_truth():
    truth = frame([[0, 0, 10, 10]], [0])
    found = frame([[0, 0, 10, 10], [0, 0, 10, 9]], [0, 0], np.array([0.5, 0.9]))
    correct = match_frames([found], [truth], 1).correct  # the most confident first
    assert correct[:, 0].tolist() == [True, False]
    assert correct[:, -1].tolist() == [False, True]  # at IoU 0.95 only the exact one counts


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
    hits, _, _ = operating_point(match_frames(found, truth, 2), [0.1, 0.5])  # a threshold for each class
    assert hits.tolist() == [2, 0]
    assert confusion_counts(found, truth, 2, 0.5).tolist() == [[1, 0, 1], [0, 0, 1], [0, 1, 0]]


def measured(found: list[Detections], truth: list[Detections], groups: list[str]) -> Measured:
    matches = match_frames(found, truth, CLASSES)
    objects = [""] * len(matches.truth_frame)
    units = Units.of(groups, objects, Boxes.of(truth).frame, by_object=False)
    return Measured.of(matches, units, ("a", "b", "c"), np.full(CLASSES, 0.5))


def test_standard_errors_are_those_of_resampling():
    found, truth = scenes(4, 90)
    better = [f[f.confidence > 0.3] for f in found]
    names = [str(i) for i in range(90)]
    ours, theirs = measured(better, truth, names), measured(found, truth, names)
    gain = gain_over(ours, theirs, 0.95)
    change = changes_against(ours, theirs).classes["a"].precision
    rng = np.random.default_rng(0)
    gains, precisions = [], []
    for _ in range(120):
        drawn = rng.integers(0, 90, 90)
        again = [[frames[i] for i in drawn] for frames in (better, found, truth)]
        one, other = measured(again[0], again[2], names), measured(again[1], again[2], names)
        gains.append(gain_over(one, other, 0.95).value)
        precisions.append(changes_against(one, other).classes["a"].precision.value)
    assert (gain.high - gain.low) / 2 / 1.96 == pytest.approx(np.std(gains), rel=0.3)
    assert change.se == pytest.approx(np.std(precisions), rel=0.3)


def test_what_is_seen_five_times_is_counted_once():
    found, truth = scenes(5, 40)
    once = measured(found, truth, [str(i) for i in range(40)])
    often, labels = ([one for one in frames for _ in range(5)] for frames in (found, truth))
    five = measured(often, labels, [str(i // 5) for i in range(200)])
    apart = measured(often, labels, [str(i) for i in range(200)])

    def width(one: Measured) -> float:
        interval = one.map50(0.95)
        return interval.high - interval.low

    assert width(five) == pytest.approx(width(once), rel=0.15)
    assert width(apart) < 0.6 * width(five)
    assert five.classes(0.95)["a"].objects == once.classes(0.95)["a"].objects


def test_units_are_objects_where_they_are_known():
    truth_frame = np.array([0, 1, 1, 3])
    units = Units.of(["g", "g", "h", "h"], ["o1", "o1", "o2", ""], truth_frame, by_object=True)
    assert units.of_truth[0] == units.of_truth[1] != units.of_truth[2]
    assert units.of_frame[0] == units.of_frame[1] == units.of_truth[0]
    assert units.of_frame[2] == units.of_frame[3] == units.of_truth[3]  # without an object: the group of the frame
    frames = Units.of(["g", "g", "h", "h"], ["o1", "o1", "o2", ""], truth_frame, by_object=False)
    assert frames.count == 2


def test_false_alarms_are_counted_on_good_frames_by_object_and_by_frame():
    truth = [frame([[0, 0, 10, 10]], [0]), frame([[2, 0, 12, 10]], [0]), frame([], []), frame([], [])]
    found = [
        frame([[0, 0, 10, 10], [50, 50, 60, 60]], [0, 0], np.array([0.9, 0.9])),
        frame([], []),
        frame([[5, 5, 9, 9], [50, 50, 60, 60]], [1, 0], np.array([0.8, 0.2])),
        frame([], []),
    ]
    matches = match_frames(found, truth, CLASSES)
    units = Units.of(["a", "a", "b", "c"], ["part", "part"], Boxes.of(truth).frame, by_object=True)
    one = Measured.of(matches, units, ("a", "b", "c"), np.full(CLASSES, 0.5))
    assert one.false_alarms() == (500, 2, 2)
    result = one.classes(0.95)["a"]
    assert (result.recall, result.recall_by_object, result.objects) == (0.5, 1.0, 1)
    assert (result.false_alarms, result.precision) == (0, 0.5)
