"""Whether a camera still sees: pictures compared with those that came before, and for how long nothing was new.

Belongs here: the rule. Does not belong here: what is said about it (``capture``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from yolo_assets.edge.types import Picture

_ROWS, _COLUMNS = 24, 42
_REMEMBERED = 32
"""Pictures. An encoder that repeats one picture gives a few different ones, over and over: one group of pictures."""
_EQUAL_LEVELS = 1
_OTHER_SHARE = 0.005
"""Of the points: the clock that a camera writes into its picture goes on when the picture behind it stands still."""
_FEWEST_PICTURES = 5
_LEAST_POINTS = 0.05
_LEAST_CONTRAST = 2.0


class RepeatWatch:
    """Tells a picture that stands still from a scene that does: in a scene the noise of the sensor is always new.

    About a thousand single pixels are compared, for noise vanishes in averages. A picture is a repeat when all but one
    in 200 of them differ by at most one level from one of the last 32 pictures that were new. Black, white and masked
    pixels show no noise and are left out; a picture of one colour, as in a dark hall, says nothing.

    Args:
        after_s: seconds without a new picture after which it stands still.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._points = _points(np.zeros((1, 1, 3), np.uint8))
        self._seen: NDArray[np.uint8] = np.zeros((0, self._points.size), np.uint8)
        self._size: tuple[int, ...] = ()
        self._since: float | None = None
        self._pictures = 0
        self._at = 0.0

    def forget(self) -> None:
        """The camera was opened anew."""
        self._seen, self._since, self._pictures = self._seen[:0], None, 0

    def look(self, picture: Picture, at: float) -> None:
        """Take a picture into account.

        Args:
            picture: BGR ``[h, w, 3]`` uint8.
            at: monotonic seconds.
        """
        points = _points(picture)
        telling = (points > 0) & (points < 255)
        flat = telling.mean() < _LEAST_POINTS or points[telling].std() < _LEAST_CONTRAST
        if flat or picture.shape != self._size:
            self.forget()
            self._size = picture.shape
        self._at = at
        if flat:
            return
        if self._is_new(points, telling):
            self._seen = np.concatenate((points[None], self._seen[: _REMEMBERED - 1]))
            self._since, self._pictures = at, 0
        self._pictures += 1

    def unchanged(self, at: float) -> None:
        """The camera says that its picture is still the same; ``at``: monotonic seconds."""
        if self._since is not None:
            self._at = at
            self._pictures += 1

    @property
    def same_s(self) -> float:
        """Seconds for which nothing new was seen; 0 where nothing was seen at all."""
        return self._at - self._since if self._since is not None else 0.0

    @property
    def frozen(self) -> bool:
        """Whether the camera has shown nothing new for too long."""
        return self.same_s >= self._after_s and self._pictures >= _FEWEST_PICTURES

    def _is_new(self, points: NDArray[np.uint8], telling: NDArray[np.bool_]) -> bool:
        apart = np.maximum(self._seen, points) - np.minimum(self._seen, points) > _EQUAL_LEVELS
        return not (np.count_nonzero(apart, axis=1) <= _OTHER_SHARE * np.count_nonzero(telling)).any()


def _points(picture: Picture) -> NDArray[np.uint8]:
    """Green at single pixels, as many for every size of picture: ``[rows * columns]``."""
    height, width = picture.shape[:2]
    rows = (np.arange(_ROWS) * 2 + 1) * height // (2 * _ROWS)
    columns = (np.arange(_COLUMNS) * 2 + 1) * width // (2 * _COLUMNS)
    return picture[rows[:, None], columns[None, :], 1].ravel()
