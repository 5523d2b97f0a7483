"""The balance in Prometheus' terms."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from yolo_assets.edge.balancing.balancer import Balancer


class BalanceFigures(Collector):
    """Read at scrape time."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def collect(self) -> Iterator[Metric]:
        """The series."""
        figures = self._balancer.figures()
        yield GaugeMetricFamily(
            "yolo_edge_demand_ratio",
            "Share of the workers' time that all frames take, those dropped for want of it included.",
            value=figures["demand"],
        )
        yield GaugeMetricFamily("yolo_edge_light_cameras", "Cameras on the light model.", value=len(figures["cameras"]))
