"""Announcements by MQTT 3.1.1: quality of service 1. The library's own thread connects, pings and reconnects."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from yolo_assets.contracts.announcements import Announcement, kind_of
from yolo_assets.contracts.brokers import MqttBroker
from yolo_assets.events.transport import DeliveryError, Hearing, place
from yolo_assets.runtime.credentials import client_context, read_secret

_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 2.0


class Mqtt:
    """One MQTT broker."""

    def __init__(self, settings: MqttBroker, client: str, hearing: Hearing | None) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        where = f"events.{settings.name}"
        password = read_secret(f"{where}: password", settings.password_file, None)
        self._settings = settings
        self._hearing = hearing
        self._port = settings.port or (8883 if settings.tls else 1883)
        self.shown = f"{'mqtts' if settings.tls else 'mqtt'}://{settings.host}:{self._port}"
        self._refusal: str | None = None
        self._subscribed = threading.Event()
        found = paho.Client(CallbackAPIVersion.VERSION2, client_id=client, protocol=paho.MQTTv311, clean_session=True)
        found.connect_timeout = _CONNECT_SECONDS
        # Each machine comes back after waits of its own, so that they do not all come at once.
        found.reconnect_delay_set(1, random.randint(15, 45))
        if settings.username is not None:
            found.username_pw_set(settings.username, password)
        if settings.tls:
            # paho imports ssl only where there is one, and so its parameter has no type.
            found.tls_set_context(client_context(where, settings))  # pyright: ignore[reportUnknownMemberType]
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
        self._client.connect_async(self._settings.host, self._port, keepalive=30)
        self._client.loop_start()

    def publish(self, announcement: Announcement) -> None:
        """Publish, and wait until the broker has confirmed it.

        Raises:
            DeliveryError: the broker is away, or did not confirm in time.
        """
        end = time.monotonic() + _CONNECT_SECONDS
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
            end = threading.Thread(target=self._end, name="mqtt-close", daemon=True)
            end.start()
            end.join(_CLOSE_SECONDS)

    def _end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

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
