"""Whether a camera shows another scene than when its models were last compared.

A belt that stands, a part that waits in front of the camera: thirty frames of it are one frame, and on one frame
nobody can tell a better model from a worse one. Belongs here: when two pictures of a fixed camera show the same. Does
not belong here: a camera whose picture is frozen to the last pixel (``pipeline.repeats``).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.edge.types import Picture

_CELLS = (48, 32)
_SAME_LEVELS = 3.0
"""Grey levels, of 255. The noise of a sensor nearly vanishes in the mean of a cell; what moves does not."""


class SceneChanges:
    """Remembers the last scene of each camera. One thread."""

    def __init__(self) -> None:
        self._last: dict[str, NDArray[np.float32]] = {}

    def is_new(self, camera_id: str, picture: Picture) -> bool:
        """Whether the picture shows something else than the last one that was new; if so, it is the last one now.

        Light that grows or falls everywhere by the same amount, as from a lamp that flickers, is no change.

        Args:
            camera_id: its camera.
            picture: BGR ``[h, w, 3]`` uint8.
        """
        cells = _cells(picture)
        before = self._last.get(camera_id)
        if before is not None and before.shape == cells.shape:
            moved = cells - before
            if np.abs(moved - np.median(moved)).max() < _SAME_LEVELS:
                return False
        self._last[camera_id] = cells
        return True


def _cells(picture: Picture) -> NDArray[np.float32]:
    """Mean grey levels of the cells of a picture ``[rows, columns]``; of a small picture its pixels."""
    height, width = picture.shape[:2]
    size = (min(_CELLS[0], width), min(_CELLS[1], height))
    # Means of each channel first: a large picture is read once, and only the few cells are turned grey.
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
