"""The slots in use and the slot of each camera: a model changes under load without a lock that inference waits for.

A worker takes a *lease* for each inference. A switch is one reference assignment: leases taken before it finish on the
old model, leases taken after it get the new one.

``current`` and ``previous`` of the primary model stay loaded, so that a rollback costs nothing. The secondary models,
canary and light, serve some cameras instead of it. Any other slot retires. Does not belong here: the counting of leases
(``slot``), any decision about models (``edge.rollout``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Literal

from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.serving.slot import HungLease, M, Slot

SecondaryRole = Literal["canary", "light"]
"""Roles of the models that serve some of the cameras beside the primary model."""

Role = Literal["primary", "canary", "light"]


class NoModelError(UserError):
    """No model is loaded yet."""


@dataclass(frozen=True)
class _Route(Generic[M]):
    """The slot of each camera. Replaced as a whole, by one assignment, so that no reader sees half of a change."""

    current: Slot[M] | None = None
    previous: Slot[M] | None = None
    canary: Slot[M] | None = None
    light: Slot[M] | None = None
    canary_cameras: frozenset[str] = frozenset()
    light_cameras: frozenset[str] = frozenset()
    """Cameras that the light model serves now, except those of the canary."""

    def slots(self) -> list[Slot[M]]:
        """Every slot in use, each once."""
        slots = [slot for slot in (self.current, self.previous, self.canary, self.light) if slot is not None]
        return list(dict.fromkeys(slots))


class SlotManager(Generic[M]):
    """The slots in use, and those that are retiring."""

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
        """The slot that takes over cameras under load."""
        return self._route.light

    @property
    def light_cameras(self) -> frozenset[str]:
        """The cameras that the light slot serves now."""
        return self._route.light_cameras

    def secondary(self, role: SecondaryRole) -> Slot[M] | None:
        """The slot of a secondary role."""
        return self.canary if role == "canary" else self.light

    def slot_for(self, camera: str | None = None) -> Slot[M] | None:
        """The slot that a lease for this camera would get now: frames of one slot can be inferred together."""
        route = self._route
        if camera in route.canary_cameras:
            return route.canary
        return route.light if camera in route.light_cameras else route.current

    @contextmanager
    def acquire(self, camera: str | None = None) -> Generator[Slot[M]]:
        """A lease on the slot of a camera, without one on the current slot; it stays loaded until the block ends.

        Raises:
            NoModelError: nothing is loaded.
        """
        while True:
            slot = self.slot_for(camera)
            if slot is None:
                raise NoModelError("no model is loaded yet")
            lease = slot.enter()
            if lease is not None:
                break
            if self.slot_for(camera) is slot:  # freed while it serves: a defect, but no reason to loop for ever
                raise NoModelError(f"{slot.label} was freed while it served")
        try:
            yield slot
        finally:
            slot.leave(lease)

    def switch(self, new: Slot[M], *, keep_old: bool = True) -> float:
        """Make ``new`` current, keep the one before as previous, retire what is unused then.

        ``new`` may be the previous slot: then the two change places and nothing retires. It may be a secondary slot:
        then it serves all cameras, and its secondary role is over.

        Args:
            new: loaded and proven.
            keep_old: False when the current slot was never committed; previous stays as it is.

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
            previous = route.current if keep_old else route.previous
            changed = replace(route, current=new, previous=previous if previous is not new else None)
            if new is route.canary:
                changed = replace(changed, canary=None, canary_cameras=frozenset())
            if new is route.light:
                changed = replace(changed, light=None, light_cameras=frozenset())
            self._route = changed  # the switch: one reference assignment
            seconds = time.perf_counter() - begin
            unused = self._set_aside(route)
        for slot in unused:
            slot.retire()
        self._sweep()
        return seconds

    def start_secondary(self, role: SecondaryRole, slot: Slot[M], cameras: Iterable[str]) -> None:
        """Let ``slot`` serve these cameras; what had the role before is retired.

        Raises:
            ValueError: ``slot`` is retiring.
        """
        if slot.retiring:
            raise ValueError(f"slot {slot.label} is retiring and cannot serve")
        self._set_secondary(role, slot, frozenset(cameras))

    def end_secondary(self, role: SecondaryRole) -> None:
        """The current slot serves its cameras again."""
        self._set_secondary(role, None, frozenset())

    def assign_light(self, light: Slot[M], cameras: Iterable[str]) -> None:
        """Let the light slot serve just these cameras; does nothing when ``light`` has that role no more."""
        with self._switching:
            if self._route.light is light:
                self._route = replace(self._route, light_cameras=frozenset(cameras))

    def keep_as_previous(self, slot: Slot[M]) -> None:
        """Make a freshly loaded slot the previous one: after a restart, so that a rollback is warm again."""
        self._replace(lambda route: replace(route, previous=slot))

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

    def _set_secondary(self, role: SecondaryRole, slot: Slot[M] | None, cameras: frozenset[str]) -> None:
        if role == "canary":
            self._replace(lambda route: replace(route, canary=slot, canary_cameras=cameras))
        else:
            self._replace(lambda route: replace(route, light=slot, light_cameras=cameras))

    def _replace(self, change: Callable[[_Route[M]], _Route[M]]) -> None:
        with self._switching:
            route = self._route
            self._route = change(route)
            unused = self._set_aside(route)
        for slot in unused:
            slot.retire()

    def _set_aside(self, before: _Route[M]) -> list[Slot[M]]:
        """Under the lock: the slots that ``before`` used and the present route does not."""
        used = self._route.slots()
        unused = [slot for slot in before.slots() if slot not in used]
        self._retiring += unused
        return unused

    def _sweep(self) -> None:
        with self._switching:
            self._retiring = [slot for slot in self._retiring if not slot.freed]
