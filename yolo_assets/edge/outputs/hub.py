"""From a worker's result to every output, without the worker waiting for anything.

A worker appends to a bounded intake, which takes microseconds whatever the receivers do. One thread applies the alarm
rules, makes the events and fills the outboxes; each output has a thread of its own, so a dead receiver holds up nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_assets.edge.config.outputs import AlarmRule, MqttOutput, WebhookOutput
from yolo_assets.edge.outputs.alarm_book import AlarmBook
from yolo_assets.edge.outputs.events import Event, Seen, alarm_event, result_event
from yolo_assets.edge.outputs.mqtt import Mqtt
from yolo_assets.edge.outputs.outbox import Outbox
from yolo_assets.edge.outputs.sender import Delivery, Sender
from yolo_assets.edge.outputs.webhook import Webhook
from yolo_assets.edge.threads import join
from yolo_assets.edge.types import Result

log = logging.getLogger(__name__)
_INTAKE = 4096


@dataclass(frozen=True)
class OutputParts:
    """One output while the agent runs."""

    settings: WebhookOutput | MqttOutput
    outbox: Outbox
    delivery: Delivery
    sender: Sender


class Outputs:
    """All outputs and alarm rules of the agent. Without any, ``on_result`` does nothing and no thread runs."""

    def __init__(
        self,
        outputs: tuple[WebhookOutput | MqttOutput, ...],
        rules: tuple[AlarmRule, ...],
        cameras: Sequence[str],
        device_id: str,
        state_dir: Path,
    ) -> None:
        """Read secrets, certificates and the standing alarms; connects to nothing.

        Raises:
            BadInputError: a secret or certificate cannot be used.
        """
        self._device_id = device_id
        self.parts = tuple(_open(settings, device_id) for settings in outputs)
        self.alarms = AlarmBook(rules, cameras, device_id, state_dir / "alarms.json")
        self._active = bool(outputs or rules)
        self._intake: deque[Seen] = deque(maxlen=_INTAKE)
        self._filled = threading.Event()
        self._stop = threading.Event()
        self._count = threading.Lock()
        self._missed = 0
        self._last_sent: dict[tuple[str, str], float] = {}
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)

    @property
    def missed(self) -> int:
        """Results that no rule and no output saw, because the machine had no time for this thread."""
        return self._missed

    def on_result(self, result: Result) -> None:
        """Take a worker's result; the picture is left behind."""
        if not self._active:
            return
        seen = Seen(
            camera_id=result.camera_id,
            sequence=result.sequence,
            captured_at=result.captured_at,
            captured=result.entered,
            model_version=result.model_version,
            detections=result.detections,
            record=result.record,
            recorded=result.recorded,
        )
        with self._count:
            if len(self._intake) == _INTAKE:
                self._missed += 1
            self._intake.append(seen)
        self._filled.set()

    def start(self) -> None:
        """Begin; alarms that stood when the agent stopped are told again, under the ids that they had."""
        if not self._active:
            return
        now = time.monotonic()
        for data in self.alarms.standing:
            self._put(alarm_event(data, now))
        for part in self.parts:
            part.sender.start()
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Send what waits for at most so many seconds, and end. A receiver that hangs is left behind."""
        self._stop.set()
        self._filled.set()
        join(self._thread, seconds)
        for part in self.parts:
            part.sender.finish(seconds)
        for part in self.parts:
            part.sender.join()

    def status(self) -> dict[str, Any]:
        """For ``/v1/status``; holds no secret."""
        return {
            "alarms": [data.model_dump(mode="json", by_alias=True) for data in self.alarms.standing],
            "missed": self._missed,
            "outputs": [_status(part) for part in self.parts],
        }

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._filled.clear()
            for seen in self._take():
                try:
                    self._handle(seen)
                except Exception:
                    log.exception("the outputs could not handle a result of %s; they go on", seen.camera_id)
            if self._stop.is_set() and not self._intake:
                return

    def _take(self) -> Iterator[Seen]:
        while True:
            try:
                yield self._intake.popleft()
            except IndexError:
                return

    def _handle(self, seen: Seen) -> None:
        now = time.monotonic()
        for data in self.alarms.observe(seen):
            log.log(
                logging.WARNING if data.state == "raised" else logging.INFO,
                "alarm %s %s on %s",
                data.rule,
                data.state,
                data.camera_id,
            )
            self._put(alarm_event(data, now))
        wanted = [part for part in self.parts if self._wants(part.settings, seen)]
        if wanted:
            event = result_event(self._device_id, seen, now)
            for part in wanted:
                part.outbox.put(event)

    def _put(self, event: Event) -> None:
        for part in self.parts:
            if part.settings.alarms and _watches(part.settings, event.camera_id):
                part.outbox.put(event)

    def _wants(self, settings: WebhookOutput | MqttOutput, seen: Seen) -> bool:
        if settings.results == "none" or not _watches(settings, seen.camera_id):
            return False
        if settings.results == "detections" and not seen.detections:
            return False
        key = (settings.name, seen.camera_id)
        if seen.captured - self._last_sent.get(key, float("-inf")) < settings.min_interval_s:
            return False
        self._last_sent[key] = seen.captured
        return True


def _watches(settings: WebhookOutput | MqttOutput, camera_id: str) -> bool:
    return not settings.cameras or camera_id in settings.cameras


def _open(settings: WebhookOutput | MqttOutput, device_id: str) -> OutputParts:
    outbox = Outbox(settings.queue_size, settings.expire_s)
    if isinstance(settings, MqttOutput):
        delivery: Delivery = Mqtt(settings, device_id)
    else:
        delivery = Webhook(settings)
    return OutputParts(settings, outbox, delivery, Sender(settings.name, outbox, delivery))


def _status(part: OutputParts) -> Mapping[str, Any]:
    counts = part.outbox.counts()
    dropped: dict[str, int] = {}
    for (_, outcome), number in counts.outcomes.items():
        if outcome != "delivered":
            dropped[outcome] = dropped.get(outcome, 0) + number
    return {
        "name": part.settings.name,
        "kind": part.settings.kind,
        "receiver": part.delivery.shown,
        "accepted": sum(counts.accepted.values()),
        "delivered": sum(n for (_, outcome), n in counts.outcomes.items() if outcome == "delivered"),
        "dropped": dropped,
        "waiting": sum(counts.waiting.values()),
        "sending": sum(counts.sending.values()),
        "oldest_s": counts.oldest_s,
        "failures": dict(part.sender.failures),
        "error": part.sender.error or part.delivery.trouble,
    }
