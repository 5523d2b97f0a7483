"""Which archived frames are worth a person's time, under a budget. Pure: no store, no clock.

Each frame keeps the reason it was chosen for, and the reason is true of it: a person who asks "why this one?" gets an
answer. What a strategy cannot fill goes to ``random``, which is always an honest answer.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.records import Reason, Sampled

REASONS: tuple[Reason, ...] = tuple(reason for reason in get_args(Reason) if reason != "suspect")
DEFAULT_SHARES: Mapping[Reason, float] = {
    "uncertain": 0.25,
    "drifting": 0.15,
    "rare": 0.15,
    "novel": 0.15,
    "diverse": 0.15,
    "random": 0.15,
}

UNSURE = (0.15, 0.7)
"""A detection with a confidence in this range is one the model is not sure of."""

RARE = 0.5
"""A class is rare when it has fewer than this share of the detections that an equal division would give it."""

APART_SECONDS = 60.0
"""A frame is diverse when its camera has no other chosen frame so near in time."""

SPACING_SECONDS = 2.0
"""No two frames of a camera nearer than this, whatever the reason: neighbours teach the same thing twice."""


NOVEL = 1.5
"""A frame is novel when it is so many times as far from its like as the frames of its camera usually are."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a frame looks like.

    Attributes:
        vector: float32 ``[n]``; near each other for frames that look alike.
        novelty: distance to its like, in the usual distance of its camera's frames; 1 is usual.
    """

    vector: NDArray[np.float32]
    novelty: float


@dataclass(frozen=True)
class CandidateFrame:
    """A frame that may be labelled.

    Attributes:
        image_path: relative to the spool root.
        camera_id: its camera.
        captured_at: aware.
        detections: ``(class, confidence)`` of what the model on the line reported.
        drift: how far the output of its camera has moved, 0 (not) to 1; from the drift report.
        objects: which objects are in it, where the tables tell it: of one object one frame is asked for.
    """

    image_path: str
    camera_id: str
    captured_at: datetime
    detections: tuple[tuple[str, float], ...] = ()
    drift: float = 0.0
    objects: tuple[str, ...] = ()


def uncertainty(candidate: CandidateFrame) -> float:
    """0 when no detection is in the unsure range, else up to 1, highest in the middle of the range."""
    low, high = UNSURE
    middle, half = (low + high) / 2, (high - low) / 2
    return max((1 - abs(c - middle) / half for _, c in candidate.detections if low <= c <= high), default=0.0)


def rare_classes(candidates: Iterable[CandidateFrame]) -> dict[str, int]:
    """The rare classes among these frames, with their number of detections."""
    return scarce(Counter(name for candidate in candidates for name, _ in candidate.detections))


def scarce(counts: Mapping[str, int]) -> dict[str, int]:
    """Of numbers of detections by class those of the rare classes."""
    limit = RARE * sum(counts.values()) / max(len(counts), 1)
    return {name: count for name, count in counts.items() if count < limit} if len(counts) > 1 else {}


def sample(
    candidates: Sequence[CandidateFrame],
    budget: int,
    *,
    seed: int = 0,
    shares: Mapping[Reason, float] = DEFAULT_SHARES,
    labelled: Collection[str] = (),
    class_counts: Mapping[str, int] | None = None,
    looks: Mapping[str, Look] | None = None,
) -> list[Sampled]:
    """Choose frames for annotation.

    Args:
        candidates: frames to choose from, in any order: the order does not change the choice.
        budget: most frames that people will label.
        seed: another seed draws other random frames and breaks ties otherwise.
        shares: parts of the budget by reason; they are divided by their sum.
        labelled: image paths to leave out, because they are labelled or already in a batch.
        class_counts: detections by class, which tell the rare ones; without, those of the candidates are counted.
        looks: what frames look like, by image path, for as many of them as are known: without any, no frame is novel,
            and the diverse ones are far apart in time.

    Returns:
        At most ``budget`` frames, none twice, sorted by image path; of one object one frame, even when the budget is
        then not spent.

    Raises:
        BadInputError: negative budget, unknown reason, or no positive share.
    """
    if budget < 0:
        raise BadInputError(f"a budget of {budget} frames is not possible; give 0 or more")
    unknown = set(shares) - set(REASONS)
    if unknown or any(share < 0 for share in shares.values()) or sum(shares.values()) <= 0:
        raise BadInputError(
            f"shares {dict(shares)} are not usable; give numbers >= 0, one above 0, for {list(REASONS)}"
        )
    skip = set(labelled)
    pool = sorted(
        {c.image_path: c for c in candidates if c.image_path not in skip}.values(), key=lambda c: c.image_path
    )
    choice = _Choice()
    quotas = _quotas(shares, min(budget, len(pool)))
    orders: dict[Reason, Iterator[CandidateFrame]] = {
        "drifting": iter(sorted((c for c in pool if c.drift > 0), key=lambda c: (-c.drift, _tie(c, seed)))),
        "uncertain": iter(
            sorted((c for c in pool if uncertainty(c) > 0), key=lambda c: (-round(uncertainty(c), 6), _tie(c, seed)))
        ),
        "rare": _rare_order(pool, rare_classes(pool) if class_counts is None else scarce(class_counts), seed),
        "novel": _novel_order(pool, looks or {}, seed),
    }
    for reason, order in orders.items():
        choice.take(order, reason, quotas[reason], SPACING_SECONDS)
    shuffled = sorted(pool, key=lambda c: _tie(c, seed))
    open_ = quotas["diverse"] - choice.take_unlike(shuffled, looks or {}, quotas["diverse"])
    choice.take_diverse(shuffled, open_)
    remaining = min(budget, len(pool)) - len(choice.chosen)
    choice.take(iter(shuffled), "random", remaining, SPACING_SECONDS)
    # A budget that spacing left unspent is spent all the same: people have time set aside for it.
    choice.take(iter(shuffled), "random", min(budget, len(pool)) - len(choice.chosen), 0.0)
    return [Sampled(image_path=path, reason=reason) for path, reason in sorted(choice.chosen.items())]


class _Choice:
    """The frames chosen so far, the moments of each camera among them, and the objects in them."""

    def __init__(self) -> None:
        self.chosen: dict[str, Reason] = {}
        self._moments: dict[str, list[float]] = {}
        self._objects: set[str] = set()

    def is_free(self, candidate: CandidateFrame) -> bool:
        """Whether it was not chosen, nor another frame of an object in it."""
        return candidate.image_path not in self.chosen and self._objects.isdisjoint(candidate.objects)

    def distance(self, candidate: CandidateFrame) -> float:
        """Seconds to the nearest chosen frame of the same camera; infinite when there is none."""
        moment = candidate.captured_at.timestamp()
        return min((abs(moment - other) for other in self._moments.get(candidate.camera_id, ())), default=float("inf"))

    def add(self, candidate: CandidateFrame, reason: Reason) -> None:
        self.chosen[candidate.image_path] = reason
        self._moments.setdefault(candidate.camera_id, []).append(candidate.captured_at.timestamp())
        self._objects.update(candidate.objects)

    def take(self, order: Iterator[CandidateFrame], reason: Reason, count: int, spacing: float) -> None:
        for candidate in order:
            if count <= 0:
                return
            if self.is_free(candidate) and self.distance(candidate) >= spacing:
                self.add(candidate, reason)
                count -= 1

    def take_unlike(self, pool: Sequence[CandidateFrame], looks: Mapping[str, Look], count: int) -> int:
        """Those that look least like any chosen frame, one after the other (k-center); returns how many."""
        members = [c for c in pool if c.image_path in looks]
        if not members:
            return 0
        vectors = np.stack([looks[c.image_path].vector for c in members])
        nearest = np.full(len(members), np.inf)
        for place, candidate in enumerate(members):
            if candidate.image_path in self.chosen:
                nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[place], axis=1))
        taken = 0
        while taken < count:
            free = [self.is_free(c) and self.distance(c) >= SPACING_SECONDS for c in members]
            place = int(np.where(free, nearest, -1.0).argmax())
            if not free[place] or nearest[place] <= 0:
                break
            self.add(members[place], "diverse")
            nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[place], axis=1))
            taken += 1
        return taken

    def take_diverse(self, pool: Sequence[CandidateFrame], count: int) -> None:
        """Farthest first: the camera with the fewest chosen frames, its frame farthest in time from those."""
        # Distances only shrink as frames are added, and only for the camera that got one: keep and lower them.
        distances = {c.image_path: self.distance(c) for c in pool if self.is_free(c)}
        by_camera: dict[str, list[CandidateFrame]] = {}
        for candidate in pool:
            by_camera.setdefault(candidate.camera_id, []).append(candidate)
        while count > 0:
            best: tuple[int, float, CandidateFrame] | None = None
            for camera, members in by_camera.items():
                far = [c for c in members if distances.get(c.image_path, -1.0) >= APART_SECONDS]
                open_ = [c for c in far if self.is_free(c)]
                if not open_:
                    continue
                farthest = max(open_, key=lambda c: distances[c.image_path])
                rank = (len(self._moments.get(camera, ())), -distances[farthest.image_path])
                if best is None or rank < best[:2]:
                    best = (*rank, farthest)
            if best is None:
                return
            picked = best[2]
            self.add(picked, "diverse")
            del distances[picked.image_path]
            moment = picked.captured_at.timestamp()
            for other in by_camera[picked.camera_id]:
                if other.image_path in distances:
                    gap = abs(other.captured_at.timestamp() - moment)
                    distances[other.image_path] = min(distances[other.image_path], gap)
            count -= 1


def _quotas(shares: Mapping[Reason, float], budget: int) -> dict[Reason, int]:
    """Whole frames by reason, summing to the budget: largest remainder."""
    total = sum(shares.values())
    exact: dict[Reason, float] = {reason: budget * shares.get(reason, 0.0) / total for reason in REASONS}
    whole: dict[Reason, int] = {reason: int(exact[reason]) for reason in REASONS}
    by_remainder = sorted(REASONS, key=lambda reason: (whole[reason] - exact[reason], REASONS.index(reason)))
    for reason in by_remainder[: budget - sum(whole.values())]:
        whole[reason] += 1
    return whole


def _novel_order(pool: Sequence[CandidateFrame], looks: Mapping[str, Look], seed: int) -> Iterator[CandidateFrame]:
    """Frames that look like few others of their camera, the strangest first."""
    novel = [c for c in pool if c.image_path in looks and looks[c.image_path].novelty >= NOVEL]
    return iter(sorted(novel, key=lambda c: (-looks[c.image_path].novelty, _tie(c, seed))))


def _rare_order(pool: Sequence[CandidateFrame], rare: Mapping[str, int], seed: int) -> Iterator[CandidateFrame]:
    """Frames with a rare class, the rare classes in turn, so that one of them does not take the share of all."""
    queues = [
        iter(sorted((c for c in pool if any(n == name for n, _ in c.detections)), key=lambda c: _tie(c, seed)))
        for name in sorted(rare, key=lambda name: (rare[name], name))
    ]
    while queues:
        for queue in list(queues):
            candidate = next(queue, None)
            if candidate is None:
                queues.remove(queue)
            else:
                yield candidate


def _tie(candidate: CandidateFrame, seed: int) -> bytes:
    """A random but repeatable rank that does not depend on what else is in the pool."""
    return hashlib.blake2b(f"{seed}\0{candidate.image_path}".encode(), digest_size=8).digest()
