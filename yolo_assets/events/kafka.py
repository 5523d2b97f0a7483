"""Announcements by Kafka's protocol: one topic, whose partitions are read from their ends, without a consumer group.

No offsets are kept: what was announced while nobody listened is found by polling, and a listener that comes back to a
week of announcements would look at each of them for nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from yolo_assets.contracts.announcements import Announcement
from yolo_assets.contracts.brokers import KafkaBroker
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.events.transport import Hearing, ListeningThread
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.credentials import read_secret
from yolo_assets.runtime.delivery import DeliveryError

log = logging.getLogger(__name__)
_TYPE = "ce_type"
_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Kafka(ListeningThread):
    """One Kafka cluster."""

    def __init__(self, settings: KafkaBroker, client: str, hearing: Hearing | None) -> None:
        """Read the secrets; connects to nothing.

        Raises:
            BadInputError: one of them, or a certificate, cannot be used.
        """
        super().__init__(f"kafka-{settings.name}", ", ".join(settings.servers), hearing)
        self._topic = settings.topic
        self._types = frozenset(each.encode() for each in hearing.types) if hearing is not None else frozenset[bytes]()
        self._options = _options(settings, client) | {"error_cb": self._on_error}
        self._producer: Producer | None = None
        try:  # the library reads certificates when a client is made
            if settings.publish:
                self._producer = Producer(
                    self._options | {"linger.ms": 5, "message.timeout.ms": int(_ANSWER_SECONDS * 1000)}, logger=log
                )
        except KafkaException as error:
            raise BadInputError(f"events.{settings.name}: {error.args[0].str()}") from None

    def publish(self, announcement: Announcement) -> None:
        """Produce, and wait until the partition's leader has it.

        Raises:
            DeliveryError: no leader took it in time.
        """
        assert self._producer is not None, "made unless nothing is published here"
        outcome: list[KafkaError | None] = []

        def told(error: KafkaError | None, _: Message) -> None:
            outcome.append(error)

        key = announcement.data.subject.encode()
        try:
            self._producer.produce(
                self._topic,
                announcement.to_json(),
                key=key,
                headers={"content-type": b"application/cloudevents+json", _TYPE: announcement.type.encode()},
                on_delivery=told,
            )
        except (BufferError, KafkaException) as error:
            raise DeliveryError(f"{self.shown} takes nothing: {error}") from None
        self._producer.flush(2 * _ANSWER_SECONDS)
        if not outcome or outcome[0] is not None:
            why = outcome[0].str() if outcome and outcome[0] is not None else "no answer in time"
            raise DeliveryError(f"{self.shown}, topic {self._topic}: {why}")
        self.refusal = None

    def close(self) -> None:
        """End listening; what was produced was flushed."""
        self.stop.set()
        self.join()

    def listen(self) -> None:
        """Watch, as often as it takes."""
        backoff = Backoff(0.5, 30.0, 0.5)
        while not self.stop.is_set():
            consumer = Consumer(
                self._options
                | {
                    "group.id": "yolo-assets",  # the library wants one; none is joined, no offset is committed
                    "enable.auto.commit": False,
                    "auto.offset.reset": "latest",
                    "fetch.wait.max.ms": int(_LOOK_SECONDS * 1000),
                },
                logger=log,
            )
            try:
                consumer.assign(self._ends(consumer))
                self.heard.set()
                self.refusal = None
                backoff.succeeded()
                self._take_from(consumer)
            except KafkaException as error:
                self.refusal = f"topic {self._topic}: {error.args[0].str()}"
            finally:
                self.heard.clear()
                consumer.close()
            if not self.stop.is_set():
                self.stop.wait(backoff.failed())

    def _ends(self, consumer: Consumer) -> list[TopicPartition]:
        """Behind the last message of each partition."""
        found = consumer.list_topics(self._topic, timeout=_ANSWER_SECONDS).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        ends: list[TopicPartition] = []
        for number in found.partitions:
            _, high = consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=_ANSWER_SECONDS)
            ends.append(TopicPartition(self._topic, number, high))
        return ends

    def _take_from(self, consumer: Consumer) -> None:
        assert self.hearing is not None
        while not self.stop.is_set():
            message = consumer.poll(_LOOK_SECONDS)
            if message is None:
                continue
            error = message.error()
            if error is not None:
                if error.fatal() or not error.retriable():
                    raise KafkaException(error)
                continue
            type_ = dict(message.headers() or ()).get(_TYPE)  # others may leave it out: then it is read
            if type_ is None or type_ in self._types:
                self.hearing.take(message.value() or b"")

    def _on_error(self, error: KafkaError) -> None:
        self.refusal = error.str()


def _options(settings: KafkaBroker, client: str) -> dict[str, Any]:
    password = read_secret(f"events.{settings.name}: password", settings.password_file, None)
    protocol = ("SASL_" if settings.username is not None else "") + ("SSL" if settings.tls else "PLAINTEXT")
    options: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.servers),
        "client.id": client,
        "security.protocol": protocol,
        "reconnect.backoff.max.ms": 30_000,
    }
    if settings.username is not None:
        options |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": password or "",
        }
    files = {
        "ssl.ca.location": settings.ca_file,
        "ssl.certificate.location": settings.client_cert,
        "ssl.key.location": settings.client_key,
    }
    return options | {name: str(file) for name, file in files.items() if file is not None}
