"""Suspicious labels: errors put in on purpose are found, named by their kind, and come first."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_assets.learning.suspicion import suspicions, two_looks
from yolo_assets.vision.detections import Detections

CLASSES = 4
Boxes = tuple[np.ndarray, np.ndarray]


def scenes(rng: np.random.Generator, count: int) -> list[Boxes]:
    found: list[Boxes] = []
    for _ in range(count):
        number = int(rng.poisson(1.5))
        sides, centres = rng.uniform(20, 60, (number, 2)), rng.uniform(60, 580, (number, 2))
        found.append((np.hstack([centres - sides / 2, centres + sides / 2]), rng.integers(0, CLASSES, number)))
    return found


def reported(rng: np.random.Generator, truth: list[Boxes]) -> list[Detections]:
    """What a lively model says: it misses some, shifts all a little, and invents and confuses at low confidence."""
    reports: list[Detections] = []
    for boxes, classes in truth:
        rows: list[tuple[np.ndarray, int, float]] = []
        for box, kind in zip(boxes, classes, strict=True):
            if rng.random() < 0.03:
                continue
            sides = np.tile(box[2:] - box[:2], 2)
            rows.append((box + rng.normal(0, 0.05, 4) * sides, int(kind), rng.beta(9, 2)))
            if rng.random() < 0.1:
                rows.append((box + rng.normal(0, 0.05, 4) * sides, int(kind + 1) % CLASSES, rng.beta(2, 9)))
        for _ in range(rng.poisson(0.3)):
            corner = rng.uniform(0, 560, 2)
            rows.append((np.r_[corner, corner + rng.uniform(20, 60, 2)], int(rng.integers(CLASSES)), rng.beta(2, 7)))
        boxes_, kinds, confidence = zip(*rows, strict=True) if rows else ((), (), ())
        reports.append(Detections.of(boxes_, kinds, confidence))
    return reports


def with_errors(rng: np.random.Generator, truth: list[Boxes], each: int) -> tuple[list[Detections], dict[int, str]]:
    order = iter(rng.permutation([image for image, (_, kinds) in enumerate(truth) if len(kinds)]))
    labels, wrong = [Detections.of(*one) for one in truth], dict[int, str]()
    for kind in ("swapped", "misplaced", "overlooked"):
        for _ in range(each):
            image = int(next(order))
            boxes, kinds = (part.copy() for part in truth[image])
            if kind == "swapped":
                kinds[0] = (kinds[0] + 1) % CLASSES
            elif kind == "misplaced":
                boxes[0] += np.tile((boxes[0][2:] - boxes[0][:2]) * rng.choice([-0.5, 0.5], 2), 2)
            else:
                boxes, kinds = boxes[1:], kinds[1:]
            labels[image], wrong[image] = Detections.of(boxes, kinds), kind
    return labels, wrong


def test_injected_errors_come_first_and_are_named_rightly() -> None:
    rng = np.random.default_rng(0)
    truth = scenes(rng, 500)
    labels, wrong = with_errors(rng, truth, each=15)
    found = suspicions(labels, reported(rng, truth))
    first = list(dict.fromkeys(one.image for one in found))[: len(wrong)]
    assert sum(image in wrong for image in first) >= 0.85 * len(wrong)
    said = {one.image: one.kind for one in reversed(found)}
    for kind in ("swapped", "misplaced", "overlooked"):
        assert sum(said.get(image) == what == kind for image, what in wrong.items()) >= 12, kind


def test_labels_that_agree_with_the_model_are_not_suspected() -> None:
    rng = np.random.default_rng(1)
    truth = [Detections.of(*one) for one in scenes(rng, 200)]
    sure = [Detections.of(one.xyxy, one.class_id, np.full(len(one), 0.9)) for one in truth]
    assert suspicions(truth, sure) == []


def test_rounds_that_differ_are_told_and_count_more_with_the_model() -> None:
    box = Detections.of([[10, 10, 60, 60]], [1])
    nothing = Detections.empty()
    (alone,) = suspicions([nothing], [nothing], {0: box})
    assert (alone.kind, alone.label, alone.report, alone.earlier) == ("overlooked", None, None, 0)
    other = Detections.of([[10, 10, 60, 60]], [2])
    (swapped,) = suspicions([other], [nothing], {0: box})
    assert (swapped.kind, swapped.label) == ("swapped", 0)
    usual = [Detections.of([[5, 5, 50, 50]], [1])] * 20
    sure = [Detections.of(one.xyxy, one.class_id, [0.9]) for one in usual]
    model = Detections.of(box.xyxy, box.class_id, [0.6])
    (without,) = suspicions([*usual, nothing], [*sure, model])
    (backed,) = suspicions([*usual, nothing], [*sure, model], {20: box})
    assert backed.score > without.score and backed.earlier == 0


def test_classes_that_a_model_often_confuses_come_after_a_lone_swap() -> None:
    right = [Detections.of([[10, 10, 60, 60]], [kind]) for kind in (0, 1, 2, 3)] * 15
    sure = [Detections.of(one.xyxy, one.class_id, [0.9]) for one in right]
    confused = [Detections.of([[10, 10, 60, 60]], [0])] * 8
    as_another = [Detections.of(one.xyxy, [1], [0.85]) for one in confused]
    lone = Detections.of([[10, 10, 60, 60]], [2])
    found = suspicions([*right, *confused, lone], [*sure, *as_another, Detections.of(lone.xyxy, [3], [0.6])])
    assert [one.kind for one in found] == ["swapped"] * 9
    assert found[0].image == len(right) + len(confused) and found[0].score > 2 * found[1].score > 0


def test_a_thin_box_drawn_thicker_is_not_misplaced_and_a_shifted_one_is() -> None:
    usual = [Detections.of([[10, 10, 110, 20]], [0])] * 20
    sure = [Detections.of(one.xyxy, one.class_id, [0.9]) for one in usual]
    thicker = Detections.of([[10, 4, 110, 27]], [0], [0.9])
    shifted = Detections.of([[55, 10, 155, 20]], [0], [0.9])
    (found,) = suspicions([*usual, usual[0], usual[0]], [*sure, thicker, shifted])
    assert (found.image, found.kind) == (21, "misplaced")
    tall = Detections.of([[10, -40, 110, 75]], [0], [0.9])
    (found,) = suspicions([*usual, usual[0]], [*sure, tall])
    assert found.kind == "misplaced"  # its centre is right, its size is not


def test_what_two_looks_agree_on_is_surer_than_what_one_alone_says() -> None:
    plain = Detections.of([[10, 10, 50, 50], [200, 10, 240, 50]], [0, 1], [0.8, 0.6])
    other = Detections.of([[14, 10, 54, 50], [200, 10, 240, 50]], [0, 2], [0.8, 0.4])
    both = two_looks(plain, other)
    order = np.argsort(both.class_id)
    assert both.class_id[order].tolist() == [0, 1, 2]
    assert both.confidence[order].tolist() == pytest.approx([0.8, 0.3, 0.2])
    assert both.xyxy[order][0].tolist() == pytest.approx([12, 10, 52, 50])
