"""Announcements: what one part of a plant tells the others at once, so that they need not wait for their next poll.

CloudEvents 1.0 in the JSON format. An announcement is a hint and never a proof: whoever receives one looks at the
spool, the archive or the store as when polling, and believes only what lies there. Losing one costs the time to the
next poll. Belongs here: the documents. Does not belong here: how they travel (``events``), who acts on them.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from yolo_assets.contracts.base import Record, Time, one_line
from yolo_assets.contracts.cloud_events import CloudEvent
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import LABELS_INBOX, check_id, check_version
from yolo_assets.contracts.times import Hour, utc_now

MOST_BYTES = 16 << 10
"""Longest announcement that is read."""

HOUR_CLOSED = "yolo_assets.hour.closed.v1"
HOUR_ARCHIVED = "yolo_assets.hour.archived.v1"
LABELS_ARRIVED = "yolo_assets.labels.arrived.v1"
CHANNEL_MOVED = "yolo_assets.channel.moved.v1"
TYPES = (HOUR_CLOSED, HOUR_ARCHIVED, LABELS_ARRIVED, CHANNEL_MOVED)


def _name(value: str) -> str:
    try:
        return check_id(value, "name")
    except BadInputError as error:
        raise ValueError(str(error)) from None


def _version(value: str) -> str:
    try:
        return check_version(value)
    except BadInputError as error:
        raise ValueError(str(error)) from None


def _hour(value: str) -> str:
    try:
        return Hour.from_key(value).key
    except BadInputError as error:
        raise ValueError(str(error)) from None


def _inbox_key(value: str) -> str:
    if not value.startswith(LABELS_INBOX) or not value.removeprefix(LABELS_INBOX) or not value.isprintable():
        raise ValueError(f"not the key of a file in {LABELS_INBOX}")
    return value


Name = Annotated[str, AfterValidator(_name)]


class _Data(Record):
    # What a later version adds is no reason to refuse a hint.
    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    @property
    def subject(self) -> str:
        """What it is about, in characters that may stand in topics and keys."""
        raise NotImplementedError


class HourData(_Data):
    """A camera-hour."""

    camera_id: Name = Field(description="camera, as its folder in the spool is named")
    hour: Annotated[str, AfterValidator(_hour)] = Field(description="UTC, like 20260301_14")

    @property
    def subject(self) -> str:
        """The camera."""
        return self.camera_id


class LabelsData(_Data):
    """A label file in the inbox of the store."""

    key: Annotated[str, Field(max_length=1024), AfterValidator(_inbox_key)] = Field(
        description="its key, like labels/inbox/export.json"
    )

    @property
    def subject(self) -> str:
        """All label files are one subject: the inbox."""
        return "inbox"


class ChannelData(_Data):
    """A move of a release channel."""

    name: Name = Field(description="the model")
    channel: Name = Field(description="the channel, like stable")
    version: Annotated[str, AfterValidator(_version)] = Field(description="the version that it serves now")
    release: int = Field(ge=1, description="the number of the release")

    @property
    def subject(self) -> str:
        """The model; an agent follows one or more of its channels."""
        return self.name


class _Announced(CloudEvent):
    """Anyone may announce: extension attributes are passed over, and what only helps a reader may be missing."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    subject: str | None = Field(default=None, max_length=256, description="the camera, the inbox or the model")
    time: Time | None = Field(default=None, description="when it was announced")


class HourClosed(_Announced):
    """An hour of a camera got its seal and lies in the spool."""

    type: Literal["yolo_assets.hour.closed.v1"] = HOUR_CLOSED
    data: HourData


class HourArchived(_Announced):
    """A receipt for an hour of a camera was written."""

    type: Literal["yolo_assets.hour.archived.v1"] = HOUR_ARCHIVED
    data: HourData


class LabelsArrived(_Announced):
    """A label file lies in the inbox."""

    type: Literal["yolo_assets.labels.arrived.v1"] = LABELS_ARRIVED
    data: LabelsData


class ChannelMoved(_Announced):
    """The pointer of a release channel moved."""

    type: Literal["yolo_assets.channel.moved.v1"] = CHANNEL_MOVED
    data: ChannelData


Announcement = HourClosed | HourArchived | LabelsArrived | ChannelMoved


class _Parser:
    adapter: ClassVar[TypeAdapter[Announcement]] = TypeAdapter(Annotated[Announcement, Field(discriminator="type")])


def read_announcement(data: bytes) -> Announcement:
    """Parse what came from outside.

    Args:
        data: one CloudEvent in the JSON format, at most ``MOST_BYTES``.

    Raises:
        BadInputError: too long, or no announcement; one line that quotes nothing of it.
    """
    if len(data) > MOST_BYTES:
        raise BadInputError(f"an announcement has at most {MOST_BYTES} bytes, this one has {len(data)}")
    try:
        return _Parser.adapter.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
            raise BadInputError(f"not an announcement: its type is none of {', '.join(TYPES)}") from None
        raise BadInputError(f"not an announcement: {one_line(error)}") from None


def announcement_schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of every announcement."""
    schema = _Parser.adapter.json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "yolo_assets announcements", **schema}


def hour_closed(source: str, camera_id: str, hour: Hour) -> HourClosed:
    """An hour that just got its seal."""
    return HourClosed(**_attributes(source, camera_id), data=HourData(camera_id=camera_id, hour=hour.key))


def hour_archived(source: str, camera_id: str, hour: Hour) -> HourArchived:
    """An hour whose receipt was just written."""
    return HourArchived(**_attributes(source, camera_id), data=HourData(camera_id=camera_id, hour=hour.key))


def labels_arrived(source: str, key: str) -> LabelsArrived:
    """A label file that was just put into the inbox."""
    data = LabelsData(key=key)
    return LabelsArrived(**_attributes(source, data.subject), data=data)


def channel_moved(source: str, name: str, channel: str, version: str, release: int) -> ChannelMoved:
    """A channel that was just moved."""
    data = ChannelData(name=name, channel=channel, version=version, release=release)
    return ChannelMoved(**_attributes(source, name), data=data)


def _attributes(source: str, subject: str) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "source": source, "subject": subject, "time": utc_now()}


def kind_of(type_: str) -> str:
    """The short name of a type in topics and metrics, like ``hour-closed``."""
    return "-".join(type_.split(".")[1:3])
