"""Events by MQTT: quality of service 1, alarms retained, and a retained message that shows if this device is online.

The library's own thread connects, pings and reconnects; events count as delivered once the broker has confirmed them. A
broker that goes away in between gets them again after its return: the ``id`` shows a receiver what it has seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from yolo_assets.edge.config.outputs import MqttOutput
from yolo_assets.edge.outputs.events import OutgoingEvent
from yolo_assets.edge.outputs.sender import DeliveryError
from yolo_assets.runtime.mqtt import CONNECT_SECONDS, close_client, new_client, port_of, shown

_ON_ITS_WAY = 20
_LOOK = 0.1


class Mqtt:
    """Delivers to one broker."""

    def __init__(self, settings: MqttOutput, device_id: str) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        self._settings = settings
        self._device_id = device_id
        self.shown = shown(settings)
        self._refusal: str | None = None
        self._availability = settings.availability_topic.format(
            device_id=device_id, camera_id="", kind="availability", rule=""
        )
        client = new_client(
            f"outputs.{settings.name}", settings, f"yolo-assets-{device_id}-{settings.name}", settings.password_env
        )
        client.max_inflight_messages_set(_ON_ITS_WAY)
        client.will_set(self._availability, b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.connect_async(settings.host, port_of(settings), keepalive=settings.keepalive_s)
        self._client = client
        self._started = False

    @property
    def most(self) -> int:
        """Events that may go at once."""
        return _ON_ITS_WAY

    @property
    def connected(self) -> bool:
        """Whether the broker is there now."""
        return self._client.is_connected()

    @property
    def trouble(self) -> str | None:
        """Why the broker is not there now."""
        if not self._started or self.connected:
            return None
        return f"{self.shown} {self._refusal or 'is being connected'}"

    def open(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._started = True
        self._client.loop_start()

    def deliver(self, events: Sequence[OutgoingEvent], stop: threading.Event) -> None:
        """Publish and wait until the broker has confirmed them all.

        Once published they are the library's, which sends them again after a broken connection: there is no second
        try from here, and so no event is published twice without need.

        Raises:
            DeliveryError: the broker is away, or ``stop`` was set before it confirmed.
        """
        end = time.monotonic() + 2 * CONNECT_SECONDS
        while not self._client.is_connected():
            if stop.wait(_LOOK) or time.monotonic() > end:
                raise DeliveryError("connection", self.trouble or f"{self.shown} went away")
        sent: list[paho.MQTTMessageInfo] = []
        for event in events:
            retain = event.kind == "alarm" and self._settings.retain_alarms
            info = self._client.publish(self._topic(event), event.body, qos=1, retain=retain)
            if info.rc == paho.MQTT_ERR_NO_CONN:
                info.rc = paho.MQTT_ERR_SUCCESS  # it is kept and goes out after the connection is back
            sent.append(info)
        for info in sent:
            while not info.is_published():
                if stop.is_set():
                    raise DeliveryError("stopped", f"{self.shown} did not confirm before the agent stopped")
                info.wait_for_publish(_LOOK)

    def close(self) -> None:
        """Announce the disconnect and close the connection; takes two seconds at most."""
        if self._started:
            close_client(self._client, b"offline", self._availability)

    def _topic(self, event: OutgoingEvent) -> str:
        filled = self._settings.topic.format(
            device_id=self._device_id, camera_id=event.camera_id, kind=event.kind, rule=event.rule or ""
        )
        return filled.rstrip("/") if event.rule is None else filled

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._refusal = f"refuses the connection: {code}; check username, password_file and its access rules"
        else:
            self._refusal = None
            client.publish(self._availability, b"online", qos=1, retain=True)

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        self._refusal = "cannot be reached" + ("; check host, port and ca_file" if self._settings.tls else "")

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: paho.DisconnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure and self._refusal is None:
            self._refusal = f"went away: {code}"
