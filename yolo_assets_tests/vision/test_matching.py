"""IoU, matching and NMS against their slow definitions. Against torchvision: in the parity tests."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from yolo_assets.vision.detections import Detections
from yolo_assets.vision.matching import MAX_CANDIDATES, class_aware_nms, class_overlaps, iou_matrix, match, nms

# Few distinct values on purpose: ties of score, equal boxes, boxes without area and overlaps at the threshold abound.
_side = st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 10.5])
_box = st.tuples(_side, _side, _side, _side).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)
_candidates = st.lists(st.tuples(_box, st.sampled_from([0.1, 0.3, 0.3, 0.9]), st.integers(0, 2)), max_size=25)
_thresholds = st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.7, 1.0])


def _split(candidates: list) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    return (
        np.array([c[0] for c in candidates], np.float32).reshape(-1, 4),
        np.array([c[1] for c in candidates], np.float32),
        np.array([c[2] for c in candidates], np.int32),
    )


def _slow_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = max(np.float32(0), min(a[2], b[2]) - max(a[0], b[0]))
    height = max(np.float32(0), min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / total) if total else 0.0


def _slow(boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float) -> list[int]:
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(_slow_iou(boxes[other], boxes[index]) <= iou for other in kept):
            kept.append(index)
    return kept


@given(_candidates, _thresholds)
def test_equals_the_slow_definition(candidates: list, iou: float) -> None:
    boxes, scores, _ = _split(candidates)
    assert nms(boxes, scores, iou).tolist() == _slow(boxes, scores, iou)


@given(_candidates, _thresholds, st.integers(1, 5))
def test_classes_never_suppress_each_other_and_the_limit_keeps_the_best(
    candidates: list, iou: float, limit: int
) -> None:
    boxes, scores, classes = _split(candidates)
    by_class = [
        list(np.flatnonzero(classes == c)[_slow(boxes[classes == c], scores[classes == c], iou)]) for c in range(3)
    ]
    wanted = sorted((i for group in by_class for i in group), key=lambda i: (-scores[i], i))
    assert class_aware_nms(boxes, classes, scores, iou, len(candidates) + 1).tolist() == wanted
    assert class_aware_nms(boxes, classes, scores, iou, limit).tolist() == wanted[:limit]


@given(_candidates, _thresholds)
def test_running_it_again_on_what_it_kept_changes_nothing(candidates: list, iou: float) -> None:
    boxes, scores, _ = _split(candidates)
    kept = nms(boxes, scores, iou)
    assert nms(boxes[kept], scores[kept], iou).tolist() == list(range(len(kept)))


def test_more_candidates_than_allowed_are_cut_to_the_most_confident() -> None:
    count = MAX_CANDIDATES + 50
    column = np.arange(count, dtype=np.float32)
    boxes = np.stack([column * 3, column * 0, column * 3 + 1, column * 0 + 1], axis=1)  # none overlap
    scores = np.linspace(0, 1, count, dtype=np.float32)
    scores[:50] = 1.0
    kept = class_aware_nms(boxes, np.zeros(count, np.int32), scores, 0.5, 60)
    assert kept.tolist() == [*range(50), *range(count - 1, count - 11, -1)]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_equal_input_gives_equal_output(seed: int) -> None:
    random = np.random.default_rng(seed)
    boxes = np.sort(random.uniform(0, 50, (60, 2, 2)), axis=1).reshape(60, 4).astype(np.float32)
    scores = random.choice([0.2, 0.5, 0.8], 60).astype(np.float32)
    first = nms(boxes, scores, 0.4)
    assert all((nms(boxes.copy(), scores.copy(), 0.4) == first).all() for _ in range(3))


@given(_candidates, _candidates)
def test_iou_is_the_slow_one_bit_by_bit_in_float32(first: list, second: list) -> None:
    a, b = _split(first)[0], _split(second)[0]
    found = iou_matrix(a, b)
    assert found.dtype == np.float32
    assert found.shape == (len(a), len(b))
    assert found.tolist() == [[np.float32(_slow_iou(x, y)) for y in b] for x in a]


@given(_candidates, _candidates)
def test_overlaps_are_symmetric_within_a_class_and_0_between_classes(first: list, second: list) -> None:
    a, b = _detections(first), _detections(second)
    overlaps = class_overlaps(a, b)
    assert overlaps.dtype == np.float64
    assert ((overlaps >= 0) & (overlaps <= 1)).all()
    assert (overlaps == class_overlaps(b, a).T).all()
    assert not overlaps[a.class_id[:, None] != b.class_id].any()


@given(_candidates, _candidates, st.sampled_from([0.25, 1 / 3, 0.5, 0.7, 1.0]))
def test_rows_match_like_the_slow_loop_in_their_order(first: list, second: list, iou: float) -> None:
    overlaps = class_overlaps(_detections(first), _detections(second))
    free, wanted = set(range(overlaps.shape[1])), []
    for row in overlaps:
        best = min(free, key=lambda column: (-row[column], column), default=None)
        if best is None or row[best] < iou:
            best = -1
        free.discard(best)
        wanted.append(best)
    assert match(overlaps, iou).tolist() == wanted


@given(_candidates, _candidates, st.sampled_from([0.25, 1 / 3, 0.5, 0.7, 1.0]))
def test_best_pairs_match_like_the_slow_loop(first: list, second: list, iou: float) -> None:
    overlaps = class_overlaps(_detections(first), _detections(second))
    wanted = [-1] * len(overlaps)
    pairs = [(-value, row, column) for (row, column), value in np.ndenumerate(overlaps) if value >= iou]
    for _, row, column in sorted(pairs):
        if wanted[row] < 0 and column not in wanted:
            wanted[row] = column
    assert match(overlaps, iou, first="pairs").tolist() == wanted


def _detections(candidates: list) -> Detections:
    boxes, scores, classes = _split(candidates)
    return Detections(boxes, classes, scores)
