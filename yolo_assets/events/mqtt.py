"""Announcements by MQTT 3.1.1: quality of service 1. The library's own thread connects, pings and reconnects."""

from __future__ import annotations

import time

import paho.mqtt.client as paho

from yolo_assets.contracts.announcements import Announcement, kind_of
from yolo_assets.contracts.brokers import MqttBroker
from yolo_assets.events.transport import Hearing, place
from yolo_assets.runtime.delivery import DeliveryError
from yolo_assets.runtime.mqtt import CONNECT_SECONDS, MqttConnection, Subscription


class Mqtt:
    """One MQTT broker."""

    def __init__(self, settings: MqttBroker, client: str, hearing: Hearing | None) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        self._settings = settings
        self._connection = MqttConnection(
            f"events.{settings.name}",
            settings,
            client,
            subscription=None
            if hearing is None
            else Subscription(
                settings.topic,
                [f"{settings.topic}/{kind_of(each)}/+" for each in sorted(hearing.types)],
                lambda message: hearing.take(bytes(message.payload)),
            ),
        )

    @property
    def shown(self) -> str:
        """The broker, without anything secret."""
        return self._connection.shown

    @property
    def trouble(self) -> str | None:
        """Why the broker is not there now."""
        return self._connection.trouble

    @property
    def listening(self) -> bool:
        """Whether the broker confirmed the subscriptions."""
        return self._connection.listening

    def open(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._connection.open()

    def publish(self, announcement: Announcement) -> None:
        """Publish, and wait until the broker has confirmed it.

        Raises:
            DeliveryError: the broker is away, or did not confirm in time.
        """
        end = time.monotonic() + CONNECT_SECONDS
        while not self._connection.connected:
            if time.monotonic() > end:
                raise DeliveryError(self.trouble or f"{self.shown} went away")
            time.sleep(0.02)
        topic = place(self._settings.topic, "/", announcement)
        info = self._connection.client.publish(topic, announcement.to_json(), qos=1)
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise DeliveryError(f"{self.shown} takes nothing: {paho.error_string(info.rc)}")
        while not info.is_published():
            if time.monotonic() > end:
                raise DeliveryError(f"{self.shown} did not confirm in time")
            time.sleep(0.005)

    def close(self) -> None:
        """Close the connection; takes two seconds at most."""
        self._connection.close()
