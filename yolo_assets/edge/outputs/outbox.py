"""The bounded store of events that wait for one receiver. Results are displaced by alarms, the oldest first.

Every event that came in is delivered, dropped for a counted reason, waiting, or on its way: ``counts`` adds up.
"""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from yolo_assets.edge.outputs.events import Kind, OutgoingEvent

EventDropReason = Literal["queue_full", "expired", "refused", "stopped"]
_Accepted = tuple[int, OutgoingEvent]
"""The number of the event in the order of acceptance, and the event."""


@dataclass(frozen=True)
class EventCounts:
    """``outcomes`` by ``(kind, delivered or a drop reason)``; ``oldest_s``: age of what has waited longest."""

    accepted: dict[Kind, int]
    outcomes: dict[tuple[Kind, str], int]
    waiting: dict[Kind, int]
    sending: dict[Kind, int]
    oldest_s: float


class EventOutbox:
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
        self._queues: dict[Kind, deque[_Accepted]] = {
            "alarm": deque(),
            "result": deque(),
        }  # served in this order
        self._sending: dict[str, _Accepted] = {}
        self._accepted: Counter[Kind] = Counter()
        self._outcomes: Counter[tuple[Kind, str]] = Counter()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, event: OutgoingEvent) -> None:
        """Take an event; never waits."""
        with self._changed:
            self._accepted[event.kind] += 1
            if self._closed:
                self._outcomes[event.kind, "stopped"] += 1
                return
            self._queues[event.kind].append((self._accepted.total(), event))
            self._trim()
            self._changed.notify()

    def take(self, most: int, timeout: float) -> list[OutgoingEvent]:
        """Up to ``most`` events to send now, alarms first; empty when none came within ``timeout`` seconds or closed.

        Each must come back by ``delivered``, ``drop`` or ``give_back``.
        """
        with self._changed:
            self._expire()
            if not any(self._queues.values()) and not self._closed:
                self._changed.wait(timeout)
                self._expire()
            batch: list[_Accepted] = []
            for queue in self._queues.values():
                while queue and len(batch) < most:
                    batch.append(queue.popleft())
            self._sending.update((event.id + event.camera_id, (number, event)) for number, event in batch)
            return [event for _, event in batch]

    def delivered(self, events: Sequence[OutgoingEvent]) -> None:
        """They arrived."""
        self._end(events, "delivered")

    def drop(self, events: Sequence[OutgoingEvent], reason: EventDropReason) -> None:
        """They will not be sent."""
        self._end(events, reason)

    def give_back(self, events: Sequence[OutgoingEvent]) -> None:
        """They did not arrive and wait again, in the order in which they were accepted."""
        with self._changed:
            for event in events:
                sent = self._sending.pop(event.id + event.camera_id, None)
                if sent is not None:  # else close() has counted it
                    insort(self._queues[event.kind], sent, key=_number)
            self._trim()

    def wake(self) -> None:
        """Let a ``take`` that waits return."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more events; what waits or is on its way counts as ``stopped``."""
        with self._changed:
            self._closed = True
            remaining = [*self._waiting(), *(event for _, event in self._sending.values())]
            for event in remaining:
                self._outcomes[event.kind, "stopped"] += 1
            for queue in self._queues.values():
                queue.clear()
            self._sending.clear()
            self._changed.notify_all()

    def counts(self) -> EventCounts:
        """The counts now."""
        with self._changed:
            sent = [event for _, event in self._sending.values()]
            sending = Counter(event.kind for event in sent)
            oldest = min((event.created for event in (*self._waiting(), *sent)), default=None)
            return EventCounts(
                accepted={kind: self._accepted[kind] for kind in self._queues},
                outcomes=dict(self._outcomes),
                waiting={kind: len(queue) for kind, queue in self._queues.items()},
                sending={kind: sending[kind] for kind in self._queues},
                oldest_s=round(self._clock() - oldest, 3) if oldest is not None else 0.0,
            )

    def _end(self, events: Sequence[OutgoingEvent], outcome: str) -> None:
        with self._changed:
            for event in events:
                if self._sending.pop(event.id + event.camera_id, None) is not None:  # else close() has counted it
                    self._outcomes[event.kind, outcome] += 1

    def _waiting(self) -> Iterator[OutgoingEvent]:
        return (event for queue in self._queues.values() for _, event in queue)

    def _trim(self) -> None:
        while sum(map(len, self._queues.values())) > self._size:
            _, event = (self._queues["result"] or self._queues["alarm"]).popleft()
            self._outcomes[event.kind, "queue_full"] += 1

    def _expire(self) -> None:
        queue, end = self._queues["result"], self._clock() - self._expire_s
        while queue and queue[0][1].created < end:
            self._outcomes[queue.popleft()[1].kind, "expired"] += 1


def _number(accepted: _Accepted) -> int:
    return accepted[0]
