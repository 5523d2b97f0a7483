"""The history of model changes: what was attempted, how long each step took, and what it did to the frames.

Each attempt ends as one line of the audit log (``edge.audit``). The recent ones also keep what was measured around the
switch: frames in flight, the first result of the new model, the longest time without a result of each camera. Does not
belong here: any decision about a model.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.device_audit import AuditEntry
from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.contracts.model import ReleasedModel
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.audit.log import AuditLog
from yolo_assets.edge.pipeline.results import ResultBoard
from yolo_assets.edge.types import Result
from yolo_assets.spool.frame_journal import FrameJournal

SWAPS_KEPT = 100
Trigger = Literal["start", "channel", "push", "rollback", "watch"]
Outcome = Literal["committed", "switched", "refused", "failed", "rolled_back", "reverted"]
_TRIGGER_NAMES: dict[Trigger, str] = {
    "start": "the agent at its start",
    "channel": "the release channel",
    "push": "the API",
    "rollback": "the API",
    "watch": "the watch over new models",
}


class Swap(Record):
    """One attempt with what was measured. Times are the device's wall clock, durations monotonic seconds."""

    model_config = ConfigDict(protected_namespaces=())

    event: SwapEvent
    trigger: Trigger
    noticed_at: Time
    ended_at: Time
    steps: dict[str, float] = Field(default_factory=dict, description="seconds of each step")
    switch_seconds: float | None = Field(default=None, description="the switch itself")
    first_result_at: Time | None = None
    first_result_seconds: float | None = Field(default=None, description="from the switch to the new model's result")
    in_flight_at_switch: int | None = None
    lost: int | None = Field(default=None, description="of those, frames without an outcome; None: not known yet")
    dropped: dict[str, int] = Field(
        default_factory=dict, description="frames dropped until the old frames drained, by reason"
    )
    longest_gap_seconds: dict[str, float] = Field(
        default_factory=dict, description="by camera, until the old frames drained"
    )


