"""From the section of a broker to its transport; each kind's library is imported where it is used, and nowhere else."""

from __future__ import annotations

from yolo_assets.contracts.brokers import AnyBroker, EtcdBroker, HttpReceiverAt, KafkaBroker, MqttBroker
from yolo_assets.events.transport import Hearing, Transport


def open_transport(settings: AnyBroker, client: str, hearing: Hearing | None) -> Transport:
    """The transport of a broker; connects to nothing yet.

    Args:
        settings: its section.
        client: names this connection to the broker; no two connections may have the same.
        hearing: what to listen to; None: only publish.

    Raises:
        BadInputError: a secret or a certificate cannot be used.
        ModuleNotFoundError: the extra of this kind of broker is not installed.
    """
    if isinstance(settings, MqttBroker):
        from yolo_assets.events.mqtt import Mqtt

        return Mqtt(settings, client, hearing)
    if isinstance(settings, EtcdBroker):
        from yolo_assets.events.etcd import Etcd

        return Etcd(settings, hearing)
    if isinstance(settings, HttpReceiverAt):
        from yolo_assets.events.http import Http

        return Http(settings)
    if isinstance(settings, KafkaBroker):
        from yolo_assets.events.kafka import Kafka

        return Kafka(settings, client, hearing)
    from yolo_assets.events.nats import Nats

    return Nats(settings, client, hearing)
