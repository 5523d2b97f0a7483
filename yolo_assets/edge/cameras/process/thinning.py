"""Fewer pictures than a camera sends, evenly."""

from __future__ import annotations


class Thinning:
    """At most so many pictures a second, evenly. What is left out is not wanted, so it is not lost."""

    def __init__(self, fps: float | None) -> None:
        self._gap = 1 / fps if fps else 0.0
        self._due = 0.0

    def wanted(self, at: float) -> bool:
        """Whether the picture that arrived at this second is one of those."""
        if not self._gap:
            return True
        if at < self._due - self._gap / 10:  # arrivals jitter: a little early is on time
            return False
        self._due = max(self._due + self._gap, at)
        return True
