"""A set of whole numbers that mostly follow each other, small when written down: frames that wait for their outcome.

Belongs here: the set. Does not belong here: what the numbers mean (``tally``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Runs:
    """Numbers kept as runs ``[first, last]``; adding the next and removing the oldest cost nothing."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._runs: list[list[int]] = []
        for number in numbers:
            self.add(number)

    @classmethod
    def from_steps(cls, steps: list[int]) -> Runs:
        """What ``steps`` gave.

        Raises:
            ValueError, TypeError: these are no steps.
        """
        runs, end = cls(), -2
        for gap, length in zip(steps[::2], steps[1::2], strict=True):
            if gap < 1 or length < 1:
                raise ValueError("no steps of runs")
            first, end = end + 1 + gap, end + gap + length
            runs._runs.append([first, end])
        return runs

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

    def steps(self) -> list[int]:
        """For each run how many numbers were left out before it, and its length; the first is counted from -1."""
        found, end = list[int](), -2
        for first, last in self._runs:
            found += [first - end - 1, last - first + 1]
            end = last
        return found

    def __iter__(self) -> Iterator[int]:
        for first, last in self._runs:
            yield from range(first, last + 1)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and self._runs == other._runs

    def __repr__(self) -> str:
        return f"Runs({list(self)})"

    __hash__ = None  # type: ignore[assignment]
