"""A set of whole numbers that mostly follow each other, small when written down: frames that wait for their outcome.

Belongs here: the set. Does not belong here: what the numbers mean (``tally``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Runs:
    """Numbers kept as runs ``[first, last]``; adding the next and removing the oldest cost nothing."""

    def __init__(self, runs: Iterable[Iterable[int]] = ()) -> None:
        """Take the runs that ``as_lists`` gave.

        Raises:
            ValueError, TypeError: these are no runs.
        """
        self._runs: list[list[int]] = []
        for first, last in runs:
            if first > last or (self._runs and first <= self._runs[-1][1]):
                raise ValueError("runs in no order")
            self._runs.append([int(first), int(last)])

    def add(self, number: int) -> None:
        """Put one in; it may be there already."""
        at = bisect_right(self._runs, number, key=lambda run: run[0])
        before = self._runs[at - 1] if at else None
        if before is not None and number <= before[1]:
            return
        if before is not None and number == before[1] + 1:
            before[1] = number
        else:
            before = [number, number]
            self._runs.insert(at, before)
            at += 1
        if at < len(self._runs) and self._runs[at][0] == number + 1:
            before[1] = self._runs.pop(at)[1]

    def discard(self, number: int) -> None:
        """Take one out; it may be missing."""
        at = bisect_right(self._runs, number, key=lambda run: run[0]) - 1
        if at < 0 or number > self._runs[at][1]:
            return
        first, last = self._runs[at]
        self._runs[at : at + 1] = [run for run in ([first, number - 1], [number + 1, last]) if run[0] <= run[1]]

    def as_lists(self) -> list[list[int]]:
        """``[[first, last], …]``, in order."""
        return [list(run) for run in self._runs]

    def __iter__(self) -> Iterator[int]:
        for first, last in self._runs:
            yield from range(first, last + 1)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and self._runs == other._runs

    def __repr__(self) -> str:
        return f"Runs({self._runs})"

    __hash__ = None  # type: ignore[assignment]
