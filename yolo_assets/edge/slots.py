"""Model slots and the leases on them: how a model changes under load without a lock that inference waits for.

A worker takes a *lease* for each inference. A switch is one reference assignment: leases taken before it finish on the
old model, leases taken after it get the new one. The lease counts itself in first and looks at the slot's state after,
so a slot cannot be freed between the two; a loser steps back and tries the slot that is current by then.

``current`` and ``previous`` stay loaded, so that a rollback costs nothing. The slot before them retires: it is freed
by whoever returns its last lease, never after a sleep. A lease that is not returned in time is reported, and its
slot's memory is not freed, because the inference may still be using it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from yolo_assets.contracts.errors import UserError


class NoModelError(UserError):
    """No model is loaded yet."""


class Closable(Protocol):
    """What a slot holds: anything that can be freed."""

    def close(self) -> None:
        """Free it; called exactly once."""
        ...


M = TypeVar("M", bound=Closable)


@dataclass(frozen=True)
class HungLease:
    """A lease on a retiring slot that is older than the limit."""

    label: str
    holder: str
    seconds: float


class Slot(Generic[M]):
    """One loaded model with its count of leases.

    Args:
        model: freed once, when the slot retires and the last lease is back.
        label: ``<name>/<version>``.
        on_freed: called after the model was closed, without any lock held.
    """

    def __init__(self, model: M, label: str, on_freed: Callable[[Slot[M]], None] | None = None) -> None:
        self.model = model
        self.label = label
        self._on_freed = on_freed
        self._lock = threading.Lock()
        self._leases: dict[int, tuple[str, float]] = {}
        self._ids = itertools.count()
        self._retiring = False
        self._freed = False
        self._drained = threading.Event()

    @property
    def leases(self) -> int:
        """Inferences running on this slot now."""
        return len(self._leases)

    @property
    def retiring(self) -> bool:
        """Whether the slot takes no new leases."""
        return self._retiring

    @property
    def freed(self) -> bool:
        """Whether the model was closed."""
        return self._freed

    def enter(self) -> int | None:
        """Count one lease in; None when the slot is retiring and the caller must try another."""
        with self._lock:
            lease = next(self._ids)
            self._leases[lease] = (threading.current_thread().name, time.monotonic())
        if self._retiring:  # looked at only after counting in: retire() sees either the lease or us stepping back
            self.leave(lease)
            return None
        return lease

    def leave(self, lease: int) -> None:
        """Return a lease; the last one of a retiring slot frees the model."""
        with self._lock:
            del self._leases[lease]
            free = self._claim_freeing()
        if free:
            self._free()

    def retire(self) -> None:
        """Take no new leases; free the model now or when the last lease returns. Calling it again does nothing."""
        with self._lock:
            self._retiring = True
            free = self._claim_freeing()
        if free:
            self._free()

    def wait_freed(self, timeout: float | None = None) -> bool:
        """Wait until the model was closed."""
        return self._drained.wait(timeout)

    def older_than(self, seconds: float) -> list[HungLease]:
        """Leases held longer than ``seconds``."""
        now = time.monotonic()
        with self._lock:
            held = list(self._leases.values())
        return [HungLease(self.label, holder, now - since) for holder, since in held if now - since > seconds]

    def _claim_freeing(self) -> bool:
        """Under the lock: whether the caller is the one that must free. True at most once."""
        if not self._retiring or self._leases or self._freed:
            return False
        self._freed = True
        return True

    def _free(self) -> None:
        try:
            self.model.close()
        finally:
            self._drained.set()
            if self._on_freed is not None:
                self._on_freed(self)


class SlotManager(Generic[M]):
    """The current and the previous slot, and those that are on their way out."""

    def __init__(self) -> None:
        self._current: Slot[M] | None = None
        self._previous: Slot[M] | None = None
        self._retiring: list[Slot[M]] = []
        self._switching = threading.Lock()

    @property
    def current(self) -> Slot[M] | None:
        """The slot that new leases get."""
        return self._current

    @property
    def previous(self) -> Slot[M] | None:
        """The slot kept warm for a rollback."""
        return self._previous

    @contextmanager
    def acquire(self) -> Iterator[Slot[M]]:
        """A lease on the current slot; the model stays loaded until the block ends.

        Raises:
            NoModelError: nothing is loaded.
        """
        while True:
            slot = self._current
            if slot is None:
                raise NoModelError("no model is loaded yet")
            lease = slot.enter()
            if lease is not None:
                break
        try:
            yield slot
        finally:
            slot.leave(lease)

    def switch(self, new: Slot[M]) -> float:
        """Make ``new`` current, keep the one before as previous, retire the one before that.

        ``new`` may be the previous slot: then the two change places and nothing retires.

        Returns:
            Seconds during which the switch was in progress.

        Raises:
            ValueError: ``new`` is retiring; its model may be gone.
        """
        with self._switching:
            if new.retiring:
                raise ValueError(f"slot {new.label} is retiring and cannot become current")
            begin = time.perf_counter()
            old = self._current
            if new is old:
                return 0.0
            evicted = self._previous if self._previous is not new else None
            self._previous = old
            self._current = new  # the switch: one reference assignment
            seconds = time.perf_counter() - begin
            if evicted is not None:
                self._retiring.append(evicted)
        if evicted is not None:
            evicted.retire()
        self._sweep()
        return seconds

    def keep_as_previous(self, slot: Slot[M]) -> None:
        """Put a freshly loaded slot behind the current one: after a restart, so that a rollback is warm again."""
        with self._switching:
            evicted, self._previous = self._previous, slot
            if evicted is not None:
                self._retiring.append(evicted)
        if evicted is not None:
            evicted.retire()

    def hung(self, seconds: float) -> list[HungLease]:
        """Leases on any slot that are older than ``seconds``."""
        self._sweep()
        with self._switching:
            slots = [s for s in (self._current, self._previous, *self._retiring) if s is not None]
        return [lease for slot in slots for lease in slot.older_than(seconds)]

    def loaded(self) -> list[tuple[str, Slot[M]]]:
        """``(role, slot)`` of everything that still holds memory; role is current, previous or retiring."""
        self._sweep()
        with self._switching:
            named = [("current", self._current), ("previous", self._previous)]
            named += [("retiring", slot) for slot in self._retiring]
        return [(role, slot) for role, slot in named if slot is not None]

    def close(self, timeout: float = 10.0) -> bool:
        """Retire everything and wait for the last leases.

        Returns:
            False when a lease did not come back in time; its model stays loaded.
        """
        with self._switching:
            slots = [s for s in (self._current, self._previous, *self._retiring) if s is not None]
            self._current = self._previous = None
            self._retiring = []
        for slot in slots:
            slot.retire()
        end = time.monotonic() + timeout
        freed = [slot.wait_freed(max(0.0, end - time.monotonic())) for slot in slots]
        return all(freed)

    def _sweep(self) -> None:
        with self._switching:
            self._retiring = [slot for slot in self._retiring if not slot.freed]
