"""What leaves the device: CloudEvents 1.0, structured mode, with a schema that receivers can check against.

An event has the same ``id`` however often it is sent: a receiver that keeps the ids of the last minutes sees each event
once. Belongs here: the documents. Does not belong here: when there is an alarm (``alarms``), how events travel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.cloud_events import CloudEvent
from yolo_assets.contracts.detection import Detection, DetectionRecord, Quality
from yolo_assets.contracts.times import format_time

Kind = Literal["result", "alarm"]
RESULT = "yolo_assets.result.v1"
RAISED = "yolo_assets.alarm.raised.v1"
CLEARED = "yolo_assets.alarm.cleared.v1"
_OF_RECORD = ("width", "height", "inference_ms", "batch_id", "quality")


class ResultData(Record):
    """One processed frame: the detection record, as it stands in the spool."""

    model_config = ConfigDict(protected_namespaces=())

    device_id: str
    camera_id: str
    sequence: int = Field(ge=0, description="counts the frames of a camera; continues after a restart")
    captured_at: Time
    model_version: str = Field(description="of the model that saw this frame, <name>/<version>")
    detections: tuple[Detection, ...] = Field(description="bbox: x1, y1, x2, y2 in pixels of the frame")
    width: int | None = Field(default=None, gt=0)
    height: int | None = Field(default=None, gt=0)
    inference_ms: float | None = Field(default=None, ge=0)
    batch_id: str | None = None
    part_id: str | None = None
    quality: Quality | None = None
    image_path: str | None = Field(default=None, description="relative to the spool; null: the disk refused the record")
    image_saved: bool = Field(default=False, description="whether the picture is kept there")


class AlarmData(Record):
    """A condition that began to hold or ceased to."""

    model_config = ConfigDict(protected_namespaces=())

    alarm_id: str = Field(description="the same in raised and cleared: one alarm per condition until it clears")
    rule: str
    severity: Literal["info", "warning", "critical"]
    state: Literal["raised", "cleared"]
    device_id: str
    camera_id: str
    model_version: str = Field(description="of the frame that raised or cleared it")
    since: Time = Field(description="capture time of the first frame of the condition")
    raised_at: Time = Field(description="capture time of the frame that raised it")
    cleared_at: Time | None = None
    sequence: int = Field(ge=0, description="of the frame that raised or cleared it")
    count: int = Field(ge=0, description="boxes in that frame that the rule counts")
    detections: tuple[Detection, ...] = Field(description="those boxes")


class _OfCamera(CloudEvent):
    subject: str = Field(description="the camera")
    time: Time = Field(description="capture time of the frame")


class ResultEvent(_OfCamera):
    """A frame was processed."""

    type: Literal["yolo_assets.result.v1"] = RESULT
    data: ResultData


class AlarmEvent(_OfCamera):
    """An alarm was raised or cleared."""

    type: Literal["yolo_assets.alarm.raised.v1", "yolo_assets.alarm.cleared.v1"]
    data: AlarmData


def event_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of every event."""
    schema = TypeAdapter(ResultEvent | AlarmEvent).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "yolo_assets edge events", **schema}


@dataclass(frozen=True)
class FrameSummary:
    """A result without its picture: what rules and events need, and nothing that holds memory.

    Attributes:
        captured: ``time.monotonic()`` at capture, seconds.
        record: the frame's record; None for rules, which need none.
        recorded: whether the spool holds the record.
        class_list: that its model names; None: none.
    """

    camera_id: str
    sequence: int
    captured_at: datetime
    captured: float
    model_version: str
    detections: tuple[Mapping[str, Any], ...]
    record: DetectionRecord | None = None
    recorded: bool = False
    class_list: ClassList | None = None


@dataclass(frozen=True)
class OutgoingEvent:
    """A finished event in an outbox.

    Attributes:
        body: JSON, UTF-8.
        created: ``time.monotonic()``, seconds.
    """

    id: str
    kind: Kind
    camera_id: str
    body: bytes
    created: float
    rule: str | None = None


def source_of(device_id: str, camera_id: str) -> str:
    """The ``source`` of a camera's events."""
    return f"/devices/{device_id}/cameras/{camera_id}"


def result_event(device_id: str, summary: FrameSummary, now: float) -> OutgoingEvent:
    """The event of one frame.

    Args:
        device_id: this device.
        summary: the frame.
        now: ``time.monotonic()``.
    """
    record = summary.record
    extra = {} if record is None else {key: getattr(record, key) for key in _OF_RECORD}
    event = ResultEvent(
        id=f"{_stamp(summary.captured_at)}-{summary.sequence}",
        source=source_of(device_id, summary.camera_id),
        subject=summary.camera_id,
        time=summary.captured_at,
        data=ResultData.model_validate(
            {
                "device_id": device_id,
                "camera_id": summary.camera_id,
                "sequence": summary.sequence,
                "captured_at": summary.captured_at,
                "model_version": summary.model_version,
                "detections": summary.detections,
                "image_path": record.image_path if record is not None and summary.recorded else None,
                "part_id": record.part_name if record is not None else None,
                "image_saved": record is not None and summary.recorded and bool(record.image_saved),
                **extra,
            }
        ),
    )
    return OutgoingEvent(event.id, "result", summary.camera_id, event.to_json(), now)


def alarm_event(data: AlarmData, now: float) -> OutgoingEvent:
    """The event of one change of an alarm.

    Args:
        data: what happened.
        now: ``time.monotonic()``.
    """
    event = AlarmEvent(
        id=f"{data.alarm_id}-{data.state}",
        source=source_of(data.device_id, data.camera_id),
        subject=data.camera_id,
        time=data.cleared_at or data.raised_at,
        type=RAISED if data.state == "raised" else CLEARED,
        data=data,
    )
    return OutgoingEvent(event.id, "alarm", data.camera_id, event.to_json(), now, data.rule)


def alarm_id(rule: str, since: datetime, sequence: int) -> str:
    """Names one condition of one camera: a rerun over the same frames gives the same name."""
    return f"{rule}-{_stamp(since)}-{sequence}"


def _stamp(moment: datetime) -> str:
    return format_time(moment).replace("-", "").replace(":", "").replace(".", "")
