"""Frozen, deterministic splits without near-duplicates across them. Pure: pictures come in as arrays, hashes go out.

Two frames of a camera are near-duplicates when they fall into the same short window of time (the same part passes) or
when their perceptual hashes all but agree (an empty belt looks the same all week). Such frames form a group, and a
group lies in one split. A frame that once had a split keeps it in every later version: a model is never evaluated on a
frame that an ancestor of it was trained on. A new frame that is close to frames of *different* splits is put into none.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.learning.records import Split

SHARES: Mapping[Split, float] = {"train": 0.7, "val": 0.12, "test": 0.18}
WINDOW_SECONDS = 10.0
NEAR_BITS = 8
"""Of 256: noise of the sensor and of JPEG changes fewer bits, a part that moved by a tenth of the frame more."""

_COMPARED_AT_ONCE = 1 << 20
"""Pairs of hashes in memory at one time, 32 bytes each."""

_SIDE = 16
_DEAD_ZONE = 0.03
"""Part of the picture's own contrast that a step must exceed to set a bit: flat areas would be bits of pure noise."""


@dataclass(frozen=True)
class HashedImage:
    """What the split needs of an image.

    Attributes:
        key: identity, the SHA-256 of the image.
        camera: its camera; images without one are compared among themselves.
        captured_at: None when unknown; such an image is near another only by its hash.
        dhash: from ``dhash``.
    """

    key: str
    camera: str
    captured_at: datetime | None
    dhash: str


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
    """The assignment of every frame, and the frames that fit in no split with the reason."""

    assigned: dict[str, Assignment]
    excluded: dict[str, str]


def dhash(bgr: NDArray[np.uint8]) -> str:
    """Difference hash of a picture.

    Args:
        bgr: ``[H, W, 3]`` uint8.

    Returns:
        256 bits in hexadecimal: for each cell of a 16 x 16 grid whether it is brighter than its left neighbour.
    """
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey.astype(np.float32), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    # At least half a grey level, so that a black picture hashes to zero and not to its noise.
    step = max(_DEAD_ZONE * float(small.std()), 0.5)
    return np.packbits((small[:, 1:] - small[:, :-1]) > step).tobytes().hex()


def assign(
    frames: Sequence[HashedImage],
    frozen: Mapping[str, Assignment] | None = None,
    *,
    shares: Mapping[Split, float] = SHARES,
    window_seconds: float = WINDOW_SECONDS,
    near_bits: int = NEAR_BITS,
) -> SplitResult:
    """Give every frame a split.

    Args:
        frames: all frames of the version, old and new, in any order; keys are unique.
        frozen: assignments of the version before; kept as they are.
        shares: intended parts; new groups go, in the order of a hash of their name, where most frames are missing.
        window_seconds: length of the fixed windows of time in which frames of a camera belong together.
        near_bits: hashes that differ in at most so many bits are of near-duplicates.
    """
    frozen = frozen or {}
    frames = sorted(frames, key=lambda frame: frame.key)
    assigned = {frame.key: frozen[frame.key] for frame in frames if frame.key in frozen}
    excluded: dict[str, str] = {}
    counts: dict[Split, int] = {split: sum(a.split == split for a in assigned.values()) for split in shares}
    new_groups: list[tuple[str, list[str]]] = []
    for members in _components(frames, window_seconds, near_bits, set(assigned)):
        new = [frame.key for frame in members if frame.key not in frozen]
        if not new:
            continue
        met = {assigned[frame.key] for frame in members if frame.key in frozen}
        splits = {a.split for a in met}
        if len(splits) > 1:
            names = " and ".join(sorted(splits))
            excluded.update(dict.fromkeys(new, f"near-duplicate of frames in {names}"))
        elif met:
            home = min(met, key=lambda a: a.group)
            assigned.update(dict.fromkeys(new, home))
            counts[home.split] += len(new)
        else:
            new_groups.append((_group_name(members, window_seconds), new))
    total = sum(counts.values()) + sum(len(keys) for _, keys in new_groups)
    weight = sum(shares.values())
    for name, keys in sorted(new_groups, key=lambda group: hashlib.sha256(group[0].encode()).digest()):
        split: Split = max(shares, key=lambda s: (shares[s] / weight * total - counts[s], s))
        assigned.update(dict.fromkeys(keys, Assignment(split, name)))
        counts[split] += len(keys)
    return SplitResult(assigned, excluded)


def _components(
    frames: Sequence[HashedImage], window_seconds: float, near_bits: int, frozen: set[str]
) -> list[list[HashedImage]]:
    """Connected sets of near-duplicates; frozen frames join a set but do not connect two sets of new frames.

    Frozen frames as bridges would tie unrelated new frames together, and once wrong, wrong for ever.
    """
    from scipy.sparse import coo_array  # takes a third of a second to import, which only a new dataset needs
    from scipy.sparse.csgraph import connected_components

    groups: list[list[HashedImage]] = []
    by_camera: dict[str, list[HashedImage]] = defaultdict(list)
    for frame in frames:
        by_camera[frame.camera].append(frame)
    for camera in sorted(by_camera):
        new = [frame for frame in by_camera[camera] if frame.key not in frozen]
        old = [frame for frame in by_camera[camera] if frame.key in frozen]
        if not new:
            continue
        rows, columns = _near_pairs(new, new + old, window_seconds, near_bits)
        among_new = columns < len(new)
        edges = (np.ones(int(among_new.sum()), bool), (rows[among_new], columns[among_new]))
        _, labels = connected_components(coo_array(edges, shape=(len(new), len(new))), directed=False)
        sets: dict[int, list[HashedImage]] = defaultdict(list)
        for frame, label in zip(new, labels.tolist(), strict=True):
            sets[label].append(frame)
        touched = np.unique(np.stack([labels[rows[~among_new]], columns[~among_new]], axis=1), axis=0)
        for label, column in touched.tolist():
            sets[label].append(old[column - len(new)])
        groups += sets.values()
    return groups


def _near_pairs(
    new: Sequence[HashedImage], members: Sequence[HashedImage], window_seconds: float, near_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Near-duplicates of the new frames of one camera.

    Memory grows with the number of pairs found, not with the number compared: a block of rows is compared at a time.

    Returns:
        Positions in ``new`` and in ``members`` of each pair, ``[n]`` and ``[n]``.
    """
    hashes = np.array([np.frombuffer(bytes.fromhex(f.dhash), np.uint64) for f in members])
    windows = np.array([_window(f, window_seconds) for f in members])
    block = max(1, _COMPARED_AT_ONCE // len(members))
    pairs: list[NDArray[np.int64]] = []
    for first in range(0, len(new), block):
        some = slice(first, min(first + block, len(new)))
        bits = np.bitwise_count(hashes[some, None] ^ hashes[None]).sum(axis=2, dtype=np.int32)
        same_window = (windows[some, None] == windows[None]) & (windows[some, None] >= 0)
        pairs.append(np.argwhere((bits <= near_bits) | same_window) + np.array([first, 0]))
    rows, columns = np.concatenate(pairs).T
    return rows, columns


def _window(frame: HashedImage, seconds: float) -> int:
    return -1 if frame.captured_at is None else int(frame.captured_at.timestamp() // seconds)


def _group_name(members: Sequence[HashedImage], window_seconds: float) -> str:
    """The earliest window of the group, or its smallest key where no time is known."""
    first = min(members, key=lambda f: (_window(f, window_seconds) < 0, _window(f, window_seconds), f.key))
    window = _window(first, window_seconds)
    return f"{first.camera}@{window}" if window >= 0 else f"{first.camera}#{first.key[:16]}"
