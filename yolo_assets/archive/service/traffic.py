"""What accompanies the work of an archiver: the bandwidth limit, the counters, the backlog, the request to stop.

One object per process, for the command line and Dagster alike. Does not belong here: archiving (``archiver``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

from yolo_assets.archive.archiving import ArchiveOutcome
from yolo_assets.archive.bandwidth.disk import DiskWatch
from yolo_assets.archive.bandwidth.limiter import Limiter
from yolo_assets.archive.bandwidth.rates import UNLIMITED
from yolo_assets.archive.known import KnownArchives, KnownHour
from yolo_assets.archive.reclaim import ReclaimReport
from yolo_assets.archive.service.archiver import HourAttempt, closed_hours
from yolo_assets.archive.service.metrics import ArchiverCounters
from yolo_assets.contracts.archiver_figures import ArchiverFigures
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.spool.hours import SpoolHour, SpoolProblem

T = TypeVar("T")
_TICK = 5.0
_IDLE = 60.0
"""Seconds between writes of the figures while bytes travel, and while nothing happens."""


class Stopped(BaseException):
    """The work was asked to stop. No ``Exception``: no handler of failures may take it for one and try again."""


class Stop:
    """A request to stop, from a signal's handler or another thread; work that waits or sends notices it in a moment.

    Stopping is never an error: what is under way is given up where it stands, and the next run resumes there.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    @property
    def asked(self) -> bool:
        """Whether it was."""
        return self._event.is_set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: it was asked to stop.
        """
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            Stopped: it was asked to stop, now or meanwhile.
        """
        if self._event.wait(max(0.0, seconds)):
            raise Stopped


@dataclass
class Backlog:
    """How much waits in the spool for the archive: camera-hours with files that no part holds, closed or of the future.

    What an hour holds is remembered until one of its files changes: the lists of archived files are long.

    Attributes:
        bytes: of the files that wait, by hour.
    """

    bytes: dict[SpoolHour, int] = field(default_factory=dict[SpoolHour, int])
    _measured: dict[SpoolHour, tuple[str, int | None]] = field(default_factory=dict[SpoolHour, tuple[str, int | None]])

    def measure(self, hours: Iterable[SpoolHour]) -> None:
        """Measure anew; ``hours`` are all that may wait."""
        measured = {hour: self._measure(hour) for hour in hours}
        self._measured = measured
        self.bytes = {hour: size for hour, (_, size) in measured.items() if size is not None}

    def ended(self, hour: SpoolHour) -> None:
        """An hour was archived; what it holds now is measured next time."""
        self.bytes.pop(hour, None)
        self._measured.pop(hour, None)

    @property
    def total(self) -> int:
        """Bytes that wait."""
        return sum(self.bytes.values())

    @property
    def since(self) -> datetime | None:
        """When the oldest hour that waits ended."""
        return min((hour.hour.end for hour in self.bytes), default=None)

    def _measure(self, hour: SpoolHour) -> tuple[str, int | None]:
        """The fingerprint of an hour, and the bytes that wait in it; None: no file does."""
        try:
            fingerprint = hour.fingerprint()
            before = self._measured.get(hour)
            if before is not None and before[0] == fingerprint:
                return before
            waiting = hour.uncovered_members()
        except OSError:
            return "", 0  # it waits, and how much is unknown; working on it reports why
        return fingerprint, sum(member.size for member in waiting) if waiting else None


