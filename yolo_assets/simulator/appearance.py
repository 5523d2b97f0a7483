"""What the line and its camera look like: light, metal, defects under them, and the random numbers behind it all.

Belongs here: the two states that a change of the line swaps, and streams of random numbers that depend on what is drawn
alone, never on what was drawn before. Does not belong here: drawing (``rendering``).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

CLASS_NAMES: tuple[str, ...] = ("crack", "porosity", "spatter", "undercut", "burn_through")
"""Ordered: position is the class id."""

Bgr = tuple[float, float, float]


@dataclass(frozen=True)
class Appearance:
    """One state of the line.

    Attributes:
        tint: gain of the light, by channel.
        brightness: gain of the light.
        side_light: how much brighter one side is than the other, as a share of the middle.
        noise: factor on the camera's own noise; less light means more of it.
        metal: reflectance of the plates, BGR 0 to 255.
        brushing: contrast of the brushed texture, grey levels.
        ripple: contrast of the ripples on the bead, grey levels.
        bead_width: factor on the half width of the bead.
        glint: defects catch the light and shine, instead of lying in the shadow.
        branches: side arms of a crack.
    """

    tint: Bgr
    brightness: float
    side_light: float
    noise: float
    metal: Bgr
    brushing: float
    ripple: float
    bead_width: float
    glint: bool
    branches: int


APPEARANCES: tuple[Appearance, ...] = (
    Appearance(
        tint=(0.90, 0.98, 1.05),
        brightness=1.0,
        side_light=0.10,
        noise=1.0,
        metal=(150, 150, 148),
        brushing=7,
        ripple=20,
        bead_width=1.0,
        glint=False,
        branches=0,
    ),
    # New lamps, colder and from the side, on plates from another mill: a crack that was a dark line now shines.
    Appearance(
        tint=(1.18, 1.0, 0.80),
        brightness=0.72,
        side_light=0.75,
        noise=1.4,
        metal=(128, 124, 118),
        brushing=17,
        ripple=9,
        bead_width=1.25,
        glint=True,
        branches=3,
    ),
)
"""Before a change of the line, and after it; the next change leads back."""


class RandomStream(IntEnum):
    """What random numbers are drawn for; each purpose has a stream of its own."""

    VIEW = 1
    PLATE = 2
    DEFECTS = 3
    PAINT = 4
    BATCH = 5
    FRAME = 6
    LENS = 7


def generator(seed: int, camera_id: str, stream: RandomStream, number: int = 0) -> np.random.Generator:
    """The generator of a stream. ``number`` is which plate, batch or millisecond it is for."""
    return np.random.default_rng([seed, zlib.crc32(camera_id.encode()), int(stream), number % 2**64])
