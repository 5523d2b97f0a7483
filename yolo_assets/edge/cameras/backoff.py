"""How long to wait before a camera is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Doubles from try to try, with jitter, so that cameras behind one switch do not all come at once.

    Only a camera that stayed for ``healthy_s`` begins from the start again: one that gives a picture and falls over,
    again and again, is not hammered.

    Attributes:
        first_s: the first wait.
        last_s: no wait is longer.
        healthy_s: how long pictures must flow.
    """

    first_s: float = 0.5
    last_s: float = 30.0
    healthy_s: float = 10.0
    draw: random.Random = field(default_factory=random.Random, repr=False)
    _failures: int = 0

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a failure.

        Args:
            lived_s: how long pictures had flowed before it; 0 when none came.
        """
        if lived_s >= self.healthy_s:
            self._failures = 0
        wait = min(self.last_s, self.first_s * 2 ** min(self._failures, 30))
        self._failures += 1
        return min(self.last_s, wait * self.draw.uniform(0.5, 1.5))

    def longest(self) -> float:
        """The wait where nothing but another configuration can help."""
        self._failures += 1
        return self.last_s
