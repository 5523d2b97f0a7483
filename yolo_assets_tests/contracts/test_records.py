import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ChannelPointer, ModelIdentity, ReleasedModel

boxes = st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0, 500), st.floats(0, 500)).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)
detections = st.fixed_dictionaries(
    {
        "bbox": boxes,
        "class": st.text(min_size=1, max_size=10),
        "confidence": st.floats(0, 1),
        "timestamp": st.just("2026-01-02T03:04:05.678Z"),
    },
    optional={"track_id": st.integers()},
)


extras = st.dictionaries(st.sampled_from(["line", "shift"]), st.integers())


@given(st.lists(detections, max_size=4), extras)
def test_a_foreign_record_is_kept_as_it_stands_with_its_unknown_keys(found: list, extra: dict) -> None:
    given_ = {"image_path": "cam/h/f.jpg", "detections": found, "model_version": "v1", "device_id": "box", **extra}
    record = DetectionRecord.from_json(json.dumps(given_))
    again = json.loads(record.to_json())
    for key, value in given_.items():
        assert again[key] == value
    assert DetectionRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bbox": [5, 1, 1, 5]}, "bbox"),
        ({"bbox": [1, 2, 3]}, "bbox"),
        ({"confidence": 1.2}, "confidence"),
        ({"timestamp": "2026-01-02T03:04:05"}, "timestamp"),
        ({"class": ""}, "class"),
    ],
)
def test_a_bad_detection_names_the_field_in_one_line(change: dict, what: str) -> None:
    good = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": 0.5, "timestamp": "2026-01-02T03:04:05Z"}
    record = {"image_path": "a", "detections": [{**good, **change}], "model_version": "v", "device_id": "d"}
    with pytest.raises(BadInputError, match=what) as caught:
        DetectionRecord.from_json(orjson.dumps(record), "records.ndjson line 7")
    assert "records.ndjson line 7" in str(caught.value) and "\n" not in str(caught.value)


def test_not_json_is_one_line() -> None:
    with pytest.raises(BadInputError, match=r"x\.json is not a valid DetectionRecord"):
        DetectionRecord.from_json(b"{half", "x.json")


def test_the_same_record_always_gives_the_same_bytes() -> None:
    pointer = ChannelPointer(
        name="line", channel="stable", version="1", manifest_sha256="0" * 64, release=1,
        moved_at=datetime(2026, 1, 2, tzinfo=UTC), moved_by="gate", reason="first",
    )  # fmt: skip
    assert pointer.to_json() == ChannelPointer.from_json(pointer.to_json()).to_json()
    assert b'"moved_at":"2026-01-02T00:00:00.000Z"' in pointer.to_json()


def test_a_pointer_written_before_keeps_its_bytes() -> None:
    text = (
        b'{"channel":"stable","expected":null,"manifest_sha256":"%s","moved_at":"2026-01-02T00:00:00.000Z",'
        b'"moved_by":"gate","name":"line","previous_version":null,"reason":"first","release":1,"schema_version":1,'
        b'"version":"1"}' % (b"0" * 64)
    )
    pointer = ChannelPointer.from_json(text)
    assert pointer.to_json() == text
    assert pointer.model_version == "line/1"


def test_a_model_is_the_same_wherever_it_is_recorded() -> None:
    pointer = ChannelPointer(
        name="line", channel="stable", version="1", manifest_sha256="0" * 64, release=3,
        moved_at=datetime(2026, 1, 2, tzinfo=UTC), moved_by="gate", reason="first",
    )  # fmt: skip
    assert pointer.released == ReleasedModel(name="line", version="1", manifest_sha256="0" * 64, release=3)
    assert pointer.identity == ModelIdentity(name="line", version="1", manifest_sha256="0" * 64)
    assert pointer.released.identity == pointer.identity
