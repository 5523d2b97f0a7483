"""The golden set: labelled frames that people named, which evaluate models and never train one.

It lies at ``datasets/golden.json`` and only grows. Does not belong here: the split that keeps these frames and what
shows their objects out of training (``split``), the gate that reads them (``models``).
"""

from __future__ import annotations

from collections.abc import Sequence

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import GOLDEN_SET
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.label_history import accepted
from yolo_assets.learning.records import DatasetManifest
from yolo_assets.storage import CasConflictError, ObjectNotFoundError, ObjectStore


class GoldenFrame(Record):
    """One frame of the set.

    Attributes:
        image_path: of the frame.
        sha256: of its bytes.
        by: who named it.
        at: when.
        note: why.
    """

    image_path: str
    sha256: str
    by: str
    at: Time
    note: str


class GoldenSet(Record):
    """``datasets/golden.json``."""

    frames: tuple[GoldenFrame, ...] = ()


def read_golden(store: ObjectStore) -> GoldenSet:
    """The set; empty before the first frame."""
    return _read(store)[0]


def add_golden(
    store: ObjectStore, images: Sequence[str], dataset: DatasetManifest | None, *, by: str, note: str
) -> list[GoldenFrame]:
    """Add labelled frames; those that are in it stay as they are.

    Args:
        store: store root.
        images: image paths, file names or SHA-256.
        dataset: the newest version, if there is one.
        by: who names them.
        note: why they are critical.

    Returns:
        What was added.

    Raises:
        BadInputError: an image is not labelled, is named by none or several, or has trained or chosen a model; nothing
            is added.
    """
    files = [file for file in accepted(store) if file.withdrawn is None]
    labelled = {image.sha256: image.image_path for file in files for image in file.images}
    splits = {item.sha256: item.split for item in dataset.items} if dataset else {}
    chosen: dict[str, str] = {}
    for name in images:
        found = [sha for sha, path in labelled.items() if name in (sha, path, path.rpartition("/")[2])]
        if len(found) != 1:
            many = "is the name of several labelled images" if found else "is no labelled image"
            raise BadInputError(f"{name} {many}; give its image path, and label it first")
        split = splits.get(found[0], "test")
        if split != "test":
            raise BadInputError(
                f"{name} is in the {split} split, so models have seen it; choose a frame of the test split or a new one"
            )
        chosen[found[0]] = labelled[found[0]]
    while True:
        golden, etag = _read(store)
        held = {frame.sha256 for frame in golden.frames}
        added = [
            GoldenFrame(image_path=path, sha256=sha, by=by, at=utc_now(), note=note)
            for sha, path in sorted(chosen.items())
            if sha not in held
        ]
        if not added:
            return []
        try:
            store.compare_and_swap(GOLDEN_SET, GoldenSet(frames=(*golden.frames, *added)).to_json(), etag)
        except CasConflictError:
            continue  # somebody added others meanwhile
        return added


def _read(store: ObjectStore) -> tuple[GoldenSet, str | None]:
    try:
        data, info = store.get_with_info(GOLDEN_SET)
    except ObjectNotFoundError:
        return GoldenSet(), None
    return GoldenSet.from_json(data, GOLDEN_SET), info.etag
