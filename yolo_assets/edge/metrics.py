"""Prometheus metrics, in a registry of their own.

Counts are read from the books when somebody asks, so that what is scraped and what is sealed can never differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from yolo_assets.contracts.archiver_figures import ArchiverFigures, families
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.accounting import Accounting
from yolo_assets.edge.loading import LoadedModel
from yolo_assets.edge.results import ResultBoard
from yolo_assets.edge.slots import SlotManager
from yolo_assets.edge.swaps import Swap

CONTENT_TYPE = CONTENT_TYPE_LATEST
_STAGES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)
_SWAP_STEPS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


@dataclass(frozen=True)
class Sources:
    """What is read at scrape time; ``archiver``: what the archiver of this box left, None where there is none."""

    books: Accounting
    board: ResultBoard
    slots: SlotManager[LoadedModel]
    spool_bytes: Callable[[], int]
    archiver: Callable[[], ArchiverFigures | None]


class EdgeMetrics:
    """Metrics of one agent."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Books(sources))
        self._inference = Histogram(
            "yolo_edge_inference_seconds",
            "Time of one frame in each stage, by model.",
            ("slot", "stage"),
            buckets=_STAGES,
            registry=self._registry,
        )
        self._swaps = Counter(
            "yolo_edge_swap", "Attempts to change the model, by result.", ("result",), registry=self._registry
        )
        for result in ("committed", "refused", "failed", "rolled_back"):
            self._swaps.labels(result)  # a series that exists from the start can be alerted on
        self._swap_seconds = Histogram(
            "yolo_edge_swap_seconds",
            "Time of each step of a model change.",
            ("stage",),
            buckets=_SWAP_STEPS,
            registry=self._registry,
        )

    def stage(self, slot: str, stage: str, seconds: float) -> None:
        """Observe one stage of one frame: ``predict``, ``encode`` or ``write``."""
        self._inference.labels(slot, stage).observe(seconds)

    def forget_slot(self, slot: str) -> None:
        """Drop the series of a model that was freed, so that they do not grow with every release."""
        for stage in ("predict", "encode", "write"):
            try:
                self._inference.remove(slot, stage)
            except KeyError:
                pass

    def swap(self, swap: Swap) -> None:
        """Count one attempt and its steps."""
        self._swaps.labels(swap.event.result).inc()
        for step, seconds in swap.steps.items():
            self._swap_seconds.labels(step).observe(seconds)
        if swap.switch_seconds is not None:
            self._swap_seconds.labels("switch").observe(swap.switch_seconds)

    def render(self) -> bytes:
        """Everything in the text format."""
        return generate_latest(self._registry)


class _Books(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        frames = CounterMetricFamily("yolo_edge_frames", "Frames by camera and outcome.", labels=("camera", "outcome"))
        waiting = GaugeMetricFamily(
            "yolo_edge_frames_in_flight", "Frames captured that have no outcome yet.", labels=("camera",)
        )
        for camera, counts in self._sources.books.counts().items():
            frames.add_metric((camera, "captured"), counts.captured)
            frames.add_metric((camera, "processed"), counts.processed)
            for reason, number in sorted(counts.dropped.items()):
                frames.add_metric((camera, f"dropped_{reason}"), number)
            waiting.add_metric((camera,), counts.in_flight)
        yield frames
        yield waiting
        ages = GaugeMetricFamily("yolo_edge_last_result_age_seconds", "Time since the last result.", labels=("camera",))
        for camera, figures in self._sources.board.figures().items():
            if figures.last_result_age_s is not None:
                ages.add_metric((camera,), figures.last_result_age_s)
        yield ages
        info = GaugeMetricFamily(
            "yolo_edge_model_info", "1 for each model in memory.", labels=("model_version", "role", "engine")
        )
        inflight = GaugeMetricFamily("yolo_edge_inflight", "Leases held on a model now.", labels=("slot", "role"))
        for role, slot in self._sources.slots.loaded():
            info.add_metric((slot.label, role, slot.model.engine), 1)
            inflight.add_metric((slot.label, role), slot.leases)
        yield info
        yield inflight
        yield GaugeMetricFamily(
            "yolo_edge_spool_bytes", "Bytes of the spool on disk.", value=self._sources.spool_bytes()
        )
        archiver = self._sources.archiver()
        if archiver is not None:
            yield from families(archiver, utc_now())
