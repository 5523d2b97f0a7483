"""Which detections of consecutive frames are one object: by time and motion, for cameras of any frame rate.

Belongs here: linking, as arithmetic on boxes and times. Does not belong here: the names of objects in tables, and
what follows from them (splits, sampling, evaluation, drift).

An object stands still, or moves with the belt, or goes on as it moved so far. The velocities of the belt are found in
the data: in most pairs of neighbouring frames the same displacement, divided by the time between them, comes again.
Each link is between two detections that prefer each other to all others, so that no order of work can change it. The
class is no condition: a class that flickers belongs to the same object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_assets.vision.detections import Detections

SHORTEST_GAP = 1.0
"""Seconds for which an object may be overlooked at any frame rate."""

GAP_FRAMES = 3.5
"""Usual distances between two frames for which an object may be overlooked."""

LONGEST_GAP = 30.0
"""Seconds after which what comes back is another object, however seldom the camera looks."""

ONE_OBJECT_IOU = 0.8
"""Boxes of one frame that overlap so far are one object that was found under two classes."""

_NEAR = 0.35
"""How far a box may lie from where it is expected, as a part of its side."""

_STRAY = 0.12
"""How far a velocity may differ from the belt's, as a part of it."""

_SAME_SIDE = 0.6
"""Sides of one object differ by no smaller ratio, unless the edge of the picture cuts it."""

_SUPPORT = 0.2
"""Share of the detections with a neighbour that must move with a velocity, for it to be a belt's."""

_BELTS = 3
_VOTES = 200_000
_BLOCK = 500_000
"""Pairs that are compared at a time: what bounds memory."""


def link_objects(
    seconds: NDArray[np.float64], frames: Sequence[Detections], *, longest_gap: float | None = None
) -> list[NDArray[np.int64]]:
    """Number the objects in the frames of one camera.

    Args:
        seconds: ``[f]``, when each frame was captured; any order and any zero. Frames without detections belong to it:
            from them follows how often the camera looks.
        frames: ``[f]``, the detections of each.
        longest_gap: seconds for which an object may be out of sight; None: ``SHORTEST_GAP``, or ``GAP_FRAMES`` frames
            where that is more, and at most ``LONGEST_GAP``.

    Returns:
        For each frame ``[n]``, the number of the object of each of its detections, from 0 in the order of first sight.

    Raises:
        ValueError: there are not as many times as frames, or a time is no number.
    """
    times = np.asarray(seconds, np.float64)
    if times.shape != (len(frames),) or not np.isfinite(times).all():
        raise ValueError(f"link_objects needs a finite time for each of {len(frames)} frames, got {times.shape}")
    counts = np.array([len(found) for found in frames], np.int64)
    if not counts.sum():
        return [np.empty(0, np.int64) for _ in frames]
    order = np.argsort(times, kind="stable")
    boxes = np.concatenate([frames[i].xyxy for i in order]).astype(np.float64)
    classes = np.concatenate([frames[i].class_id for i in order])
    confidence = np.concatenate([frames[i].confidence for i in order])
    linked = _Linking(times[order], counts[order], boxes, classes, longest_gap)
    numbers = linked.numbers(_twins(boxes, confidence, linked.frame))
    split = np.split(numbers, np.cumsum(counts[order])[:-1])
    found: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(frames)
    for place, frame in enumerate(order.tolist()):
        found[frame] = split[place]
    return found


