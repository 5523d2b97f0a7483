"""The dataset versions of a store: found by what a person writes, listed, compared, and exported as COCO.

Does not belong here: building a version (``dataset``), the folder of YOLO (``training_folder``).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import dataset_image_key
from yolo_assets.learning.dataset import Dataset, latest_dataset, read_dataset
from yolo_assets.learning.formats import coco
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.manifests import HEAD
from yolo_assets.learning.picture_copy import picture_copy
from yolo_assets.learning.training_folder import SPLITS
from yolo_assets.storage import ObjectStore


def stored_versions(store: ObjectStore) -> list[str]:
    """SHA-256 of every version of a store, test sets of imported models too, in alphabetical order."""
    keys = (info.key for info in store.list("datasets/") if info.key.endswith(f"/{HEAD}"))
    return sorted(key.removeprefix("datasets/").removesuffix(f"/{HEAD}") for key in keys)


def check_version_name(text: str) -> None:
    """Refuse what cannot name a version.

    Raises:
        BadInputError: it is neither ``current`` nor the beginning of a SHA-256.
    """
    if text != "current" and not re.fullmatch(r"[0-9a-fA-F]{1,64}", text):
        raise BadInputError(f"{text!r} is no dataset; give `current`, or the beginning of a SHA-256")


def find_version(store: ObjectStore, text: str) -> Dataset:
    """The version that a person means: ``current``, or the beginning of its SHA-256.

    Raises:
        BadInputError: there is none, or more than one.
    """
    if text == "current":
        found = latest_dataset(store)
        if found is None:
            raise BadInputError("there is no dataset yet; build one with `yolo-assets datasets build`")
        return found
    check_version_name(text)
    names = [name for name in stored_versions(store) if text and name.startswith(text.lower())]
    if len(names) != 1:
        what = f"is the beginning of {len(names)} datasets; write more of it" if names else "is no dataset"
        raise BadInputError(f"{text!r} {what}; `yolo-assets datasets ls` lists them")
    return read_dataset(store, names[0])


def difference(one: Dataset, other: Dataset) -> dict[str, Any]:
    """What changed from one version to another: image paths by kind of change, and the counts that differ."""
    before = {item.sha256: item for item in one.manifest.items}
    after = {item.sha256: item for item in other.manifest.items}
    both = [(before[sha], after[sha]) for sha in sorted(before.keys() & after.keys())]
    old, new = Counter(one.manifest.counts), Counter(other.manifest.counts)
    return {
        "added": sorted(after[sha].image_path for sha in after.keys() - before.keys()),
        "removed": sorted(before[sha].image_path for sha in before.keys() - after.keys()),
        "labels_changed": sorted(b.image_path for a, b in both if a.boxes != b.boxes),
        "split_changed": sorted(b.image_path for a, b in both if a.split != b.split),
        "classes_added": [name for name in other.manifest.class_names if name not in one.manifest.class_names],
        "counts": {name: [old[name], new[name]] for name in sorted(old | new) if old[name] != new[name]},
    }


def export_coco(store: ObjectStore, dataset: Dataset, out: Path) -> None:
    """Write a version as ``<split>/<image>`` and ``annotations/instances_<split>.json``; complete or not at all.

    Raises:
        BadInputError: ``out`` exists.
        IntegrityError: an image is not what the manifest says.
    """
    if out.exists():
        raise BadInputError(f"{out} exists; name another folder")
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "annotations").mkdir(parents=True)
        for split in SPLITS:
            (partial / split).mkdir()
            images: list[RawImage] = []
            for item in dataset.items(split):
                data = store.get(dataset_image_key(item.sha256, item.image_path))
                if hashlib.sha256(data).hexdigest() != item.sha256:
                    raise IntegrityError(f"{item.image_path} was changed in the store; build the dataset again")
                copy = picture_copy(data, item.image_path)
                name = f"{item.sha256}{copy.ending}"
                (partial / split / name).write_bytes(copy.data)
                boxes = [RawBox(box.bbox, box.class_name) for box in item.boxes]
                images.append(
                    RawImage(name=name, image_path=item.image_path, width=item.width, height=item.height, boxes=boxes)
                )
            document = coco.write(images, dataset.manifest.class_names)
            (partial / "annotations" / f"instances_{split}.json").write_bytes(document)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
