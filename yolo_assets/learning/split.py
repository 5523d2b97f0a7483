"""Frozen, deterministic splits by object, time and lot. Pure: pictures come in as hashes and boxes.

Frames that show the same object, or that one camera took within a few seconds, lie in one split. They form a group with
the frames of the same lot and with near-duplicates around them. A group that would become too long, because objects
follow each other without a gap, is cut, and the frames at the cut are left out. Where no time is known, numbers in the
names of files give the order; frames without either are grouped by their content.

A frame that once had a split keeps it in every later version: a model is never evaluated on a frame that an ancestor of
it was trained on. A new frame that is close to frames of *different* splits is put into none. Does not belong here: the
order of frames and their objects (``series``), whether a split leaks (``leaks``).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.learning.records import Split
from yolo_assets.learning.series import Series, SplitFrame, hash_bits, in_series, name_objects

SHARES: Mapping[Split, float] = {"train": 0.7, "val": 0.12, "test": 0.18}
NEAR_BITS = 8
"""Of 256: noise of the sensor and of JPEG changes fewer bits, a part that moved by a tenth of the frame more."""

ALIKE_FOR = 600.0
"""Seconds, or numbers, for which frames that follow each other and look alike are one group."""

_PARTS = 15
"""A group holds at most this part of all frames, so that there are enough groups for three splits."""

_SMALLEST_LIMIT = 10
_PASSES = 8

_SAME_BOX = 0.02
"""Part of the spread of all boxes by which those of two pictures of one scene may differ."""

_MOST_COMPARED = 64
"""Pictures with a part of the hash in common that each is compared with."""

_SIDE = 16
_DEAD_ZONE = 0.03
"""Part of the picture's own contrast that a step must exceed to set a bit: flat areas would be bits of pure noise."""


@dataclass(frozen=True)
class Assignment:
    """Where a frame lies.

    Attributes:
        split: its split.
        group: name of its group, the same in every later version.
    """

    split: Split
    group: str


@dataclass(frozen=True)
class SplitResult:
    """The assignment of every frame, and the frames that fit in no split with the reason.

    Attributes:
        assigned: by the frame's key.
        excluded: the reason, by the frame's key.
        objects: the object that each box of each frame shows, by the frame's key.
    """

    assigned: dict[str, Assignment]
    excluded: dict[str, str]
    objects: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class _Group:
    """New frames that go to one split.

    Attributes:
        name: of the group.
        keys: its frames.
        home: the frames it must join, if any.
    """

    name: str
    keys: tuple[str, ...]
    home: Assignment | None = None


