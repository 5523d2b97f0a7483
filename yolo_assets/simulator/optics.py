"""What a camera makes of the light: where it stands, its light, vignette and noise, and a lens that may be dirty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.simulator.look import Look
from yolo_assets.simulator.paint import PLATE_HEIGHT, Metal
from yolo_assets.simulator.seeds import Subject, generator

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One camera, drawn from the seed once.

    Attributes:
        width: of the frame, pixels.
        height: of the frame, pixels.
        scale: frame pixels per plate pixel.
        angle: of the seam, radians.
        centre: where the middle of the seam is, frame pixels.
        speed: of the plates, plate pixels per second.
        exposure: smear by the motion, plate pixels.
        tint: gain by channel, BGR.
        vignette: loss of light in the corners.
        noise: standard deviation, grey levels.
        lamp: -1 or 1, the side of the lamp.
        drift: period in seconds, amplitude and phase of slow changes of the light.
        metal: the surface that passes.
    """

    width: int
    height: int
    scale: float
    angle: float
    centre: tuple[float, float]
    speed: float
    exposure: int
    tint: tuple[float, float, float]
    vignette: float
    noise: float
    lamp: int
    drift: tuple[float, float, float]
    metal: Metal

    @property
    def turn(self) -> Matrix:
        """``[2, 2]``: plate pixels to frame pixels."""
        cos, sin = self.scale * math.cos(self.angle), self.scale * math.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])

    @cached_property
    def reach(self) -> int:
        """Plate pixels along the seam, each way from the middle, that the frame can show."""
        corners = np.array([[x, y] for x in (0, self.width) for y in (0, self.height)]) - self.centre
        return math.ceil(float(np.abs(corners @ np.linalg.inv(self.turn).T)[:, 0].max())) + 3

    def to_frame(self, points: Matrix) -> Matrix:
        """Frame pixels of points given along the seam from the middle of the view and across from the plate's top."""
        return (points - np.array([0.0, PLATE_HEIGHT / 2])) @ self.turn.T + self.centre


def make_view(seed: int, camera_id: str, width: int, height: int) -> View:
    """The camera of that name."""
    rng = generator(seed, camera_id, Subject.VIEW)
    unit = max(width / 320, height / 256)
    return View(
        width=width,
        height=height,
        scale=unit * rng.uniform(0.96, 1.12),
        angle=math.radians(rng.uniform(-9, 9)),
        centre=(width / 2, height / 2 + unit * rng.uniform(-20, 20)),
        speed=rng.uniform(46, 64),
        exposure=int(rng.choice([1, 3, 3, 5])),
        tint=(rng.uniform(0.92, 1.06), rng.uniform(0.97, 1.02), rng.uniform(0.94, 1.06)),
        vignette=rng.uniform(0.15, 0.4),
        noise=rng.uniform(2.5, 5.5),
        lamp=1 if rng.random() < 0.5 else -1,
        drift=(rng.uniform(1500, 3400), rng.uniform(0.04, 0.09), rng.uniform(0, 2 * math.pi)),
        metal=Metal(grain=int(rng.choice([9, 15, 25, 41])), tilt=rng.uniform(-14, 14), scratches=rng.uniform(2, 6)),
    )


def light_map(view: View, look: Look) -> NDArray[np.float32]:
    """Gain of the light over the frame, float32 ``[H, W, 3]``."""
    x = np.linspace(-1, 1, view.width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, view.height, dtype=np.float32)[:, None]
    vignette = 1 - view.vignette * (x * x + y * y) / 2
    side = 1 + look.side_light * view.lamp * (0.75 * x + 0.25 * y)
    colour = np.asarray(look.tint, np.float32) * np.asarray(view.tint, np.float32) * np.float32(look.brightness)
    return np.asarray((vignette * side)[..., None] * colour, np.float32)


def light_at(view: View, seconds: float) -> float:
    """Slow drift of the lamp, a gain around 1."""
    period, amplitude, phase = view.drift
    return 1 + amplitude * math.sin(2 * math.pi * seconds / period + phase)


@dataclass(frozen=True)
class Dirt:
    """A dirty lens: a veil of smears over a blurred picture.

    Attributes:
        veil: how much of the light each pixel still passes, float32 ``[H, W, 1]``.
        glow: stray light that the smears add, float32 ``[H, W, 1]``, grey levels.
        blur: standard deviation, pixels.
    """

    veil: NDArray[np.float32]
    glow: NDArray[np.float32]
    blur: float


def make_dirt(seed: int, camera_id: str, view: View) -> Dirt:
    """The smears that this camera's lens gets when it gets dirty."""
    rng = generator(seed, camera_id, Subject.LENS)
    unit = view.scale
    smear = np.zeros((view.height, view.width), np.float32)
    for _ in range(int(rng.integers(5, 9))):
        spot = np.zeros((view.height, view.width), np.uint8)
        place = rng.uniform((0, 0), (view.width, view.height))
        axes = unit * rng.uniform((16, 9), (52, 24))
        cv2.ellipse(
            spot, (int(place[0]), int(place[1])), (int(axes[0]), int(axes[1])), rng.uniform(0, 180), 0, 360, 255, -1
        )
        soft = cv2.GaussianBlur(spot, (0, 0), unit * rng.uniform(4, 9)).astype(np.float32) / 255
        smear = np.maximum(smear, soft * np.float32(rng.uniform(0.45, 0.8)))
    return Dirt(veil=1 - 0.72 * smear[..., None] - 0.08, glow=62 * smear[..., None] + 10, blur=1.7 * unit)
