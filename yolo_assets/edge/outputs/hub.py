"""From a worker's result to every output, without the worker waiting for anything.

A worker appends to a bounded intake, which takes microseconds whatever the receivers do. One thread applies the alarm
rules, makes the events and fills the outboxes; each output has a thread of its own, so no receiver delays another.
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

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_assets.edge.config.outputs import AlarmRule, MqttOutput, WebhookOutput
from yolo_assets.edge.outputs.alarms import ActiveAlarms
from yolo_assets.edge.outputs.events import FrameSummary, OutgoingEvent, alarm_event, result_event
from yolo_assets.edge.outputs.mqtt import MqttDelivery
from yolo_assets.edge.outputs.outbox import EventOutbox
from yolo_assets.edge.outputs.sender import Delivery, Sender
from yolo_assets.edge.outputs.webhook import Webhook
from yolo_assets.edge.types import Result
from yolo_assets.runtime.threads import join

log = logging.getLogger(__name__)
_INTAKE = 4096


@dataclass(frozen=True)
class RunningOutput:
    """One output while the agent runs."""

    settings: WebhookOutput | MqttOutput
    outbox: EventOutbox
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
        self.running = tuple(_open(settings, device_id) for settings in outputs)
        self.alarms = ActiveAlarms(rules, cameras, device_id, state_dir / "alarms.json")
        self._active = bool(outputs or rules)
        self._intake: deque[FrameSummary] = deque(maxlen=_INTAKE)
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
        """Take a worker's result; the picture is not kept."""
        if not self._active:
            return
        summary = FrameSummary(
            camera_id=result.camera_id,
            sequence=result.sequence,
            captured_at=result.captured_at,
            captured=result.entered,
            model_version=result.model_version,
            detections=result.detections,
            record=result.record,
            recorded=result.recorded,
            class_list=result.class_list,
        )
        with self._count:
            if len(self._intake) == _INTAKE:
                self._missed += 1
            self._intake.append(summary)
        self._filled.set()

    def start(self) -> None:
        """Begin; alarms that were active when the agent stopped are sent again, under the ids that they had."""
        if not self._active:
            return
        now = time.monotonic()
        for data in self.alarms.active:
            self._put(alarm_event(data, now))
        for output in self.running:
            output.sender.start()
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Send what waits for at most so many seconds, and end. A receiver that hangs is not waited for."""
        self._stop.set()
        self._filled.set()
        join(self._thread, seconds)
        for output in self.running:
            output.sender.finish(seconds)
        for output in self.running:
            output.sender.join()

    def status(self) -> dict[str, Any]:
        """For ``/v1/status``; holds no secret."""
        return {
            "alarms": [data.model_dump(mode="json", by_alias=True) for data in self.alarms.active],
            "missed": self._missed,
            "outputs": [_status(output) for output in self.running],
        }

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._filled.clear()
            for summary in self._take():
                try:
                    self._handle(summary)
                except Exception:
                    log.exception("the outputs could not handle a result of %s; they continue", summary.camera_id)
            if self._stop.is_set() and not self._intake:
                return

    def _take(self) -> Iterator[FrameSummary]:
        while True:
            try:
                yield self._intake.popleft()
            except IndexError:
                return

    def _handle(self, summary: FrameSummary) -> None:
        now = time.monotonic()
        for data in self.alarms.observe(summary):
            log.log(
                logging.WARNING if data.state == "raised" else logging.INFO,
                "alarm %s %s on %s",
                data.rule,
                data.state,
                data.camera_id,
            )
            self._put(alarm_event(data, now))
        selected = [output for output in self.running if self._wants(output.settings, summary)]
        if selected:
            event = result_event(self._device_id, summary, now)
            for output in selected:
                output.outbox.put(event)

    def _put(self, event: OutgoingEvent) -> None:
        for output in self.running:
            if output.settings.alarms and _watches(output.settings, event.camera_id):
                output.outbox.put(event)

    def _wants(self, settings: WebhookOutput | MqttOutput, summary: FrameSummary) -> bool:
        if settings.results == "none" or not _watches(settings, summary.camera_id):
            return False
        if settings.results == "detections" and not summary.detections:
            return False
        key = (settings.name, summary.camera_id)
        if summary.captured - self._last_sent.get(key, float("-inf")) < settings.min_interval_s:
            return False
        self._last_sent[key] = summary.captured
        return True


def _watches(settings: WebhookOutput | MqttOutput, camera_id: str) -> bool:
    return not settings.cameras or camera_id in settings.cameras


def _open(settings: WebhookOutput | MqttOutput, device_id: str) -> RunningOutput:
    outbox = EventOutbox(settings.queue_size, settings.expire_s)
    if isinstance(settings, MqttOutput):
        delivery: Delivery = MqttDelivery(settings, device_id)
    else:
        delivery = Webhook(settings)
    return RunningOutput(settings, outbox, delivery, Sender(settings.name, outbox, delivery))


def _status(output: RunningOutput) -> Mapping[str, Any]:
    counts = output.outbox.counts()
    dropped: dict[str, int] = {}
    for (_, outcome), number in counts.outcomes.items():
        if outcome != "delivered":
            dropped[outcome] = dropped.get(outcome, 0) + number
    return {
        "name": output.settings.name,
        "kind": output.settings.kind,
        "receiver": output.delivery.shown,
        "accepted": sum(counts.accepted.values()),
        "delivered": sum(n for (_, outcome), n in counts.outcomes.items() if outcome == "delivered"),
        "dropped": dropped,
        "waiting": sum(counts.waiting.values()),
        "sending": sum(counts.sending.values()),
        "oldest_s": counts.oldest_s,
        "failures": dict(output.sender.failures),
        "error": output.sender.error or output.delivery.trouble,
    }


class OutputMetrics(Collector):
    """Collects from the outboxes, so that what is scraped and what is in the status never differ."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def collect(self) -> Iterator[Metric]:
        """All series; ``outcome`` is delivered, or dropped with its reason."""
        events = CounterMetricFamily(
            "yolo_edge_output_events", "Events of an output by kind and outcome.", labels=("output", "kind", "outcome")
        )
        waiting = GaugeMetricFamily(
            "yolo_edge_output_waiting", "Events that are not delivered yet.", labels=("output", "kind")
        )
        oldest = GaugeMetricFamily(
            "yolo_edge_output_oldest_seconds", "Age of the event that has waited longest.", labels=("output",)
        )
        failures = CounterMetricFamily(
            "yolo_edge_output_failures", "Failed attempts to deliver, by reason.", labels=("output", "reason")
        )
        healthy = GaugeMetricFamily(
            "yolo_edge_output_up", "1: the last attempt succeeded and the connection is up.", labels=("output",)
        )
        for output in self._outputs.running:
            name, counts = output.settings.name, output.outbox.counts()
            for kind in counts.accepted:
                outcomes = {outcome: n for (of, outcome), n in counts.outcomes.items() if of == kind}
                for outcome in ("delivered", "queue_full", "expired", "refused", "stopped"):
                    shown = outcome if outcome == "delivered" else f"dropped_{outcome}"
                    events.add_metric((name, kind, shown), outcomes.get(outcome, 0))
                waiting.add_metric((name, kind), counts.waiting[kind] + counts.sending[kind])
            oldest.add_metric((name,), counts.oldest_s)
            for reason, number in sorted(dict(output.sender.failures).items()):
                failures.add_metric((name, reason), number)
            healthy.add_metric((name,), output.sender.error is None and output.delivery.trouble is None)
        yield from (events, waiting, oldest, failures, healthy)
        yield CounterMetricFamily(
            "yolo_edge_output_missed",
            "Results that were dropped before any rule or output saw them.",
            value=self._outputs.missed,
        )
        standing = GaugeMetricFamily(
            "yolo_edge_alarm_standing", "1 for each alarm that is raised and not cleared.", labels=("rule", "camera")
        )
        for data in self._outputs.alarms.active:
            standing.add_metric((data.rule, data.camera_id), 1)
        yield standing
        raised = CounterMetricFamily("yolo_edge_alarms", "Alarms raised since the start.", labels=("rule", "camera"))
        for key, number in list(self._outputs.alarms.raised.items()):
            raised.add_metric(key, number)
        yield raised