class _Linking:
    """All detections of a camera in the order of time, with links from each to the next one of its object."""

    def __init__(
        self,
        times: NDArray[np.float64],
        counts: NDArray[np.int64],
        boxes: NDArray[np.float64],
        classes: NDArray[np.int32],
        longest_gap: float | None,
    ) -> None:
        steps = np.diff(times)
        step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
        usual = min(max(SHORTEST_GAP, GAP_FRAMES * step), LONGEST_GAP)
        self.gap = usual if longest_gap is None else longest_gap
        self.frame = np.repeat(np.arange(len(counts)), counts)
        self.times = times[self.frame]
        self.boxes, self.classes = boxes, classes
        self.edges = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])

    def numbers(self, twin: NDArray[np.int64]) -> NDArray[np.int64]:
        """The object of each detection ``[n]``; twins, from ``_twins``, follow the one they are twin of."""
        alone = twin < 0
        count = len(self.boxes)
        after, before = np.full(count, -1), np.full(count, -1)
        belts = self._belts(alone)
        still = np.zeros((count, 2))
        everywhere = [still, *(np.broadcast_to(belt, (count, 2)) for belt in belts)]
        self._link(after, before, alone, everywhere, next_frame=True)
        self._link(after, before, alone, [*everywhere, self._velocity(after, before)], next_frame=False)
        first = _follow(before)
        first = np.where(alone, first, first[twin])
        return np.unique(first, return_inverse=True)[1].astype(np.int64)

    def _link(
        self,
        after: NDArray[np.int64],
        before: NDArray[np.int64],
        alone: NDArray[np.bool_],
        velocities: Sequence[NDArray[np.float64]],
        *,
        next_frame: bool,
    ) -> None:
        """Link ends to beginnings; in place. Each in turn to what it prefers and is preferred by, until none is left.

        Args:
            after: the next detection of the object of each, -1 for none.
            before: the one before.
            alone: detections that are no twins.
            velocities: ``[n, 2]`` each, pixels a second: how each detection may go on.
            next_frame: only to the next frame with a detection; else over gaps.
        """
        ends, begins = np.flatnonzero(alone & (after < 0)), np.flatnonzero(alone & (before < 0))
        low, high = self._reach(ends, begins, next_frame)
        first, second, costs = [], [], []
        for one, other in _pairs(ends, begins, low, high):
            cost = self._cost(one, other, velocities)
            kept = np.isfinite(cost)
            first.append(one[kept])
            second.append(other[kept])
            costs.append(cost[kept])
        one, other, cost = np.concatenate(first), np.concatenate(second), np.concatenate(costs)
        # The next frame first: an object that is overlooked before and after a frame keeps its detection there.
        ranked = np.lexsort((other, one, cost, self.frame[other] - self.frame[one]))
        one, other = one[ranked], other[ranked]
        while len(one):
            rank = np.arange(len(one))
            best_of_one = np.full(len(after), len(one))
            best_of_other = best_of_one.copy()
            np.minimum.at(best_of_one, one, rank)
            np.minimum.at(best_of_other, other, rank)
            chosen = (best_of_one[one] == rank) & (best_of_other[other] == rank)
            after[one[chosen]], before[other[chosen]] = other[chosen], one[chosen]
            free = (after[one] < 0) & (before[other] < 0)
            one, other = one[free], other[free]

    def _reach(
        self, ends: NDArray[np.int64], begins: NDArray[np.int64], next_frame: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The part ``[low, high)`` of ``begins`` that comes into question for each end."""
        at = self.times[ends]
        low = np.searchsorted(self.frame[begins], self.frame[ends] + 1)
        high = np.searchsorted(self.times[begins], at + self.gap, side="right")
        if next_frame:
            high = np.minimum(high, np.searchsorted(self.frame[begins], self.frame[ends] + 2))
        return low, np.maximum(low, high)

    def _cost(
        self, one: NDArray[np.int64], other: NDArray[np.int64], velocities: Sequence[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """How badly pairs ``[p]`` fit; infinite when they cannot be one object."""
        a, b = self.boxes[one], self.boxes[other]
        apart = (self.times[other] - self.times[one])[:, None]
        side_a, side_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
        cut = self._at_edge(a) | self._at_edge(b)
        small, large = np.minimum(side_a, side_b), np.maximum(side_a, side_b)
        alike = small >= np.where(cut, 0.15, _SAME_SIDE) * large
        best = np.full(len(one), np.inf)
        for velocity in velocities:
            moved = velocity[one] * apart
            low, high = b[:, :2] - a[:, :2] - moved, b[:, 2:] - a[:, 2:] - moved
            # What the edge cuts has its place at the side that is seen; all else has it in its middle.
            off = np.where(cut, np.minimum(np.abs(low), np.abs(high)), np.abs(low + high) / 2)
            allowed = _NEAR * large + _STRAY * np.abs(moved)
            fits = alike.all(1) & (off <= allowed).all(1)
            best = np.minimum(best, np.where(fits, (off / np.maximum(large, 1e-9)).sum(1), np.inf))
        other_look = (1 - small / np.maximum(large, 1e-9)).sum(1) * np.where(cut.any(1), 0.1, 1)
        return best + 0.5 * other_look + 0.15 * (self.classes[one] != self.classes[other])

    def _at_edge(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the edge of the picture may cut a box along x and along y ``[p, 2]``; no box reaches farther out."""
        return (boxes[:, :2] <= self.edges[:2] + 2) | (boxes[:, 2:] >= self.edges[2:] - 2)

    def _velocity(self, after: NDArray[np.int64], before: NDArray[np.int64]) -> NDArray[np.float64]:
        """How the object of each has moved so far ``[n, 2]``, pixels a second; 0 when it was seen once."""
        first, last = _follow(before), _follow(after)
        middle = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        lasted = (self.times[last] - self.times[first])[:, None]
        way = middle[last] - middle[first]
        return np.divide(way, lasted, out=np.zeros_like(way), where=lasted > 0)

    def _belts(self, alone: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
        """Velocities ``[2]`` that many detections share, pixels a second, the most frequent first."""
        chosen = np.flatnonzero(alone)
        low, high = self._reach(chosen, chosen, next_frame=True)
        per_source = high - low
        if not per_source.sum():
            return []
        every = max(1, int(per_source.sum()) // _VOTES)
        voting = self.frame[chosen] % every == 0  # of whole frames, so that those that vote have all their pairs
        sources = int((per_source[voting] > 0).sum())
        ways, sides = [], []
        for one, other in _pairs(chosen[voting], chosen, low[voting], high[voting]):
            a, b = self.boxes[one], self.boxes[other]
            side_a, side_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
            apart = self.times[other] - self.times[one]
            small, large = np.minimum(side_a, side_b), np.maximum(side_a, side_b)
            same = (small >= 0.75 * large).all(1) & (apart > 0)
            middle = (b[:, :2] + b[:, 2:] - a[:, :2] - a[:, 2:])[same] / 2
            ways.append(middle / apart[same, None])
            sides.append(large[same].mean(1) / apart[same])
        velocity, unit = np.concatenate(ways), np.concatenate(sides)
        if not len(velocity):
            return []
        cell = max(0.25 * float(np.median(unit)), 1e-9)
        found: list[NDArray[np.float64]] = []
        while len(velocity) >= 3 and len(found) < _BELTS:
            cells, place, votes = np.unique(
                np.round(velocity / cell).astype(np.int64), axis=0, return_inverse=True, return_counts=True
            )
            near = np.abs(cells - cells[np.lexsort((np.abs(cells).sum(1), -votes))[0]]).max(1) <= 1
            members = near[place.ravel()]
            if members.sum() < max(3, _SUPPORT * sources):
                break
            found.append(np.median(velocity[members], axis=0))
            velocity = velocity[~members]
        return found


def _pairs(
    one: NDArray[np.int64], other: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each of ``one`` with ``other[low:high]``, in blocks of bounded size; at least one block."""
    many = high - low
    block = (np.cumsum(many) - many) // _BLOCK
    for number in np.unique(block) if len(one) else [0]:
        here = np.flatnonzero(block == number)
        length = many[here]
        inside = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        yield np.repeat(one[here], length), other[np.repeat(low[here], length) + inside]


def _follow(link: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the links from each lead in the end; each step of the loop doubles the way."""
    end = np.where(link < 0, np.arange(len(link)), link)
    while True:
        further = end[end]
        if (further == end).all():
            return end
        end = further


def _twins(boxes: NDArray[np.float64], confidence: NDArray[np.float32], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each detection ``[n]`` a surer one of its frame that is the same object, and has none itself; -1 for none."""
    place = np.arange(len(boxes))
    twin = np.full(len(boxes), -1)
    for one, other in _pairs(place, place, place + 1, np.searchsorted(frame, frame, side="right")):
        same = _overlap(boxes[one], boxes[other]) >= ONE_OBJECT_IOU
        one, other = one[same], other[same]
        surer = np.where(confidence[other] > confidence[one], other, one)
        twin[one + other - surer] = surer
    surest = _follow(twin)
    return np.where(surest == place, -1, surest)


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU ``[p]`` of boxes ``[p, 4]`` pair by pair."""
    shared = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1)
    both = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    return shared / np.maximum(both, 1e-9)
