"""A camera that a child process reads: what the agent makes of its notes, and when it ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Event
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.box_clock import BoxClock
from yolo_assets.edge.cameras.base import SourceError
from yolo_assets.edge.cameras.process.running import ChildError, RunningChild
from yolo_assets.edge.cameras.process.wire import Order, WireError, lost_counts
from yolo_assets.edge.types import Capture

_LOOK = 0.2
_DISORDER = timedelta(seconds=1)


@dataclass(frozen=True)
class Reading:
    """How one camera is read.

    Attributes:
        order: what the child needs; made anew for each child, since passwords change.
        shown: the camera's address as people may see it.
        clean: takes secrets out of a text that may hold them.
        timeout_s: a child that gives no picture for so long is killed.
    """

    order: Callable[[], Order]
    shown: str
    clean: Callable[[str], str]
    timeout_s: float


class RemoteSource:
    """One camera. Its child lives as long as one call of `captures`."""

    live = True

    def __init__(self, camera_id: str, reading: Reading, clock: BoxClock) -> None:
        self.camera_id = camera_id
        self._reading = reading
        self._clock = clock
        self._facts: dict[str, Any] = {}
        self._child: RunningChild | None = None

    def check(self) -> None:
        """Whether the order can be made. A camera itself may be off when the agent starts.

        Raises:
            BadInputError: credentials that cannot be read.
        """
        self._reading.order()

    def now(self) -> datetime:
        """The time that a picture would get that arrives now."""
        return self._clock.now()

    def facts(self) -> dict[str, Any]:
        """Where it is and what it sends, for the status."""
        child = self._child
        return {"address": self._reading.shown, **self._facts, "process": child.pid if child else None}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Read by a new child until it breaks, hangs, or ``stop`` is set.

        Raises:
            SourceError: whatever happened to it.
            BadInputError: another configuration is needed, credentials for example.
        """
        child = self._child = RunningChild(self._reading.order())
        self._facts, at_once = {}, False
        latest = self._clock.now()
        try:
            for capture in self._notes(child, stop):
                if capture.image is None:  # lost somewhere before the picture that comes next
                    yield replace(capture, captured_at=latest)
                    continue
                # What arrived first is not always told first. Only a clock that was set back goes back.
                behind = latest - capture.captured_at
                latest = latest if timedelta(0) < behind < _DISORDER else capture.captured_at
                yield replace(capture, captured_at=latest)
        except (WireError, ChildError) as error:
            at_once = True
            words = f"the camera's process broke its contract: {error}" if isinstance(error, WireError) else str(error)
            raise SourceError(self._reading.clean(words)) from None
        except SourceError:
            at_once = True
            raise
        finally:
            self._child = None
            child.end(at_once=at_once)

    def _notes(self, child: RunningChild, stop: Event) -> Iterator[Capture]:
        alive = time.monotonic()
        while not stop.is_set():
            note = child.receive(_LOOK)
            if note is not None:
                for reason, count in lost_counts(note).items():
                    yield from (Capture(self._clock.now(), None, lost=reason) for _ in range(count))
                if note.get("note") == "picture":
                    image = child.picture(note)
                    alive = time.monotonic()
                    yield Capture(self._clock.at(_arrived(note)), image)
                    continue
                if note.get("note") == "alive":
                    alive = time.monotonic()
                elif note.get("note") == "opened":
                    self._facts = {key: note.get(key) for key in ("codec", "width", "height")}
                elif note.get("note") == "end":
                    self._ended(note)
            if time.monotonic() - alive > self._reading.timeout_s:
                doing = "no picture came" if self._facts else "it did not answer"
                raise SourceError(f"{doing} for {self._reading.timeout_s:g} s; its process was ended")

    def _ended(self, note: dict[str, Any]) -> None:
        words = self._reading.clean(str(note.get("words", "")))
        if note.get("hopeless") is True:
            raise BadInputError(words)
        raise SourceError(words)


def _arrived(note: dict[str, Any]) -> float:
    value = note.get("arrived")
    if not isinstance(value, float) or not 0 <= value < 1e10:
        raise WireError("a picture without a time")
    return value
