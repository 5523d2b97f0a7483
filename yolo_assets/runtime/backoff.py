"""How long to wait before something that failed is tried again.

Belongs here: the growth of the waits and their jitter. Does not belong here: what is worth another try.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_exponential

from yolo_assets.contracts.errors import BadInputError


@dataclass
class Backoff:
    """Waits that double from failure to failure, with jitter. Used by one thread, except `seconds`.

    Attributes:
        first_s: the longest wait after the first failure.
        longest_s: no wait is longer.
        jitter: share of each wait that is left to chance, 0 to 1: with 0.5 a wait lies between its half and its whole.
            A fleet that lost the same server does not come back in step.
        draw: gives a number from 0 to 1; ``random.Random(7).random`` makes the waits repeatable.
        failures: in a row, so far.
    """

    first_s: float
    longest_s: float
    jitter: float = 0.0
    draw: Callable[[], float] = field(default=random.random, repr=False)
    failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.longest_s and 0 <= self.jitter <= 1):
            raise BadInputError(
                f"waits must grow from above 0 s and a jitter lies in 0 to 1, got {self.first_s:g} to "
                f"{self.longest_s:g} s with {self.jitter:g}"
            )

    def seconds(self, failures: int) -> float:
        """The wait after so many failures in a row, for a caller who counts them.

        Args:
            failures: 1 or more.
        """
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = failures
        longest = wait_exponential(multiplier=self.first_s, max=self.longest_s)(state)
        return longest * (1 - self.jitter + self.jitter * self.draw())

    def failed(self) -> float:
        """Count one more failure; returns the seconds to wait before the next try."""
        self.failures += 1
        return self.seconds(self.failures)

    def succeeded(self) -> None:
        """Begin with the first wait again."""
        self.failures = 0
