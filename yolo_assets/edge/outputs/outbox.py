"""The bounded store of events that wait for one receiver. Results give way to alarms, the oldest first.

Every event that came in is delivered, dropped for a counted reason, waiting, or on its way: ``counts`` adds up.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from yolo_assets.edge.outputs.events import Event, Kind

DropReason = Literal["queue_full", "expired", "refused", "stopped"]


@dataclass(frozen=True)
class OutboxCounts:
    """``outcomes`` by ``(kind, delivered or a drop reason)``; ``oldest_s``: age of what has waited longest."""

    accepted: dict[Kind, int]
    outcomes: dict[tuple[Kind, str], int]
    waiting: dict[Kind, int]
    sending: dict[Kind, int]
    oldest_s: float


class Outbox:
    """Thread-safe.

    Args:
        size: events that may wait.
        expire_s: age in seconds from which a result is not sent any more; alarms never expire.
        clock: monotonic seconds.
    """

    def __init__(self, size: int, expire_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._expire_s = expire_s
        self._clock = clock
        self._lines: dict[Kind, deque[Event]] = {"alarm": deque(), "result": deque()}  # in the order of serving
        self._sending: dict[str, Event] = {}
        self._accepted: Counter[Kind] = Counter()
        self._outcomes: Counter[tuple[Kind, str]] = Counter()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, event: Event) -> None:
        """Take an event; never waits."""
        with self._changed:
            self._accepted[event.kind] += 1
            if self._closed:
                self._outcomes[event.kind, "stopped"] += 1
                return
            self._lines[event.kind].append(event)
            self._trim()
            self._changed.notify()

    def take(self, most: int, timeout: float) -> list[Event]:
        """Up to ``most`` events to send now, alarms first; empty when none came within ``timeout`` seconds or closed.

        Each must come back by ``delivered``, ``drop`` or ``give_back``.
        """
        with self._changed:
            self._expire()
            if not any(self._lines.values()) and not self._closed:
                self._changed.wait(timeout)
                self._expire()
            found: list[Event] = []
            for line in self._lines.values():
                while line and len(found) < most:
                    found.append(line.popleft())
            self._sending.update((event.id + event.camera_id, event) for event in found)
            return found

    def delivered(self, events: Sequence[Event]) -> None:
        """They arrived."""
        self._end(events, "delivered")

    def drop(self, events: Sequence[Event], reason: DropReason) -> None:
        """They will not be sent."""
        self._end(events, reason)

    def give_back(self, events: Sequence[Event]) -> None:
        """They did not arrive and stand first in line again."""
        with self._changed:
            for event in reversed(events):
                if self._sending.pop(event.id + event.camera_id, None) is not None:  # else close() has counted it
                    self._lines[event.kind].appendleft(event)
            self._trim()

    def wake(self) -> None:
        """Let a ``take`` that waits return."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more events; what waits or is on its way counts as ``stopped``."""
        with self._changed:
            self._closed = True
            left = [event for line in self._lines.values() for event in line] + list(self._sending.values())
            for event in left:
                self._outcomes[event.kind, "stopped"] += 1
            for line in self._lines.values():
                line.clear()
            self._sending.clear()
            self._changed.notify_all()

    def counts(self) -> OutboxCounts:
        """How it stands."""
        with self._changed:
            left = [event for line in self._lines.values() for event in line]
            sending = Counter(event.kind for event in self._sending.values())
            oldest = min((event.created for event in (*left, *self._sending.values())), default=None)
            return OutboxCounts(
                accepted={kind: self._accepted[kind] for kind in self._lines},
                outcomes=dict(self._outcomes),
                waiting={kind: len(line) for kind, line in self._lines.items()},
                sending={kind: sending[kind] for kind in self._lines},
                oldest_s=round(self._clock() - oldest, 3) if oldest is not None else 0.0,
            )

    def _end(self, events: Sequence[Event], outcome: str) -> None:
        with self._changed:
            for event in events:
                if self._sending.pop(event.id + event.camera_id, None) is not None:  # else close() has counted it
                    self._outcomes[event.kind, outcome] += 1

    def _trim(self) -> None:
        while sum(map(len, self._lines.values())) > self._size:
            line = self._lines["result"] or self._lines["alarm"]
            self._outcomes[line.popleft().kind, "queue_full"] += 1

    def _expire(self) -> None:
        line, end = self._lines["result"], self._clock() - self._expire_s
        while line and line[0].created < end:
            self._outcomes[line.popleft().kind, "expired"] += 1
