"""The one rule for turned pictures: every picture is seen upright, and boxes lie in the upright picture.

EXIF orientation 1 to 8 says how a viewer turns or mirrors the stored pixels. Belongs here: the same for pixels and for
boxes, and which of the two a record of somebody else speaks of. Does not belong here: reading files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # a camera's process loads no pydantic
    from yolo_assets.contracts.detection import Box


_MIRRORED_X = frozenset({2, 3, 6, 7})  # after the axes were exchanged, which 5 to 8 do first
_MIRRORED_Y = frozenset({3, 4, 7, 8})


@dataclass(frozen=True)
class BoxTurn:
    """How boxes come into the upright picture.

    Attributes:
        orientation: the turn that is applied to them, 1 to 8; 1 leaves them as they are.
        width: pixels of the picture that the boxes are given in.
        height: pixels of the picture that the boxes are given in.
    """

    orientation: int
    width: int
    height: int

    def box(self, box: Box) -> Box:
        """``(x1, y1, x2, y2)`` in pixels of the upright picture."""
        x1, y1, x2, y2 = box
        width, height = self.width, self.height
        if self.orientation >= 5:
            x1, y1, x2, y2 = y1, x1, y2, x2
            width, height = height, width
        if self.orientation in _MIRRORED_X:
            x1, x2 = width - x2, width - x1
        if self.orientation in _MIRRORED_Y:
            y1, y2 = height - y2, height - y1
        return x1, y1, x2, y2


def fit_boxes(
    record_size: tuple[int | None, int | None], stored_size: tuple[int, int], orientation: int
) -> BoxTurn | None:
    """How the boxes of a record lie in the upright picture.

    A record whose size is the upright picture's, or that tells none, speaks of the upright picture. One whose size is
    only the stored picture's was made by a program that ignores EXIF: its boxes are turned with the pixels.

    Args:
        record_size: width and height that the record tells, in pixels; None where it tells none.
        stored_size: width and height of the picture as its file stores it.
        orientation: EXIF orientation of the file, 1 to 8.

    Returns:
        None when the record's size is neither: nobody knows where its boxes belong, so they must not be drawn.
    """
    width, height = stored_size
    upright = (height, width) if orientation >= 5 else (width, height)
    if all(told in (None, real) for told, real in zip(record_size, upright, strict=True)):
        return BoxTurn(1, *upright)
    if all(told in (None, real) for told, real in zip(record_size, stored_size, strict=True)):
        return BoxTurn(orientation, width, height)
    return None


def upright(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Stored pixels ``[h, w, c]`` as a viewer shows them, contiguous."""
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    if orientation in _MIRRORED_X:
        stored = stored[:, ::-1]
    if orientation in _MIRRORED_Y:
        stored = stored[::-1]
    return np.ascontiguousarray(stored)
