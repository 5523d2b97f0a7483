"""Suspicious labels: errors put in on purpose are found, named by their kind, and come first."""

from __future__ import annotations

import numpy as np

from yolo_assets.learning.suspicion import suspicions
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
