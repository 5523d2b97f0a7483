"""Does a camera still look at the same scene? A small picture of what stands still, and how far it lies elsewhere.

The median of some frames of an hour leaves out what moves. Its edges are compared with those of an hour of the
reference by phase correlation: light changes edges little, and the peak tells the distance to a part of a pixel.

In front of some cameras nothing stands still: a web of steel or paper fills the whole picture. What such a camera looks
at cannot be told, and nothing is said: parts of one hour's frames do not even agree among themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import frame_time, is_frame, scene_key, scene_prefix
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage.base import AlreadyExistsError, ObjectStore
from yolo_assets.vision.pictures import decode_image

T = TypeVar("T")
LONG_SIDE = 160
FRAMES = 9
"""Frames of an hour that are looked at."""
_CLEAR = 0.06
"""Response of the correlation below which two scenes have too little in common to tell a distance."""
_STANDS = 0.01
"""Share of the longer side by which what stands still may differ between parts of one hour's frames."""
_LIT = 25.0
_TEXTURE = 2.0
"""Mean strength of edges below which there is nothing to compare."""


@dataclass(frozen=True)
class SceneShift:
    """How far one scene lies from another.

    Attributes:
        right: share of the longer side; negative to the left.
        down: share of the longer side; negative up.
        response: 0 to 1, how much of the scene is found again.
    """

    right: float
    down: float
    response: float

    @property
    def distance(self) -> float | None:
        """Share of the longer side; None where too little is found again to tell."""
        return float(np.hypot(self.right, self.down)) if self.response >= _CLEAR else None


def scene_of(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    """What stands still in some pictures of a camera.

    Args:
        pictures: BGR, uint8 ``[h, w, 3]``, all of one size but for those that are left out.

    Returns:
        Grey, uint8, the longer side ``LONG_SIDE``; None with fewer than three pictures, or where nothing stands still.
    """
    import cv2

    small = list[NDArray[np.uint8]]()
    for picture in pictures:
        height, width = picture.shape[:2]
        scale = LONG_SIDE / max(height, width)
        size = (max(round(width * scale), 8), max(round(height * scale), 8))
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        small.append(np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8))
    same = [item for item in small if item.shape == small[0].shape]
    if len(same) < 3:
        return None
    scene, thirds = _median(same), [_median(same[part::3]) for part in range(3)]
    # Of dark and smooth pictures there is no shift: whoever compares the scene with another finds that, too.
    shifts = [scene_shift(one, other) for one, other in itertools.combinations(thirds, 2)]
    distances = [shift.distance for shift in shifts if shift is not None]
    return scene if all(distance is not None and distance <= _STANDS for distance in distances) else None


def _median(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.median(np.stack(pictures), axis=0).astype(np.uint8)


def scene_shift(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> SceneShift | None:
    """How far ``now`` lies from ``before``; None when one is dark or smooth, or the sizes differ."""
    import cv2

    if before.shape != now.shape or min(before.mean(), now.mean()) < _LIT:
        return None
    edges = [_edges(scene) for scene in (before, now)]
    if min(float(edge.mean()) for edge in edges) < _TEXTURE:
        return None
    window = cv2.createHanningWindow((now.shape[1], now.shape[0]), cv2.CV_64F)
    (right, down), response = cv2.phaseCorrelate(
        edges[0].astype(np.float64), edges[1].astype(np.float64), np.asarray(window, np.float64)
    )
    return SceneShift(right / LONG_SIDE, down / LONG_SIDE, float(response))


def _edges(scene: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    smooth = cv2.GaussianBlur(scene.astype(np.float32), (0, 0), 1.0)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    return np.asarray(cv2.magnitude(across, down), np.float32)


def hour_shift(
    store: ObjectStore, spool: Path, archive: Archive | None, camera_id: str, hour: Hour, begins: Hour
) -> float | None:
    """How far a camera's scene lies from that of its reference; the first hour with pictures becomes that.

    Args:
        store: store root, which keeps the reference's scene.
        spool: where pictures are looked for first.
        archive: where else.
        camera_id: the camera.
        hour: the hour to look at.
        begins: first hour of the reference.

    Returns:
        Share of the longer side; None where it cannot be told: no picture can be read, it is dark or too smooth, or
        nothing in it stands still.
    """
    import cv2

    scene = scene_of(_pictures(spool, archive, camera_id, hour))
    if scene is None:
        return None
    keys = sorted(info.key for info in store.list(scene_prefix(camera_id)))
    since = scene_key(camera_id, begins)
    kept = next((key for key in keys if key >= since), None)
    if kept is None or kept == scene_key(camera_id, hour):
        if kept is None and scene.mean() >= _LIT and float(_edges(scene).mean()) >= _TEXTURE:
            done, data = cv2.imencode(".png", scene)
            if done:
                try:
                    store.put_if_absent(scene_key(camera_id, hour), data.tobytes())
                except AlreadyExistsError:
                    pass
                return 0.0
        return 0.0 if kept is not None else None
    before = cv2.imdecode(np.frombuffer(store.get(kept), np.uint8), cv2.IMREAD_GRAYSCALE)
    if before is None:
        return None
    shift = scene_shift(np.asarray(before, np.uint8), scene)
    return shift.distance if shift is not None else None


def _pictures(spool: Path, archive: Archive | None, camera_id: str, hour: Hour) -> list[NDArray[np.uint8]]:
    """Some frames of an hour, spread over it: of the spool, else of the archive."""
    found: list[NDArray[np.uint8]] = []

    def take(name: str, data: bytes) -> None:
        try:
            found.append(decode_image(data, name))
        except UserError:
            return  # not a picture; its neighbours tell as much

    try:
        here = SpoolHour.of(spool, camera_id, hour)
        names = sorted(member.name for member in here.frames())
        for name in _spread(names):
            try:
                take(name, (here.path / name).read_bytes())
            except OSError:
                continue  # reclaimed meanwhile
        if len(found) >= 3 or archive is None:
            return found
        for part in archive.parts(camera_id, hour):
            rows = [row for row in part.index() if is_frame(row.name) and frame_time(row.name) is not None]
            for row in _spread(sorted(rows, key=lambda row: row.name)):
                take(row.name, part.read(row))
            break
    except (UserError, OSError):
        return found  # what cannot be read is told by those who need it; here it is a figure less
    return found


def _spread(items: Sequence[T]) -> list[T]:
    if len(items) <= FRAMES:
        return list(items)
    return [items[round(number * (len(items) - 1) / (FRAMES - 1))] for number in range(FRAMES)]
