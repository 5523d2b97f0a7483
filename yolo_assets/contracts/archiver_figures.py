"""An archiver's counters and state: a file that outlives every run, and the names for Prometheus.

The archiver writes ``<home>/metrics/archiver.json``; the archiver itself, the agent on the same device and
node_exporter expose it. Belongs here: the record and the names. Does not belong here: counting
(``archive.service.metrics``) and serving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError

if TYPE_CHECKING:
    from prometheus_client import Metric

FIGURES = Path("metrics", "archiver.json")
"""Below the home."""
PREFIX = "yolo_assets_archive_"
FAILURES = ("store_unreachable", "store_refused", "integrity", "signature", "disk_full", "spool", "other")
"""Why an hour was not archived; ``archive.service.metrics`` says which error is which."""
MOST_CAMERAS = 500
"""Label values of one counter; a spool with more folders than that counts the others together."""
OTHERS = "other"

Count = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Counter:
    """One counter.

    Attributes:
        name: in the file; for Prometheus with ``PREFIX`` and ``_total``.
        help: one sentence.
        label: the one label it has; None: none.
        known: label values that are there from the start, at 0, so that their first step can be alerted on.
    """

    name: str
    help: str
    label: str | None = None
    known: tuple[str, ...] = ()


COUNTERS = (
    Counter("archives", "Archives written, verified and committed.", "camera"),
    Counter("bytes", "Bytes of the files that went into archives.", "camera"),
    Counter("upload_parts", "Upload parts of finished archives.", "outcome", ("sent", "resumed")),
    Counter("sent_bytes", "Bytes sent to the network or the store's disk, those sent again included."),
    Counter("retries", "Requests to the store that were retried."),
    Counter("failures", "Failed attempts to archive a camera-hour.", "reason", FAILURES),
    Counter("verifications", "Archives verified right after their upload.", "how", ("head", "full")),
    Counter("reclaimed_files", "Local files deleted because the archive holds them."),
    Counter("reclaimed_bytes", "Bytes of the local files deleted because the archive holds them."),
    Counter("throttled_seconds", "Seconds that uploads waited for the bandwidth limit, all uploads together."),
)


class ArchiverFigures(Record):
    """``<home>/metrics/archiver.json``. Counters only grow; the rest is as the archiver last saw it.

    Attributes:
        counters: by name, then by label value, empty where there is no label.
        waiting: closed camera-hours with files that no archive holds.
        backlog_bytes: of those files.
        waiting_since: end of the oldest such hour.
        skipped: folders and files of the spool that no archive takes.
        limit: bytes a second that uploads were held to; None: no limit.
        limit_lifted: a limit is set, and lifted because the disk fills.
        disk_full_at: when the spool's disk will be full; None: it does not fill, or too little is known.
        last_success_at: when an hour was archived last.
        last_round_at: when the spool was worked through last, whatever came of it.
    """

    model_config = ConfigDict(extra="ignore")  # what a newer version added

    counters: dict[str, dict[str, Count]] = Field(default_factory=dict)
    waiting: int = Field(default=0, ge=0)
    backlog_bytes: int = Field(default=0, ge=0)
    waiting_since: Time | None = None
    skipped: int = Field(default=0, ge=0)
    limit: Count | None = None
    limit_lifted: bool = False
    disk_full_at: Time | None = None
    last_success_at: Time | None = None
    last_round_at: Time | None = None

    def plus(self, added: dict[tuple[str, str], float]) -> dict[str, dict[str, float]]:
        """The counters with something added, by name and label value."""
        counters = {name: dict(values) for name, values in self.counters.items()}
        for (name, label), amount in added.items():
            values = counters.setdefault(name, {})
            place = label if label in values or len(values) < MOST_CAMERAS else OTHERS
            values[place] = values.get(place, 0.0) + amount
        return counters


def read_figures(path: Path) -> ArchiverFigures | None:
    """What an archiver left; None when there is nothing that can be read."""
    try:
        return ArchiverFigures.from_json(path.read_bytes(), str(path))
    except (OSError, BadInputError):
        return None


def families(figures: ArchiverFigures, now: datetime) -> Iterator[Metric]:
    """The figures as Prometheus has them. Ages and times to come are seconds from ``now``."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for counter in COUNTERS:
        values = figures.counters.get(counter.name, {})
        if counter.label is None:
            yield CounterMetricFamily(PREFIX + counter.name, counter.help, value=values.get("", 0.0))
            continue
        family = CounterMetricFamily(PREFIX + counter.name, counter.help, labels=(counter.label,))
        for label in sorted({*counter.known, *values}):
            family.add_metric((label,), values.get(label, 0.0))
        yield family

    def gauge(name: str, help_text: str, value: float) -> Metric:
        return GaugeMetricFamily(PREFIX + name, help_text, value=value)

    def since(moment: datetime | None) -> float:
        return 0.0 if moment is None else max(0.0, (now - moment).total_seconds())

    yield gauge("waiting_camera_hours", "Closed camera-hours with files that no archive holds.", figures.waiting)
    yield gauge("backlog_bytes", "Bytes of the files that no archive holds.", figures.backlog_bytes)
    yield gauge(
        "backlog_age_seconds",
        "Time since the oldest hour with unarchived files ended; 0: none.",
        since(figures.waiting_since),
    )
    yield gauge("skipped", "Folders and files of the spool that no archive takes; the log names them.", figures.skipped)
    limit = -1.0 if figures.limit is None else figures.limit
    yield gauge("limit_bytes_per_second", "Bandwidth limit in force; -1: none.", limit)
    yield gauge("limit_lifted", "1: the limit is lifted because the spool's disk fills.", figures.limit_lifted)
    if figures.disk_full_at is not None:
        left = max(0.0, (figures.disk_full_at - now).total_seconds())
        yield gauge("disk_full_in_seconds", "Time until the spool's disk is full; absent: it does not fill.", left)
    for name, help_text, moment in (
        ("last_success_timestamp_seconds", "When an hour was last archived.", figures.last_success_at),
        ("last_round_timestamp_seconds", "When the last round over the spool ended.", figures.last_round_at),
    ):
        if moment is not None:
            yield gauge(name, help_text, moment.timestamp())