class SwapAttempt:
    """A model change in progress. Made by ``SwapLog.begin``, ended exactly once by ``SwapLog.end``."""

    def __init__(
        self,
        trigger: Trigger,
        board: ResultBoard,
        accounting: FrameJournal,
        by: str | None = None,
        requested_at: datetime | None = None,
    ) -> None:
        self.trigger: Trigger = trigger
        self.requested_by = by or _TRIGGER_NAMES[trigger]
        self.noticed_at = utc_now()
        self.requested_at = requested_at or self.noticed_at
        self.steps: dict[str, float] = {}
        self._begin = time.monotonic()
        self._accounting = accounting
        self._dropped = _dropped(accounting)
        self.gaps = board.watch()
        self.open_frames: frozenset[tuple[str, int]] = frozenset()
        self.switched: float | None = None
        self.switch_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Since the attempt began."""
        return time.monotonic() - self._begin

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Measure one step."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.steps[name] = round(time.monotonic() - begin, 6)

    def mark_switch(self, seconds: float) -> None:
        """Remember the frames that are in flight at the switch, so that each can be followed to its end."""
        self.switched = time.monotonic()
        self.switch_seconds = seconds
        self.open_frames = self._accounting.in_flight()

    def dropped(self) -> dict[str, int]:
        """Frames dropped since the attempt began, by reason."""
        now = _dropped(self._accounting)
        return {
            reason: n - self._dropped.get(reason, 0) for reason, n in now.items() if n > self._dropped.get(reason, 0)
        }


class SwapLog:
    """Thread-safe; one for the whole agent.

    Args:
        audit: where each attempt ends as a line; those of earlier runs are read back.
        lost_after: seconds after which a frame of the switch without an outcome counts as lost.
    """

    def __init__(self, audit: AuditLog, board: ResultBoard, accounting: FrameJournal, lost_after: float) -> None:
        self._audit = audit
        self._board = board
        self._accounting = accounting
        self._lost_after = lost_after
        self._lock = threading.Lock()
        self._events: deque[SwapEvent] = deque(_earlier(audit), maxlen=SWAPS_KEPT)
        self._swaps: deque[Swap] = deque(maxlen=SWAPS_KEPT)
        self._measuring: list[tuple[SwapAttempt, Swap]] = []
        self.on_end: Callable[[Swap], None] = lambda swap: None
        """Called once with every attempt as it ends."""

    def begin(self, trigger: Trigger, by: str | None = None, requested_at: datetime | None = None) -> SwapAttempt:
        """Start measuring an attempt.

        Args:
            trigger: what began it.
            by: the caller who requested it, where that is known better than from the trigger.
            requested_at: when it was requested, where it has waited since; default: now.
        """
        return SwapAttempt(trigger, self._board, self._accounting, by, requested_at)

    def end(
        self,
        attempt: SwapAttempt,
        *,
        source: str | None,
        target: str,
        result: Outcome,
        reason: str,
        model: ReleasedModel | None,
    ) -> SwapEvent:
        """Write the attempt into the audit log. After a switch it is measured until the frames of before drained."""
        event = SwapEvent(
            at=utc_now(),
            source=source,
            target=target,
            result=result,
            reason=reason,
            seconds=round(attempt.seconds, 6),
            release=model.release if model else None,
            forced=(model is not None and model.forced) or None,
            unjudged=(model is not None and model.unjudged) or None,
        )
        swap = Swap(
            event=event,
            trigger=attempt.trigger,
            noticed_at=attempt.noticed_at,
            ended_at=event.at,
            steps=dict(attempt.steps),
            switch_seconds=attempt.switch_seconds,
            in_flight_at_switch=len(attempt.open_frames) if attempt.switched is not None else None,
        )
        self._audit.append(
            _entry(event, attempt.requested_by)
        )  # it waits for the disk: not under a lock that workers take
        with self._lock:
            self._events.append(event)
            if attempt.switched is None:
                self._board.unwatch(attempt.gaps)
                self._swaps.append(swap)
            else:
                self._measuring.append((attempt, swap))
        self.on_end(swap)
        return event

    def record(self, kind: str, by: str, target: str | None, result: str, reason: str) -> None:
        """Write what is no attempt, but decides about the model, into the audit log: a pin, the end of one."""
        self._audit.append(AuditEntry(at=utc_now(), kind=kind, who=by, target=target, result=result, reason=reason))

    def cancel(self, attempt: SwapAttempt) -> None:
        """Forget an attempt that changed nothing and is not worth an entry."""
        self._board.unwatch(attempt.gaps)

    def on_result(self, result: Result) -> None:
        """Called after every frame: finds the first result of a new model and notices when a switch has drained."""
        if not self._measuring:  # the usual case costs one comparison
            return
        with self._lock:
            self._measuring = [pair for p in self._measuring if (pair := self._measure(p, result))]

    def status(self) -> list[dict[str, Any]]:
        """The section ``swaps`` of ``GET /v1/status``."""
        return [as_json(swap) for swap in self.swaps()]

    def events(self) -> list[SwapEvent]:
        """The recent events, oldest first, those of earlier runs included."""
        with self._lock:
            return list(self._events)

    def swaps(self) -> list[Swap]:
        """The recent attempts of this run, oldest first; those that are still measured with the figures so far."""
        with self._lock:
            finished = list(self._swaps)
            unfinished = [self._measured(attempt, swap, final=False) for attempt, swap in self._measuring]
        return sorted(finished + unfinished, key=lambda swap: swap.ended_at)

    def _measure(self, pair: tuple[SwapAttempt, Swap], result: Result) -> tuple[SwapAttempt, Swap] | None:
        attempt, swap = pair
        assert attempt.switched is not None
        if swap.first_result_at is None and result.model_version == swap.event.target:
            swap = swap.model_copy(
                update={
                    "first_result_at": result.at,
                    "first_result_seconds": round(max(0.0, result.finished - attempt.switched), 6),
                }
            )
        drained = not self._accounting.still_open(attempt.open_frames)
        late = time.monotonic() - attempt.switched > self._lost_after
        overtaken = attempt is not self._measuring[-1][0]  # by a later switch: it may never have had a frame of its own
        if not late and not (drained and (swap.first_result_at is not None or overtaken)):
            return attempt, swap
        self._swaps.append(self._measured(attempt, swap, final=True))
        self._board.unwatch(attempt.gaps)
        return None

    def _measured(self, attempt: SwapAttempt, swap: Swap, *, final: bool) -> Swap:
        still_open = self._accounting.still_open(attempt.open_frames)
        return swap.model_copy(
            update={
                "lost": still_open if final or not still_open else None,
                "dropped": attempt.dropped(),
                "longest_gap_seconds": {name: round(gap, 6) for name, gap in attempt.gaps.cameras.items()},
            }
        )


def _dropped(accounting: FrameJournal) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in accounting.counts().values():
        for reason, n in counts.dropped.items():
            total[reason] = total.get(reason, 0) + n
    return total


def _entry(event: SwapEvent, requested_by: str) -> AuditEntry:
    return AuditEntry(kind="model", who=requested_by, **dict(event))


def _earlier(audit: AuditLog) -> Iterator[SwapEvent]:
    """The changes of earlier runs; a kind of result that a newer version wrote is skipped."""
    for line in audit.recent():
        if line.kind == "model":
            try:
                yield SwapEvent.model_validate(line.model_dump(include=set(SwapEvent.model_fields)))
            except ValidationError:
                continue


def as_json(swap: Swap) -> dict[str, Any]:
    """For the status: the record with its event's fields on top."""
    document = swap.model_dump(mode="json")
    return {**document.pop("event"), **document}
