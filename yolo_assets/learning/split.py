"""Frozen, deterministic splits without near-duplicates across them. Pure: pictures come in as arrays, hashes go out.

Two frames of a camera are near-duplicates when they fall into the same short window of time (the same part passes)
or when their perceptual hashes all but agree (an empty belt looks the same all week). Such frames form a group, and a
group lies in one split. A frame that once had a split keeps it in every later version: a model is never judged on a
frame that an ancestor of it was trained on. A new frame that is near to frames of *different* splits goes into none.
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

_SIDE = 16
_DEAD_ZONE = 0.03
"""Part of the picture's own contrast that a step must exceed to set a bit: flat areas would be bits of pure noise."""


@dataclass(frozen=True)
class Frame:
    """What the split needs to know of an image.

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
    frames: Sequence[Frame],
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
        shares: wanted parts; new groups go, in the order of a hash of their name, where most frames are missing.
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


def _components(frames: Sequence[Frame], window_seconds: float, near_bits: int, frozen: set[str]) -> list[list[Frame]]:
    """Connected sets of near-duplicates; frozen frames join a set but do not connect two sets of new frames.

    Frozen frames as bridges would tie unrelated new frames together, and once wrong, wrong for ever.
    """
    groups: list[list[Frame]] = []
    by_camera: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_camera[frame.camera].append(frame)
    for camera in sorted(by_camera):
        members = by_camera[camera]
        new = [i for i, frame in enumerate(members) if frame.key not in frozen]
        if not new:
            continue
        old = [i for i, frame in enumerate(members) if frame.key in frozen]
        near = _near(members, new, window_seconds, near_bits)
        parent = {i: i for i in new}

        def find(i: int, parent: dict[int, int] = parent) -> int:
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        for row, i in enumerate(new):
            for j in np.flatnonzero(near[row]):
                if int(j) in parent:
                    a, b = sorted((find(i), find(int(j))))
                    parent[b] = a
        sets: dict[int, list[Frame]] = defaultdict(list)
        touched: dict[int, set[int]] = defaultdict(set)
        for row, i in enumerate(new):
            sets[find(i)].append(members[i])
            touched[find(i)].update(j for j in old if near[row, j])
        groups += [[*found, *(members[j] for j in sorted(touched[root]))] for root, found in sorted(sets.items())]
    return groups


def _near(members: Sequence[Frame], new: Sequence[int], window_seconds: float, near_bits: int) -> NDArray[np.bool_]:
    """``[len(new), len(members)]``: which frames are near-duplicates of each new frame of one camera."""
    hashes = np.array([np.frombuffer(bytes.fromhex(f.dhash), np.uint8) for f in members])
    windows = np.array([_window(f, window_seconds) for f in members])
    near = np.empty((len(new), len(members)), bool)
    for row, i in enumerate(new):
        bits = np.bitwise_count(hashes ^ hashes[i]).sum(axis=1, dtype=np.int64)
        near[row] = (bits <= near_bits) | ((windows == windows[i]) & (windows[i] >= 0))
    return near


def _window(frame: Frame, seconds: float) -> int:
    return -1 if frame.captured_at is None else int(frame.captured_at.timestamp() // seconds)


def _group_name(members: Sequence[Frame], window_seconds: float) -> str:
    """The earliest window of the group, or its smallest key where no time is known."""
    first = min(members, key=lambda f: (_window(f, window_seconds) < 0, _window(f, window_seconds), f.key))
    window = _window(first, window_seconds)
    return f"{first.camera}@{window}" if window >= 0 else f"{first.camera}#{first.key[:16]}"
