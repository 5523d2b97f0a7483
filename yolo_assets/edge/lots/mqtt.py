"""Lots by MQTT: one topic for each camera, heard with quality of service 1.

A message that the broker kept (retained) is what holds, not news: after a restart or a broken connection it counts only
where it is not what was heard before, so that it never undoes a change that came in another way.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Time, one_line
from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.config.lots import LotBroker
from yolo_assets.edge.lots.book import Lot, LotBook
from yolo_assets.runtime.mqtt import close_client, new_client, port_of, shown

log = logging.getLogger(__name__)
_LONGEST = 4096


class LotMessage(Lot):
    """The JSON form of a message."""

    at: Time | None = Field(default=None, description="from when on; left out: from now on")


class LotListener:
    """Hears of lots from one broker.

    Args:
        settings: of the broker.
        device_id: this device.
        cameras: whose topics are subscribed to.
        book: where lots are changed.

    Raises:
        BadInputError: a secret or certificate cannot be used.
    """

    def __init__(self, settings: LotBroker, device_id: str, cameras: Sequence[str], book: LotBook) -> None:
        self._settings = settings
        self._book = book
        self._topics = {settings.topic.format(camera_id=camera): camera for camera in cameras}
        self._refusal: str | None = None
        self._counts: Counter[str] = Counter()
        self._last_refused: str | None = None
        self.shown = shown(settings)
        self._client = client = new_client("lots.mqtt", settings, f"yolo-assets-{device_id}-lots")
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

    def start(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._client.connect_async(self._settings.host, port_of(self._settings), keepalive=30)
        self._client.loop_start()

    def stop(self) -> None:
        """Close the connection, within two seconds."""
        close_client(self._client)

    def status(self) -> dict[str, Any]:
        """For ``/v1/status``; holds no secret."""
        connected = self._client.is_connected()
        return {
            "broker": self.shown,
            "error": self._refusal if connected or self._refusal else "is being connected",
            "heard": self._counts["heard"],
            "refused": self._counts["refused"],
            "last_refused": self._last_refused,
        }

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: paho.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._refusal = f"refuses the connection: {code}; check username, password_file and its access rules"
            return
        self._refusal = None
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        self._refusal = "cannot be reached" + ("; check host, port and ca_file" if self._settings.tls else "")

    def _on_subscribe(
        self, client: paho.Client, userdata: Any, mid: int, codes: list[ReasonCode], properties: Any
    ) -> None:
        if any(code.is_failure for code in codes):
            self._refusal = f"refuses {self._settings.topic}; check its access rules"

    def _on_disconnect(
        self, client: paho.Client, userdata: Any, flags: paho.DisconnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure and self._refusal is None:
            self._refusal = f"went away: {code}"

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        camera = self._topics.get(message.topic)
        if camera is None:
            return
        try:
            told = parse_lot(bytes(message.payload))
            lot = Lot(batch_id=told.batch_id, part_id=told.part_id)
            answer = self._book.change_by_broker(camera, lot, self.shown, told.at, kept=message.retain)
        except (ValueError, UserError) as error:
            self._counts["refused"] += 1
            why = one_line(error) if isinstance(error, ValidationError) else str(error)
            if why != self._last_refused:
                log.error("camera %s: a lot from %s was refused: %s", camera, self.shown, why)
            self._last_refused = why
            return
        self._counts["heard"] += 1
        if answer is not None and answer.late_s:
            log.warning("camera %s: its lot came %.3f s late; frames until then keep theirs", camera, answer.late_s)


def parse_lot(payload: bytes) -> LotMessage:
    """What a message says: JSON when it begins with a brace, else the batch as it stands; empty: no batch.

    Raises:
        ValueError: neither.
    """
    if len(payload) > _LONGEST:
        raise ValueError(f"a message of more than {_LONGEST} bytes")
    text = payload.decode("utf-8-sig").strip()
    if text.startswith("{"):
        return LotMessage.model_validate_json(text)
    return LotMessage(batch_id=text or None)
