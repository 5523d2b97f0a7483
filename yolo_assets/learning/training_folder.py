"""The folder a YOLO trainer reads, made from a dataset version: copies of images, one ``.txt`` each, ``data.yaml``.

Copies, not links: ultralytics rewrites a JPEG that it finds cut short. They are upright (``picture_copy``), so that it
sees every picture as the labels do. Every row is checked before: for a bad row it would drop the whole image and only
warn.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import yaml

from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import dataset_image_key
from yolo_assets.learning.dataset import Dataset
from yolo_assets.learning.formats import yolo
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.manifests import HEAD, ITEMS, manifest_files, read_manifest
from yolo_assets.learning.picture_copy import picture_copy
from yolo_assets.learning.records import DatasetItem, DatasetManifest, Split
from yolo_assets.storage import ObjectStore

DATA_YAML = "data.yaml"
_WRITTEN = "splits.txt"
SPLITS: tuple[Split, ...] = get_args(Split)


def materialise(
    store: ObjectStore, dataset: Dataset, out: Path, *, splits: Collection[Split] = ("train", "val", "test")
) -> Path:
    """Write a dataset version as a folder, which appears complete or not at all.

    Args:
        store: holds the images.
        dataset: the version.
        out: the folder; when it is there it is taken to be this version, checked by its manifest.
        splits: which splits to write.

    Returns:
        ``out``.

    Raises:
        BadInputError: ``out`` is something else, or a row of the manifest cannot be trained on; nothing is written.
        IntegrityError: an image is not what the manifest says.
    """
    written = " ".join(sorted(splits)).encode()
    if out.exists():
        if not _holds(out / _WRITTEN, written) or read_folder(out) != dataset.manifest:
            raise BadInputError(
                f"{out} exists and is not {written.decode()} of dataset {dataset.sha256[:12]}; name another folder"
            )
        return out
    problems = [problem for item in dataset.manifest.items for problem in _problems(item, dataset.manifest)]
    if problems:
        raise BadInputError(
            f"dataset {dataset.sha256[:12]} cannot be trained on: {problems[0]} ({len(problems)} in all)"
        )
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for split in SPLITS:
            (partial / "images" / split).mkdir(parents=True)
            (partial / "labels" / split).mkdir(parents=True)
        for item in dataset.manifest.items:
            if item.split in splits:
                _write_item(store, item, dataset.manifest, partial)
        (partial / DATA_YAML).write_text(
            yaml.safe_dump(
                {
                    "train": "images/train",
                    "val": "images/val",
                    "test": "images/test",
                    "names": dict(enumerate(dataset.manifest.class_names)),
                },
                sort_keys=False,
            )
        )
        (partial / _WRITTEN).write_bytes(written)
        files = manifest_files(dataset.manifest)
        (partial / ITEMS).write_bytes(files.items)
        (partial / HEAD).write_bytes(files.head)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def read_folder(folder: Path) -> DatasetManifest:
    """The manifest in a folder that ``materialise`` made.

    Raises:
        BadInputError: not such a folder.
    """
    try:
        return read_manifest((folder / HEAD).read_bytes(), (folder / ITEMS).read_bytes, str(folder / HEAD))
    except OSError as error:
        raise BadInputError(f"{folder} is not a dataset folder: {error.strerror}; make it again") from None


def image_path(folder: Path, item: DatasetItem) -> Path:
    """Where ``materialise`` put an image.

    Raises:
        BadInputError: it is not there.
    """
    for ending in (".jpg", ".png"):
        path = folder / "images" / item.split / f"{item.sha256}{ending}"
        if path.is_file():
            return path
    raise BadInputError(f"{folder} lacks the image {item.sha256}; delete the folder and make it again")


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _problems(item: DatasetItem, manifest: DatasetManifest) -> list[str]:
    problems: list[str] = []
    for box in item.boxes:
        x1, y1, x2, y2 = box.bbox
        if box.class_name not in manifest.class_names:
            problems.append(f"{item.image_path}: class {box.class_name} is not among the classes of the dataset")
        if not (0 <= x1 < x2 <= item.width and 0 <= y1 < y2 <= item.height):
            problems.append(f"{item.image_path}: box {list(box.bbox)} has no area inside {item.width}x{item.height}")
    return problems


def _write_item(store: ObjectStore, item: DatasetItem, manifest: DatasetManifest, root: Path) -> None:
    key = dataset_image_key(item.sha256, item.image_path)
    data = store.get(key)
    if hashlib.sha256(data).hexdigest() != item.sha256:
        raise IntegrityError(f"{key} was changed; delete it and build the dataset again")
    copy = picture_copy(data, item.image_path)
    if (copy.width, copy.height) != (item.width, item.height):
        raise IntegrityError(f"{item.image_path} is not a picture of {item.width}x{item.height}; label it again")
    name = f"{item.sha256}{copy.ending}"
    (root / "images" / item.split / name).write_bytes(copy.data)
    raw = RawImage(
        name=name,
        width=item.width,
        height=item.height,
        boxes=[RawBox(box.bbox, box.class_name) for box in item.boxes],
    )
    label = root / "labels" / item.split / f"{item.sha256}.txt"
    # A box drawn twice: ultralytics would drop the second with a warning; here it is dropped on purpose.
    lines = dict.fromkeys(yolo.lines(raw, manifest.class_names).splitlines())
    label.write_text("".join(f"{line}\n" for line in lines))
