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
from pydantic import Field, ValidationError

from yolo_assets.contracts.base import Time, one_line
from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.config.lots import LotBroker
from yolo_assets.edge.lots.book import Lot, LotBook
from yolo_assets.runtime.mqtt import MqttConnection, Subscription

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
        self._book = book
        self._topics = {settings.topic.format(camera_id=camera): camera for camera in cameras}
        self._counts: Counter[str] = Counter()
        self._last_refused: str | None = None
        self._connection = MqttConnection(
            "lots.mqtt",
            settings,
            f"yolo-assets-{device_id}-lots",
            subscription=Subscription(settings.topic, list(self._topics), self._take),
        )

    def start(self) -> None:
        """Connect, in a thread of the library's own, as often as it takes."""
        self._connection.open()

    def stop(self) -> None:
        """Close the connection, within two seconds."""
        self._connection.close()

    def status(self) -> dict[str, Any]:
        """For ``/v1/status``; holds no secret."""
        refusal = self._connection.refusal
        return {
            "broker": self._connection.shown,
            "error": refusal if self._connection.connected or refusal else "is being connected",
            "heard": self._counts["heard"],
            "refused": self._counts["refused"],
            "last_refused": self._last_refused,
        }

    def _take(self, message: paho.MQTTMessage) -> None:
        camera = self._topics.get(message.topic)
        if camera is None:
            return
        try:
            told = parse_lot(bytes(message.payload))
            lot = Lot(batch_id=told.batch_id, part_id=told.part_id)
            answer = self._book.change_by_broker(camera, lot, self._connection.shown, told.at, kept=message.retain)
        except (ValueError, UserError) as error:
            self._counts["refused"] += 1
            why = one_line(error) if isinstance(error, ValidationError) else str(error)
            if why != self._last_refused:
                log.error("camera %s: a lot from %s was refused: %s", camera, self._connection.shown, why)
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
