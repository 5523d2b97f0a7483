"""Prometheus metrics, in a registry of their own.

FrameCounts are read from the books when somebody asks, so that what is scraped and what is sealed can never differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from yolo_assets import __version__
from yolo_assets.contracts.archiver_figures import ArchiverFigures, families
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.housekeeping import DiskState
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout.history import Swap
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.spool.frame_journal import FrameJournal

CONTENT_TYPE = CONTENT_TYPE_LATEST
_STAGES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)
_SWAP_STEPS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


@dataclass(frozen=True)
class Sources:
    """What is read at scrape time; ``archiver``: what the archiver of this box left, None where there is none."""

    books: FrameJournal
    board: ResultBoard
    slots: SlotManager[LoadedModel]
    disk: Callable[[], DiskState]
    archiver: Callable[[], ArchiverFigures | None]
    audit: AuditLog
    not_ready: Callable[[], list[str]]
    clock_trusted: Callable[[], bool]


class EdgeMetrics:
    """Metrics of one agent."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Books(sources))
        self._slots = sources.slots
        self._observed: set[tuple[str, str]] = set()
        ProcessCollector(registry=self._registry)
        build = Gauge("yolo_edge_build_info", "1; the version of the agent.", ("version",), registry=self._registry)
        build.labels(__version__).set(1)
        self._viewers = Gauge("yolo_edge_viewers", "Live streams that are watched now.", registry=self._registry)
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
        for result in ("committed", "switched", "refused", "failed", "rolled_back", "reverted"):
            self._swaps.labels(result)  # a series that exists from the start can be alerted on
        self._swap_seconds = Histogram(
            "yolo_edge_swap_seconds",
            "Time of each step of a model change.",
            ("stage",),
            buckets=_SWAP_STEPS,
            registry=self._registry,
        )

    def register(self, collector: Collector) -> None:
        """Show the figures of another part too."""
        self._registry.register(collector)

    def count_viewers(self, now: Callable[[], int]) -> None:
        """Ask here how many watch."""
        self._viewers.set_function(now)

    def stage(self, slot: str, stage: str, seconds: float) -> None:
        """Observe one stage of one frame: ``predict``, ``encode`` or ``write``."""
        self._observed.add((slot, stage))
        self._inference.labels(slot, stage).observe(seconds)

    def swap(self, swap: Swap) -> None:
        """Count one attempt and its steps."""
        self._swaps.labels(swap.event.result).inc()
        for step, seconds in swap.steps.items():
            self._swap_seconds.labels(step).observe(seconds)
        if swap.switch_seconds is not None:
            self._swap_seconds.labels("switch").observe(swap.switch_seconds)

    def render(self) -> bytes:
        """Everything in the text format. Series of models that were freed are dropped: they would grow for ever."""
        loaded = {slot.label for _, slot in self._slots.loaded()}
        for slot, stage in [series for series in self._observed.copy() if series[0] not in loaded]:
            self._inference.remove(slot, stage)
            self._observed.discard((slot, stage))
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
        disk = self._sources.disk()
        yield GaugeMetricFamily("yolo_edge_spool_bytes", "Bytes of the spool on disk.", value=disk.spool_bytes)
        if disk.used is not None:
            yield GaugeMetricFamily("yolo_edge_disk_used_ratio", "Share of the spool's disk in use.", value=disk.used)
        yield GaugeMetricFamily(
            "yolo_edge_disk_stage",
            "What a filling disk costs: 0 nothing, 1 fewer pictures without detection, 2 records only of those, "
            "3 no pictures at all.",
            value=disk.stage,
        )
        withheld = CounterMetricFamily(
            "yolo_edge_images_withheld", "Pictures that the disk's stage did not let be kept.", labels=("stage",)
        )
        for stage, number in disk.withheld.items():
            withheld.add_metric((stage,), number)
        yield withheld
        yield GaugeMetricFamily(
            "yolo_edge_clock_trusted", "0: this machine's clock is not believed.", value=self._sources.clock_trusted()
        )
        ready = not self._sources.not_ready()
        yield GaugeMetricFamily("yolo_edge_ready", "1: every live camera had a result just now.", value=ready)
        head = self._sources.audit.head
        yield CounterMetricFamily("yolo_edge_audit_lines", "Lines of the audit log.", value=head.sequence)
        yield GaugeMetricFamily(
            "yolo_edge_audit_unshipped_lines", "Lines of it that the store does not hold.", head.sequence - head.shipped
        )
        archiver = self._sources.archiver()
        if archiver is not None:
            yield from families(archiver, utc_now())
