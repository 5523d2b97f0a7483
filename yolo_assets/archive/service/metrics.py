"""Counts what the archiver does, in a file that outlives the process, and gives the figures to Prometheus.

Several processes (a service, Dagster's runs, a person) count into one file, each what it added, under a lock. Counting
never stops the archiving: a file that cannot be written is reported once, and what was counted waits in memory. Does
not belong here: names for Prometheus (``contracts.archiver_figures``), measuring the backlog (``traffic``), the page
that shows them (``runtime.metrics_page``).
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from yolo_assets.contracts.archiver_figures import ArchiverFigures, families, read_figures
from yolo_assets.contracts.errors import IntegrityError, SignatureError
from yolo_assets.contracts.times import utc_now
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.spool.files import SpoolFullError, write_atomic
from yolo_assets.storage.base import StoreUnavailableError
from yolo_assets.storage.folder_files import lock
from yolo_assets.storage.retrying import PROCESS_COUNTS

if TYPE_CHECKING:
    from yolo_assets.archive.archiving import ArchiveOutcome
    from yolo_assets.archive.reclaim import ReclaimReport


def failure_class(error: Exception) -> str:
    """One of ``contracts.archiver_figures.FAILURES``."""
    if isinstance(error, StoreUnavailableError):
        return "store_unreachable" if error.transient else "store_refused"
    if isinstance(error, SignatureError):
        return "signature"
    if isinstance(error, IntegrityError):
        return "integrity"
    if isinstance(error, SpoolFullError):
        return "disk_full"
    if isinstance(error, OSError):
        return "spool"
    return "other"


class ArchiverCounters:
    """Counts of this process on their way into the file. Safe to share between threads."""

    def __init__(self, file: Path, say: Callable[[str], None] = lambda _: None) -> None:
        """Count into ``file``, made when missing; ``say`` is called once with a line when that does not work."""
        self._file = file
        self._say = say
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._added: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._stands: dict[str, Any] = {}
        self._retries = PROCESS_COUNTS.retries
        self._reported = False

    def add(self, name: str, amount: float = 1, label: str = "") -> None:
        """Count; names and labels as in ``contracts.archiver_figures``."""
        if amount:
            with self._lock:
                self._added[name, label] += amount

    @property
    def counted(self) -> bool:
        """Whether something was counted that is not in the file yet."""
        return bool(self._added)

    def stands(self, **fields: Any) -> None:
        """Note how things stand now: fields of ``ArchiverFigures`` other than the counters."""
        with self._lock:
            self._stands |= fields

    def archived(self, outcome: ArchiveOutcome) -> None:
        """Count what became of an hour."""
        if outcome.status == "archived" and outcome.receipt is not None:
            self.add("archives", 1, outcome.camera_id)
            self.add("bytes", outcome.bytes, outcome.camera_id)
            self.add("verifications", 1, outcome.receipt.verified_how)
        self.add("upload_parts", outcome.sent_parts, "sent")
        self.add("upload_parts", outcome.resumed_parts, "resumed")
        if outcome.status != "nothing":
            self.stands(last_success_at=utc_now())

    def reclaimed(self, report: ReclaimReport) -> None:
        """Count what was deleted locally."""
        self.add("reclaimed_files", report.files)
        self.add("reclaimed_bytes", report.bytes)

    def failed(self, error: Exception) -> None:
        """Count an hour that failed. One that another process holds did not."""
        if not isinstance(error, FolderBusyError):
            self.add("failures", 1, failure_class(error))

    def figures(self) -> ArchiverFigures:
        """Everything counted so far, by all processes; without a file what this one counted."""
        with self._flushing:
            self._count_retries()
            with self._lock:
                added, stands = dict(self._added), dict(self._stands)
            return _sum(read_figures(self._file), added, stands)

    def flush(self) -> None:
        """Bring everything into the file. What cannot be written stays here, for the next time."""
        with self._flushing:
            self._count_retries()
            with self._lock:
                added, stands = self._added, self._stands
                self._added, self._stands = defaultdict(float), {}
            try:
                self._write(added, stands)
            except (OSError, SpoolFullError) as error:
                with self._lock:
                    for place, amount in added.items():
                        self._added[place] += amount
                    self._stands = stands | self._stands
                if not self._reported:
                    self._reported = True
                    reason = error.strerror if isinstance(error, OSError) else str(error)
                    self._say(f"the archiver's figures cannot be kept in {self._file}: {reason}")

    def _write(self, added: dict[tuple[str, str], float], stands: dict[str, Any]) -> None:
        folder = self._file.parent
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lock(descriptor)
            figures = read_figures(self._file)
            if figures is None and self._file.exists():
                self._say(f"{self._file} cannot be read: the archiver's counters begin at 0 again")
            write_atomic(self._file, _sum(figures, added, stands).to_json())
        finally:
            os.close(descriptor)

    def _count_retries(self) -> None:
        with self._lock:
            tries = PROCESS_COUNTS.retries
            if tries != self._retries:
                self._added["retries", ""] += tries - self._retries
                self._retries = tries


def _sum(
    figures: ArchiverFigures | None, added: dict[tuple[str, str], float], stands: dict[str, Any]
) -> ArchiverFigures:
    current = figures or ArchiverFigures()
    return current.model_copy(update={"counters": current.plus(added), **stands})


class FiguresCollector(Collector):
    """Figures as they are when they are scraped; nothing while there are none."""

    def __init__(self, read: Callable[[], ArchiverFigures | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The families of ``contracts.archiver_figures``."""
        figures = self._read()
        if figures is not None:
            yield from families(figures, utc_now())
