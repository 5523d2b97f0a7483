"""Detection records for tests that write a spool as the agent does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_assets.contracts.detection import DetectionRecord, Quality
from yolo_assets.edge.pipeline.recorder import new_record
from yolo_assets.edge.types import Frame


def frame_record(fields: Mapping[str, Any]) -> DetectionRecord:
    """A record of these fields; the spool writer sets ``image_path``."""
    return DetectionRecord.model_validate({"image_path": "set by the writer", **fields})


def record_of(frame: Frame) -> DetectionRecord:
    """The record of a frame without a detection, as the agent's worker makes it."""
    quality = Quality(blur=1.0, brightness=2.0)
    return new_record(frame, [], model_version="line/1", device_id="box1", inference_ms=1.0, quality=quality)
