"""What was announced on its way to whoever acts: checked, bounded, and no more often than polling bears.

Whoever may write to a broker may announce anything, at any rate. So a message is small or refused; announcements of one
thing wait as one; a thing that was looked at rests before it is looked at again; all looks together keep a pace; and
what finds no place is dropped and counted, because polling finds it too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from yolo_assets.contracts.announcements import Announcement, kind_of, read_announcement
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.events.transport import Hearing
from yolo_assets.runtime.threads import join

log = logging.getLogger(__name__)
_REPORT_EVERY = 60.0

Reception = Literal["taken", "refused", "dropped", "not_ours"]


@dataclass(frozen=True)
class Bounds:
    """How much announcing may cost.

    Attributes:
        waiting: things that may wait to be looked at; more are dropped.
        rest_s: seconds between two looks at one thing; by type of announcement where they differ.
        pace_s: seconds between two looks at anything.
    """

    waiting: int = 1000
    rest_s: float | Mapping[str, float] = 10.0
    pace_s: float = 0.1

    def rest(self, announcement: Announcement) -> float:
        """Seconds until the thing that was announced is looked at again."""
        return self.rest_s if isinstance(self.rest_s, int | float) else self.rest_s[announcement.type]


@dataclass
class _Waiting:
    announcement: Announcement
    due: float


class Intake:
    """Takes messages of any number of transports; one thread acts.

    Args:
        thing: what an announcement is about, such as an hour; None: nothing of ours.
        act: looks at the thing; what it raises is logged, and polling finds what it did not.
        bounds: how much that may cost.
    """

    def __init__(
        self,
        thing: Callable[[Announcement], Hashable | None],
        act: Callable[[Announcement], None],
        bounds: Bounds = Bounds(),
    ) -> None:
        self._thing = thing
        self._act = act
        self._bounds = bounds
        self._waiting: dict[Hashable, _Waiting] = {}
        self._rests: dict[Hashable, float] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._reported = -_REPORT_EVERY
        self.received: Counter[tuple[str, str, Reception]] = Counter()
        """Messages by broker, type and what became of them; the type of what was refused is ``unknown``."""
        self.looks = 0
        """How often it was acted."""
        self.failures = 0
        """How often that failed."""
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def hearing(self, broker: str, types: frozenset[str]) -> Hearing:
        """What a transport needs to listen for this intake."""
        return Hearing(types, partial(self._take_quietly, broker))

    def start(self) -> None:
        """Begin to act."""
        self._thread.start()

    def close(self) -> None:
        """End; what waits is left to polling."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        join(self._thread, 5.0)

    def take(self, broker: str, message: bytes) -> Reception:
        """Take a message; returns at once.

        Raises:
            BadInputError: it is no announcement.
        """
        try:
            announcement = read_announcement(message)
        except BadInputError:
            self._count(broker, "unknown", "refused")
            raise
        kind, thing = kind_of(announcement.type), self._thing(announcement)
        if thing is None:
            return self._count(broker, kind, "not_ours")
        with self._changed:
            waiting = self._waiting.get(thing)
            if waiting is not None:
                waiting.announcement = announcement
            elif len(self._waiting) >= self._bounds.waiting:
                return self._count(broker, kind, "dropped")
            else:
                now = time.monotonic()
                self._waiting[thing] = _Waiting(announcement, max(now, self._rests.get(thing, now)))
                self._changed.notify()
        return self._count(broker, kind, "taken")

    def _count(self, broker: str, kind: str, reception: Reception) -> Reception:
        self.received[broker, kind, reception] += 1
        return reception

    def _take_quietly(self, broker: str, message: bytes) -> None:
        """A flood of what is wrong must not fill the log."""
        try:
            self.take(broker, message)
        except BadInputError as error:
            if time.monotonic() - self._reported >= _REPORT_EVERY:
                self._reported = time.monotonic()
                log.warning("events: from %s: %s", broker, error)

    def _run(self) -> None:
        while True:
            with self._changed:
                found = self._next()
                if self._stopping:
                    return
                if found is None:
                    continue
                thing, announcement = found
            self.looks += 1
            try:
                self._act(announcement)
            except Exception:
                self.failures += 1
                log.exception("events: looking at %s failed; polling finds it", thing)
            with self._changed:
                now = time.monotonic()
                self._rests = {thing: end for thing, end in self._rests.items() if end > now}
                rested = now + self._bounds.rest(announcement)
                self._rests[thing] = rested
                if thing in self._waiting:  # it was announced again during the look
                    self._waiting[thing].due = rested
                self._changed.wait_for(lambda: self._stopping, self._bounds.pace_s)

    def _next(self) -> tuple[Hashable, Announcement] | None:
        """The thing that has been due longest; waits for one. Holds the lock."""
        if self._stopping:
            return None
        if not self._waiting:
            self._changed.wait()
            return None
        thing = min(self._waiting, key=lambda each: self._waiting[each].due)
        left = self._waiting[thing].due - time.monotonic()
        if left > 0:
            self._changed.wait(left)
            return None
        return thing, self._waiting.pop(thing).announcement
