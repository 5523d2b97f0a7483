"""Linking detections to objects, against lines whose objects are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from yolo_assets.vision.detections import Detections
from yolo_assets.vision.objects import link_objects

WIDTH = 640


def moving_line(
    fps: float, speed: float, *, seconds: float = 120.0, missed: float = 0.05
) -> tuple[NDArray[np.float64], list[Detections], list[NDArray[np.int64]]]:
    """Times, detections and true objects of parts on a belt.

    Boxes are off by 1.5 pixels, every tenth has another class, one in twenty is missed, the order in a frame is any.
    """
    rng = np.random.default_rng(round(fps * 1000 + speed))
    rate = 0.2 + speed / 300
    count = int(seconds * rate * 1.3) + 5
    start = WIDTH - np.cumsum(rng.uniform(0.5, 1.5, count) / rate) * speed
    width, height, y = rng.uniform(24, 60, count), rng.uniform(24, 60, count), rng.uniform(60, 380, count)
    classes = rng.integers(0, 4, count)
    times = np.arange(0, seconds, 1 / fps)
    frames, objects = [], []
    for moment in times:
        x1 = np.clip(start + speed * moment, 0, WIDTH)
        x2 = np.clip(start + speed * moment + width, 0, WIDTH)
        seen = np.flatnonzero((x2 - x1 > 0.4 * width) & (rng.random(count) >= missed))
        seen = rng.permutation(seen)
        boxes = np.stack([x1, y - height / 2, x2, y + height / 2], 1)[seen] + rng.normal(0, 1.5, (len(seen), 4))
        boxes[:, [0, 2]] = boxes[:, [0, 2]].clip(0, WIDTH)
        frames.append(Detections.of(boxes, np.where(rng.random(len(seen)) < 0.1, 9, classes[seen])))
        objects.append(seen)
    return times, frames, objects


@pytest.mark.parametrize(("fps", "speed"), [(1, 20), (1, 250), (5, 20), (5, 250), (25, 20), (25, 250)])
def test_parts_on_a_belt_keep_their_number_at_any_frame_rate(fps, speed):
    times, frames, objects = moving_line(fps, speed)
    numbers = link_objects(times, frames)
    pairs = set(zip(np.concatenate(objects).tolist(), np.concatenate(numbers).tolist(), strict=True))
    true, found = len({o for o, _ in pairs}), len({n for _, n in pairs})
    assert len(pairs) - found <= 0.02 * true, "two objects under one number"
    assert len(pairs) - true <= 0.12 * true, "one object under several numbers"


def test_numbers_rise_in_the_order_of_first_sight():
    times, frames, _ = moving_line(5, 120, seconds=30)
    numbers = link_objects(times, frames)
    seen: set[int] = set()
    for number in np.concatenate(numbers).tolist():
        assert number in seen or number == len(seen)
        seen.add(number)


def test_the_order_of_frames_does_not_matter():
    times, frames, _ = moving_line(5, 120, seconds=30)
    numbers = link_objects(times, frames)
    shuffled = np.random.default_rng(0).permutation(len(times))
    again = link_objects(times[shuffled] + 1e9, [frames[i] for i in shuffled])
    for place, frame in enumerate(shuffled):
        assert again[place].tolist() == numbers[frame].tolist()


def boxes(*lefts: float, class_id: int = 0) -> Detections:
    return Detections.of([[x, 100, x + 40, 150] for x in lefts], [class_id] * len(lefts))


def test_an_object_that_stands_still_is_one_and_a_gap_ends_it():
    times = np.array([0.0, 1, 2, 3, 4, 5, 60, 61])
    frames = [boxes(200), boxes(201), Detections.empty(), boxes(199), *[Detections.empty()] * 2, boxes(200), boxes(200)]
    assert [n.tolist() for n in link_objects(times, frames)] == [[0], [0], [], [0], [], [], [1], [1]]


def test_one_object_found_under_two_classes_in_a_frame_is_one():
    both = Detections.of([[200, 100, 240, 150], [201, 100, 241, 150], [400, 100, 440, 150]], [0, 1, 0], [0.9, 0.5, 0.9])
    found = link_objects(np.arange(3.0), [boxes(200, class_id=0), both, boxes(202, class_id=1)])
    assert [n.tolist() for n in found] == [[0], [0, 0, 1], [0]]


def test_nothing_found_and_wrong_times():
    assert link_objects(np.zeros(0), []) == []
    assert [len(n) for n in link_objects(np.arange(2.0), [Detections.empty()] * 2)] == [0, 0]
    with pytest.raises(ValueError, match="finite time"):
        link_objects(np.array([np.nan]), [Detections.empty()])
