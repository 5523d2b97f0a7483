"""When two models on the same frames disagree too far, and when it only looks so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.model import ExpectedChange
from yolo_assets.edge.rollout.evaluation import ModelComparison, agreeing_pairs, percentile
from yolo_assets.vision.detections import Detections

CLASSES = ("crack", "porosity", "spatter")
LIMITS = {"min_frames": 10, "detections_band": 0.5, "max_class_shift": 0.3}

boxes = st.lists(
    st.tuples(st.sampled_from(CLASSES), st.integers(0, 90), st.integers(0, 90), st.integers(1, 40), st.integers(1, 40)),
    max_size=12,
)


def seen(boxes: list[tuple[str, int, int, int, int]]) -> Detections:
    xyxy = [(x, y, x + w, y + h) for _, x, y, w, h in boxes]
    return Detections.of(xyxy, [CLASSES.index(name) for name, *_ in boxes])


def row(count: int, name: str = "crack") -> Detections:
    return seen([(name, 50 * number, 0, 20, 20) for number in range(count)])


@given(boxes)
def test_a_model_agrees_wholly_with_itself(found: list[tuple[str, int, int, int, int]]) -> None:
    assert agreeing_pairs(seen(found), seen(list(reversed(found)))) == len(found)


@given(boxes, boxes)
def test_pairs_are_counted_once_whichever_way_one_looks(
    one: list[tuple[str, int, int, int, int]], other: list[tuple[str, int, int, int, int]]
) -> None:
    pairs = agreeing_pairs(seen(one), seen(other))
    assert 0 <= pairs <= min(len(one), len(other))
    of_class = [min(sum(box[0] == name for box in side) for side in (one, other)) for name in CLASSES]
    assert pairs <= sum(of_class)
    comparison = ModelComparison(CLASSES)
    comparison.add(seen(one), seen(other))
    assert 0 <= comparison.agreement <= 1 and 0 <= comparison.class_shift <= 1


def test_another_class_or_another_place_is_no_match() -> None:
    assert agreeing_pairs(row(3), row(3, "spatter")) == 0
    assert agreeing_pairs(row(1), seen([("crack", 15, 0, 20, 20)])) == 0  # IoU 1/7
    assert agreeing_pairs(row(1), seen([("crack", 5, 0, 20, 20)])) == 1  # IoU 0.6
    assert agreeing_pairs(seen([]), row(3)) == 0


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200))
def test_equal_models_stay_within_limits_whatever_the_scene_does(counts: list[int]) -> None:
    comparison = ModelComparison(CLASSES)
    for count in counts:
        comparison.add(row(count), row(count))
    assert comparison.outside_limits(min_frames=1, detections_band=0.01, max_class_shift=0.01) is None
    assert comparison.agreement == 1.0


@pytest.mark.parametrize(("old", "new"), [(4, 1), (1, 4), (4, 0), (0, 4)])
def test_far_fewer_or_more_boxes_exceed_limits_on_enough_frames(old: int, new: int) -> None:
    comparison = ModelComparison(CLASSES)
    for number in range(1, 11):
        assert comparison.outside_limits(**LIMITS) is None, number
        comparison.add(row(old), row(new))
    reason = comparison.outside_limits(**LIMITS)
    assert reason is not None and f"{new:.2f} against {old:.2f} of the old model on the same 10 frames" in reason


def test_a_few_unlucky_frames_decide_nothing() -> None:
    """Three frames of thirty with many boxes that only one model reports: a large change, but not a sure one."""
    comparison = ModelComparison(CLASSES)
    for number in range(30):
        comparison.add(row(0), row(20 if number % 15 == 0 else 0))
    assert comparison.new_boxes == 40 and comparison.outside_limits(**LIMITS) is None


def test_a_shifted_mix_of_classes_is_reported_with_the_class() -> None:
    comparison = ModelComparison(CLASSES)
    for number in range(20):
        comparison.add(row(4), row(4, "spatter" if number % 2 else "crack"))
    reason = comparison.outside_limits(**LIMITS)
    assert reason is not None and "50% of the boxes on the same 20 frames changed their class" in reason
    assert "crack by -50%" in reason or "spatter by +50%" in reason


def expecting(old: tuple[int, int], new: tuple[int, int]) -> ExpectedChange:
    """Right and wrong boxes of each."""
    return ExpectedChange(
        against="line/1", frames=100, old_right=old[0], old_wrong=old[1], new_right=new[0], new_wrong=new[1]
    )


def compared(old: int, new: int, frames: int = 60) -> ModelComparison:
    comparison = ModelComparison(CLASSES)
    for _ in range(frames):
        comparison.add(row(old), row(new))
    return comparison


def test_more_boxes_are_expected_where_the_old_model_misses_them() -> None:
    blind, seeing = expecting((3, 40), (55, 4)), expecting((100, 5), (105, 5))
    for old, new in ((1, 9), (0, 4)):
        assert compared(old, new).outside_limits(**LIMITS) is not None
        assert compared(old, new).outside_limits(**LIMITS, expected=seeing) is not None, (
            "it sees as well as the new one"
        )
        assert compared(old, new).outside_limits(**LIMITS, expected=blind) is None
    half = expecting((60, 5), (130, 5))
    assert compared(2, 6).outside_limits(**LIMITS, expected=half) is None
    assert compared(1, 30).outside_limits(**LIMITS, expected=half) is not None, "far more than that"


def test_fewer_boxes_are_expected_where_the_old_model_invents_them() -> None:
    inventing, missing = expecting((50, 90), (52, 6)), expecting((50, 5), (5, 5))
    assert compared(9, 2).outside_limits(**LIMITS) is not None
    assert compared(9, 2).outside_limits(**LIMITS, expected=inventing) is None
    assert compared(2, 9).outside_limits(**LIMITS, expected=inventing) is not None, "it misses no less than the new one"
    assert compared(9, 2).outside_limits(**LIMITS, expected=missing) is not None, "worse is never a reason"


def test_a_model_that_is_nearly_always_wrong_is_no_measure_for_the_number_of_boxes() -> None:
    """On few fresh frames the wrong boxes are not surely more, and yet one model is right and the other is not."""
    useless, equal = expecting((1, 37), (16, 17)), expecting((16, 17), (17, 16))
    assert compared(12, 5).outside_limits(**LIMITS) is not None
    assert compared(12, 5).outside_limits(**LIMITS, expected=equal) is not None
    assert compared(12, 5).outside_limits(**LIMITS, expected=useless) is None
    assert compared(12, 1).outside_limits(**LIMITS, expected=useless) is not None, "fewer than the old one has right"


def test_the_classes_of_a_wrong_model_are_not_compared() -> None:
    comparison = ModelComparison(CLASSES)
    for number in range(20):
        comparison.add(row(4), row(4, "spatter" if number % 2 else "crack"))
    assert comparison.outside_limits(**LIMITS, expected=expecting((100, 4), (101, 5))) is not None
    assert comparison.outside_limits(**LIMITS, expected=expecting((0, 42), (52, 7))) is None, "as in the demo"
    assert comparison.outside_limits(**LIMITS, expected=expecting((2, 1), (4, 0))) is not None, "on a handful of boxes"


@given(*[st.integers(0, 300)] * 4, st.integers(0, 6), st.integers(0, 6))
def test_an_expectation_only_widens_the_limits(a: int, b: int, c: int, d: int, old: int, new: int) -> None:
    comparison = compared(old, new, 30)
    if comparison.outside_limits(**LIMITS) is None:
        assert comparison.outside_limits(**LIMITS, expected=expecting((a, b), (c, d))) is None


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=10, max_size=60))
def test_it_does_not_matter_which_of_two_models_is_the_new_one(counts: list[tuple[int, int]]) -> None:
    there, back = ModelComparison(CLASSES), ModelComparison(CLASSES)
    for one, other in counts:
        there.add(row(one), row(other))
        back.add(row(other), row(one))
    assert (there.outside_limits(**LIMITS) is None) == (back.outside_limits(**LIMITS) is None)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300), st.floats(0, 1))
def test_percentiles_are_values_that_occurred(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values and percentile([], share) is None
    assert percentile(values, 1.0) == max(values) and percentile(values, 0.0) == min(values)
