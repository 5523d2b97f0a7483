"""Announcements by MQTT 3.1.1: quality of service 1. The library's own thread connects, pings and reconnects."""

from __future__ import annotations

import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from yolo_assets.contracts.announcements import Announcement, kind_of
from yolo_assets.contracts.brokers import MqttBroker
from yolo_assets.events.transport import DeliveryError, Hearing, place
from yolo_assets.runtime.mqtt import CONNECT_SECONDS, close_client, new_client, port_of, shown


class Mqtt:
    """One MQTT broker."""

    def __init__(self, settings: MqttBroker, client: str, hearing: Hearing | None) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        self._settings = settings
        self._hearing = hearing
        self.shown = shown(settings)
        self._refusal: str | None = None
        self._subscribed = threading.Event()
        found = new_client(f"events.{settings.name}", settings, client)
        found.on_connect = self._on_connect
        found.on_connect_fail = self._on_connect_fail
        found.on_subscribe = self._on_subscribe
        found.on_disconnect = self._on_disconnect
        found.on_message = self._on_message
        self._client = found
        self._started = False

    @property
    def trouble(self) -> str | None:
        """Why the broker is not there now."""
        if not self._started or self._client.is_connected():
            return None
        return f"{self.shown} {self._refusal or 'is being connected'}"

    @property
    def listening(self) -> bool:
        """Whether the broker confirmed the subscriptions."""
        return self._subscribed.is_set()

    def open(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._started = True
        self._client.connect_async(self._settings.host, port_of(self._settings), keepalive=30)
        self._client.loop_start()

    def publish(self, announcement: Announcement) -> None:
        """Publish, and wait until the broker has confirmed it.

        Raises:
            DeliveryError: the broker is away, or did not confirm in time.
        """
        end = time.monotonic() + CONNECT_SECONDS
        while not self._client.is_connected():
            if time.monotonic() > end:
                raise DeliveryError(self.trouble or f"{self.shown} went away")
            time.sleep(0.02)
        info = self._client.publish(place(self._settings.topic, "/", announcement), announcement.to_json(), qos=1)
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise DeliveryError(f"{self.shown} takes nothing: {paho.error_string(info.rc)}")
        while not info.is_published():
            if time.monotonic() > end:
                raise DeliveryError(f"{self.shown} did not confirm in time")
            time.sleep(0.005)

    def close(self) -> None:
        """Close the connection; the library's thread may stand in one that does not come about."""
        if self._started:
            close_client(self._client)

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._refusal = f"refuses the connection: {code}; check username, password_file and its access rules"
            return
        self._refusal = None
        if self._hearing is not None:
            topics = [(f"{self._settings.topic}/{kind_of(each)}/+", 1) for each in sorted(self._hearing.types)]
            client.subscribe(topics)

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        self._refusal = "cannot be reached" + ("; check host, port and ca_file" if self._settings.tls else "")

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        if any(code.is_failure for code in codes):
            self._refusal = f"refuses {self._settings.topic}; check its access rules"
        else:
            self._subscribed.set()

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: paho.DisconnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        self._subscribed.clear()
        if code.is_failure and self._refusal is None:
            self._refusal = f"went away: {code}"

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        if self._hearing is not None:
            self._hearing.take(bytes(message.payload))
