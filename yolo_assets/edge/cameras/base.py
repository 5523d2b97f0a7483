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
from yolo_assets.edge.pipeline.accounting import DropReason

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
        lost: why there is no picture, where the source knows; None with no image means unreadable.
    """

    captured_at: datetime
    image: Picture | None
    batch_id: str | None = None
    truth: Any = None
    lost: DropReason | None = None


@dataclass(frozen=True)
class Frame:
    """A capture that was entered into the books and waits for a worker.

    Attributes:
        entered: ``time.monotonic()`` at capture, for latencies.
        time_trusted: whether the box's clock could be believed; always true where the source has a time of its own.
        boot_id: which start of the machine ``monotonic_s`` counts from; empty where the source has its own time.
        monotonic_s: the kernel's seconds since that boot.
    """

    camera_id: str
    sequence: int
    captured_at: datetime
    image: Picture = field(repr=False)
    entered: float
    batch_id: str | None = None
    truth: Any = field(default=None, repr=False)
    time_trusted: bool = True
    boot_id: str = ""
    monotonic_s: float = 0.0


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
        """Open and yield until ``stop`` is set or the source has ended.

        Times never go back within one call, unless the clock of the machine was set back and stayed so.

        Raises:
            SourceError: it cannot be opened, or broke; another try may work.
            BadInputError: another try works only after somebody changed something.
        """
        ...

    def now(self) -> datetime:
        """The source's own clock: no later capture will carry a time before this."""
        ...

    def facts(self) -> dict[str, Any]:
        """What people may want to know about it, for the status; nothing secret."""
        ...
