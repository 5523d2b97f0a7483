"""Keeps a scrape cheap: each subject is read apart from the scrape, seldom, and for a small share of the time.

Belongs here: when a subject is read again, how long a scrape waits, what is shown of a subject that fails or hangs.
Does not belong here: what is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_assets.contracts.text import plain

EVERY = timedelta(seconds=15)
"""A subject is read at most once in this time, however many scrapers there are."""
PAUSES = 9
"""And rests for so many times what its last reading took: at most a tenth of the time is spent on it."""
PATIENCE = timedelta(seconds=5)
"""A scrape waits so long for subjects that are being read; then it gets what was read before."""
STALE = timedelta(minutes=5)
"""Figures that could not be renewed for so long are left out: none is better than an old one."""


class Subject:
    """One subject: its figures as they were read last, and when to read them again."""

    def __init__(self, name: str, read: Callable[[], Iterable[Metric]], every: timedelta = EVERY) -> None:
        """``read`` gives the families of a subject; it may take its time, and may fail. ``every``: between readings."""
        self.name = name
        self._read = read
        self._every = every.total_seconds()
        self._lock = threading.Lock()
        self._families: Sequence[Metric] = ()
        self._read_at = float("-inf")
        self._due_at = float("-inf")
        self._began_at: float | None = None
        self._seconds = 0.0
        self.error: str | None = None
        """Why the last reading failed."""

    def begin(self, now: float) -> bool:
        """Whether it is to be read now; the caller then does."""
        with self._lock:
            if self._began_at is not None or now < self._due_at:
                return False
            self._began_at = now
            return True

    def renew(self) -> None:
        """Read the subject; a failure is kept as its error, and the figures of before stay until they are stale."""
        try:
            families, error = list(self._read()), None
        except Exception as failure:  # whatever it is, the other subjects are shown
            families, error = None, plain(f"{type(failure).__name__}: {failure}")
        with self._lock:
            now = time.monotonic()
            assert self._began_at is not None, "begin() said that it is to be read"
            self._seconds, self._began_at, self.error = now - self._began_at, None, error
            self._due_at = now + max(self._every, PAUSES * self._seconds)
            if families is not None:
                self._families, self._read_at = families, now

    def shown(self, now: float) -> Sequence[Metric]:
        """The figures, unless they are too old."""
        with self._lock:
            return self._families if self.fresh(now) else ()

    def fresh(self, now: float) -> bool:
        """Whether the figures may still be shown."""
        return now - self._read_at <= max(STALE.total_seconds(), 3 * PAUSES * self._seconds)

    @property
    def seconds(self) -> float:
        """How long the last reading took."""
        return self._seconds


class Subjects(Collector):
    """All subjects as one collector, with its own figures: which subject was read, and how long that took."""

    def __init__(self, subjects: Sequence[Subject], say: Callable[[str], None] = lambda _: None) -> None:
        """Show ``subjects``; ``say`` is called with a line when one begins to fail, and when it works again."""
        self._subjects = subjects
        self._say = say
        self._failing: dict[str, str] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read anything."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Renew what is due, wait a moment for it, and give everything that is known."""
        began = time.monotonic()
        # Threads that end with the process: one that hangs in a store must not keep it.
        threads = [
            threading.Thread(target=one.renew, name=f"exporter-{one.name}", daemon=True)
            for one in self._subjects
            if one.begin(began)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, began + PATIENCE.total_seconds() - time.monotonic()))
        now = time.monotonic()
        success = GaugeMetricFamily(
            "yolo_platform_exporter_success",
            "1: the subject could be read; its figures are left out once they are old.",
            labels=("subject",),
        )
        seconds = GaugeMetricFamily(
            "yolo_platform_exporter_read_seconds", "Time that the last reading took.", labels=("subject",)
        )
        for subject in self._subjects:
            yield from subject.shown(now)
            success.add_metric((subject.name,), subject.error is None and subject.fresh(now))
            seconds.add_metric((subject.name,), subject.seconds)
            self._report(subject)
        yield success
        yield seconds

    def _report(self, subject: Subject) -> None:
        error = subject.error
        if error is not None and self._failing.get(subject.name) != error:
            self._failing[subject.name] = error
            self._say(f"{subject.name} cannot be read: {error}")
        elif error is None and self._failing.pop(subject.name, None) is not None:
            self._say(f"{subject.name} can be read again")
