"""Pictures without time and order that show the same: by their hashes, and by their boxes where a scene stands still.

The work grows with the number of pictures, not with its square: hashes that differ in few bits have one of several
parts in common. Does not belong here: pictures whose order is known (``series``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from yolo_assets.learning.series import SplitFrame, hash_bits

_SAME_BOX = 0.02
"""Part of the spread of all boxes by which those of two pictures of one scene may differ."""

_MOST_COMPARED = 64
"""Pictures with a part of the hash in common that each is compared with."""


def alike_groups(frames: Sequence[SplitFrame], near_bits: int, limit: int) -> NDArray[np.int64]:
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
