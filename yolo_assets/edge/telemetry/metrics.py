"""Prometheus metrics, in a registry of their own.

Counts are read from the parts at scrape time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from yolo_assets import __version__
from yolo_assets.contracts.archiver_figures import families, read_figures
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.maintenance import Maintenance
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.rollout.freshness import PointerFreshness
from yolo_assets.edge.rollout.history import Swap
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.edge.telemetry.status import Readiness
from yolo_assets.spool.frame_journal import FrameJournal
from yolo_assets.storage.retrying import RetryCounts

CONTENT_TYPE = CONTENT_TYPE_LATEST
_STAGES = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.5)
_SWAP_STEPS = (0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class EdgeMetrics:
    """Metrics of one agent."""

    def __init__(self, slots: SlotManager[LoadedModel]) -> None:
        self._registry = CollectorRegistry()
        self._slots = slots
        self._observed: set[tuple[str, str]] = set()
        ProcessCollector(registry=self._registry)
        build = Gauge("yolo_edge_build_info", "1; the version of the agent.", ("version",), registry=self._registry)
        build.labels(__version__).set(1)
        self._viewers = Gauge("yolo_edge_viewers", "Live streams that are open now.", registry=self._registry)
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

    def read(self, source: Callable[[], Iterable[Metric]]) -> None:
        """Show what ``source`` gives at scrape time."""
        self._registry.register(_AtScrape(source))

    def count_viewers(self, now: Callable[[], int]) -> None:
        """Call this to count who watches."""
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


class _AtScrape(Collector):
    def __init__(self, source: Callable[[], Iterable[Metric]]) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        return self._source()


def frame_metrics(journal: FrameJournal, board: ResultBoard) -> Iterator[Metric]:
    """Frames by outcome, from the journal itself: what is scraped and what is sealed can never differ."""
    frames = CounterMetricFamily("yolo_edge_frames", "Frames by camera and outcome.", labels=("camera", "outcome"))
    waiting = GaugeMetricFamily(
        "yolo_edge_frames_in_flight", "Frames captured that have no outcome yet.", labels=("camera",)
    )
    for camera, counts in journal.counts().items():
        frames.add_metric((camera, "captured"), counts.captured)
        frames.add_metric((camera, "processed"), counts.processed)
        for reason, number in sorted(counts.dropped.items()):
            frames.add_metric((camera, f"dropped_{reason}"), number)
        waiting.add_metric((camera,), counts.in_flight)
    yield frames
    yield waiting
    ages = GaugeMetricFamily("yolo_edge_last_result_age_seconds", "Time since the last result.", labels=("camera",))
    for camera, figures in board.figures().items():
        if figures.last_result_age_s is not None:
            ages.add_metric((camera,), figures.last_result_age_s)
    yield ages


def camera_metrics(cameras: Sequence[CameraThread]) -> Iterator[Metric]:
    """What is wrong with a camera although its frames come, and that nothing is although none come."""
    frozen = GaugeMetricFamily(
        "yolo_edge_camera_frozen", "1: the camera shows the same picture again and again.", labels=("camera",)
    )
    waiting = GaugeMetricFamily(
        "yolo_edge_camera_waiting", "1: the camera works and has no new picture.", labels=("camera",)
    )
    for camera in cameras:
        state = camera.state
        frozen.add_metric((camera.camera_id,), state == "frozen")
        waiting.add_metric((camera.camera_id,), state == "waiting")
    yield frozen
    yield waiting


def slot_metrics(slots: SlotManager[LoadedModel]) -> Iterator[Metric]:
    """Models in memory and the leases on them."""
    info = GaugeMetricFamily(
        "yolo_edge_model_info", "1 for each model in memory.", labels=("model_version", "role", "engine")
    )
    inflight = GaugeMetricFamily("yolo_edge_inflight", "Leases held on a model now.", labels=("slot", "role"))
    for role, slot in slots.loaded():
        info.add_metric((slot.label, role, slot.model.engine), 1)
        inflight.add_metric((slot.label, role), slot.leases)
    yield info
    yield inflight


def disk_metrics(maintenance: Maintenance) -> Iterator[Metric]:
    """The spool's disk, and what its filling costs."""
    disk = maintenance.disk
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
        "yolo_edge_images_withheld", "Pictures that were not kept because the disk was filling.", labels=("stage",)
    )
    for stage, number in disk.withheld.items():
        withheld.add_metric((stage,), number)
    yield withheld


def health_metrics(clock: DeviceClock, readiness: Readiness, audit: AuditLog) -> Iterator[Metric]:
    """Clock, readiness and audit log."""
    yield GaugeMetricFamily("yolo_edge_clock_trusted", "0: this machine's clock is not trusted.", value=clock.trusted)
    ready = not readiness.reasons()
    yield GaugeMetricFamily("yolo_edge_ready", "1: every live camera had a result just now.", value=ready)
    head = audit.head
    yield CounterMetricFamily("yolo_edge_audit_lines", "Lines of the audit log.", value=head.sequence)
    yield GaugeMetricFamily(
        "yolo_edge_audit_unshipped_lines", "Lines of it that the store does not hold.", head.sequence - head.shipped
    )


def release_metrics(freshness: PointerFreshness) -> Iterator[Metric]:
    """Whether the release that the store shows is known to be the newest."""
    yield GaugeMetricFamily(
        "yolo_edge_pointer_expired",
        "1: nobody confirms any more that the release of the channel is the newest, or the store withholds it.",
        value=freshness.problem is not None,
    )
    if freshness.expires_at is not None:
        yield GaugeMetricFamily(
            "yolo_edge_pointer_expires_timestamp_seconds",
            "Until when the release of the channel is confirmed as the newest, where the plant does so.",
            value=freshness.expires_at,
        )


def store_metrics(counts: RetryCounts) -> Iterator[Metric]:
    """Requests to stores, by operation: how often they were made, made again, and given up."""
    requests = CounterMetricFamily(
        "yolo_edge_store_requests",
        "Requests to stores by operation and kind: attempts, retries, calls given up.",
        labels=("operation", "kind"),
    )
    for operation, figures in sorted(counts.by_operation().items()):
        requests.add_metric((operation, "try"), figures.attempts)
        requests.add_metric((operation, "retry"), figures.retries)
        requests.add_metric((operation, "given_up"), figures.given_up)
    yield requests


def archiver_metrics(path: Path) -> Iterator[Metric]:
    """What the archiver of this device wrote down; nothing where none has run."""
    figures = read_figures(path)
    if figures is not None:
        yield from families(figures, utc_now())
