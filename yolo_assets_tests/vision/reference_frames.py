"""Frames for the parity tests: drawn scenes in many sizes, and the two photographs that Ultralytics ships."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZES = (
    (240, 320),
    (320, 240),
    (160, 160),
    (192, 128),
    (97, 333),
    (333, 97),
    (120, 160),
    (375, 501),
    (81, 64),
    (450, 800),
)
COUNT = 200


def reference_frames() -> list[NDArray[np.uint8]]:
    """``COUNT`` drawn frames, the photographs after the first eight. Always the same."""
    scenes = [drawn(seed, *SIZES[seed % len(SIZES)]) for seed in range(COUNT)]
    return [*scenes[:8], *photographs(), *scenes[8:]]


def photographs() -> list[NDArray[np.uint8]]:
    """``bus.jpg`` and ``zidane.jpg`` out of the installed package, found without importing it."""
    spec = importlib.util.find_spec("ultralytics")
    if spec is None or spec.origin is None:
        raise RuntimeError("ultralytics is not installed; run: make install")
    assets = Path(spec.origin).parent / "assets"
    return [np.asarray(cv2.imread(str(assets / name)), np.uint8) for name in ("bus.jpg", "zidane.jpg")]


def drawn(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A noisy ramp with rectangles and circles."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(random.uniform(20, 160), random.uniform(20, 160), width)[None, :, None] + random.normal(
        0, 12, (height, width, 3)
    )
    frame = np.ascontiguousarray(ramp.clip(0, 255).astype(np.uint8))
    for _ in range(int(random.integers(3, 12))):
        colour = [int(value) for value in random.integers(0, 256, 3)]
        x, y = int(random.integers(width)), int(random.integers(height))
        size = int(random.integers(4, max(8, min(height, width) // 2)))
        if random.random() < 0.5:
            cv2.rectangle(frame, (x, y), (x + size, y + size // 2 + 1), colour, -1)
        else:
            cv2.circle(frame, (x, y), size // 2, colour, int(random.integers(-1, 4)) or 1)
    return frame
