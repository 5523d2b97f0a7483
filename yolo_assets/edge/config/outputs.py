"""The options ``outputs`` and ``alarms``: which receivers get which events, and when something is an alarm."""

from __future__ import annotations

import string
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from yolo_assets.contracts.model import ModelManifest
from yolo_assets.edge.config.section import CameraId, Section, id_field

FILES = ("secret_file", "token_file", "password_file", "ca_file", "client_cert", "client_key")
"""Options that name files; relative ones count from the configuration's folder."""
TOPIC_FIELDS = ("device_id", "camera_id", "kind", "rule")

_Seconds = Annotated[float, Field(ge=0, le=86400)]


class AlarmRule(Section):
    """When a class on a camera is an alarm. Each camera is watched by itself."""

    name: Annotated[str, id_field("alarm name")] = Field(description="unique name, part of topics and events")
    classes: tuple[str, ...] = Field(default=(), description="class names that count; none: every class")
    cameras: tuple[CameraId, ...] = Field(default=(), description="none: every camera of the device")
    severity: Literal["info", "warning", "critical"] = Field(default="warning", description="passed on in the event")
    min_confidence: float = Field(default=0.5, ge=0, le=1, description="boxes below it do not count")
    min_count: int = Field(default=1, ge=1, description="least number of boxes in one frame")
    hold_s: _Seconds = Field(
        default=0.0, description="the condition must last for this long before the alarm is raised"
    )
    hold_frames: int = Field(default=1, ge=1, description="and for this many frames in a row")
    clear_s: _Seconds = Field(
        default=5.0, description="the alarm is cleared when the condition has been absent for this long"
    )

    def unknown_classes(self, model: ModelManifest) -> list[str]:
        """For each class that a model does not report: one sentence, with the nearest that there is.

        A name from before a rename or a merge is known: the rule follows it.

        Args:
            model: serves, or is to serve.
        """
        known, listed = model.reported_names, model.class_list
        found: list[str] = []
        for name in self.classes:
            if (listed.resolve(name) if listed is not None else name) not in known:
                near = get_close_matches(name, known, 1)
                advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                found.append(f"alarm {self.name}: the model has no class {name}; {advice}")
        return found


class _Output(Section):
    """What every output has."""

    name: Annotated[str, id_field("output name")] = Field(description="unique name, in metrics and in the status")
    cameras: tuple[CameraId, ...] = Field(default=(), description="none: every camera of the device")
    results: Literal["all", "detections", "none"] = Field(
        default="detections", description="detections: only frames in which something was found"
    )
    alarms: bool = Field(default=True, description="whether alarms are sent")
    min_interval_s: _Seconds = Field(default=0.0, description="at most one result of a camera in this many seconds")
    queue_size: int = Field(
        default=1000, ge=1, le=100_000, description="events that may wait; then the oldest results are dropped"
    )
    expire_s: float = Field(default=300.0, gt=0, le=86400, description="older results are not sent; alarms always are")
    ca_file: Path | None = Field(
        default=None, description="certificate authority of the receiver, PEM; None: the system's"
    )
    client_cert: Path | None = Field(default=None, description="certificate that this device shows, PEM")
    client_key: Path | None = Field(default=None, description="its private key, PEM")

    @model_validator(mode="after")
    def _both(self) -> _Output:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together; give both or none")
        return self


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its words may quote a password
        raise ValueError("this is not an address; write one like https://receiver.plant.example/yolo") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("give an address like https://receiver.plant.example/yolo")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no credentials in the address; put a token into token_file")
    return value


