"""Draws the line: plates with metal, weld bead, marks and defects; and what a camera makes of the light on them.

Belongs here: pixels. Plates: brushed metal, a weld bead with its ripples and heat tint, marks that are not defects, and
defects. Cameras: where one stands, its light, vignette and noise, and a lens that may be dirty. Does not belong here:
which plate passes when (``weld_line``), where defects are (``defects``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.simulator.appearance import Appearance, RandomStream, generator
from yolo_assets.simulator.defects import Bead, Defect, Stroke

PLATE_LENGTH = 368
"""Pixels along the seam, at the scale of a 320 x 256 frame: a frame shows one plate or the ends of two."""
PLATE_HEIGHT = 368
"""Pixels across the seam: more than a tilted and shifted camera can see."""

Matrix = NDArray[np.float64]
Picture = NDArray[np.float32]
_SHIFT = 4
_GAP = 6

# Curves over the distance from the middle of the bead, in half widths, ``_STEPS`` entries each.
_STEPS = 64
_REACH = 4
_DISTANCE = (np.arange(_STEPS * _REACH, dtype=np.float32) + 0.5) / _STEPS


def _ring(at: float, wide: float, *colour: float) -> Picture:
    """What a ring at that distance takes away, by channel."""
    curve = np.exp(-(((_DISTANCE - at) / wide) ** 2))
    return np.asarray(curve[:, None] * np.asarray(colour), np.float32)


# Heat tint: straw next to the bead, blue further out; then the shadow line where bead and plate meet.
_HEAT: Picture = 1 - _ring(1.25, 0.35, 0.30, 0.17, 0.06) - _ring(1.95, 0.4, 0.02, 0.10, 0.16)
_TOE: Picture = 1 - _ring(1.03, 0.07, 0.28, 0.28, 0.28)
_CROWN: Picture = np.sqrt(np.clip(1 - _DISTANCE * _DISTANCE, 0, 1))


@dataclass(frozen=True)
class Metal:
    """The surface at one station.

    Attributes:
        grain: length of the brush strokes, pixels.
        tilt: slope of the brush strokes, degrees.
        scratches: how many per plate, on average.
    """

    grain: int
    tilt: float
    scratches: float


def plan_bead(seed: int, camera_id: str, plate: int, appearance: Appearance) -> Bead:
    """The weld of one plate."""
    rng = generator(seed, camera_id, RandomStream.PLATE, plate)
    return Bead(
        half_width=appearance.bead_width * rng.uniform(17, 21),
        middle=PLATE_HEIGHT / 2 + rng.uniform(-6, 6),
        sway=rng.uniform(0.5, 3.0),
        phase=rng.uniform(0, 2 * np.pi),
    )


def paint_plate(
    seed: int, camera_id: str, plate: int, appearance: Appearance, metal: Metal, bead: Bead, defects: Sequence[Defect]
) -> NDArray[np.uint8]:
    """One plate as it would look in even white light.

    Returns:
        uint8 ``[PLATE_HEIGHT, PLATE_LENGTH, 3]``, BGR.
    """
    rng = generator(seed, camera_id, RandomStream.PAINT, plate)
    picture = _metal(rng, appearance, metal, bead)
    _marks(rng, picture, metal)
    _bead(rng, picture, appearance, bead)
    for defect in defects:
        _PAINTERS[defect.class_name](picture, defect, appearance)
    picture[:, :_GAP] *= 0.16
    picture[:, -_GAP:] *= 0.16
    picture[:, _GAP : _GAP + 2] *= 1.25
    return np.clip(picture, 0, 255).astype(np.uint8)


def _metal(rng: np.random.Generator, appearance: Appearance, metal: Metal, bead: Bead) -> Picture:
    # Half the columns are enough: brush strokes are long.
    noise = rng.standard_normal((PLATE_HEIGHT, PLATE_LENGTH // 2), dtype=np.float32)
    grain = max(3, metal.grain // 2)
    brushed = cv2.blur(noise, (grain, 1), borderType=cv2.BORDER_REFLECT) * np.float32(
        appearance.brushing * np.sqrt(grain)
    )
    clouds = 5 * rng.standard_normal((6, 6), dtype=np.float32)
    size = (PLATE_LENGTH, PLATE_HEIGHT)
    turn = cv2.getRotationMatrix2D((PLATE_LENGTH / 4, PLATE_HEIGHT / 2), metal.tilt, 1.0)
    turn[0] *= 2
    grey = cv2.warpAffine(brushed, turn, size, borderMode=cv2.BORDER_REFLECT)
    grey += cv2.resize(clouds, size, interpolation=cv2.INTER_CUBIC)
    # Two sheets meet under the bead: they never have quite the same tone.
    grey[int(bead.middle) :] += rng.uniform(-10, 10)
    return np.asarray(cv2.merge([grey + np.float32(tone) for tone in appearance.metal]), np.float32)


def _marks(rng: np.random.Generator, picture: Picture, metal: Metal) -> None:
    """Scratches and stains: what a model must learn not to report."""
    for _ in range(rng.poisson(metal.scratches)):
        start = rng.uniform((0, 0), (PLATE_LENGTH, PLATE_HEIGHT))
        angle, reach = rng.uniform(-0.5, 0.5), rng.uniform(20, 110)
        end = start + reach * np.array([np.cos(angle), np.sin(angle)])
        patch = _Patch(picture, [np.array([[*start, 0.5], [*end, 0.5]])], margin=2)
        patch.pixels += patch.mask([np.array([[*start, 0.4], [*end, 0.4]])], soft=0) * np.float32(rng.uniform(-24, 30))
    if rng.random() < 0.5:
        middle = rng.uniform((30, 60), (PLATE_LENGTH - 30, PLATE_HEIGHT - 60))
        blots = np.column_stack([middle + rng.normal(0, 11, (4, 2)), rng.uniform(9, 26, 4)])[:, None]
        patch = _Patch(picture, list(blots), margin=18)
        brown = np.asarray([0.30, 0.22, 0.14], np.float32) * np.float32(rng.uniform(0.4, 1.0))
        patch.pixels *= 1 - patch.mask(list(blots), soft=6.0) * brown


def _bead(rng: np.random.Generator, picture: Picture, appearance: Appearance, bead: Bead) -> None:
    reach = int(bead.half_width + 46)
    top = int(bead.middle) - reach
    band = picture[top : top + 2 * reach]
    xs = np.arange(PLATE_LENGTH, dtype=np.float64)
    across = (np.arange(top, top + 2 * reach)[:, None] - bead.centre(xs)[None]).astype(np.float32)
    ragged = cv2.blur(rng.standard_normal((1, PLATE_LENGTH), dtype=np.float32), (7, 1)) * 2.2
    t = across / (np.float32(bead.half_width) + ragged)
    # Profiles across the bead come from a table: the same few curves for every column.
    steps = np.minimum(np.abs(t) * _STEPS, _STEPS * _REACH - 1).astype(np.intp)
    band *= _HEAT[steps]
    crown = _CROWN[steps]
    pitch = np.float32(rng.uniform(8.5, 11))
    ripple = np.sin((xs[None].astype(np.float32) + 9.0 * t * t) * (2 * np.pi / pitch) + np.float32(rng.uniform(0, 6)))
    lamp = np.float32(-38 if appearance.glint else -19)
    tone = 96 + 74 * crown + lamp * t + appearance.ripple * ripple * (0.35 + 0.65 * crown)
    tone += 4 * rng.standard_normal(t.shape, dtype=np.float32)
    inside = np.clip((1 - np.abs(t)) * np.float32(bead.half_width * 0.6), 0, 1)[..., None]
    band += inside * (tone[..., None] * np.asarray([0.98, 0.99, 1.0], np.float32) - band)
    band *= _TOE[steps]


def _fixed(point: Sequence[float] | NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0]) * 2**_SHIFT), round(float(point[1]) * 2**_SHIFT)


def _whole(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


class _Patch:
    """The part of a picture around a defect, to paint through masks."""

    def __init__(self, picture: Picture, strokes: Sequence[Stroke], margin: int = 12) -> None:
        points = np.concatenate(strokes)
        low = np.floor((points[:, :2] - points[:, 2:]).min(0)).astype(int) - margin
        high = np.ceil((points[:, :2] + points[:, 2:]).max(0)).astype(int) + margin
        self.x, self.y = max(0, int(low[0])), max(0, int(low[1]))
        self.pixels = picture[self.y : max(0, int(high[1])), self.x : max(0, int(high[0]))]

    def mask(
        self, strokes: Sequence[Stroke], *, scale: float = 1.0, shift: tuple[float, float] = (0, 0), soft: float = 0.7
    ) -> Picture:
        """Cover of the strokes, ``[h, w, 1]`` from 0 to 1; ``scale`` is on the radius, ``soft`` the blur in pixels."""
        cover = np.zeros(self.pixels.shape[:2], np.uint8)
        offset = np.array([shift[0] - self.x, shift[1] - self.y])
        for stroke in strokes:
            places = stroke[:, :2] + offset
            radii = np.maximum(stroke[:, 2] * scale, 0.5)
            for place, radius in zip(places, radii, strict=True):
                cv2.circle(cover, _fixed(place), round(radius * 2**_SHIFT), 255, -1, cv2.LINE_AA, _SHIFT)
            for index in range(len(places) - 1):
                width = max(1, round(float(radii[index] + radii[index + 1])))
                cv2.line(cover, _fixed(places[index]), _fixed(places[index + 1]), 255, width, cv2.LINE_AA, _SHIFT)
        blurred = cv2.GaussianBlur(cover, (0, 0), soft) if soft else cover
        return np.asarray(blurred, np.float32)[..., None] / np.float32(255)

    def cover(self, mask: Picture, colour: Sequence[float]) -> None:
        """Lay a colour over the mask."""
        self.pixels *= 1 - mask
        self.pixels += mask * np.asarray(colour, np.float32)


def _paint_crack(picture: Picture, defect: Defect, appearance: Appearance) -> None:
    patch, strength = _Patch(picture, defect.strokes), min(1.0, defect.strength)
    if appearance.glint:
        patch.cover(0.45 * strength * patch.mask(defect.strokes, scale=1.5, shift=(1.5, 1.5)), (40, 38, 36))
        patch.cover(strength * patch.mask(defect.strokes, scale=0.75, soft=0.6), (255, 252, 240))
        return
    patch.cover(0.35 * strength * patch.mask(defect.strokes, scale=1.3, shift=(1.5, 1.5)), (225, 228, 230))
    patch.cover(strength * patch.mask(defect.strokes, scale=0.8, soft=0.6), (24, 24, 28))


def _paint_porosity(picture: Picture, defect: Defect, appearance: Appearance) -> None:
    patch, strength = _Patch(picture, defect.strokes), min(1.0, defect.strength)
    rim, hole = ((60, 56, 52), (238, 232, 215)) if appearance.glint else ((228, 230, 232), (22, 24, 30))
    patch.cover(0.7 * strength * patch.mask(defect.strokes, scale=1.1, shift=(-1.0, -1.0), soft=0.6), rim)
    patch.cover(strength * patch.mask(defect.strokes, scale=0.85, shift=(0.4, 0.4), soft=0.6), hole)


def _paint_spatter(picture: Picture, defect: Defect, appearance: Appearance) -> None:
    patch, strength = _Patch(picture, defect.strokes), min(1.0, defect.strength)
    if appearance.glint:
        patch.cover(0.4 * strength * patch.mask(defect.strokes, scale=1.7, soft=2.0), (70, 62, 50))
        patch.cover(strength * patch.mask(defect.strokes, scale=0.9), (30, 27, 24))
        return
    patch.cover(0.75 * strength * patch.mask(defect.strokes, shift=(1.8, 2.2), soft=1.2), (40, 42, 48))
    patch.cover(strength * patch.mask(defect.strokes, scale=0.95), (196, 202, 208))
    patch.cover(strength * patch.mask(defect.strokes, scale=0.4, shift=(-0.9, -1.1), soft=0.5), (255, 255, 255))


def _paint_undercut(picture: Picture, defect: Defect, appearance: Appearance) -> None:
    patch, strength = _Patch(picture, defect.strokes), min(1.0, defect.strength)
    if appearance.glint:
        patch.cover(0.6 * strength * patch.mask(defect.strokes, scale=0.95), (62, 60, 58))
        patch.cover(0.95 * strength * patch.mask(defect.strokes, scale=0.42, shift=(0, -1.4)), (245, 240, 225))
        return
    patch.cover(0.30 * strength * patch.mask(defect.strokes, scale=0.6, shift=(0, 3.0)), (215, 218, 220))
    patch.cover(0.9 * strength * patch.mask(defect.strokes, scale=0.9, soft=1.0), (34, 36, 42))


def _paint_burn_through(picture: Picture, defect: Defect, appearance: Appearance) -> None:
    patch, strength = _Patch(picture, defect.strokes), min(1.0, defect.strength)
    if appearance.glint:
        patch.cover(0.9 * strength * patch.mask(defect.strokes, soft=0.8), (250, 240, 220))
        patch.cover(strength * patch.mask(defect.strokes, scale=0.7, soft=1.0), (52, 44, 38))
        return
    patch.cover(0.75 * strength * patch.mask(defect.strokes, soft=1.4), (66, 92, 138))
    patch.cover(strength * patch.mask(defect.strokes, scale=0.66, soft=1.0), (12, 12, 14))


_PAINTERS = {
    "crack": _paint_crack,
    "porosity": _paint_porosity,
    "spatter": _paint_spatter,
    "undercut": _paint_undercut,
    "burn_through": _paint_burn_through,
}


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
    rng = generator(seed, camera_id, RandomStream.VIEW)
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


def light_map(view: View, appearance: Appearance) -> NDArray[np.float32]:
    """Gain of the light over the frame, float32 ``[H, W, 3]``."""
    x = np.linspace(-1, 1, view.width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, view.height, dtype=np.float32)[:, None]
    vignette = 1 - view.vignette * (x * x + y * y) / 2
    side = 1 + appearance.side_light * view.lamp * (0.75 * x + 0.25 * y)
    colour = (
        np.asarray(appearance.tint, np.float32) * np.asarray(view.tint, np.float32) * np.float32(appearance.brightness)
    )
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
    rng = generator(seed, camera_id, RandomStream.LENS)
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
