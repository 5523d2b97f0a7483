"""A line of separate parts before one camera, where it is known which part is in which frame: nothing hides a fault.

Plain parts on a plain belt: two frames differ only by the parts in them, as in a real hall, and not by a texture that
makes every frame unlike every other. ``moving`` parts pass at a steady speed; in a ``fixed`` scene they appear and
vanish before one background. Does not belong here: weld seams and their defects (``weld_line``), records and spools.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError


@dataclass(frozen=True)
class PartsInFrame:
    """One frame and what is in it.

    Attributes:
        image: uint8 ``[H, W, 3]``, BGR.
        boxes: ``[n, 4]``, x1, y1, x2, y2 in pixels, inside the frame.
        parts: ``[n]``, the number of the part in each box: what no learning code may read.
        classes: ``[n]``, 0 for a round part, 1 for an angular one.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    parts: NDArray[np.int64]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class PartLine:
    """A line; each frame follows from the line and the moment alone.

    Attributes:
        kind: ``moving`` or ``fixed``.
        seconds: how long it runs.
        seed: everything follows from it.
        speed: of moving parts, pixels a second.
        per_second: parts that come in a second, on average.
        stays: seconds that a part of a fixed scene is there, on average.
        width: of a frame, pixels.
        height: of a frame, pixels.
    """

    kind: Literal["moving", "fixed"]
    seconds: float
    seed: int = 0
    speed: float = 120.0
    per_second: float = 0.6
    stays: float = 2.0
    width: int = 320
    height: int = 240

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.speed <= 0 or self.per_second <= 0 or self.stays <= 0:
            raise BadInputError("a line of parts needs a time, a speed and a rate above 0")

    def draw(self, at: float) -> PartsInFrame:
        """The frame at a moment.

        Args:
            at: seconds from the start.
        """
        rng = np.random.default_rng([self.seed, round(at * 1000)])
        boxes, parts = self.truth(at)
        shown = self._background.copy()
        for box, part in zip(boxes, parts.tolist(), strict=True):
            self._paint(shown, box, part)
        # A lamp that drifts by a twentieth within minutes, and the noise of the sensor.
        lamp = 1 + 0.05 * np.sin(at / 97) + rng.normal(0, 0.004)
        image = shown * lamp + rng.normal(0, 4, shown.shape[:2])[..., None]
        return PartsInFrame(np.clip(image, 0, 255).astype(np.uint8), boxes, parts, parts % 2)

    def truth(self, at: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Boxes ``[n, 4]`` and numbers ``[n]`` of the parts in the frame at a moment, without drawing it."""
        come, stay, x, y, side = self._parts
        longest = 1.5 * self.stays if self.kind == "fixed" else (self.width + 32) / self.speed
        some = slice(int(np.searchsorted(come, at - longest)), int(np.searchsorted(come, at, side="right")))
        come, stay, centre, y, side = come[some], stay[some], x[some], y[some], side[some]
        if self.kind == "moving":
            centre = (at - come) * self.speed - side[:, 0] / 2
            there = (centre > 0) & (centre < self.width)
        else:
            there = at < come + stay
        seen = np.flatnonzero(there)
        middle, half = np.stack([centre, y], 1)[seen], side[seen] / 2
        low = np.clip(middle - half, 0, [self.width, self.height])
        high = np.clip(middle + half, 0, [self.width, self.height])
        return np.concatenate([low, high], 1), seen + some.start

    @cached_property
    def _parts(self) -> tuple[NDArray[np.float64], ...]:
        """When each part comes, how long it stays, where it is, and its sides."""
        rng = np.random.default_rng([self.seed, 1])
        # Some are there already when the first frame is taken.
        early = self.width / self.speed + 2 * self.stays
        count = round((self.seconds + early) * self.per_second) + 2
        come = np.cumsum(rng.uniform(0.5, 1.5, count) / self.per_second) - early
        stay = rng.uniform(0.5, 1.5, count) * self.stays
        side = np.repeat(rng.uniform(14, 32, (count, 1)), 2, 1)
        x = rng.uniform(30, self.width - 30, count)
        y = rng.uniform(30, self.height - 30, count)
        return come, stay, x, y, side

    @cached_property
    def _background(self) -> NDArray[np.float64]:
        rng = np.random.default_rng([self.seed, 2])
        picture = np.full((self.height, self.width, 3), 118.0)
        for _ in range(25):
            x, y = int(rng.integers(self.width)), int(rng.integers(self.height))
            w, h = int(rng.integers(20, 90)), int(rng.integers(20, 90))
            picture[y : y + h, x : x + w] = rng.uniform(90, 150)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), 4), np.float64)

    def _paint(self, picture: NDArray[np.float64], box: NDArray[np.float64], part: int) -> None:
        """A part as it looks, in place; parts differ by grey and size alone."""
        _, _, _, _, side = self._parts
        grey = 40.0 + part * 37 % 50 if part % 3 else 190.0 + part * 37 % 50
        x1, y1, x2, y2 = box
        # The centre of a part that the edge cuts lies by half its side beyond the edge that is seen.
        half = side[part, 0] / 2
        cx = x2 - half if x1 <= 0 else x1 + half
        cy = (y1 + y2) / 2
        if part % 2:
            cv2.rectangle(picture, (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1), (grey,) * 3, -1)
        else:
            cv2.circle(picture, (round(cx), round(cy)), round(half), (grey,) * 3, -1, cv2.LINE_8)
