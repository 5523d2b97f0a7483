"""One thread for each output: takes events, has them delivered, waits longer after each failure.

It gives up on nothing but what the receiver itself refuses. Does not belong here: how an event travels (``webhook``,
``mqtt``).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from yolo_assets.edge.outputs.events import OutgoingEvent
from yolo_assets.edge.outputs.outbox import EventOutbox
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.delivery import DeliveryError
from yolo_assets.runtime.threads import join

log = logging.getLogger(__name__)
_FIRST_WAIT, _LAST_WAIT = 0.5, 30.0
_LONGEST_ASKED = 300.0
_MOST_ERRORS = 20
_REPORT_EVERY = 60.0


class Delivery(Protocol):
    """How events travel; used by one thread."""

    @property
    def most(self) -> int:
        """Events that may go at once."""
        ...

    @property
    def shown(self) -> str:
        """The receiver, without anything secret."""
        ...

    @property
    def trouble(self) -> str | None:
        """What is wrong with the connection now, where that can be known without sending."""
        ...

    def open(self) -> None:
        """Called once, by the thread that will deliver."""
        ...

    def deliver(self, events: Sequence[OutgoingEvent], stop: threading.Event) -> None:
        """Return once all have arrived.

        Raises:
            DeliveryError: they have not, or not all.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def pause(failures: int, retry_after: float | None, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row: doubling up to half a minute.

    At random between half of that and all of it, so that the devices of a plant do not come back all at once.

    Args:
        failures: 1 or more.
        retry_after: what the receiver asked for; kept, up to five minutes.
        draw: a number from 0 to 1.
    """
    wait = Backoff(_FIRST_WAIT, _LAST_WAIT, 0.5, draw).seconds(failures)
    return max(wait, min(retry_after, _LONGEST_ASKED)) if retry_after is not None else wait


class Sender:
    """The thread of one output."""

    def __init__(self, name: str, outbox: EventOutbox, delivery: Delivery) -> None:
        self._name = name
        self._outbox = outbox
        self._delivery = delivery
        self._stop = threading.Event()
        self._drain_until: float | None = None
        self._one_by_one = 0
        self._errors: Counter[str] = Counter()
        self._in_a_row = 0
        self._reported = -_REPORT_EVERY
        self.failures: Counter[str] = Counter()
        """Failed tries by reason."""
        self.error: str | None = None
        """Why the last try failed; None after one that did not."""
        self._thread = threading.Thread(target=self._run, name=f"output-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Ask the thread to send what waits, for at most so many seconds, and to end; returns at once."""
        self._drain_until = time.monotonic() + seconds
        self._outbox.wake()

    def join(self) -> bool:
        """Wait for the end, a second longer than ``finish`` allowed; False when the receiver holds the thread.

        A thread that is held ends with the process; what it was sending counts as ``stopped``.
        """
        join(self._thread, max(0.0, (self._drain_until or 0.0) - time.monotonic()))
        self._stop.set()
        self._outbox.wake()
        ended = join(self._thread, 1.0)
        self._outbox.close()
        return ended

    def _run(self) -> None:
        try:
            self._delivery.open()
            while not self._stop.is_set():
                events = self._outbox.take(1 if self._one_by_one else self._delivery.most, timeout=1.0)
                if events:
                    self._send(events)
                elif self._drain_until is not None:
                    break
        except Exception:
            log.exception("output %s ended unexpectedly", self._name)
        finally:
            self._outbox.close()
            self._delivery.close()

    def _send(self, events: list[OutgoingEvent]) -> None:
        try:
            self._delivery.deliver(events, self._stop)
        except DeliveryError as error:
            self._failed(events, error)
            return
        except Exception as error:  # a library may raise anything; the output continues
            self._failed(events, DeliveryError(f"{type(error).__name__}: {error}", "error", "error"))
            return
        if self.error is not None:
            log.info("output %s delivers again", self._name)
        self.error, self._in_a_row = None, 0
        self._one_by_one = max(0, self._one_by_one - len(events))
        for event in events:
            self._errors.pop(event.id, None)
        self._outbox.delivered(events)

    def _failed(self, events: list[OutgoingEvent], error: DeliveryError) -> None:
        self.failures[error.reason] += 1
        self.error = str(error)
        self._in_a_row += 1
        if time.monotonic() - self._reported >= _REPORT_EVERY:
            self._reported = time.monotonic()
            log.warning("output %s: %s", self._name, error)
        if error.blame == "error":
            if not self._one_by_one:  # of no others: what expired or was displaced meanwhile never returns
                self._errors = Counter({event.id: self._errors[event.id] for event in events})
            self._errors.update(event.id for event in events)
        hopeless = [e for e in events if error.blame == "refused" or self._errors[e.id] >= _MOST_ERRORS]
        if hopeless and len(events) > 1:  # one of them makes the others fail: find out which
            self._one_by_one = len(events)
            self._outbox.give_back(events)
            return
        if hopeless:
            self._errors.pop(events[0].id, None)
            self._one_by_one = max(0, self._one_by_one - 1)
            self._outbox.drop(events, "refused")
            return
        self._outbox.give_back(events)
        wait = pause(self._in_a_row, error.retry_after)
        if self._drain_until is not None:  # one more try, then it is over
            wait = min(wait, max(0.0, self._drain_until - time.monotonic()) / 2)
        self._stop.wait(wait)