def dhash(grey: NDArray[np.uint8]) -> str:
    """Difference hash of a picture.

    Args:
        grey: ``[H, W]`` uint8.

    Returns:
        256 bits in hexadecimal: for each cell of a 16 x 16 grid whether it is brighter than its left neighbour.
    """
    height, width = grey.shape
    if min(height, width) >= 8 * _SIDE and not (height % 2 or width % 2):
        # Exact halves are quick; the slow means of other areas are then taken from a quarter of the pixels.
        grey = np.asarray(cv2.resize(grey, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.uint8)
    small = cv2.resize(grey.astype(np.float32), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    # At least half a grey level, so that a black picture hashes to zero and not to its noise.
    step = max(_DEAD_ZONE * float(small.std()), 0.5)
    return np.packbits((small[:, 1:] - small[:, :-1]) > step).tobytes().hex()


def assign(
    frames: Sequence[SplitFrame],
    frozen: Mapping[str, Assignment] | None = None,
    *,
    shares: Mapping[Split, float] = SHARES,
    near_bits: int = NEAR_BITS,
) -> SplitResult:
    """Give every frame a split.

    Args:
        frames: all frames of the version, old and new, in any order; keys are unique.
        frozen: assignments of the version before; kept as they are.
        shares: intended parts; new groups go, in the order of a hash of their name, where most frames are missing, and
            none of the splits stays empty while there are groups for it.
        near_bits: hashes that differ in at most so many bits are of near-duplicates.
    """
    frozen = frozen or {}
    frames = sorted(frames, key=lambda frame: frame.key)
    assigned = {frame.key: frozen[frame.key] for frame in frames if frame.key in frozen}
    for frame in frames:
        if frame.golden and frame.key not in assigned:
            assigned[frame.key] = Assignment("test", f"golden#{frame.key[:16]}")
    series, loose = in_series(frames)
    limit = max(_SMALLEST_LIMIT, len(frames) // _PARTS)
    # What a cut left out may lie between two groups that went to one split: then it belongs there, too.
    excluded: dict[str, str] = {}
    for _ in range(_PASSES):
        excluded = {}
        groups: list[_Group] = []
        for one in series:
            groups += _groups_of_series(one, assigned, limit, near_bits, excluded)
        groups += _groups_of_loose(loose, assigned, limit, near_bits, excluded)
        if not groups:
            break
        _fill(assigned, groups, shares, len(frames) - len(excluded))
    left_out = {frame.key: excluded.get(frame.key, _CUT) for frame in frames if frame.key not in assigned}
    return SplitResult(assigned, left_out, name_objects(series, loose))


_CUT = "left out where a long chain of objects was cut: it shows objects of frames on both sides"


def _fill(assigned: dict[str, Assignment], groups: Iterable[_Group], shares: Mapping[Split, float], total: int) -> None:
    """Put groups into splits: those with a home first, then where most frames are missing."""
    free: list[_Group] = []
    for group in groups:
        if group.home is None:
            free.append(group)
        else:
            assigned.update(dict.fromkeys(group.keys, group.home))
    counts: dict[Split, int] = {split: sum(a.split == split for a in assigned.values()) for split in shares}
    weight = sum(shares.values())
    wanted: dict[Split, float] = {split: share / weight * total for split, share in shares.items() if share > 0}

    def turn(group: _Group) -> tuple[bool, int, bytes]:
        # Larger than a whole split is meant to be: first, while there is room for it.
        large = len(group.keys) > min(wanted.values())
        return not large, -len(group.keys) if large else 0, hashlib.sha256(group.name.encode()).digest()

    free.sort(key=turn)
    for number, group in enumerate(free):
        empty: list[Split] = [split for split in wanted if not counts[split]]
        choice: list[Split] = empty if len(free) - number <= len(empty) else list(wanted)
        split: Split = max(choice, key=lambda s: (wanted[s] - counts[s], s))
        assigned.update(dict.fromkeys(group.keys, Assignment(split, group.name)))
        counts[split] += len(group.keys)


def _groups_of_series(
    series: Series, assigned: Mapping[str, Assignment], limit: int, near_bits: int, excluded: dict[str, str]
) -> list[_Group]:
    """Groups of the frames of a series that have no split yet; what fits none is added to ``excluded``."""
    homes = [assigned.get(frame.key) for frame in series.frames]
    free = np.array([home is None for home in homes])
    if not free.any():
        return []
    met = _met(series, homes)
    kept: list[int] = []
    for place in np.flatnonzero(free).tolist():
        splits = {home.split for home in met[place]}
        if len(splits) > 1:
            names = " and ".join(sorted(splits))
            excluded[series.frames[place].key] = f"it shows objects of frames in {names}, or was taken too near to them"
        else:
            kept.append(place)
    if not kept:
        return []
    marks = [min(met[place], key=lambda home: home.group) if met[place] else None for place in kept]
    blocks = _blocks(series, np.array(kept), [mark.split if mark else "" for mark in marks], limit, near_bits)
    groups = []
    for first, last in blocks:
        members = [series.frames[place] for place in kept[first : last + 1]]
        home = next((mark for mark in marks[first : last + 1] if mark is not None), None)
        groups.append(_Group(_name(series, members[0]), tuple(frame.key for frame in members), home))
    return groups


def _met(series: Series, homes: Sequence[Assignment | None]) -> list[set[Assignment]]:
    """For each frame, where the frames lie that have a split and are too near to it, or show the same object."""
    met: list[set[Assignment]] = [set() for _ in homes]
    held = np.flatnonzero([home is not None for home in homes])
    if not len(held):
        return met
    low = np.searchsorted(series.at[held], series.at - series.apart, side="right" if series.apart else "left")
    high = np.searchsorted(series.at[held], series.at + series.apart, side="left" if series.apart else "right")
    of_object: dict[int, set[Assignment]] = defaultdict(set)
    for place in held.tolist():
        for number in series.objects[place].tolist():
            home = homes[place]
            if home is not None:
                of_object[number].add(home)
    scene = _parts_of_the_scene(series)
    for place, found in enumerate(met):
        if homes[place] is None:
            found |= {home for near in held[low[place] : high[place]] if (home := homes[near]) is not None}
            for number in series.objects[place].tolist():
                if number not in scene:
                    found |= of_object.get(number, set())
    return met


def _parts_of_the_scene(series: Series) -> set[int]:
    """Numbers of objects that are in view for longer than an object can be."""
    first: dict[int, float] = {}
    scene: set[int] = set()
    for at, numbers in zip(series.at.tolist(), series.objects, strict=True):
        for number in numbers.tolist():
            if at - first.setdefault(number, at) > series.longest:
                scene.add(number)
    return scene


def _blocks(
    series: Series, kept: NDArray[np.int64], marks: Sequence[str], limit: int, near_bits: int
) -> list[tuple[int, int]]:
    """Groups as first and last position in ``kept``; what lies between two of them is left out.

    Args:
        series: all frames.
        kept: those that are grouped.
        marks: the split that each of them must join, or an empty text.
        limit: frames of a group, from which on it is cut.
        near_bits: see ``assign``.
    """
    count = len(kept)
    at = series.at[kept]
    place = np.arange(count)
    last_of = place.copy()
    position = np.searchsorted(kept, series.spans)  # of frames that are not kept: of the next one that is
    ends = np.minimum(np.searchsorted(kept, series.spans[:, 1], side="right") - 1, count - 1)
    inside = position[:, 0] < count
    np.maximum.at(last_of, position[inside, 0], ends[inside])
    of_objects = np.maximum.accumulate(last_of)
    too_near = np.searchsorted(at, at + series.apart, side="left") - 1
    reach = np.maximum(of_objects, np.maximum(too_near, place))
    joined = _joined(series, kept, near_bits)
    natural = np.flatnonzero(~joined & (reach <= place))
    lots = np.array([series.frames[p].batch_id or "" for p in kept.tolist()])
    new_lot = np.append(lots[1:] != lots[:-1], True)
    marked = np.array([mark != "" for mark in marks])
    blocks: list[tuple[int, int]] = []
    start = 0
    while start < count:
        end = int(natural[np.searchsorted(natural, start)])
        stop = _first_other_mark(marks, marked, start, end)
        if end - start < limit and stop > end:
            blocks.append((start, end))
            start = end + 1
            continue
        high = min(start + 2 * limit, end, stop - 1)
        low = min(start + limit // 2, high)
        choice = place[low : high + 1]
        # As few frames as can be are left out; then at the border of a lot; then the longer group.
        best = int(choice[np.lexsort((-choice, ~new_lot[choice], reach[choice] - choice))[0]])
        blocks.append((start, best))
        start = int(reach[best]) + 1
    return blocks


def _first_other_mark(marks: Sequence[str], marked: NDArray[np.bool_], start: int, end: int) -> int:
    """The first position in ``start`` to ``end`` that must join another split than one before it; else beyond."""
    found = start + np.flatnonzero(marked[start : end + 1])
    first = next(iter(found.tolist()), None)
    if first is None:
        return end + 1
    return next((place for place in found.tolist() if marks[place] != marks[first]), end + 1)


def _joined(series: Series, kept: NDArray[np.int64], near_bits: int) -> NDArray[np.bool_]:
    """Whether each frame belongs to the next one: too near, of one lot, or alike and not long after it."""
    at = series.at[kept]
    steps = np.diff(at)
    frames = [series.frames[place] for place in kept.tolist()]
    lots = np.array([frame.batch_id or "" for frame in frames])
    hashes = hash_bits(frames)
    bits = np.bitwise_count(hashes[1:] ^ hashes[:-1]).sum(1, dtype=np.int64)
    same_lot = (lots[1:] == lots[:-1]) & (lots[1:] != "")
    alike = (bits <= near_bits) & (steps <= ALIKE_FOR) & (series.apart > 0)
    return np.append((steps < series.apart) | same_lot | alike, False)


def _groups_of_loose(
    frames: Sequence[SplitFrame],
    assigned: Mapping[str, Assignment],
    limit: int,
    near_bits: int,
    excluded: dict[str, str],
) -> list[_Group]:
    """Groups of frames without time and order: by their content alone."""
    groups: list[_Group] = []
    by_camera: dict[str, list[SplitFrame]] = defaultdict(list)
    for frame in frames:
        by_camera[frame.camera].append(frame)
    for camera in sorted(by_camera):
        members = by_camera[camera]
        if all(frame.key in assigned for frame in members):
            continue
        alike = _alike_groups(members, near_bits, limit)
        for number in np.unique(alike).tolist():
            group = [members[place] for place in np.flatnonzero(alike == number).tolist()]
            new = tuple(frame.key for frame in group if frame.key not in assigned)
            met = {assigned[frame.key] for frame in group if frame.key in assigned}
            splits = {home.split for home in met}
            if len(splits) > 1:
                names = " and ".join(sorted(splits))
                excluded.update(dict.fromkeys(new, f"near-duplicate of frames in {names}"))
            elif new:
                home = min(met, key=lambda a: a.group) if met else None
                groups.append(_Group(f"{camera}#{min(f.key for f in group)[:16]}", new, home))
    return groups


def _name(series: Series, first: SplitFrame) -> str:
    """The first moment of the group, or its first frame where no time is known."""
    if first.captured_at is None:
        return f"{series.name}#{first.key[:16]}"
    return f"{series.name}@{round(first.captured_at.timestamp() * 1000)}"


# Without time and order: near-duplicates by hash, and by boxes where a scene stands still -----------------------------
# The work grows with the number of pictures, not with its square.


def _alike_groups(frames: Sequence[SplitFrame], near_bits: int, limit: int) -> NDArray[np.int64]:
    """The number of the group of each picture ``[n]``.

    Args:
        frames: of one camera, or of none.
        near_bits: hashes that differ in at most so many bits are of near-duplicates; below 0: none are.
        limit: a group of more pictures is a scene that stands still. It is no near-duplicate of itself: in it only
            pictures with the same boxes are.
    """
    from scipy.sparse import coo_array  # takes a third of a second to import, which only a new dataset needs
    from scipy.sparse.csgraph import connected_components

    def joined(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
        return connected_components(edges, directed=False)[1].astype(np.int64)

    count = len(frames)
    if near_bits < 0 or not count:
        return np.arange(count)
    unique, of = np.unique(hash_bits(frames), axis=0, return_inverse=True)
    found = joined(_near_hashes(unique, near_bits), len(unique))[of.ravel()]
    sizes = np.bincount(found)
    result = found.copy()
    free = int(found.max()) + 1
    for number in np.flatnonzero(sizes > limit).tolist():
        members = np.flatnonzero(found == number)
        inside = joined(_same_boxes([frames[place] for place in members.tolist()]), len(members))
        result[members] = free + inside
        free += int(inside.max()) + 1
    return result


def _near_hashes(hashes: NDArray[np.uint64], near_bits: int) -> NDArray[np.int64]:
    """Pairs ``[p, 2]`` of hashes that differ in few bits.

    Of ``near_bits`` + 1 parts of the bits one is the same in both. Among very many with one part in common each is
    compared with those that follow it in the order of all bits.
    """
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    pairs = [np.empty((0, 2), np.int64)]
    for part in range(near_bits + 1):
        keys = np.packbits(bits[:, part :: near_bits + 1], axis=1)
        _, bucket = np.unique(keys, axis=0, return_inverse=True)
        order = np.lexsort((np.arange(len(hashes)), bucket.ravel()))
        ordered = bucket.ravel()[order]
        for step in range(1, _MOST_COMPARED + 1):
            same = np.flatnonzero(ordered[step:] == ordered[:-step])
            if not len(same):
                break
            one, other = order[same], order[same + step]
            near = np.bitwise_count(hashes[one] ^ hashes[other]).sum(1, dtype=np.int64) <= near_bits
            pairs.append(np.stack([one[near], other[near]], 1))
    return np.concatenate(pairs)


def _same_boxes(frames: Sequence[SplitFrame]) -> NDArray[np.int64]:
    """Pairs ``[p, 2]`` of pictures of one scene with as many boxes in the same places; without boxes: none."""
    pairs = [np.empty((0, 2), np.int64), *_by_boxes(frames)]
    return np.concatenate(pairs)


def _by_boxes(frames: Sequence[SplitFrame]) -> Iterator[NDArray[np.int64]]:
    from scipy.spatial import KDTree

    counts = np.array([len(frame.boxes) for frame in frames])
    reach = max((value for frame in frames for box in frame.boxes for value in box), default=0.0) * _SAME_BOX
    for count in np.unique(counts[counts > 0]).tolist():
        places = np.flatnonzero(counts == count)
        boxes = np.array([sorted(frames[place].boxes) for place in places.tolist()], np.float64).reshape(
            len(places), -1
        )
        _, first, of = np.unique(np.round(boxes / max(reach, 1)), axis=0, return_index=True, return_inverse=True)
        yield np.stack([places, places[first[of.ravel()]]], 1)  # those of one cell, without naming every pair
        near = KDTree(boxes[first]).query_pairs(reach, p=np.inf, output_type="ndarray")
        yield places[first[near]].astype(np.int64)
