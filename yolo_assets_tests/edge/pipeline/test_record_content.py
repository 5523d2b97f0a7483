"""The record of a frame holds just what the agent of commit 8516435 wrote of the same frame."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from yolo_assets.contracts.detection import Quality
from yolo_assets.contracts.frames import FrameId
from yolo_assets.edge.pipeline.recorder import FrameRecorder, new_record
from yolo_assets.edge.types import Frame

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
DETECTION = {
    "bbox": [1.23, 2.0, 3.5, 4.0000001],
    "class": "Kratzer ü",
    "confidence": 0.9877,
    "timestamp": "2026-01-02T03:04:05.678Z",
}
WRITTEN_BEFORE = (
    '{"batch_id":null,"camera_id":"cam1","captured_at":"2026-01-02T03:04:05.678Z","detections":[{"bbox":[1.23,2.0,3.5,'
    '4.0000001],"class":"Kratzer ü","confidence":0.9877,"timestamp":"2026-01-02T03:04:05.678Z"}],"device_id":"box",'
    '"height":48,"image_path":"cam1/20260102_03/20260102_030405_678.jpg","image_saved":true,"inference_ms":3.217,'
    '"model_version":"a/1","quality":{"blur":1.2,"brightness":3.0},"schema_version":1,"sequence":7,"width":64}'
)
UNTRUSTED_CLOCK = {"time_trusted": False, "boot_id": "b", "monotonic_s": 1.5}


@pytest.mark.parametrize("clock", [{}, UNTRUSTED_CLOCK])
def test_a_record_holds_what_it_held_before(tmp_path: Path, clock: dict) -> None:
    frame = Frame(FrameId("cam1", 7, AT), np.zeros((48, 64, 3), np.uint8), 0.0, **clock)
    quality = Quality(blur=1.2, brightness=3.0)
    record = new_record(frame, [DETECTION], model_version="a/1", device_id="box", inference_ms=3.2171, quality=quality)
    recorder = FrameRecorder(tmp_path, ["cam1"], "box")
    recorder.enter(frame)
    assert recorder.write(frame, record, b"picture") is not None
    recorder.close()
    (line,) = (tmp_path / "cam1" / "20260102_03" / "records.ndjson").read_bytes().splitlines()
    digest = {"sha256": hashlib.sha256(b"picture").hexdigest()}
    assert orjson.loads(line) == orjson.loads(WRITTEN_BEFORE) | clock | digest
    assert line.startswith(b'{"image_path":'), "even most of a torn line names its frame"
