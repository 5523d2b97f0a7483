"""Random numbers that depend on what is drawn alone, never on what was drawn before."""

from __future__ import annotations

import zlib
from enum import IntEnum

import numpy as np


class Subject(IntEnum):
    """What the numbers are for. Two subjects never share a stream."""

    VIEW = 1
    PLATE = 2
    DEFECTS = 3
    PAINT = 4
    BATCH = 5
    FRAME = 6
    LENS = 7


def generator(seed: int, camera_id: str, subject: Subject, number: int = 0) -> np.random.Generator:
    """The stream of one subject. ``number`` is which one: a plate, a batch, a millisecond."""
    return np.random.default_rng([seed, zlib.crc32(camera_id.encode()), int(subject), number % 2**64])
