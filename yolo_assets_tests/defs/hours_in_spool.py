"""Hours as an agent leaves them, for the tests of the graph."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets_tests.support.records import frame_record

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20 + b"\xff\xd9"


def record(moment: datetime, **changes: object) -> dict[str, object]:
    found = {"bbox": [10, 10, 50, 40], "class": "crack", "confidence": 0.9, "timestamp": format_time(moment)}
    return {
        "detections": [found],
        "model_version": "line/v1",
        "device_id": "box01",
        "width": 320,
        "height": 256,
        **changes,
    }


def write_hour(spool: Path, camera: str, hour: Hour, frames: int = 3) -> None:
    with SpoolWriter(spool, camera, "box01") as writer:
        for number in range(frames):
            moment = hour.start + timedelta(minutes=number)
            noise = np.random.default_rng(number).bytes(500)
            writer.write(moment, frame_record(record(moment)), JPEG + noise)
        writer.seal(hour)


def write_late(spool: Path, camera: str, hour: Hour, minute: int = 50) -> None:
    moment = hour.start + timedelta(minutes=minute)
    with SpoolWriter(spool, camera, "box01") as writer:
        writer.write(moment, frame_record(record(moment)), JPEG)
