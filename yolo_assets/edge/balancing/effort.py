"""What one frame costs a worker, by model, and how many frames each camera offers: measured on the line itself."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping

from yolo_assets.spool.frame_journal import FrameCounts

_FRAMES = 200
_WINDOW_S = 5.0


class Effort:
    """Thread-safe; workers add, the balancer reads."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, label: str, seconds: float, frames: int) -> None:
        """A worker was busy for so long with frames of one model, from inference to record."""
        with self._lock:
            taken = self._taken.setdefault(label, deque(maxlen=_FRAMES))
            taken.extend([seconds / frames] * frames)

    def seconds(self, label: str) -> float | None:
        """Of one frame, the mean of the newest; None before the first."""
        with self._lock:
            taken = self._taken.get(label)
            return sum(taken) / len(taken) if taken else None

    def forget_all_but(self, labels: Iterable[str]) -> None:
        """Drop the figures of models that are gone."""
        kept = set(labels)
        with self._lock:
            self._taken = {label: taken for label, taken in self._taken.items() if label in kept}


class Rates:
    """Frames a second that each camera offers, over the last seconds. Used by one thread."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def look(self, counts: Mapping[str, FrameCounts], now: float) -> dict[str, float]:
        """The rates.

        Args:
            counts: the books of all cameras.
            now: monotonic seconds.
        """
        offered = {camera: count.offered for camera, count in counts.items()}
        self._looks.append((now, offered))
        while len(self._looks) > 2 and now - self._looks[1][0] >= _WINDOW_S:
            self._looks.popleft()
        began, before = self._looks[0]
        span = now - began
        return {c: (n - before.get(c, 0)) / span if span > 0 else 0.0 for c, n in offered.items()}
