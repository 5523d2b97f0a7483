"""The array type: what it refuses, how it is sliced, and its form in records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.detection import Detection
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.vision.detections import Detections

NAMES = ["crack", "spatter", "pore"]


def test_errors_state_the_expected_and_the_actual_shape() -> None:
    good = np.zeros((2, 4), np.float32), np.zeros(2, np.int32), np.zeros(2, np.float32)
    Detections(*good)
    with pytest.raises(BadInputError, match=r"xyxy must be float32 \[2, 4\], got float64 \[2, 4\]"):
        Detections(good[0].astype(np.float64), good[1], good[2])  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInputError, match=r"class_id must be int32 \[2\], got int32 \[3\]"):
        Detections(good[0], np.zeros(3, np.int32), good[2])
    with pytest.raises(BadInputError, match="0 to 1, got -4 to 7"):
        Detections(good[0], good[1], np.array([-4, 7], np.float32))


def test_records_follow_the_contract() -> None:
    boxes = Detections(
        np.array([[1.234567, 2, 3, 4.5]], np.float32), np.array([1], np.int32), np.array([0.98765432], np.float32)
    )
    moment = datetime(2026, 1, 2, 4, 4, 5, 678000, tzinfo=timezone(timedelta(hours=1)))
    (found,) = boxes.to_records(["crack", "spatter"], moment)
    assert found == {
        "bbox": [1.23, 2.0, 3.0, 4.5],
        "class": "spatter",
        "confidence": 0.9877,
        "timestamp": "2026-01-02T03:04:05.678Z",
    }
    assert Detection.model_validate(found).class_name == "spatter"
    with pytest.raises(BadInputError, match="do not fit 1 class names"):
        boxes.to_records(["crack"], moment)


def test_a_box_that_is_inside_out_costs_no_other_its_place_in_the_record() -> None:
    """YOLO26's head may give one, and a record with it would be refused."""
    boxes = Detections.of([[60, 40, 20, 90], [10, 10, 30, 30], [5, 80, 25, 60]], [0, 1, 0], [0.9, 0.8, 0.7])
    (found,) = boxes.to_records(["crack", "spatter"], datetime(2026, 1, 2, tzinfo=UTC))
    assert Detection.model_validate(found).class_name == "spatter"


def test_indexing_selects_by_class_confidence_slice_and_position() -> None:
    found = Detections.of([[0, 0, 4, 4], [1, 1, 1, 9], [2, 2, 8, 8]], [0, 1, 0], [0.9, 0.5, 0.25])
    assert found[found.class_id == 0].confidence.tolist() == pytest.approx([0.9, 0.25])
    assert found[found.confidence > 0.4].class_id.tolist() == [0, 1]
    assert found[:1].xyxy.tolist() == [[0, 0, 4, 4]]
    assert found[np.array([2, 0])].confidence.tolist() == pytest.approx([0.25, 0.9])
    assert len(found[found.class_id == 7]) == len(Detections.empty()) == 0
    assert found.has_area.tolist() == [True, False, True]


def test_arrays_are_read_only_and_the_callers_stay_writable() -> None:
    confidence = np.ones(1, np.float32)
    found = Detections(np.zeros((1, 4), np.float32), np.zeros(1, np.int32), confidence)
    with pytest.raises(ValueError, match="read-only"):
        found.confidence[0] = 0.5
    confidence[0] = 0.5


def test_labels_have_confidence_1_and_no_detections_keep_their_shape() -> None:
    assert Detections.of([[0, 0, 1, 1]], [2]).confidence.tolist() == [1.0]
    assert Detections.of([], []).xyxy.shape == (0, 4)
    with pytest.raises(BadInputError, match=r"xyxy must be float32 \[2, 4\], got float32 \[1, 4\]"):
        Detections.of([[0, 0, 1, 1]], [2, 2])


_coordinate = st.integers(0, 400_000).map(lambda hundredths: hundredths / 100)
_rows = st.lists(
    st.tuples(st.tuples(*[_coordinate] * 4), st.integers(0, 2), st.integers(0, 10_000).map(lambda n: n / 10_000))
)


@given(_rows)
def test_records_carry_the_detections_there_and_back(rows: list) -> None:
    found = Detections.of([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    records = found.to_records(NAMES, datetime(2026, 1, 2, tzinfo=UTC))
    again = Detections.from_records(records, NAMES)
    x1, y1, x2, y2 = found.xyxy.T
    kept = found[(x1 <= x2) & (y1 <= y2)]
    assert again.to_records(NAMES, datetime(2026, 1, 2, tzinfo=UTC)) == records
    assert len(again) == len(kept) and (again.class_id == kept.class_id).all()
    assert np.abs(again.xyxy - kept.xyxy).max(initial=0) <= 0.006


def test_an_unknown_class_in_a_record_is_refused() -> None:
    record = {"bbox": [0, 0, 1, 1], "class": "dent", "confidence": 0.5}
    with pytest.raises(BadInputError, match="unknown class or lacks a field: 'dent'"):
        Detections.from_records([record], NAMES)
