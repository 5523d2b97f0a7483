"""Events by MQTT: quality of service 1, alarms retained, and a retained message that shows if this device is online.

The library's own thread connects, pings and reconnects; events count as delivered once the broker has confirmed them. A
broker that goes away in between gets them again after its return: the ``id`` shows a receiver what it has seen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import paho.mqtt.client as paho

from yolo_assets.edge.config.outputs import MqttOutput
from yolo_assets.edge.outputs.events import OutgoingEvent
from yolo_assets.runtime.delivery import DeliveryError
from yolo_assets.runtime.mqtt import CONNECT_SECONDS, MqttConnection

_ON_ITS_WAY = 20
_LOOK = 0.1


class MqttDelivery:
    """Delivers to one broker."""

    def __init__(self, settings: MqttOutput, device_id: str) -> None:
        """Read the secrets and certificates; connects to nothing.

        Raises:
            BadInputError: one of them cannot be used.
        """
        self._settings = settings
        self._device_id = device_id
        self._connection = MqttConnection(
            f"outputs.{settings.name}",
            settings,
            f"yolo-assets-{device_id}-{settings.name}",
            password_variable=settings.password_env,
            keepalive_s=settings.keepalive_s,
            availability=settings.availability_topic.format(
                device_id=device_id, camera_id="", kind="availability", rule=""
            ),
        )
        self._connection.client.max_inflight_messages_set(_ON_ITS_WAY)

    @property
    def most(self) -> int:
        """Events that may go at once."""
        return _ON_ITS_WAY

    @property
    def shown(self) -> str:
        """The broker, without anything secret."""
        return self._connection.shown

    @property
    def trouble(self) -> str | None:
        """Why the broker is not there now."""
        return self._connection.trouble

    def open(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._connection.open()

    def deliver(self, events: Sequence[OutgoingEvent], stop: threading.Event) -> None:
        """Publish and wait until the broker has confirmed them all.

        Once published they are the library's, which sends them again after a broken connection: there is no second
        try from here, and so no event is published twice without need.

        Raises:
            DeliveryError: the broker is away, or ``stop`` was set before it confirmed.
        """
        end = time.monotonic() + 2 * CONNECT_SECONDS
        while not self._connection.connected:
            if stop.wait(_LOOK) or time.monotonic() > end:
                raise DeliveryError(self.trouble or f"{self.shown} went away")
        sent: list[paho.MQTTMessageInfo] = []
        for event in events:
            retain = event.kind == "alarm" and self._settings.retain_alarms
            info = self._connection.client.publish(self._topic(event), event.body, qos=1, retain=retain)
            if info.rc == paho.MQTT_ERR_NO_CONN:
                info.rc = paho.MQTT_ERR_SUCCESS  # it is kept and goes out after the connection is back
            sent.append(info)
        for info in sent:
            while not info.is_published():
                if stop.is_set():
                    raise DeliveryError(f"{self.shown} did not confirm before the agent stopped", "stopped")
                info.wait_for_publish(_LOOK)

    def close(self) -> None:
        """Announce the disconnect and close the connection; takes two seconds at most."""
        self._connection.close()

    def _topic(self, event: OutgoingEvent) -> str:
        filled = self._settings.topic.format(
            device_id=self._device_id, camera_id=event.camera_id, kind=event.kind, rule=event.rule or ""
        )
        return filled.rstrip("/") if event.rule is None else filled
