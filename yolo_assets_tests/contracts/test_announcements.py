"""Announcements against the CloudEvents SDK and the published schema, and what else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from yolo_assets.contracts.announcements import (
    HOUR_CLOSED,
    MOST_BYTES,
    Announcement,
    announcement_schema,
    channel_moved,
    hour_archived,
    hour_closed,
    kind_of,
    labels_arrived,
    read_announcement,
)
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour

HOUR = Hour.from_key("20260301_02")
EACH = [
    hour_closed("/devices/box1", "cam1", HOUR),
    hour_archived("/hosts/nas", "cam1", HOUR),
    labels_arrived("/hosts/centre", "labels/inbox/export.json"),
    channel_moved("/hosts/centre", "line", "stable", "20260102-1a2b", 3),
]


@pytest.mark.parametrize("announcement", EACH, ids=lambda a: kind_of(a.type))
def test_the_cloudevents_sdk_reads_what_we_announce(announcement: Announcement) -> None:
    headers = {"content-type": "application/cloudevents+json"}
    read = from_structured_event(HTTPMessage(headers, announcement.to_json()), JSONFormat())
    assert (read.get_id(), read.get_type(), read.get_source()) == (
        announcement.id,
        announcement.type,
        announcement.source,
    )
    assert read.get_data() == announcement.data.model_dump()


def test_what_the_cloudevents_sdk_writes_is_an_announcement() -> None:
    attributes = {"id": "1", "source": "/nas", "type": HOUR_CLOSED, "specversion": "1.0", "traceparent": "00-1-2-00"}
    event = CloudEvent(attributes, {"camera_id": "cam1", "hour": "20260301_02"})
    announcement = read_announcement(bytes(to_structured_event(event, JSONFormat()).body))
    assert announcement.data.subject == "cam1"


def document(**changes: Any) -> bytes:
    return json.dumps(EACH[0].model_dump(mode="json") | changes).encode()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"specversion":"1.0"}',
        document(type="com.example.other"),
        document(specversion="0.3"),
        document(data={"camera_id": "../etc", "hour": "20260301_02"}),
        document(data={"camera_id": "cam1", "hour": "99991231_23"}),
        document(data={"camera_id": "cam1"}),
        document(data="x"),
        document(id="x" * 300),
        document(source="x" * MOST_BYTES),
        labels_arrived("/x", "labels/inbox/a").to_json().replace(b"labels/inbox/a", b"models/a/b/c/d"),
    ],
)
def test_what_is_no_announcement_is_refused_in_one_line(message: bytes) -> None:
    with pytest.raises(BadInputError) as refused:
        read_announcement(message)
    assert "announcement" in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_the_schema_in_the_documentation_is_that_of_the_code() -> None:
    published = Path(__file__).parents[2] / "docs" / "announcements.schema.json"
    assert json.loads(published.read_text()) == announcement_schema()
