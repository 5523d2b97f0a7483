"""The section ``events`` of ``plant.yaml`` and of the agent's configuration: where announcements go and come from.

Belongs here: the options of each kind of broker and of the HTTP receiver. Does not belong here: talking to one
(``events``), and the agent's results and alarms, which go to its ``outputs``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from yolo_assets.contracts.base import Record, is_json_object, refuse_unknown_options
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id

FILES = (
    "password_file",
    "token_file",
    "credentials_file",
    "ca_file",
    "client_cert",
    "client_key",
    "tls_cert",
    "tls_key",
)
"""Options that name files; relative ones count from the configuration's folder."""


def _name(value: str) -> str:
    try:
        return check_id(value, "broker name")
    except BadInputError as error:
        raise ValueError(str(error)) from None


def _address(*schemes: str) -> AfterValidator:
    """Refuses without quoting: an address may hold a password."""

    def check(value: str) -> str:
        example = f"{schemes[-1]}://broker.plant.example:1234"
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f"this is not an address; write one like {example}") from None
        if parts.scheme not in schemes or not host:
            raise ValueError(f"give an address like {example}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("no credentials in the address; put them into a file")
        return value

    return AfterValidator(check)


class EventSection(Record):
    """Refuses unknown keys; errors never quote what may be a secret."""

    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        refuse_unknown_options(cls, value)
        return value


class Broker(EventSection):
    """What every broker has."""

    name: Annotated[str, AfterValidator(_name)] = Field(description="unique name, in metrics and in the log")
    publish: bool = Field(default=True, description="whether this installation announces there")
    queue_size: int = Field(
        default=1000, ge=1, le=100_000, description="announcements that may wait; then the oldest is dropped"
    )
    ca_file: Path | None = Field(
        default=None, description="certificate authority of the broker, PEM; None: the system's"
    )
    client_cert: Path | None = Field(default=None, description="certificate that this machine shows, PEM")
    client_key: Path | None = Field(default=None, description="its private key, PEM")

    @model_validator(mode="after")
    def _both(self) -> Broker:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert and client_key belong together; give both or none")
        return self


class _Listening(Broker):
    """A broker that announcements also come from."""

    listen: bool = Field(default=True, description="whether this installation listens there")


class _Login(_Listening):
    """A broker with a name and a password."""

    username: str | None = Field(default=None, description="None: no login")
    password_file: Path | None = Field(default=None, description="file with the password")

    @model_validator(mode="after")
    def _named(self) -> _Login:
        if self.username is None and self.password_file is not None:
            raise ValueError("a password needs a username")
        return self


class MqttBroker(_Login):
    """MQTT 3.1.1, quality of service 1: ``<topic>/<type>/<subject>``."""

    kind: Literal["mqtt"] = Field(description="an MQTT broker")
    host: str = Field(min_length=1, description="name or address of the broker")
    port: int | None = Field(default=None, ge=1, le=65535, description="None: 8883 with tls, 1883 without")
    tls: bool = Field(default=False, description="encrypt the connection and verify the broker")
    topic: str = Field(default="yolo-assets/events", pattern=r"^[^+#$\x00][^+#\x00]{0,200}$", description="beginning")

    @model_validator(mode="after")
    def _fits(self) -> MqttBroker:
        if not self.tls and (self.ca_file or self.client_cert):
            raise ValueError("ca_file and client_cert need tls: true")
        return self


class NatsBroker(_Login):
    """Core NATS: ``<subject>.<type>.<subject of the announcement>``."""

    kind: Literal["nats"] = Field(description="a NATS server or cluster")
    servers: tuple[Annotated[str, _address("tls", "nats")], ...] = Field(
        min_length=1, description="addresses like nats://broker:4222, or tls://broker:4222"
    )
    token_file: Path | None = Field(default=None, description="file with the token, instead of a username")
    credentials_file: Path | None = Field(default=None, description="user credentials as `nsc` writes them")
    subject: str = Field(default="yolo-assets.events", pattern=r"^[A-Za-z0-9_.-]{1,200}$", description="beginning")


class KafkaBroker(_Login):
    """Apache Kafka and what speaks its protocol: one topic, the subject as the key."""

    kind: Literal["kafka"] = Field(description="a Kafka cluster")
    servers: tuple[Annotated[str, Field(pattern=r"^[^\s,@]+:\d{1,5}$")], ...] = Field(
        min_length=1, description="bootstrap servers, like broker:9092"
    )
    tls: bool = Field(default=False, description="encrypt the connection and verify the brokers")
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        default="SCRAM-SHA-512", description="how the username logs in"
    )
    topic: str = Field(
        default="yolo-assets-events", pattern=r"^[A-Za-z0-9._-]{1,249}$", description="topic; it must exist"
    )


class EtcdBroker(_Login):
    """etcd 3: the newest announcement of each type and subject under a key, ``<prefix>/<type>/<subject>``."""

    kind: Literal["etcd"] = Field(description="an etcd server, by its HTTP gateway")
    url: Annotated[str, _address("http", "https")] = Field(description="address like https://etcd.plant.example:2379")
    prefix: str = Field(default="yolo-assets/events", min_length=1, max_length=200, description="beginning of the keys")


class HttpReceiverAt(Broker):
    """HTTP POST to the receiver of a centre (``receiver`` there). Nothing can be listened to."""

    kind: Literal["http"] = Field(description="HTTP POST of CloudEvents")
    url: Annotated[str, _address("http", "https")] = Field(
        description="address like https://centre.plant.example:8190/events"
    )
    token_file: Path | None = Field(default=None, description="file with the token, sent as Authorization: Bearer")


AnyBroker = Annotated[MqttBroker | NatsBroker | KafkaBroker | EtcdBroker | HttpReceiverAt, Field(discriminator="kind")]


class HttpEndpoint(EventSection):
    """The HTTP receiver of ``yolo-assets events listen``: ``POST /events``, and ``/metrics``."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8190, ge=0, le=65535, description="0 takes a free port and prints it")
    token_file: Path = Field(description="file with the bearer token that every announcement must bring")
    tls_cert: Path | None = Field(default=None, description="certificate chain, PEM; with it the receiver is https")
    tls_key: Path | None = Field(default=None, description="its private key, PEM")
    hosts: tuple[str, ...] = Field(default=(), description="names under which it is addressed, besides the machine's")

    @model_validator(mode="after")
    def _both(self) -> HttpEndpoint:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together; give both or none")
        return self


class Brokers(EventSection):
    """Brokers that announcements go to and come from."""

    brokers: tuple[AnyBroker, ...] = Field(default=(), description="MQTT, NATS, Kafka, etcd, or HTTP to a centre")

    @model_validator(mode="after")
    def _different(self) -> Brokers:
        names = [broker.name for broker in self.brokers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the name {twice} is used twice; every broker needs its own")
        return self


class Events(Brokers):
    """The section ``events`` of ``plant.yaml``."""

    receiver: HttpEndpoint | None = Field(default=None, description="takes announcements by HTTP at the centre")


def anchor_files(section: Any, base: Path) -> Any:
    """A section ``events`` as it was written, with its relative file names made absolute.

    Args:
        section: not validated yet; what is not as expected stays, for validation to refuse.
        base: the folder of the file that it stands in.
    """
    if isinstance(section, list):
        return [anchor_files(item, base) for item in cast("list[Any]", section)]
    if not is_json_object(section):
        return section
    return {
        key: str(base / value) if key in FILES and isinstance(value, str) and value else anchor_files(value, base)
        for key, value in section.items()
    }
