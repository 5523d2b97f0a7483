"""How many cameras the light model should have. Pure but for the time since when something has been so.

The *demand* is the share of the workers' time that all frames would take: for each camera its frames a second times
the seconds of one frame on its model, by the number of workers. Frames that are dropped because there is too much to
do are demanded too, so it may be above 1. A camera goes back only when the box could carry it: that is computed from
what a frame cost on the heavy model, not tried out on the line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yolo_assets.edge.config.rollout import Light


@dataclass(frozen=True)
class Load:
    """What the box has to do.

    Attributes:
        rates: frames a second that each camera offers.
        heavy_s: seconds of one frame on the box's own model; None when it was not measured yet.
        light_s: of one on the light model; None before its first frame.
        workers: frames that are in hand at the same time.
    """

    rates: Mapping[str, float]
    heavy_s: float | None
    light_s: float | None
    workers: int


def demand(load: Load, eased: Sequence[str]) -> float:
    """Share of the workers' time, 0 and up, with these cameras on the light model."""
    heavy = load.heavy_s or 0.0
    light = heavy if load.light_s is None else load.light_s  # nothing is promised that was not measured
    on_light = frozenset(eased)
    return sum(rate * (light if camera in on_light else heavy) for camera, rate in load.rates.items()) / load.workers


class Balance:
    """Decides again at each look.

    Args:
        rules: bands and times.
        order: the cameras that may be given over, the first first.
    """

    def __init__(self, rules: Light, order: Sequence[str]) -> None:
        self._rules = rules
        self._order = tuple(order)
        self._over_since: float | None = None
        self._calm_since: float | None = None
        self.count = 0
        """Cameras on the light model."""

    @property
    def eased(self) -> tuple[str, ...]:
        """Those cameras."""
        return self._order[: self.count]

    def reset(self) -> None:
        """There is no light model: all cameras have their own."""
        self.count, self._over_since, self._calm_since = 0, None, None

    def look(self, load: Load, now: float) -> int:
        """The number of cameras from now on.

        Args:
            load: measured just now.
            now: monotonic seconds.
        """
        rules = self._rules
        over = self.count < len(self._order) and demand(load, self.eased) > rules.above
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

    def _enough(self, load: Load) -> int:
        """One more, or as many as it takes where it is known what a frame costs on the light model."""
        if load.light_s is None:
            return self.count + 1
        more = range(self.count + 1, len(self._order) + 1)
        return next((n for n in more if demand(load, self._order[:n]) <= self._rules.above), len(self._order))
