"""When a notice is tried again that failed through no fault of its model. Pure bookkeeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from yolo_assets.edge.rollout.notice import Notice, Role

_FIRST, _LAST = 2.0, 120.0


@dataclass(frozen=True)
class _Waiting:
    key: object
    not_before: float
    wait: float
    reason: str


class Retries:
    """The last failure of the notices of each role. Used by the staging thread and ``want``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[Role, _Waiting] = {}

    def waits(self, notice: Notice) -> bool:
        """Whether it is too early to try this one again."""
        known = self._waiting.get(notice.role)
        return known is not None and known.key == notice.key and self._clock() < known.not_before

    def failed(self, notice: Notice, reason: str) -> bool:
        """Note a failure: each wait is twice the one before.

        Returns:
            Whether it is news: the first failure of this notice, or for another reason.
        """
        known = self._waiting.get(notice.role)
        if known is not None and known.key != notice.key:
            known = None
        wait = min(_LAST, known.wait * 2) if known else _FIRST
        self._waiting[notice.role] = _Waiting(notice.key, self._clock() + wait, wait, reason)
        return known is None or known.reason != reason

    def done(self, notice: Notice) -> None:
        """It served, or it was given up."""
        self._waiting.pop(notice.role, None)
