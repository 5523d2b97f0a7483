"""The archiver that runs for ever, for devices without Dagster: rounds, and growing pauses after failures.

An hour that failed is tried again after a pause that doubles up to a quarter of an hour; hours that failed less often
go first, so that none holds up the others. When three in a row cannot reach the store, the round ends: the store is
unreachable, and one try after each of the growing pauses is enough to see it return. Then all of them are due at once.

Belongs here: when which hour is due. Does not belong here: archiving (``archiver``), signals and output (``cli``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from yolo_assets.archive.service.archiver import Archiver, HourAttempt, closed_hours, one_line_reason
from yolo_assets.archive.service.traffic import Traffic
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.spool.hours import SpoolHour, SpoolProblem
from yolo_assets.storage.retrying import RetryBounds

FIRST_PAUSE = 10.0
LONGEST_PAUSE = 900.0
"""Seconds between tries of one hour."""
LONGEST_AWAY = 300.0
"""Seconds between tries to reach a store that is away."""
AWAY = 3
"""Hours in a row that cannot reach the store before it counts as away."""
STORE_RETRIES = RetryBounds(tries=3)
"""Of a request: three quick tries, then the hour stays queued and the next one is due."""
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class _Later:
    tries: int
    until: float
    unreachable: bool


@dataclass
class Schedule:
    """Which hours are due. Times are seconds of a monotonic clock that the caller reads.

    Attributes:
        first: seconds until the second try of an hour.
        jitter: factor of every pause: a fleet that lost its store must not come back in step.
    """

    first: float = FIRST_PAUSE
    jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)
    _later: dict[SpoolHour, _Later] = field(default_factory=dict[SpoolHour, _Later])
    _quiet: dict[SpoolHour, tuple[str, datetime]] = field(default_factory=dict[SpoolHour, tuple[str, datetime]])
    _unreached: int = 0
    _away: int = 0

    def due(
        self, hours: list[SpoolHour], at: float, now: datetime, waiting: Container[SpoolHour] = ()
    ) -> list[SpoolHour]:
        """The hours to work on now, those that failed less often first, then the oldest.

        Before those with files that are ``waiting`` come the others: all they need is deleting, and that makes room.
        Hours that are gone are forgotten; those that are archived and only stay for their hot time wait for its end,
        or for a new file.
        """
        there = set(hours)
        self._later = {hour: later for hour, later in self._later.items() if hour in there}
        self._quiet = {hour: state for hour, state in self._quiet.items() if hour in there}
        self._unreached = 0
        ready = [
            hour
            for hour in hours
            if (hour not in self._later or self._later[hour].until <= at) and not self._is_quiet(hour, now)
        ]
        return sorted(ready, key=lambda hour: (self._tries(hour), hour in waiting, hour.hour, hour.camera_id))

    def ended(self, hour: SpoolHour, result: HourAttempt, at: float) -> float | None:
        """Take note of a result; returns the seconds until the hour is tried again, None when it did not fail."""
        if result.status == "failed":
            unreachable = result.failure == "store_unreachable"
            self._unreached = self._unreached + 1 if unreachable else 0
            tries = self._tries(hour) + 1
            seconds = Backoff(self.first, LONGEST_PAUSE).seconds(tries) * self.jitter()
            self._later[hour] = _Later(tries, at + seconds, unreachable)
            self._away += self._unreached == AWAY
            return seconds
        self._later.pop(hour, None)
        self._unreached = 0
        if result.status != "busy" and self._away:  # the store is back: what waited for it is due now
            self._away = 0
            for later in self._later.values():
                if later.unreachable:
                    later.until = at
        return None

    def postpone(self, hour: SpoolHour, fingerprint: str, until: datetime) -> None:
        """An archived hour need not be visited until then, unless a file of it changes."""
        self._quiet[hour] = (fingerprint, until)

    @property
    def away(self) -> bool:
        """Whether the store was out of reach for so many hours in a row that this round is over."""
        return self._unreached >= AWAY

    def rest(self, every: float, at: float) -> float:
        """Seconds until the next round."""
        if self.away:
            return Backoff(self.first, LONGEST_AWAY).seconds(self._away) * self.jitter()
        soonest = min((later.until - at for later in self._later.values()), default=every)
        return max(min(every, self.first), min(every, soonest))

    def _tries(self, hour: SpoolHour) -> int:
        return self._later[hour].tries if hour in self._later else 0

    def _is_quiet(self, hour: SpoolHour, now: datetime) -> bool:
        state = self._quiet.get(hour)
        return state is not None and now < state[1] and _fingerprint(hour) == state[0]


def _fingerprint(hour: SpoolHour) -> str:
    """Of its files; empty when it cannot be read."""
    try:
        return hour.fingerprint()
    except OSError:
        return ""


@dataclass
class ArchiverLoop:
    """An archiver at work on a spool.

    Attributes:
        archiver: where to and how; its store keeps ``traffic.pace``.
        spool: the spool folder.
        traffic: counts, and says when to stop.
        report: called after each hour, with the seconds until it is tried again; None: it is not, or not by us.
        begin: called when a round begins, with what in the spool is no hour.
        say: called with a line when a round could not be made; the next one is.
        every: seconds between rounds; None: there is one round.
        camera: only this one.
        hour: only this one.
        grace_seconds: quiet time that closes an hour without a seal.
        elsewhere: where the notes about hours lie that cannot be written; see ``SpoolHour.notes``.
    """

    archiver: Archiver
    spool: Path
    traffic: Traffic
    report: Callable[[HourAttempt, float | None], None]
    begin: Callable[[list[SpoolProblem]], None] = lambda _: None
    say: Callable[[str], None] = lambda _: None
    every: float | None = None
    camera: str | None = None
    hour: Hour | None = None
    grace_seconds: float = 300
    elsewhere: Path | None = None

    def run(self) -> list[HourAttempt]:
        """Archive every closed hour, once or again and again; returns the results of the one round.

        Raises:
            Stopped: ``traffic.stop`` was asked; the next run resumes what was under way.
        """
        if self.every is None:
            return self._round(Schedule())
        schedule = Schedule(first=min(self.every, FIRST_PAUSE))
        reported = ""
        while True:
            try:
                self._round(schedule)
                reported = ""
            except Exception as error:  # the spool's disk is away: no more a reason to end than the store's
                reason = one_line_reason(error, self.spool)
                if reason != reported:
                    reported = reason
                    self.say(f"the spool cannot be archived: {reported}; tried again every {self.every:g} s")
            self.traffic.stop.wait(schedule.rest(self.every, time.monotonic()))

    def _round(self, schedule: Schedule) -> list[HourAttempt]:
        now = utc_now()
        stuck = self.archiver.retire(self.spool, self.camera, now)
        due = closed_hours(
            self.spool,
            camera=self.camera,
            hour=self.hour,
            grace_seconds=self.grace_seconds,
            now=now,
            elsewhere=self.elsewhere,
        )
        self.traffic.waiting([*due.ready, *due.ahead], whole=self.camera is None and self.hour is None)
        problems = [*due.problems, *stuck]
        self.traffic.skipped(problems, due.ready)
        self.begin(problems)
        results: list[HourAttempt] = []
        waiting = set(self.traffic.backlog.bytes)
        for spool_hour in schedule.due(due.ready, time.monotonic(), now, waiting):
            self.traffic.stop.check()
            before = _fingerprint(spool_hour)
            result = self.archiver.work_on(spool_hour, utc_now())
            self.traffic.ended(spool_hour, result)
            again = schedule.ended(spool_hour, result, time.monotonic())
            if result.outcome is not None and before and _fingerprint(spool_hour) == before:
                schedule.postpone(spool_hour, before, self._quiet_until(spool_hour, result))
            results.append(result)
            self.report(result, None if self.every is None else again)
            if self.every is not None and schedule.away:
                break
        self.traffic.round_over()
        return results

    def _quiet_until(self, hour: SpoolHour, result: HourAttempt) -> datetime:
        """Until when an archived hour that stays as it is need not be visited."""
        soon = utc_now() + timedelta(seconds=LONGEST_PAUSE)
        if (result.outcome is not None and result.outcome.left) or (result.reclaimed and result.reclaimed.problems):
            return soon
        hot_hours = self.archiver.hot_hours
        return _NEVER if hot_hours is None else max(soon, hour.hour.end + timedelta(hours=hot_hours))
