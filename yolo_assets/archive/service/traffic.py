"""What accompanies the work of an archiver: the bandwidth limit, the counters, how things stand. One object a process.

Belongs here: bringing ``metrics``, ``backlog`` and ``archive.bandwidth`` together, for the command line and Dagster
alike. Does not belong here: archiving.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from yolo_assets.archive.archiving.hour import ArchiveOutcome
from yolo_assets.archive.archiving.reclaim import ReclaimReport
from yolo_assets.archive.bandwidth.disk import DiskWatch
from yolo_assets.archive.bandwidth.limiter import Limiter
from yolo_assets.archive.bandwidth.rates import UNLIMITED
from yolo_assets.archive.service.backlog import Backlog
from yolo_assets.archive.service.metrics import Tally
from yolo_assets.archive.service.run import HourResult, closed_hours
from yolo_assets.archive.service.stop import Stop
from yolo_assets.contracts.archiver_figures import ArchiverFigures
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.spool.hours import SpoolHour

T = TypeVar("T")
_TICK = 5.0
_IDLE = 60.0
"""Seconds between writes of the figures while bytes travel, and while nothing happens."""


class Traffic:
    """Limits and counts what one process sends. Use as a context: figures are written now and then, and at the end.

    Attributes:
        stop: gives up what is being sent.
        backlog: what waits.
        tally: the counters.
        limiter: keeps uploads to the operator's rate; None without one.
        on_kept: called after the figures were written; a failure of the disk is told once.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], None],
        *,
        stop: Stop | None = None,
        on_sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        """As the operator set it.

        Args:
            settings: bandwidth, spool, home.
            say: told when the limit is lifted, or figures cannot be kept.
            stop: gives up what is being sent.
            on_sent: called with every few bytes that go, from any thread.

        Raises:
            BadInputError: the time table cannot be read.
        """
        self.stop = stop or Stop()
        self.backlog = Backlog()
        self.tally = Tally(settings.archiver_figures, say)
        self.on_kept: Callable[[], None] = lambda: None
        self.limiter = Limiter.of(settings, say, self.stop.wait)
        self._disk = DiskWatch.of(settings)
        self._on_sent = on_sent
        self._say = say
        self._told = False
        self._throttled = 0.0
        self._whole = False
        self._disk_full: float | None = None
        self._updating = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="archiver-figures", daemon=True)

    def __enter__(self) -> Self:
        self._update()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.keep()

    def pace(self, count: int) -> None:
        """Wait until ``count`` bytes may go, and count them: what ``open_store`` takes.

        Raises:
            Stopped: sending is to be given up.
        """
        self.stop.check()
        if self.limiter is not None:
            self.limiter.take(count)
        self.tally.add("sent_bytes", count)
        self._on_sent(count)

    def waiting(self, hours: Iterable[SpoolHour], *, whole: bool) -> None:
        """Measure what waits in these hours; ``whole``: they are all of the spool, and the figure is kept."""
        self.backlog.look(hours)
        self._whole = whole
        self._note_backlog()

    def measure(self, spool: Path, grace_seconds: float) -> None:
        """What waits in the whole spool, for those who do not make rounds of it."""
        found = closed_hours(spool, grace_seconds=grace_seconds, now=utc_now())
        self.waiting([*found.ready, *found.ahead], whole=True)
        self.round_over()

    def archiving(self, work: Callable[[], ArchiveOutcome]) -> ArchiveOutcome:
        """Archive an hour, and count what comes of it."""
        outcome = self._counting_failure(work)
        self.tally.archived(outcome)
        return outcome

    def reclaiming(self, work: Callable[[], ReclaimReport]) -> ReclaimReport:
        """Delete files of an hour, and count them."""
        report = self._counting_failure(work)
        self.tally.reclaimed(report)
        return report

    def ended(self, hour: SpoolHour, result: HourResult) -> None:
        """Count what became of an hour."""
        if result.outcome is not None:
            self.tally.archived(result.outcome)
            self.backlog.ended(hour)
            self._note_backlog()
        if result.reclaimed is not None:
            self.tally.reclaimed(result.reclaimed)
        if result.failure is not None:
            self.tally.add("failures", 1, result.failure)
        self.keep()

    def round_over(self) -> None:
        """The spool was worked through."""
        self.tally.stands(last_round_at=utc_now())
        self.keep()

    def figures(self) -> ArchiverFigures:
        """Everything that all runs counted, and how things stand now."""
        self._update()
        return self.tally.figures()

    def standing(self) -> dict[str, Any]:
        """The limit for people and machines.

        Returns:
            ``limit`` as it is set, None without one; ``lifted``; ``disk_full_hours``, None when the disk does not fill
            or too little is known; ``waited_seconds`` of this process's uploads, all together.
        """
        self._update()
        limiter = self.limiter
        return {
            "limit": None if limiter is None else str(limiter.table),
            "lifted": limiter is not None and limiter.lifted,
            "disk_full_hours": None if self._disk_full is None else round(self._disk_full, 2),
            "waited_seconds": 0.0 if limiter is None else round(limiter.waited, 3),
        }

    def keep(self) -> None:
        """Write the figures now."""
        self._update()
        self.tally.flush()
        try:
            self.on_kept()
        except OSError as error:
            if not self._told:
                self._told = True
                self._say(f"the figures cannot be shown: {error}")

    def _counting_failure(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (UserError, OSError) as error:
            self.tally.failed(error)
            raise

    def _note_backlog(self) -> None:
        if not self._whole:
            return
        backlog = self.backlog
        self.tally.stands(waiting=len(backlog.bytes), backlog_bytes=backlog.total, waiting_since=backlog.since)

    def _update(self) -> None:
        with self._updating:
            if self.limiter is None:
                rate, lifted = UNLIMITED, False
                try:
                    self._disk_full = self._disk.look(time.time()).hours
                except OSError:
                    self._disk_full = None  # the spool's disk is away; whoever reads the spool says so
            else:
                rate, lifted = self.limiter.rate(), self.limiter.lifted
                self._disk_full = self.limiter.full_in
                waited = self.limiter.waited
                self.tally.add("throttled_seconds", waited - self._throttled)
                self._throttled = waited
            full_at = None if self._disk_full is None else _from_now(self._disk_full)
            self.tally.stands(limit=None if rate == UNLIMITED else rate, limit_lifted=lifted, disk_full_at=full_at)

    def _tick(self) -> None:
        kept = time.monotonic()
        while not self._over.wait(_TICK):
            if self.tally.counted or time.monotonic() - kept > _IDLE:
                self.keep()
                kept = time.monotonic()


def _from_now(hours: float) -> Any:
    """That moment; None when it is beyond all calendars."""
    try:
        return utc_now() + timedelta(hours=hours)
    except OverflowError:
        return None
