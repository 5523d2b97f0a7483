"""Which work is unfinished and when it is due again: pure, so that the sensor is only glue.

    run failed, cause may pass ──► unfinished ── pause ──► due ──► requested again ──► succeeded: forgotten
                                       ▲                                          └──► failed: a longer pause
                                       └── until MOST_FAILURES in a row: then given up, and reported

A failure that will not pass, a cancelled run and a success each end it, no matter who started the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from yolo_assets.defs.cursors import SensorCursor

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=2)
MOST_FAILURES = 32
"""In a row; with these pauses about two days: a store that is away for a weekend is waited for."""
_KEPT = 10_000
"""Pieces of work in the cursor, the newest; an hour of one asset is one."""

TRIES = 2
"""Runs over hours that are requested again, at once and in an hour, while they complete nothing."""
_TRIES_IN = timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Target:
    """What one step of a run makes.

    Attributes:
        asset: its key as Dagster shows it.
        partition: the partition key; empty without partitions.
    """

    asset: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.asset}[{self.partition}]" if self.partition else self.asset

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads ``str(target)``."""
        asset, _, partition = text.partition("[")
        return cls(asset, partition.removesuffix("]"))


@dataclass(frozen=True)
class FinishedRun:
    """What a run that ended did to its targets.

    Attributes:
        run_id: of the run.
        ended: when.
        earlier_failures: how many failures in a row came before it, by its own tag; None when it has none, because an
            input changed or a person started it.
        done: targets that are finished, or that nothing automatic starts again: failed for good, or cancelled.
        unfinished: targets that failed for a cause that may pass.
        position: of its end in the event log; None: not known.
    """

    run_id: str
    ended: datetime
    earlier_failures: int | None = None
    done: frozenset[Target] = frozenset()
    unfinished: frozenset[Target] = frozenset()
    position: int | None = None


class Unfinished(BaseModel):
    """A target whose newest run failed for a cause that may pass.

    Attributes:
        run: the id of that run.
        ended: when it ended.
        failures: in a row, this one included.
        position: of its end in the event log; None: noted by an earlier version.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    run: str
    ended: datetime
    failures: int = Field(ge=1)
    position: int | None = None

    @property
    def given_up(self) -> bool:
        """Whether nothing requests it again by itself."""
        return self.failures >= MOST_FAILURES

    @property
    def due(self) -> datetime:
        """When it is requested again."""
        return self.ended + pause_after(self.failures)


class RecoveryCursor(SensorCursor):
    """The sensor's cursor. Losing it costs a scan over the runs of the last days, never work.

    Attributes:
        through: position in the event log up to which the ends of runs were read; None at first.
        targets: unfinished work, by ``str(target)``.
        in_vain: ends of the newest runs over hours that were requested again and completed nothing.
        away: whether the archive root was away at the last look; only while such runs are held back.
    """

    through: int | None = None
    targets: dict[str, Unfinished] = Field(default_factory=dict)
    in_vain: list[datetime] = Field(default_factory=list)
    away: bool = False


@dataclass(frozen=True)
class Progress:
    """What the ends of runs changed.

    Attributes:
        cursor: with the changes.
        given_up: targets that failed once too often, in these runs.
    """

    cursor: RecoveryCursor
    given_up: Mapping[Target, Unfinished] = field(default_factory=dict)


def pause_after(failures: int) -> timedelta:
    """Time between a failure and the next attempt: doubles with each failure in a row, up to ``LONGEST_PAUSE``."""
    doublings = min(failures - 1, 30)  # more would be longer than any calendar
    return min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE)


def after_runs(cursor: RecoveryCursor, runs: Iterable[FinishedRun], through: int | None) -> Progress:
    """The cursor after some runs ended.

    Args:
        cursor: before.
        runs: in the order in which they ended.
        through: position in the event log up to which they were read.
    """
    targets = dict(cursor.targets)
    in_vain = cursor.in_vain
    given_up: dict[Target, Unfinished] = {}
    for run in runs:
        if run.earlier_failures is not None and any(target.partition for target in run.done | run.unfinished):
            in_vain = [] if run.done else [*in_vain, run.ended][-TRIES:]
        for target in run.done:
            targets.pop(str(target), None)
            given_up.pop(target, None)
        for target in sorted(run.unfinished):
            before = targets.pop(str(target), None)
            failures = _failures_before(before, run) + 1
            targets[str(target)] = Unfinished(run=run.run_id, ended=run.ended, failures=failures, position=run.position)
            if failures == MOST_FAILURES:
                given_up[target] = targets[str(target)]
    kept = dict(sorted(targets.items(), key=lambda item: item[1].ended)[-_KEPT:])
    after = RecoveryCursor(through=through, targets=kept, in_vain=in_vain, away=cursor.away)
    return Progress(after, given_up)


def _failures_before(before: Unfinished | None, run: FinishedRun) -> int:
    """Failures in a row before this run. A run that we did not request starts anew after giving up."""
    if run.earlier_failures is None:
        return before.failures if before is not None and not before.given_up else 0
    return max(run.earlier_failures, before.failures if before is not None else 0)


def due_targets(cursor: RecoveryCursor, now: datetime) -> list[tuple[Target, Unfinished]]:
    """What is to be requested again now, longest due first."""
    due = [(Target.parse(name), work) for name, work in cursor.targets.items() if not work.given_up and work.due <= now]
    return sorted(due, key=lambda item: (item[1].due, item[0]))


def tries_left(cursor: RecoveryCursor, now: datetime, under_way: int) -> int:
    """How many runs over hours may be requested again now.

    A camera that is bad for a day leaves an hour behind every hour, each with pauses of its own: what bounds the work
    is that runs which complete nothing are few. One that completes something ends the restraint: when a store comes
    back, run follows run until nothing is left.

    Args:
        cursor: of this tick.
        now: aware.
        under_way: such runs that are queued or running.
    """
    lately = sum(now - ended < _TRIES_IN for ended in cursor.in_vain)
    return max(0, TRIES - lately - under_way)


def after_look(cursor: RecoveryCursor, *, answers: bool | None) -> RecoveryCursor:
    """The cursor after a look at the archive root, which is looked at while runs are held back.

    Runs that were made while the root was away say nothing about the work: once it answers again they are forgotten,
    and nobody waits out the hour. A fault of one camera leaves the root well, and the restraint stays.

    Args:
        cursor: of this tick.
        answers: whether the root can be read now; None: nothing is held back, so nobody looked.
    """
    in_vain = [] if answers and cursor.away else cursor.in_vain
    return cursor.model_copy(update={"away": answers is False, "in_vain": in_vain})


def without(cursor: RecoveryCursor, targets: Iterable[Target]) -> RecoveryCursor:
    """The cursor without targets that something else finished."""
    finished = {str(target) for target in targets}
    return cursor.model_copy(update={"targets": {k: v for k, v in cursor.targets.items() if k not in finished}})
