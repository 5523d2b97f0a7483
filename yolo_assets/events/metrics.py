"""Figures of announcing and listening for Prometheus, read at scrape time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_assets.events.announcer import Announcer
from yolo_assets.events.intake import Intake
from yolo_assets.events.transport import Transport


class EventMetrics(Collector):
    """What was announced here, and what was heard.

    Args:
        announcer: publishes; None: nothing does.
        intake: listens; None: nothing does.
        transports: that it listens to, by the names of their brokers.
    """

    def __init__(
        self, announcer: Announcer | None, intake: Intake | None, transports: dict[str, Transport] | None = None
    ) -> None:
        self._announcer = announcer
        self._intake = intake
        self._transports = transports or {}

    def collect(self) -> Iterator[Metric]:
        """All families, also where nothing happened yet."""
        sent = CounterMetricFamily(
            "yolo_events_announced", "Announcements by broker and outcome.", labels=("broker", "outcome")
        )
        waiting = GaugeMetricFamily("yolo_events_waiting", "Announcements that wait for a broker.", labels=("broker",))
        if self._announcer is not None:
            for broker, counts in self._announcer.counts.items():
                sent.add_metric((broker, "published"), counts.published)
                sent.add_metric((broker, "dropped"), counts.dropped)
            for broker, number in self._announcer.waiting.items():
                waiting.add_metric((broker,), number)
        yield from (sent, waiting)
        heard = CounterMetricFamily(
            "yolo_events_received",
            "Messages by broker, type and what became of them: taken, refused, dropped in a flood, not ours.",
            labels=("broker", "type", "outcome"),
        )
        up = GaugeMetricFamily("yolo_events_listening", "1: what is announced there is heard.", labels=("broker",))
        if self._intake is not None:
            for key, number in sorted(self._intake.received.items()):
                heard.add_metric(key, number)
            for broker, transport in self._transports.items():
                up.add_metric((broker,), transport.listening)
            yield CounterMetricFamily(
                "yolo_events_looks", "How often something was looked at for an announcement.", value=self._intake.looks
            )
            yield CounterMetricFamily(
                "yolo_events_look_failures", "Looks that failed; polling finds it.", value=self._intake.failures
            )
        yield from (heard, up)
