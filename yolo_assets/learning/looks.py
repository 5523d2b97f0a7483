"""What some candidates look like: the picture minus the median picture of its camera, in a coarse grid.

A fixed camera sees one scene all day. What its pictures have beyond their median is the part, the defect, the hand:
that is what makes one frame unlike another. A few hundred pictures are read for a batch, so other seeds look at others.
The features are those of the pixels; no model is asked. Does not belong here: the choice (``sampling``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.learning.archived import UNREADABLE, ArchivedFrames, FrameLocation
from yolo_assets.learning.sampling import CandidateFrame, Look
from yolo_assets.vision.pictures import decode_image

PICTURES = 300
"""Pictures that are read for one batch."""

FEWEST = 10
"""Pictures of a camera from which its median is known."""

_CAMERAS = 15
_SIDE = 64
_CELLS = 8
_NEIGHBOURS = 3


def frame_looks(archive: Archive, candidates: Sequence[CandidateFrame], *, seed: int = 0) -> dict[str, Look]:
    """Looks by image path: of some candidates of some cameras. What cannot be read, or lies in a cold tier, has none.

    Args:
        archive: holds the frames.
        candidates: in any order.
        seed: another seed looks at others.
    """

    def drawn(word: str) -> bytes:
        return hashlib.blake2b(f"{seed}\0{word}".encode(), digest_size=8).digest()

    by_camera: dict[str, list[str]] = {}
    for candidate in candidates:
        by_camera.setdefault(candidate.camera_id, []).append(candidate.image_path)
    cameras = sorted((name for name, paths in by_camera.items() if len(paths) >= FEWEST), key=drawn)[:_CAMERAS]
    each = PICTURES // max(len(cameras), 1)
    looks: dict[str, Look] = {}
    for camera in cameras:
        looks |= looks_of_camera(_small_pictures(archive, sorted(by_camera[camera], key=drawn)[:each]))
    return looks


def looks_of_camera(pictures: Mapping[str, NDArray[np.uint8]]) -> dict[str, Look]:
    """Looks of pictures of one camera; none when there are too few of them.

    Args:
        pictures: uint8 ``[h, w, 3]`` of one size, by image path.
    """
    if len(pictures) < FEWEST:
        return {}
    stack = np.stack(list(pictures.values())).astype(np.float32)
    residual = np.abs(stack - np.median(stack, axis=0)).max(axis=3)
    cells = residual.reshape(len(stack), _CELLS, _SIDE // _CELLS, _CELLS, _SIDE // _CELLS)
    vectors = np.concatenate([cells.mean(axis=(2, 4)), cells.max(axis=(2, 4))], axis=1).reshape(len(stack), -1)
    far = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    like = np.sort(far, axis=1)[:, _NEIGHBOURS]
    usual = max(float(np.median(like)), 1e-6)
    scaled = (vectors / usual).astype(np.float32)
    return {path: Look(scaled[row], float(like[row] / usual)) for row, path in enumerate(pictures)}


def _small_pictures(archive: Archive, paths: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    archived = ArchivedFrames(archive)
    found: dict[FrameLocation, str] = {}
    for path in paths:
        try:
            location = archived.locate(path)
        except UNREADABLE:
            continue  # the batch tells it, if the frame is chosen
        if location is not None:
            found[location] = path
    pictures: dict[str, NDArray[np.uint8]] = {}
    for location, data in archived.read_each(found):
        if isinstance(data, UserError):
            continue
        try:
            picture = decode_image(data, found[location])
        except UNREADABLE:
            continue
        pictures[found[location]] = np.asarray(
            cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8
        )
    return dict(sorted(pictures.items()))
