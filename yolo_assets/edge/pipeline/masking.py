"""Paints over what nobody may see, before anything else gets the picture.

Belongs here: which pixels, and painting them. Does not belong here: the polygons (``config.masks``).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.edge.config.masks import Mask
from yolo_assets.edge.types import Picture

_FRACTION_BITS = 4
_ROOM = 4


class PictureMask:
    """The mask of one camera; used by its capture thread alone.

    Args:
        settings: polygons, and whether the model sees what is behind them.
    """

    def __init__(self, settings: Mask) -> None:
        self.version = settings.version
        self.hide_from_model = settings.hide_from_model
        self._polygons = [np.array(polygon, np.float64) for polygon in settings.polygons]
        self._shape: tuple[int, int] = (0, 0)
        self._hidden: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)

    def burn(self, image: Picture) -> tuple[Picture, Picture | None]:
        """Paint the areas black.

        Args:
            image: ``[h, w, 3]``; painted in place where it can be.

        Returns:
            The painted picture; and, where the model may see it, a copy of the picture as it was.
        """
        whole = None if self.hide_from_model else image.copy()
        painted = image if image.flags.writeable else image.copy()
        if painted.shape[:2] != self._shape:
            self._shape = painted.shape[:2]
            self._hidden = self._pixels(*self._shape)
        painted[self._hidden] = 0
        return painted, whole

    def _pixels(self, height: int, width: int) -> NDArray[np.bool_]:
        """Every pixel that a polygon touches or encloses, also where its lines cross each other, ``[h, w]``."""
        hidden = np.zeros((height, width), np.bool_)
        for polygon in self._polygons:
            canvas = np.zeros((height + 2 * _ROOM, width + 2 * _ROOM), np.uint8)
            # OpenCV counts from the middle of the first pixel, shares from its edge.
            corners = polygon * (width, height) - 0.5 + _ROOM
            points = np.round(corners * (1 << _FRACTION_BITS)).astype(np.int32)
            cv2.polylines(canvas, [points], isClosed=True, color=(255,), thickness=3, shift=_FRACTION_BITS)
            cv2.fillPoly(canvas, [points], color=(255,), shift=_FRACTION_BITS)
            cv2.floodFill(canvas, None, (0, 0), (1,))  # from outside: what it does not reach is enclosed
            hidden |= canvas[_ROOM:-_ROOM, _ROOM:-_ROOM] != 1
        return hidden
