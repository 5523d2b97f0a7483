"""How many cameras the light model should serve, and the measurements from which that is decided. No threads.

The *demand* is the share of the workers' time that all frames would take: for each camera its frames a second times the
seconds of one frame on its model, divided by the number of workers. Frames that are dropped for lack of time count, so
it may be above 1. A camera returns to the primary model only when the device could sustain it: that is computed from
what a frame cost on that model, not tried out on the line.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from yolo_assets.edge.config.rollout import Light
from yolo_assets.spool.frame_journal import FrameCounts

_FRAMES_AVERAGED = 200
_RATE_WINDOW_S = 5.0


@dataclass(frozen=True)
class InferenceLoad:
    """What the device has to infer.

    Attributes:
        rates: frames a second that each camera offers.
        primary_s: seconds of one frame on the primary model; None when it was not measured yet.
        light_s: seconds of one frame on the light model; None before its first frame.
        workers: frames that are inferred at the same time.
    """

    rates: Mapping[str, float]
    primary_s: float | None
    light_s: float | None
    workers: int


def demand(load: InferenceLoad, light_cameras: Sequence[str]) -> float:
    """Share of the workers' time, 0 and up, with these cameras on the light model."""
    primary = load.primary_s or 0.0
    light = primary if load.light_s is None else load.light_s  # nothing is promised that was not measured
    on_light = frozenset(light_cameras)
    return sum(rate * (light if camera in on_light else primary) for camera, rate in load.rates.items()) / load.workers


class LightBalance:
    """Decides the number of cameras on the light model, anew at each update.

    Args:
        rules: limits and times.
        order: the cameras that may be moved, in this order.
    """

    def __init__(self, rules: Light, order: Sequence[str]) -> None:
        self._rules = rules
        self._order = tuple(order)
        self._over_since: float | None = None
        self._calm_since: float | None = None
        self.count = 0
        """Cameras on the light model."""

    @property
    def light_cameras(self) -> tuple[str, ...]:
        """Those cameras."""
        return self._order[: self.count]

    def reset(self) -> None:
        """There is no light model: the primary one serves all cameras."""
        self.count, self._over_since, self._calm_since = 0, None, None

    def update(self, load: InferenceLoad, now: float) -> int:
        """The number of cameras from now on.

        Args:
            load: measured just now.
            now: monotonic seconds.
        """
        rules = self._rules
        over = self.count < len(self._order) and demand(load, self.light_cameras) > rules.above
        calm = self.count > 0 and demand(load, self._order[: self.count - 1]) < rules.below
        self._over_since = (now if self._over_since is None else self._over_since) if over else None
        self._calm_since = (now if self._calm_since is None else self._calm_since) if calm else None
        if self._over_since is not None and now - self._over_since >= rules.hold_s:
            self.count = self._enough(load)
            self._over_since = self._calm_since = None
        elif self._calm_since is not None and now - self._calm_since >= rules.calm_s:
            self.count -= 1
            self._over_since = self._calm_since = None
        return self.count

    def _enough(self, load: InferenceLoad) -> int:
        """One more, or as many as needed where the cost of a frame on the light model was measured."""
        if load.light_s is None:
            return self.count + 1
        more = range(self.count + 1, len(self._order) + 1)
        return next((n for n in more if demand(load, self._order[:n]) <= self._rules.above), len(self._order))


class FrameCosts:
    """What one frame costs a worker, by model. Thread-safe; workers add, the balancer reads."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, label: str, seconds: float, frames: int) -> None:
        """A worker was busy for so long with frames of one model, from inference to record."""
        with self._lock:
            taken = self._taken.setdefault(label, deque(maxlen=_FRAMES_AVERAGED))
            taken.extend([seconds / frames] * frames)

    def seconds(self, label: str) -> float | None:
        """Of one frame, the mean of the newest; None before the first."""
        with self._lock:
            taken = self._taken.get(label)
            return sum(taken) / len(taken) if taken else None

    def forget_all_but(self, labels: Iterable[str]) -> None:
        """Drop the figures of models that are gone."""
        present = set(labels)
        with self._lock:
            self._taken = {label: taken for label, taken in self._taken.items() if label in present}


class FrameRates:
    """Frames a second that each camera offers, over the last seconds. Used by one thread."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, dict[str, int]]] = deque()

    def update(self, counts: Mapping[str, FrameCounts], now: float) -> dict[str, float]:
        """The rates.

        Args:
            counts: of all cameras.
            now: monotonic seconds.
        """
        offered = {camera: count.offered for camera, count in counts.items()}
        self._counts.append((now, offered))
        while len(self._counts) > 2 and now - self._counts[1][0] >= _RATE_WINDOW_S:
            self._counts.popleft()
        began, before = self._counts[0]
        span = now - began
        return {c: (n - before.get(c, 0)) / span if span > 0 else 0.0 for c, n in offered.items()}
