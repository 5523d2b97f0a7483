"""Work beside the main thread: its start and end, from whatever state a program has to stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


def join(thread: threading.Thread, timeout: float) -> bool:
    """Wait for a thread to end.

    Returns:
        Whether it is not running now; True for one that was never started.
    """
    if thread.ident is not None:
        thread.join(timeout)
    return not thread.is_alive()


class InBackground(ABC):
    """What works beside its owner from ``start`` to ``close``; or as long as a block."""

    @abstractmethod
    def start(self) -> None:
        """Begin."""

    @abstractmethod
    def close(self) -> None:
        """End."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
