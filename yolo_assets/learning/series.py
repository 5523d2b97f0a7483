"""Labelled frames in the order in which a camera saw them, and what in them shows the same object. Pure.

Belongs here: series of frames by time, or by the numbers in their names where no time is known, their objects, and how
far apart two frames must be. Does not belong here: which split a frame goes to (``split``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.names import frame_time
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.objects import link_objects

APART_SECONDS = 10.0
"""Frames of a camera that are nearer to each other belong together, where labels do not tell how long objects stay."""

APART_NUMBERS = 10.0
"""The same for frames that are only numbered."""

MOST_APART_SECONDS = 60.0
"""Frames that are farther from each other belong together only where an object or a lot ties them."""

LONGEST_LIFE = 3600.0
"""Seconds after which what is still in view is a part of the scene, not an object."""

_KNOWN_OBJECTS = 10
_KNOWN_SHARE = 0.25
"""So many objects, and this share of all, must be seen in two frames or more for their lives to tell anything."""

_RENAMED = re.compile(r"_(?:jpe?g|png|webp|bmp|tiff?)\.rf\.[0-9A-Za-z]+$", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,12})(\D*)$")
_FEWEST = 5
"""Frames from which on numbers in names are taken for an order."""


@dataclass(frozen=True)
class SplitFrame:
    """What a split needs of a labelled frame.

    Attributes:
        key: identity, the SHA-256 of the image.
        camera: its camera; empty where it is not known.
        captured_at: None when unknown.
        dhash: from ``split.dhash``.
        path: image path or file name; numbers in it give an order where there is no time.
        boxes: its labels, pixels: x1, y1, x2, y2.
        object_ids: of each of its boxes, an empty text where it is not known; or none at all.
        batch_id: its production batch, where it is known.
        golden: it evaluates models and never trains one.
    """

    key: str
    camera: str
    captured_at: datetime | None
    dhash: str
    path: str = ""
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    object_ids: tuple[str, ...] = ()
    batch_id: str | None = None
    golden: bool = False


@dataclass(frozen=True, eq=False)
class Series:
    """Frames of one camera, or of one numbered sequence, in order.

    Attributes:
        name: of the camera, or what the names share.
        frames: in order.
        at: ``[n]``, seconds since 1970, or numbers.
        apart: how far from each other frames of different splits are.
        objects: the objects in each frame, numbers that are equal for one object.
        longest: what is seen for longer is a part of the scene.
    """

    name: str
    frames: Sequence[SplitFrame]
    at: NDArray[np.float64]
    apart: float
    objects: Sequence[NDArray[np.int64]] = field(repr=False)
    longest: float

    @cached_property
    def spans(self) -> NDArray[np.int64]:
        """First and last frame of each object ``[o, 2]``, by its number; those of parts of the scene are left out."""
        return _spans(self.objects, self.at, self.longest)


def in_series(frames: Sequence[SplitFrame]) -> tuple[list[Series], list[SplitFrame]]:
    """Frames in the order of their time, or of the numbers in their names; and those that have neither.

    Args:
        frames: in any order.
    """
    timed: dict[str, list[SplitFrame]] = defaultdict(list)
    numbered: dict[str, list[tuple[int, SplitFrame]]] = defaultdict(list)
    loose: list[SplitFrame] = []
    places = Counter(_place(frame.path) for frame in frames if frame.captured_at is None)
    twice = {place[0] for place, count in places.items() if place is not None and count > 1}
    for frame in frames:
        moment = frame.captured_at or frame_time(PurePosixPath(frame.path).name)
        if moment is not None:
            timed[frame.camera].append(replace(frame, captured_at=moment))
            continue
        place = _place(frame.path)
        if place is None:
            loose.append(frame)
        else:
            # A number that comes twice: folders hold sequences of their own.
            folder = f"{PurePosixPath(frame.path).parent}/" if place[0] in twice else ""
            numbered[f"{frame.camera}{folder}{place[0]}"].append((place[1], frame))
    series = [_by_time(camera, timed[camera]) for camera in sorted(timed)]
    for name in sorted(numbered):
        if len(numbered[name]) < _FEWEST:
            loose += [frame for _, frame in numbered[name]]
        else:
            series.append(_by_number(name, numbered[name]))
    return series, loose


def name_objects(series: Sequence[Series], loose: Sequence[SplitFrame]) -> dict[str, tuple[str, ...]]:
    """The object of each box of each frame, by the frame's key; the frames as ``in_series`` has ordered them.

    A name that is known holds for all boxes that are linked to it. An object without one is named after the first box
    that shows it.
    """
    names = {frame.key: tuple(f"{frame.key[:16]}:{n}" for n in range(len(frame.boxes))) for frame in loose}
    for one in series:
        known: dict[int, str] = {}
        for frame, numbers in zip(one.frames, one.objects, strict=True):
            given = frame.object_ids or ("",) * len(frame.boxes)
            for number, name in zip(numbers.tolist(), given, strict=False):
                if name:
                    known.setdefault(number, name)
        for frame, numbers in zip(one.frames, one.objects, strict=True):
            given = frame.object_ids or ("",) * len(frame.boxes)
            names[frame.key] = tuple(
                name or known.setdefault(number, f"{frame.key[:16]}:{place}")
                for place, (number, name) in enumerate(zip(numbers.tolist(), given, strict=False))
            )
    return names


def _place(path: str) -> tuple[str, int] | None:
    """What a file name has before and after its last number, and that number; names of hexadecimal digits have none."""
    pure = PurePosixPath(path)
    stem = _RENAMED.sub("", pure.stem)
    match = _NUMBER.search(stem)
    if match is None or re.fullmatch(r"[0-9a-f]{16,}|[0-9a-f-]{36}", stem):
        return None
    return f"{stem[: match.start()]}*{match[2]}", int(match[1])


def _by_time(camera: str, frames: Sequence[SplitFrame]) -> Series:
    ordered = sorted(frames, key=lambda frame: (frame.captured_at, frame.key))
    at = np.array([frame.captured_at.timestamp() for frame in ordered if frame.captured_at])
    objects = _objects(ordered, at)
    apart = min(_life(objects, at, LONGEST_LIFE) or APART_SECONDS, MOST_APART_SECONDS)
    return Series(camera, ordered, at, apart, objects, LONGEST_LIFE)


def _by_number(name: str, frames: Sequence[tuple[int, SplitFrame]]) -> Series:
    """Numbered frames are a film where objects or looks go on from one to the next; else each stands for itself."""
    ordered = sorted(frames, key=lambda frame: (frame[0], frame[1].key))
    kept = [frame for _, frame in ordered]
    at = np.array([number for number, _ in ordered], np.float64)
    objects = _objects(kept, at)
    longest = float(at[-1] - at[0]) / 2
    apart = _life(objects, at, longest) or (APART_NUMBERS if _is_film(kept) else 0.0)
    return Series(name, kept, at, apart, objects, longest)


def _objects(frames: Sequence[SplitFrame], at: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """The objects of each frame: those that its labels show by themselves, and those that the tables name."""
    linked = link_objects(at, [Detections.of(frame.boxes, [0] * len(frame.boxes)) for frame in frames])
    first = 1 + max((int(numbers.max()) for numbers in linked if len(numbers)), default=-1)
    names = {name: first + n for n, name in enumerate(sorted({name for f in frames for name in f.object_ids if name}))}
    return [
        np.concatenate([numbers, np.array([names[name] for name in frame.object_ids if name], np.int64)])
        for numbers, frame in zip(linked, frames, strict=True)
    ]


def _spans(objects: Sequence[NDArray[np.int64]], at: NDArray[np.float64], longest: float) -> NDArray[np.int64]:
    numbers = np.concatenate([*objects, np.empty(0, np.int64)])
    if not len(numbers):
        return np.empty((0, 2), np.int64)
    places = np.repeat(np.arange(len(objects)), [len(found) for found in objects])
    count = int(numbers.max()) + 1
    first, last = np.full(count, len(objects)), np.full(count, -1)
    np.minimum.at(first, numbers, places)
    np.maximum.at(last, numbers, places)
    spans = np.stack([first, last], 1)[last >= 0]
    return spans[at[spans[:, 1]] - at[spans[:, 0]] <= longest]


def _life(objects: Sequence[NDArray[np.int64]], at: NDArray[np.float64], longest: float) -> float | None:
    """How long objects are in view, so that frames farther apart have nothing in common, also where nobody labelled it.

    None where too few were seen in two frames: then chance may have linked them.
    """
    spans = _spans(objects, at, longest)
    lives = at[spans[:, 1]] - at[spans[:, 0]]
    seen = lives[lives > 0]
    if len(seen) < max(_KNOWN_OBJECTS, _KNOWN_SHARE * len(spans)):
        return None
    return float(np.percentile(seen, 98)) + float(np.median(np.diff(at)))


def _is_film(frames: Sequence[SplitFrame]) -> bool:
    """Whether frames with neighbouring numbers are more alike than frames far from each other."""
    hashes = hash_bits(frames)
    far = max(len(frames) // 3, 1)
    near = np.bitwise_count(hashes[1:] ^ hashes[:-1]).sum(1, dtype=np.int64)
    others = np.bitwise_count(hashes[far:] ^ hashes[:-far]).sum(1, dtype=np.int64)
    return float(near.mean()) < 0.8 * float(others.mean())


def hash_bits(frames: Sequence[SplitFrame]) -> NDArray[np.uint64]:
    """The hashes of frames as ``[n, 4]`` words of 64 bits."""
    return np.frombuffer(bytes.fromhex("".join(frame.dhash for frame in frames)), np.uint64).reshape(-1, 4)