class Traffic:
    """Limits and counts what one process sends. Use as a context: figures are written now and then, and at the end.

    Attributes:
        stop: gives up what is being sent.
        backlog: what waits.
        counters: of this process.
        limiter: keeps uploads to the operator's rate; None without one.
        on_kept: called after the figures were written; a failure of the disk is reported once.
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
            say: called with a line when the limit is lifted, or figures cannot be kept.
            stop: gives up what is being sent.
            on_sent: called with every few bytes that go, from any thread.

        Raises:
            BadInputError: the time table cannot be read.
        """
        self.stop = stop or Stop()
        self.backlog = Backlog()
        self.counters = ArchiverCounters(settings.archiver_figures, say)
        self.on_kept: Callable[[], None] = lambda: None
        self.limiter = Limiter.of(settings, say, self.stop.wait)
        self._known = KnownArchives.of(settings)
        self._disk = DiskWatch.of(settings)
        self._on_sent = on_sent
        self._say = say
        self._reported = False
        self._throttled = 0.0
        self._whole = False
        self._left: dict[SpoolHour, int] = {}
        self._odd = 0
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
        self.counters.add("sent_bytes", count)
        self._on_sent(count)

    def waiting(self, hours: Iterable[SpoolHour], *, whole: bool) -> None:
        """Measure what waits in these hours; ``whole``: they are all of the spool, and the figure is kept."""
        self.backlog.measure(hours)
        self._whole = whole
        self._note_backlog()

    def skipped(self, problems: Collection[SpoolProblem], hours: Collection[SpoolHour]) -> None:
        """Note what in a spool belongs to no archive, and which hours there are; their own is counted as they end."""
        there = set(hours)
        self._odd = len(problems)
        self._left = {hour: count for hour, count in self._left.items() if hour in there}
        self._note_left()

    def measure(self, spool: Path, grace_seconds: float) -> None:
        """What waits in the whole spool, for callers that make no rounds of it."""
        due = closed_hours(spool, grace_seconds=grace_seconds, now=utc_now())
        self.waiting([*due.ready, *due.ahead], whole=True)
        self.skipped(due.problems, due.ready)
        self.round_over()

    def archiving(self, work: Callable[[], ArchiveOutcome]) -> ArchiveOutcome:
        """Archive an hour, and count what comes of it."""
        outcome = self._counting_failure(work)
        self._archived(outcome)
        return outcome

    def reclaiming(self, work: Callable[[], ReclaimReport]) -> ReclaimReport:
        """Delete files of an hour, and count them."""
        report = self._counting_failure(work)
        self.counters.reclaimed(report)
        return report

    def ended(self, hour: SpoolHour, result: HourAttempt) -> None:
        """Count what became of an hour."""
        if result.outcome is not None:
            self._archived(result.outcome)
            self._left[hour] = len(result.outcome.left)
            self._note_left()
            self.backlog.ended(hour)
            self._note_backlog()
        if result.reclaimed is not None:
            self.counters.reclaimed(result.reclaimed)
        if result.failure is not None:
            self.counters.add("failures", 1, result.failure)
        self.keep()

    def round_over(self) -> None:
        """The spool was worked through."""
        self.counters.stands(last_round_at=utc_now())
        self.keep()

    def figures(self) -> ArchiverFigures:
        """Everything that all runs counted, and how things stand now."""
        self._update()
        return self.counters.figures()

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
        self.counters.flush()
        try:
            self.on_kept()
        except OSError as error:
            if not self._reported:
                self._reported = True
                self._say(f"the figures cannot be shown: {error}")

    def _archived(self, outcome: ArchiveOutcome) -> None:
        """Count an archived hour, and remember that there is one."""
        self.counters.archived(outcome)
        if outcome.receipt is not None:
            self._known.note([KnownHour.of(outcome.receipt)])

    def _counting_failure(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (UserError, OSError) as error:
            self.counters.failed(error)
            raise

    def _note_left(self) -> None:
        if self._whole:
            self.counters.stands(skipped=self._odd + sum(self._left.values()))

    def _note_backlog(self) -> None:
        if not self._whole:
            return
        backlog = self.backlog
        self.counters.stands(waiting=len(backlog.bytes), backlog_bytes=backlog.total, waiting_since=backlog.since)

    def _update(self) -> None:
        with self._updating:
            if self.limiter is None:
                rate, lifted = UNLIMITED, False
                try:
                    self._disk_full = self._disk.sample(time.time()).hours
                except OSError:
                    self._disk_full = None  # the spool's disk is away; reading the spool reports it
            else:
                rate, lifted = self.limiter.rate(), self.limiter.lifted
                self._disk_full = self.limiter.full_in
                waited = self.limiter.waited
                self.counters.add("throttled_seconds", waited - self._throttled)
                self._throttled = waited
            full_at = None if self._disk_full is None else _from_now(self._disk_full)
            self.counters.stands(limit=None if rate == UNLIMITED else rate, limit_lifted=lifted, disk_full_at=full_at)

    def _tick(self) -> None:
        kept = time.monotonic()
        while not self._over.wait(_TICK):
            if self.counters.counted or time.monotonic() - kept > _IDLE:
                self.keep()
                kept = time.monotonic()


def _from_now(hours: float) -> Any:
    """That moment; None when it is beyond all calendars."""
    try:
        return utc_now() + timedelta(hours=hours)
    except OverflowError:
        return None
