"""Where the defects of a plate are and what shape they have. Nothing is painted here, so that truth needs no picture.

Coordinates are those of a plate: pixels at the scale of a 320 x 256 frame, x along the seam, y across it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_assets.simulator.appearance import CLASS_NAMES, Appearance, RandomStream, generator

FLAWLESS = 0.5
"""Share of plates without any defect; with it close to half of the frames show none."""
HARD = 0.12
"""Share of defects that are small or faint."""
_SLOTS = 4
_MARGIN = 34.0

Stroke = NDArray[np.float64]
"""``[n, 3]``: points x, y with a radius; one point is a disc, several are a line that swells and thins."""


@dataclass(frozen=True)
class Bead:
    """The weld of one plate: half width, and a centre line that wanders."""

    half_width: float
    middle: float
    sway: float
    phase: float

    def centre(self, x: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Where the middle of the bead is across the seam, at x along it."""
        return self.middle + self.sway * np.sin(np.asarray(x) / 70.0 + self.phase)


@dataclass(frozen=True)
class Defect:
    """One defect of a plate.

    Attributes:
        class_name: one of ``CLASS_NAMES``.
        hard: small or faint.
        strength: contrast, 1 for a plain one.
        strokes: what it covers.
    """

    class_name: str
    hard: bool
    strength: float
    strokes: tuple[Stroke, ...]


def plan_defects(
    seed: int, camera_id: str, plate: int, appearance: Appearance, bead: Bead, length: float
) -> tuple[Defect, ...]:
    """The defects of one plate, left to right, never on top of each other.

    Args:
        seed: of the line.
        camera_id: the station that sees the plate.
        plate: its number.
        appearance: decides the shape of cracks.
        bead: the weld they sit on.
        length: of the plate, pixels.
    """
    rng = generator(seed, camera_id, RandomStream.DEFECTS, plate)
    if rng.random() < FLAWLESS:
        return ()
    count = int(rng.choice([1, 2, 3, 4], p=[0.25, 0.35, 0.25, 0.15]))
    slot = (length - 2 * _MARGIN) / _SLOTS
    defects = []
    for place in sorted(rng.permutation(_SLOTS)[:count].tolist()):
        class_name = CLASS_NAMES[int(rng.integers(len(CLASS_NAMES)))]
        x = _MARGIN + (place + rng.uniform(0.4, 0.6)) * slot
        hard = bool(rng.random() < HARD)
        small = hard and bool(rng.random() < 0.5)
        strength = rng.uniform(0.5, 0.65) if hard and not small else rng.uniform(0.8, 1.1)
        size = 0.62 if small else rng.uniform(0.9, 1.15)
        strokes = _SHAPES[class_name](rng, x, bead, size, slot, appearance)
        defects.append(Defect(class_name, hard, float(strength), strokes))
    return tuple(defects)


def _walk(rng: np.random.Generator, x: float, y: float, heading: float, steps: int, step: float) -> Stroke:
    turns = heading + np.clip(np.cumsum(rng.normal(0, 0.28, steps)), -0.7, 0.7) + rng.normal(0, 0.42, steps)
    points = np.zeros((steps + 1, 3))
    points[1:, 0], points[1:, 1] = np.cumsum(step * np.cos(turns)), np.cumsum(step * np.sin(turns))
    points[:, 0] += x - points[:, 0].mean()
    points[:, 1] += y - points[:, 1].mean()
    points[:, 2] = 3.0 * np.sin(np.linspace(0.35, np.pi - 0.35, steps + 1))
    return points


def _cluster(
    rng: np.random.Generator, x: float, y: float, wide: float, high: float, radius: tuple[float, float]
) -> tuple[Stroke, ...]:
    """Drops or pores in an ellipse, more of them towards its rim: a cluster with an outline that can be recognised."""
    count = int(rng.integers(7, 12))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.uniform(-0.5, 0.5, count)
    distance = np.sqrt(rng.uniform(0.15, 1, count))
    points = np.empty((count, 3))
    points[:, 0] = x + wide * distance * np.cos(angle)
    points[:, 1] = y + high * distance * np.sin(angle)
    points[:, 2] = rng.uniform(*radius, count) * wide / 22
    return tuple(point[None] for point in points)


def _crack(
    rng: np.random.Generator, x: float, bead: Bead, size: float, slot: float, appearance: Appearance
) -> tuple[Stroke, ...]:
    across = rng.random() < 0.35
    heading = rng.uniform(1.1, 2.0) if across else rng.uniform(-0.45, 0.45)
    steps = round((rng.uniform(8, 12) if across else rng.uniform(9, 13)) * size)
    y = float(bead.centre(x)) + rng.uniform(-0.4, 0.4) * bead.half_width
    main = _walk(rng, x, y, heading, steps, 5.2)
    strokes = [main]
    for _ in range(appearance.branches):
        at = main[int(rng.integers(2, len(main) - 1))]
        side = heading + rng.choice([-1, 1]) * rng.uniform(0.6, 1.1)
        arm = _walk(rng, 0, 0, side, max(3, int(steps * 0.4)), 4.8)
        arm[:, :2] += at[:2] - arm[0, :2]
        arm[:, 2] *= 0.75
        strokes.append(arm)
    return tuple(strokes)


def _porosity(
    rng: np.random.Generator, x: float, bead: Bead, size: float, slot: float, appearance: Appearance
) -> tuple[Stroke, ...]:
    return _cluster(rng, x, float(bead.centre(x)), size * rng.uniform(20, 28), size * rng.uniform(13, 16), (2.4, 4.6))


def _spatter(
    rng: np.random.Generator, x: float, bead: Bead, size: float, slot: float, appearance: Appearance
) -> tuple[Stroke, ...]:
    side = 1 if rng.random() < 0.5 else -1
    y = float(bead.centre(x)) + side * (bead.half_width + rng.uniform(36, 62))
    return _cluster(rng, x, y, size * rng.uniform(17, 27), size * rng.uniform(15, 22), (2.8, 5.6))


def _undercut(
    rng: np.random.Generator, x: float, bead: Bead, size: float, slot: float, appearance: Appearance
) -> tuple[Stroke, ...]:
    half = size * rng.uniform(22, min(34.0, slot / 2))
    side = 1 if rng.random() < 0.5 else -1
    xs = np.linspace(x - half, x + half, 15)
    points = np.empty((15, 3))
    points[:, 0] = xs
    points[:, 1] = bead.centre(xs) + side * (bead.half_width + 2.5) + rng.normal(0, 0.9, 15)
    points[:, 2] = size * rng.uniform(4.6, 6.2) * np.sqrt(np.sin(np.linspace(0.15, np.pi - 0.15, 15)))
    return (points,)


def _burn_through(
    rng: np.random.Generator, x: float, bead: Bead, size: float, slot: float, appearance: Appearance
) -> tuple[Stroke, ...]:
    radius = size * rng.uniform(11, 17)
    angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    reach = radius * rng.uniform(0.25, 0.5, 9)
    points = np.empty((10, 3))
    points[0] = x, float(bead.centre(x)), radius * 0.7
    points[1:, 0] = x + 1.15 * reach * np.cos(angle)
    points[1:, 1] = points[0, 1] + reach * np.sin(angle)
    points[1:, 2] = radius * rng.uniform(0.45, 0.6, 9)
    return tuple(point[None] for point in points)


_SHAPES = {
    "crack": _crack,
    "porosity": _porosity,
    "spatter": _spatter,
    "undercut": _undercut,
    "burn_through": _burn_through,
}
