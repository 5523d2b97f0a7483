"""The manager that everybody writes first, measured in the agent's place: everything else is the agent's own.

One re-entrant lock is held while it infers and while it swaps; a model is loaded without warm-up; the old one is freed
five seconds later, whatever still uses it. ``loads_first`` is a kinder reading of the same: the lock is taken only when
the new model is in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slot import Slot
from yolo_assets.edge.serving.slots import NoModelError, SlotManager

FREED_AFTER = 5.0


class NaiveManager(SlotManager[LoadedModel]):
    """Same interface as the agent's manager, so that workers and page use it unchanged."""

    loads_first = False

    def __init__(self) -> None:
        super().__init__()
        self._big_lock = threading.RLock()
        self._serving: Slot[LoadedModel] | None = None
        self.on_released: Callable[[float], None] = lambda moment: None

    @property
    def current(self) -> Slot[LoadedModel] | None:
        """The one model."""
        return self._serving

    def slot_for(self, camera: str | None = None) -> Slot[LoadedModel] | None:
        """The one model."""
        return self._serving

    @contextmanager
    def acquire(self, camera: str | None = None) -> Iterator[Slot[LoadedModel]]:
        """Hold the lock for the whole inference."""
        with self._big_lock:
            if self._serving is None:
                raise NoModelError("no model is loaded yet")
            yield self._serving

    def switch(self, new: Slot[LoadedModel], *, keep_old: bool = True) -> float:
        """The first model; later ones come by ``swap``."""
        with self._big_lock:
            self._serving = new
        return 0.0

    def loaded(self) -> list[tuple[str, Slot[LoadedModel]]]:
        """For the page."""
        return [("current", self._serving)] if self._serving is not None else []

    def close(self, timeout: float = 10.0) -> bool:
        """Free what serves."""
        with self._big_lock:
            serving, self._serving = self._serving, None
        if serving is not None:
            serving.retire()
        return True

    def swap(self, load: Callable[[], Slot[LoadedModel]]) -> float:
        """Load and serve another model.

        Returns:
            Seconds during which no inference could begin, from asking for the lock.
        """
        ready = load() if self.loads_first else None
        begin = time.perf_counter()
        with self._big_lock:
            old, self._serving = self._serving, ready or load()
        seconds = time.perf_counter() - begin
        threading.Thread(target=self._free_later, args=(old,), daemon=True).start()
        return seconds

    def _free_later(self, old: Slot[LoadedModel] | None) -> None:
        time.sleep(FREED_AFTER)
        if old is not None:
            old.model.close()
        self.on_released(time.monotonic())


class KinderNaiveManager(NaiveManager):
    """Loads before it takes the lock."""

    loads_first = True
