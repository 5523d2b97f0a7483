"""Geometry there and back, buffers that are used again, both output layouts, and refusals in words."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.vision.pictures import picture_quality
from yolo_assets.vision.processing import PADDING, Geometry, Letterbox, decode

_frame_side, _input_side = st.integers(1, 3000), st.integers(1, 40).map(lambda n: n * 32)


@given(_frame_side, _frame_side, _input_side, _input_side)
def test_the_frame_lies_inside_the_input_and_touches_two_sides(h: int, w: int, height: int, width: int) -> None:
    place = Geometry.fit((h, w), (height, width))
    assert 0 <= place.top <= place.top + place.resized[0] <= height
    assert 0 <= place.left <= place.left + place.resized[1] <= width
    assert place.resized[0] == height or place.resized[1] == width
    # centred: the sides differ by the odd pixel at most
    assert abs((height - place.resized[0]) - 2 * place.top) <= 1
    assert abs((width - place.resized[1]) - 2 * place.left) <= 1


@given(_frame_side, _frame_side, _input_side, _input_side, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_boxes_come_back_to_the_frame(h: int, w: int, height: int, width: int, part: list[float]) -> None:
    place = Geometry.fit((h, w), (height, width))
    x1, x2 = sorted((part[0] * w, part[1] * w))
    y1, y2 = sorted((part[2] * h, part[3] * h))
    gain_x, gain_y = place.resized[1] / w, place.resized[0] / h
    there = np.array(
        [[x1 * gain_x + place.left, y1 * gain_y + place.top, x2 * gain_x + place.left, y2 * gain_y + place.top]]
    )
    back = place.to_frame(there.astype(np.float32))
    np.testing.assert_allclose(back[0], [x1, y1, x2, y2], atol=2e-3 * max(1 / gain_x, 1 / gain_y, 1))
    assert back.dtype == np.float32


def test_boxes_are_clipped_to_the_frame() -> None:
    place = Geometry.fit((100, 200), (64, 64))
    back = place.to_frame(np.array([[-50, -50, 500, 500]], np.float32))
    assert back.tolist() == [[0, 0, 200, 100]]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([(20, 30), (30, 20), (64, 96), (7, 200), (1, 1)]), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_a_buffer_that_was_used_gives_what_a_fresh_one_gives(sizes: list[tuple[int, int]], seed: int) -> None:
    random, used = np.random.default_rng(seed), Letterbox(64, 96)
    for size in sizes:
        frame = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        before = frame.copy()
        blob, place = used(frame)
        fresh, _ = Letterbox(64, 96)(frame)
        np.testing.assert_array_equal(blob, fresh)
        np.testing.assert_array_equal(frame, before)
        outside = np.ones(blob.shape, bool)
        outside[:, :, place.top : place.top + place.resized[0], place.left : place.left + place.resized[1]] = False
        assert (blob[outside] == np.float32(PADDING) / np.float32(255)).all()


def test_channels_are_swapped_and_views_are_taken_as_they_look() -> None:
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[..., 2] = 255  # red in BGR
    blob, _ = Letterbox(32, 32)(frame)
    assert blob[0, 0].min() == 1.0
    assert blob[0, 1:].max() == 0.0
    blob, _ = Letterbox(32, 32)(frame[:, :, ::-1])  # negative stride: the same picture in blue
    assert blob[0, 2].min() == 1.0


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\]"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_frame_is_refused_with_one_line(frame, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        Letterbox(32, 32)(frame)
    with pytest.raises(BadInputError, match=said):
        picture_quality(frame)


def _head(rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, np.float32).T[None]


def test_raw_takes_each_boxs_best_class_and_suppresses_within_classes() -> None:
    output = _head(
        [
            [50, 50, 20, 10, 0.2, 0.9],  # class 1
            [51, 50, 20, 10, 0.1, 0.8],  # the same object
            [50, 50, 20, 10, 0.7, 0.6],  # same place, class 0: stays, and its second label is not reported
            [10, 10, 4, 4, 0.25, 0.1],  # at the threshold, not above
        ]
    )
    found = decode(output, "raw", classes=2, confidence=0.25, iou=0.5, max_detections=10)
    assert found.class_id.tolist() == [1, 0]
    assert found.xyxy.tolist() == [[40, 45, 60, 55]] * 2
    np.testing.assert_allclose(found.confidence, [0.9, 0.7])


def test_end2end_is_filtered_only() -> None:
    output = np.array(
        [[[1, 2, 3, 4, 0.9, 1], [1, 2, 3, 4, 0.8, 1], [5, 6, 7, 8, 0.3, 0], [0, 0, 0, 0, 0, 0]]], np.float32
    )
    found = decode(output, "end2end", classes=2, confidence=0.5, iou=0.1, max_detections=10)
    assert found.class_id.tolist() == [1, 1]
    assert len(decode(output, "end2end", classes=2, confidence=0.5, iou=0.1, max_detections=1)) == 1
    with pytest.raises(BadInputError, match="class 1, but the manifest names 1"):
        decode(output, "end2end", classes=1, confidence=0.5, iou=0.1, max_detections=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["raw", "end2end"])
def test_one_value_that_is_not_finite_fails_the_output(value: float, layout) -> None:
    output = np.zeros((1, 6, 6), np.float32)
    output[0, 2, 3] = value
    with pytest.raises(BadInputError, match="1 values that are not finite"):
        decode(output, layout, classes=2, confidence=0.5, iou=0.5, max_detections=10)


def test_another_output_shape_is_named() -> None:
    with pytest.raises(
        BadInputError, match=r"raw model of 3 classes gives \[1, 7, anchors\], this one gave \[1, 6, 50\]"
    ):
        decode(np.zeros((1, 6, 50), np.float32), "raw", classes=3, confidence=0.5, iou=0.5, max_detections=10)


def test_nothing_above_the_threshold_is_no_box() -> None:
    found = decode(np.zeros((1, 6, 50), np.float32), "raw", classes=2, confidence=0.5, iou=0.5, max_detections=10)
    assert len(found) == 0
    assert found.to_records(["a", "b"], datetime(2026, 1, 2, tzinfo=UTC)) == []


def test_quality_falls_with_blur_and_follows_brightness() -> None:
    import cv2

    random = np.random.default_rng(0)
    sharp = cv2.resize(
        random.integers(0, 256, (60, 80, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_NEAREST
    )
    blurs = [
        picture_quality(np.asarray(cv2.GaussianBlur(sharp, (0, 0), sigma), np.uint8))[0] for sigma in (0.5, 2, 5, 12)
    ]
    assert blurs == sorted(blurs, reverse=True)
    assert blurs[-1] < blurs[0] / 20
    flat = np.full((480, 640, 3), 77, np.uint8)
    assert picture_quality(flat) == (0.0, 77.0)


def test_each_class_has_its_own_threshold() -> None:
    raw = np.zeros((1, 6, 3), np.float32)
    raw[0, :4] = [[10, 30, 50], [10, 30, 50], [8, 8, 8], [8, 8, 8]]
    raw[0, 4:] = [[0.4, 0, 0.3], [0, 0.3, 0]]
    found = decode(raw, "raw", classes=2, confidence=[0.35, 0.2], iou=0.5, max_detections=10)
    assert sorted(found.class_id.tolist()) == [0, 1]
    assert found.confidence.tolist() == pytest.approx([0.4, 0.3])
    rows = np.array([[[0, 0, 9, 9, 0.3, 0], [0, 0, 9, 9, 0.3, 1], [0, 0, 9, 9, 0.1, 1]]], np.float32)
    found = decode(rows, "end2end", classes=2, confidence=[0.35, 0.2], iou=0.5, max_detections=10)
    assert found.class_id.tolist() == [1]
