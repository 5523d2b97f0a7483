"""The outputs as Prometheus metrics, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_assets.edge.outputs.hub import Outputs


class OutputFigures(Collector):
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
            "yolo_edge_output_failures", "Failed tries to deliver, by reason.", labels=("output", "reason")
        )
        healthy = GaugeMetricFamily(
            "yolo_edge_output_up", "1: the last try succeeded and the connection stands.", labels=("output",)
        )
        for part in self._outputs.parts:
            name, counts = part.settings.name, part.outbox.counts()
            for kind in counts.accepted:
                outcomes = {outcome: n for (of, outcome), n in counts.outcomes.items() if of == kind}
                for outcome in ("delivered", "queue_full", "expired", "refused", "stopped"):
                    shown = outcome if outcome == "delivered" else f"dropped_{outcome}"
                    events.add_metric((name, kind, shown), outcomes.get(outcome, 0))
                waiting.add_metric((name, kind), counts.waiting[kind] + counts.sending[kind])
            oldest.add_metric((name,), counts.oldest_s)
            for reason, number in sorted(dict(part.sender.failures).items()):
                failures.add_metric((name, reason), number)
            healthy.add_metric((name,), part.sender.error is None and part.delivery.trouble is None)
        yield from (events, waiting, oldest, failures, healthy)
        yield CounterMetricFamily(
            "yolo_edge_output_missed", "Results that no rule and no output saw.", value=self._outputs.missed
        )
        standing = GaugeMetricFamily(
            "yolo_edge_alarm_standing", "1 for each alarm that is raised and not cleared.", labels=("rule", "camera")
        )
        for data in self._outputs.alarms.standing:
            standing.add_metric((data.rule, data.camera_id), 1)
        yield standing
        raised = CounterMetricFamily("yolo_edge_alarms", "Alarms raised since the start.", labels=("rule", "camera"))
        for key, number in list(self._outputs.alarms.raised.items()):
            raised.add_metric(key, number)
        yield raised
