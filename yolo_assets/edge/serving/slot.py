"""One loaded model with its count of leases: freed when the last one is returned, never after a sleep.

A lease counts itself in first and checks the slot's state after, so a slot cannot be freed between the two; a caller
that came too late tries the slot that is current by then. A lease that is not returned in time is reported, and its
slot's memory is not freed, because the inference may still be using it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


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
    """

    def __init__(self, model: M, label: str) -> None:
        self.model = model
        self.label = label
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
        if self._retiring:  # checked only after counting in: retire() sees the lease, or we see retire()
            self.leave(lease)
            return None
        return lease

    def leave(self, lease: int) -> None:
        """Return a lease; the last one of a retiring slot frees the model."""
        with self._lock:
            del self._leases[lease]
            free = self._must_free()
        if free:
            self._free()

    @contextmanager
    def held(self) -> Generator[bool]:
        """A lease on just this slot, for comparing models; False when it is retiring and must not be used."""
        lease = self.enter()
        try:
            yield lease is not None
        finally:
            if lease is not None:
                self.leave(lease)

    def retire(self) -> None:
        """Take no new leases; free the model now or when the last lease returns. Calling it again does nothing."""
        with self._lock:
            self._retiring = True
            free = self._must_free()
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

    def _must_free(self) -> bool:
        """Under the lock: whether the caller must free the model. True at most once."""
        if not self._retiring or self._leases or self._freed:
            return False
        self._freed = True
        return True

    def _free(self) -> None:
        try:
            self.model.close()
        finally:
            self._drained.set()
