"""Strategies for detection records as good, bad and foreign producers write them."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import frame_name
from yolo_assets.contracts.times import HOUR, Hour, format_time
from yolo_assets.spool.frames import FrameFolder
from yolo_assets.spool.records import BadRecord, FrameRecord

CAMERA = "lineA_cam01"
NOON = Hour.from_key("20260102_12")


def frame_json(second: float = 1, /, **changes):
    """A record as our agent writes it; ``changes`` replace keys, None removes one."""
    moment = NOON.start + timedelta(seconds=second)
    record = {
        "image_path": f"{CAMERA}/{NOON.key}/{frame_name(moment)}",
        "detections": [detection_json(second)],
        "model_version": "line/v1",
        "device_id": "edge-1",
        "camera_id": CAMERA,
        "sequence": int(second * 10),
        "captured_at": format_time(moment),
        "width": 640,
        "height": 480,
        "inference_ms": 12.5,
        "image_saved": True,
        "batch_id": "B7",
        "quality": {"blur": 100.0, "brightness": 120.0},
        **changes,
    }
    return {key: value for key, value in record.items() if value is not None}


def detection_json(second: float = 1, /, **changes):
    moment = NOON.start + timedelta(seconds=second)
    return {
        "bbox": [10, 20, 110, 120],
        "class": "crack",
        "confidence": 0.8,
        "timestamp": format_time(moment),
        **changes,
    }


def record(second: float = 1, /, **changes) -> DetectionRecord:
    return DetectionRecord.model_validate(frame_json(second, **changes))


def found(*records: DetectionRecord | BadRecord) -> list[FrameRecord | BadRecord]:
    """The records as the folder of their camera and hour gives them."""
    folder = FrameFolder.of(CAMERA, NOON)
    given = []
    for item in records:
        if isinstance(item, BadRecord):
            given.append(item)
            continue
        try:
            given.append(FrameRecord(folder.frame_of(item), item, item.image_path))
        except BadInputError as error:
            raw = canonical_json(item.model_dump(mode="json", by_alias=True, exclude_unset=True))
            given.append(BadRecord(str(error), item.image_path, raw, item.image_path))
    return given


_second = st.one_of(
    st.integers(0, 20),  # few, so that the same image is named again
    st.floats(-10, HOUR.total_seconds() + 10).map(lambda s: round(s, 3)),
    st.sampled_from([0, 3599.999, 3600, -0.001]),
)
_coordinate = st.one_of(st.floats(-5, 700), st.sampled_from([-1.0, 0.0, 480.0, 481.0, 640.0, 641.0]))


@st.composite
def _detections(draw):
    x = sorted(draw(st.tuples(_coordinate, _coordinate)))
    y = sorted(draw(st.tuples(_coordinate, _coordinate)))
    extra = draw(st.sampled_from([{}, {"track": 7}, {"huge": 10**30}]))
    return detection_json(
        draw(st.integers(0, 20)),
        **{
            "bbox": [x[0], y[0], x[1], y[1]],
            "class": draw(st.sampled_from(["crack", "dent", "Kratzer ß"])),
            "confidence": draw(st.floats(0, 1)),
            **extra,
        },
    )


@st.composite
def _records(draw):
    second = draw(_second)
    changes = {
        "detections": draw(st.lists(_detections(), max_size=3)),
        "camera_id": draw(st.sampled_from([CAMERA, CAMERA, None, "other"])),
        "width": draw(st.sampled_from([640, 640, None, 10**25])),
        "height": draw(st.sampled_from([480, None])),
        "batch_id": draw(st.sampled_from(["B7", None])),
        "sequence": draw(st.sampled_from([1, None, 2**63])),
        "quality": draw(st.sampled_from([None, {"blur": 1.5}, {"blur": float("nan"), "glare": 3}])),
    }
    path = draw(st.sampled_from(["ours", "ours", "ours", "bare", "foreign", "elsewhere", "deep"]))
    ours = frame_json(second)["image_path"]
    changes["image_path"] = {
        "ours": ours,
        "bare": ours.rsplit("/", 1)[1],
        "foreign": f"{CAMERA}/{NOON.key}/picture {second}.jpg",
        "elsewhere": f"other/{NOON.key}/picture.jpg",
        "deep": f"{CAMERA}/{NOON.key}/sub/picture.jpg",
    }[path]
    if draw(st.booleans()):
        changes["captured_at"] = None
    if draw(st.integers(0, 5)) == 0:
        changes["operator"] = draw(st.sampled_from(["Ada", {"shift": 2}, 10**30]))
    return record(second, **changes)


_bad = st.builds(
    BadRecord,
    reason=st.sampled_from(["device_id: Field required", "Invalid JSON"]),
    source=st.integers(1, 5).map(lambda line: f"{CAMERA}/{NOON.key}/records.ndjson:{line}"),
    raw=st.binary(max_size=20),
)


def _some_twice(found: list) -> st.SearchStrategy[list]:
    """Spool and archive may both hold a record."""
    return st.lists(st.sampled_from(found), max_size=5).map(lambda again: found + again) if found else st.just([])


any_records = st.lists(st.one_of(_records(), _records(), _bad), max_size=25).flatmap(_some_twice)
