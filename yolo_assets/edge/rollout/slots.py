"""Model slots and who gets which: how a model changes under load without a lock that inference waits for.

A worker takes a *lease* for each inference. A switch is one reference assignment: leases taken before it finish on the
old model, leases taken after it get the new one.

``current`` and ``previous`` stay loaded, so that a rollback costs nothing. A canary and a light model serve some
cameras beside them. Any other slot retires. Does not belong here: the counting of leases (``slot``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal

from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.rollout.slot import HungLease, M, Slot

Beside = Literal["canary", "light"]
"""Roles beside the box's own model."""


class NoModelError(UserError):
    """No model is loaded yet."""


@dataclass(frozen=True)
class _Route(Generic[M]):
    """Who gets which slot. Replaced as a whole, by one assignment: nobody ever sees half of a change."""

    current: Slot[M] | None = None
    previous: Slot[M] | None = None
    canary: Slot[M] | None = None
    light: Slot[M] | None = None
    tried: frozenset[str] = frozenset()
    """Cameras of the canary."""
    eased: frozenset[str] = frozenset()
    """Cameras that the light model has now, where they are not the canary's."""

    def slots(self) -> list[Slot[M]]:
        """Every slot in use, each once."""
        found = [slot for slot in (self.current, self.previous, self.canary, self.light) if slot is not None]
        return list(dict.fromkeys(found))


_CAMERAS: dict[Beside, str] = {"canary": "tried", "light": "eased"}


class SlotManager(Generic[M]):
    """The slots in use, and those that are on their way out."""

    def __init__(self) -> None:
        self._route: _Route[M] = _Route()
        self._retiring: list[Slot[M]] = []
        self._switching = threading.Lock()

    @property
    def current(self) -> Slot[M] | None:
        """The slot that new leases get."""
        return self._route.current

    @property
    def previous(self) -> Slot[M] | None:
        """The slot kept warm for a rollback."""
        return self._route.previous

    @property
    def canary(self) -> Slot[M] | None:
        """The slot of the canary's cameras."""
        return self._route.canary

    @property
    def light(self) -> Slot[M] | None:
        """The slot that takes cameras over under load."""
        return self._route.light

    @property
    def eased(self) -> frozenset[str]:
        """The cameras that the light slot has now."""
        return self._route.eased

    def beside(self, role: Beside) -> Slot[M] | None:
        """The slot of a role."""
        return self.canary if role == "canary" else self.light

    def route(self, camera: str | None = None) -> Slot[M] | None:
        """The slot that a lease for this camera would get now: frames of one slot can be inferred together."""
        route = self._route
        if camera in route.tried:
            return route.canary
        return route.light if camera in route.eased else route.current

    @contextmanager
    def acquire(self, camera: str | None = None) -> Iterator[Slot[M]]:
        """A lease on the slot of a camera, without one on the current slot; it stays loaded until the block ends.

        Raises:
            NoModelError: nothing is loaded.
        """
        while True:
            slot = self.route(camera)
            if slot is None:
                raise NoModelError("no model is loaded yet")
            lease = slot.enter()
            if lease is not None:
                break
            if self.route(camera) is slot:  # freed while it serves: a defect, but not one to turn in circles over
                raise NoModelError(f"{slot.label} was freed while it served")
        try:
            yield slot
        finally:
            slot.leave(lease)

    def switch(self, new: Slot[M], *, keep_old: bool = True) -> float:
        """Make ``new`` current, keep the one before as previous, retire what is then in nobody's use.

        ``new`` may be the previous slot: then the two change places and nothing retires. It may be one beside: then all
        cameras have it, and its role beside is over.

        Args:
            new: loaded and proven.
            keep_old: False when the current slot never earned the place behind ``new``; previous stays as it is.

        Returns:
            Seconds during which the switch was in progress.

        Raises:
            ValueError: ``new`` is retiring; its model may be gone.
        """
        with self._switching:
            if new.retiring:
                raise ValueError(f"slot {new.label} is retiring and cannot become current")
            begin = time.perf_counter()
            route = self._route
            if new is route.current:
                return 0.0
            behind = route.current if keep_old else route.previous
            changed = replace(route, current=new, previous=behind if behind is not new else None)
            if new is route.canary:
                changed = replace(changed, canary=None, tried=frozenset())
            if new is route.light:
                changed = replace(changed, light=None, eased=frozenset())
            self._route = changed  # the switch: one reference assignment
            seconds = time.perf_counter() - begin
            unused = self._set_aside(route)
        for slot in unused:
            slot.retire()
        self._sweep()
        return seconds

    def start_beside(self, role: Beside, slot: Slot[M], cameras: Iterable[str]) -> None:
        """Let these cameras have ``slot``; what was in the role before it ends.

        Raises:
            ValueError: ``slot`` is retiring.
        """
        if slot.retiring:
            raise ValueError(f"slot {slot.label} is retiring and cannot serve")
        self._change(**{role: slot, _CAMERAS[role]: frozenset(cameras)})

    def end_beside(self, role: Beside) -> None:
        """Its cameras have the current slot again."""
        self._change(**{role: None, _CAMERAS[role]: frozenset()})

    def ease(self, light: Slot[M], cameras: Iterable[str]) -> None:
        """Let just these cameras have the light slot; does nothing when ``light`` is not in that role any more."""
        with self._switching:
            if self._route.light is light:
                self._route = replace(self._route, eased=frozenset(cameras))

    def keep_as_previous(self, slot: Slot[M]) -> None:
        """Put a freshly loaded slot behind the current one: after a restart, so that a rollback is warm again."""
        self._change(previous=slot)

    def hung(self, seconds: float) -> list[HungLease]:
        """Leases on any slot that are older than ``seconds``."""
        self._sweep()
        with self._switching:
            slots = [*self._route.slots(), *self._retiring]
        return [lease for slot in slots for lease in slot.older_than(seconds)]

    def loaded(self) -> list[tuple[str, Slot[M]]]:
        """``(role, slot)`` of everything that holds memory; role is current, previous, canary, light or retiring."""
        self._sweep()
        with self._switching:
            route = self._route
            named = [("current", route.current), ("previous", route.previous)]
            if route.canary is not route.previous:
                named.append(("canary", route.canary))
            if route.light not in (route.previous, route.canary):
                named.append(("light", route.light))
            named += [("retiring", slot) for slot in self._retiring]
        return [(role, slot) for role, slot in named if slot is not None]

    def close(self, timeout: float = 10.0) -> bool:
        """Retire everything and wait for the last leases.

        Returns:
            False when a lease did not come back in time; its model stays loaded.
        """
        with self._switching:
            slots = [*self._route.slots(), *self._retiring]
            self._route = _Route()
            self._retiring = []
        for slot in slots:
            slot.retire()
        end = time.monotonic() + timeout
        freed = [slot.wait_freed(max(0.0, end - time.monotonic())) for slot in slots]
        return all(freed)

    def _change(self, **fields: Any) -> None:
        with self._switching:
            route = self._route
            self._route = replace(route, **fields)
            unused = self._set_aside(route)
        for slot in unused:
            slot.retire()

    def _set_aside(self, before: _Route[M]) -> list[Slot[M]]:
        """Under the lock: what the route before used and the present one does not."""
        used = self._route.slots()
        unused = [slot for slot in before.slots() if slot not in used]
        self._retiring += unused
        return unused

    def _sweep(self) -> None:
        with self._switching:
            self._retiring = [slot for slot in self._retiring if not slot.freed]