class WebhookOutput(_Output):
    """HTTP POST of CloudEvents, signed as Standard Webhooks describes."""

    kind: Literal["webhook"] = Field(description="HTTP POST of CloudEvents")
    url: Annotated[str, AfterValidator(_web_address)] = Field(
        repr=False, description="http or https address of the receiver, without credentials"
    )
    secret_file: Path | None = Field(
        default=None, description="file with the key of the signature; without one nothing is signed"
    )
    secret_env: str | None = Field(default=None, description="variable with that key")
    token_file: Path | None = Field(
        default=None, description="file with the token that is sent as Authorization: Bearer"
    )
    token_env: str | None = Field(default=None, description="variable with that token")
    timeout_s: float = Field(default=10.0, gt=0, le=300, description="for the connection and for each read")
    batch: int = Field(default=1, ge=1, le=500, description="events in one request; above 1 the body is a JSON array")

    @model_validator(mode="after")
    def _one_source(self) -> WebhookOutput:
        for what in ("secret", "token"):
            if getattr(self, f"{what}_file") is not None and getattr(self, f"{what}_env") is not None:
                raise ValueError(f"give {what}_file or {what}_env, not both")
        if self.url.lower().startswith("http:") and self.ca_file is not None:
            raise ValueError("ca_file needs an https address")
        return self


def _topic(value: str) -> str:
    try:
        parts = list(string.Formatter().parse(value))
    except ValueError:
        parts = [("", "", None, None)]
    if any(field is not None and (field not in TOPIC_FIELDS or how or turn) for _, field, how, turn in parts):
        known = ", ".join(f"{{{field}}}" for field in TOPIC_FIELDS)
        raise ValueError(f"in braces a topic may hold {known} and nothing else")
    filled = value.format(**dict.fromkeys(TOPIC_FIELDS, "x"))
    if not filled or len(filled.encode()) > 1000 or any(sign in filled for sign in "+#\0") or filled.startswith("$"):
        raise ValueError("a topic to publish to has no + and no #, and does not begin with $")
    return value


class MqttOutput(_Output):
    """MQTT 3.1.1, quality of service 1, with a retained message that says whether this device is online."""

    kind: Literal["mqtt"] = Field(description="an MQTT broker")
    host: str = Field(min_length=1, description="name or address of the broker")
    port: int | None = Field(default=None, ge=1, le=65535, description="None: 8883 with tls, 1883 without")
    tls: bool = Field(default=False, description="encrypt the connection and verify the broker")
    username: str | None = Field(default=None, description="None: no login")
    password_file: Path | None = Field(default=None, description="file with the password")
    password_env: str | None = Field(default=None, description="variable with the password")
    topic: Annotated[str, AfterValidator(_topic)] = Field(
        default="yolo-assets/{device_id}/{camera_id}/{kind}/{rule}",
        description="kind is result or alarm; rule is the alarm's name; in results it is left out, with its slash",
    )
    availability_topic: Annotated[str, AfterValidator(_topic)] = Field(
        default="yolo-assets/{device_id}/availability",
        description="retained: online, or offline when the device stops or is lost",
    )
    retain_alarms: bool = Field(default=True, description="a client that connects later sees the state of each alarm")
    keepalive_s: int = Field(default=30, ge=5, le=3600, description="seconds between keep-alive messages to the broker")

    @model_validator(mode="after")
    def _fits(self) -> MqttOutput:
        try:
            self.host.encode("idna")
        except UnicodeError:
            raise ValueError(f"{self.host!r} is not a host name") from None
        if self.password_file is not None and self.password_env is not None:
            raise ValueError("give password_file or password_env, not both")
        if self.username is None and (self.password_file or self.password_env):
            raise ValueError("a password needs a username")
        if not self.tls and (self.ca_file or self.client_cert):
            raise ValueError("ca_file and client_cert need tls: true")
        return self


class Infer(Section):
    """``POST /v1/infer``: inference on pictures that a client sends, in the time that the cameras leave."""

    concurrency: int = Field(
        default=1, ge=1, le=64, description="pictures processed at once; further clients are asked to wait"
    )
    max_bytes: int = Field(default=16 << 20, ge=1024, le=1 << 30, description="largest file")
    max_pixels: int = Field(
        default=40_000_000, ge=4096, le=1 << 30, description="largest picture; 3 bytes of memory for each pixel"
    )
    wait_s: float = Field(
        default=1.0, ge=0, le=60, description="how long a picture may wait for a moment when no frame waits"
    )


Output = Annotated[WebhookOutput | MqttOutput, Field(discriminator="kind")]
