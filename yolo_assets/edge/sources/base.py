"""What a source is, and what it yields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import UserError

Picture = NDArray[np.uint8]
"""``[height, width, 3]``, BGR, uint8."""


class SourceError(UserError):
    """A source cannot deliver: file missing, stream down. The capture thread tries again with backoff."""


@dataclass(frozen=True)
class Capture:
    """One picture as a source delivers it.

    Attributes:
        captured_at: aware, UTC, whole milliseconds.
        image: BGR ``[h, w, 3]`` uint8, or None when what arrived was no picture.
        batch_id: the production batch, where the source knows it.
        truth: what a simulation knows about the picture; None for everything real.
    """

    captured_at: datetime
    image: Picture | None
    batch_id: str | None = None
    truth: Any = None


@dataclass(frozen=True)
class Frame:
    """A capture that was entered into the books and waits for a worker.

    Attributes:
        entered: ``time.monotonic()`` at capture, for latencies.
    """

    camera_id: str
    sequence: int
    captured_at: datetime
    image: Picture = field(repr=False)
    entered: float
    batch_id: str | None = None
    truth: Any = field(default=None, repr=False)


class Source(Protocol):
    """One camera's pictures."""

    camera_id: str
    live: bool
    """True when time goes on whether the picture is taken or not: then the source never waits for the queue."""

    def check(self) -> None:
        """Look at the source before the agent starts, where that is possible without waiting.

        Raises:
            BadInputError: it can never work as configured.
        """
        ...

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Open and yield until ``stop`` is set or the source has ended. Times never go back within one call.

        Raises:
            SourceError: it cannot be opened, or broke.
        """
        ...

    def now(self) -> datetime:
        """The source's own clock: no later capture will carry a time before this."""
        ...
