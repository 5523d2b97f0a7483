"""Dataset versions: labels and frozen splits under the SHA-256 of their manifest.

A version never changes (``manifests`` has its form); ``datasets/current.json`` names the newest. Images lie once for
all versions at ``datasets/images/<sha256>.<ending>``: an archive may by then be in a cold tier. The folder that a
trainer reads is made by ``training_folder``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from yolo_assets.archive.archive import Archive
from yolo_assets.classes.stored import read_class_list
from yolo_assets.contracts.base import Record
from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import DATASET_POINTER, dataset_image_key
from yolo_assets.learning.archived import ArchivedFrames, FrameLocation
from yolo_assets.learning.golden_set import read_golden
from yolo_assets.learning.label_history import LabelHistory, accepted
from yolo_assets.learning.manifests import read_stored, write_stored
from yolo_assets.learning.records import (
    AcceptedLabels,
    DatasetItem,
    DatasetManifest,
    HardReason,
    LabelBox,
    LabelledImage,
    Split,
)
from yolo_assets.learning.series import SplitFrame
from yolo_assets.learning.split import SHARES, Assignment, SplitResult, assign, dhash
from yolo_assets.storage import AlreadyExistsError, ObjectNotFoundError, ObjectStore
from yolo_assets.tables.objects import TabledFrame, tabled_frames
from yolo_assets.vision.hardware import usable_cpus
from yolo_assets.vision.matching import iou_matrix, match
from yolo_assets.vision.pictures import decode_image

MANY_IN_ONE_GROUP = 0.3
"""Share of the images in one group of near-duplicates above which a warning is given."""

SMALL_SIDE = 0.045
"""A box is small when its shorter side is less than this part of the frame's longer side and than ``SMALL_PIXELS``."""

SMALL_PIXELS = 32.0
"""What COCO calls small: in frames of many pixels a part of the frame alone would make nearly every object small."""

LOW_CONTRAST = 10.0
"""A box is of low contrast when the difference of its mean grey to its surroundings, and its spread, are below this."""

_NAMED = 20
"""Images that are left out and stand in the warnings by name."""

_READERS = 8
_AT_ONCE = 100
"""Pictures that are handed to the readers at once: bounds what waits in memory."""


@dataclass(frozen=True)
class Dataset:
    """A dataset version.

    Attributes:
        sha256: of the bytes of the manifest's head; its name in the store.
        manifest: what it holds.
    """

    sha256: str
    manifest: DatasetManifest

    def items(self, split: Split) -> list[DatasetItem]:
        """Items of one split, in manifest order."""
        return [item for item in self.manifest.items if item.split == split]


class DatasetPointer(Record):
    """``datasets/current.json``: the newest version."""

    sha256: str


def read_dataset(store: ObjectStore, sha256: str) -> Dataset:
    """A stored version.

    Raises:
        ObjectNotFoundError: no such version.
        IntegrityError: its bytes are not those of its name.
    """
    return Dataset(sha256, read_stored(store, sha256))


def latest_dataset(store: ObjectStore) -> Dataset | None:
    """The newest version, or None before the first."""
    try:
        pointer = DatasetPointer.from_json(store.get(DATASET_POINTER), DATASET_POINTER)
    except ObjectNotFoundError:
        return None
    return read_dataset(store, pointer.sha256)


def build_dataset(
    store: ObjectStore,
    archive: Archive,
    labels: Sequence[AcceptedLabels] | None = None,
    previous: Dataset | None = None,
    *,
    class_names: Sequence[str] = (),
    shares: Mapping[Split, float] = SHARES,
) -> Dataset:
    """Build the version that follows from the labels, and make it the newest.

    Args:
        store: the store root.
        archive: for images that no batch holds any more.
        labels: imported files, withdrawn ones too; None takes all of the store.
        previous: the version before, whose splits and class order are kept; None takes the newest of the store.
        class_names: preferred order of classes that the version before does not have; not read where the store has a
            list of classes, which decides.
        shares: parts of the splits for frames that are new.

    Returns:
        The version; ``previous`` itself when nothing changed, so that training finds its result again.

    Raises:
        BadInputError: there are no labels, or no training image is left.
        IntegrityError: an image differs from what was labelled.
    """
    pointer = store.head(DATASET_POINTER)
    previous = previous or latest_dataset(store)
    labels = [one for one in (accepted(store) if labels is None else labels) if one.withdrawn is None]
    images = _that_count(labels)
    if not images:
        raise BadInputError("there are no accepted labels; put an export into labels/inbox/ and import it")
    listed = read_class_list(store)
    unusable: dict[str, str] = {}
    if listed is not None:
        images = list(_under_the_list(images, listed, unusable))
    images_of = _ImageSource(store, archive)
    before = {item.sha256: item for item in previous.manifest.items} if previous else {}
    facts: dict[str, _ImageFacts] = {}
    new: list[LabelledImage] = []
    for image in images:  # one that did not change since the version before is not read again
        item = before.get(image.sha256)
        if item is not None and (item.boxes, item.image_path) == (image.boxes, image.image_path):
            facts[image.sha256] = _ImageFacts(item.dhash, item.hard, item.object_ids, item.batch_id)
        else:
            new.append(image)
    tabled = tabled_frames(store, [i.image_path for i in new if i.camera_id and i.image_path.count("/") == 2])

    def read(image: LabelledImage) -> bytes | str:
        try:
            return images_of.read(image)
        except (BadInputError, IntegrityError) as error:  # this image's own fault; a store that is away is not
            return str(error)

    def examine(image: LabelledImage, data: bytes | str) -> _ImageFacts | str:
        try:
            return data if isinstance(data, str) else _examine(image, data, tabled.get(image.image_path))
        except (BadInputError, IntegrityError) as error:
            return str(error)

    # Apart: a store that is far wants many readers, and more examiners than processors only wait for each other.
    with ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(usable_cpus()) as examiners:
        ahead = readers.map(read, new[:_AT_ONCE])
        for first in range(0, len(new), _AT_ONCE):
            part, data = new[first : first + _AT_ONCE], list(ahead)
            ahead = readers.map(read, new[first + _AT_ONCE : first + 2 * _AT_ONCE])
            for image, told in zip(part, examiners.map(examine, part, data), strict=True):
                if isinstance(told, str):
                    unusable[image.image_path] = told
                else:
                    facts[image.sha256] = told
    images = [image for image in images if image.sha256 in facts]
    golden = {frame.sha256 for frame in read_golden(store).frames}
    frames = [_split_frame(image, facts[image.sha256], golden) for image in images]
    frozen = {sha: Assignment(*kept) for sha, kept in previous.manifest.kept_splits.items()} if previous else {}
    frozen |= {sha: Assignment(item.split, item.group) for sha, item in before.items()}
    splits = assign(frames, frozen, shares=shares)
    if listed is not None:
        names = listed.names
    else:
        names = _class_order(previous.manifest.class_names if previous else (), class_names, images)
    manifest = _manifest(images, facts, before, golden, splits, frozen, names, listed, labels, previous, unusable)
    if not manifest.counts.get("train"):
        raise BadInputError("no labelled image is left for training; label more frames, from other moments")
    if previous is not None and _same_content(manifest, previous.manifest):
        return previous
    built = Dataset(write_stored(store, manifest), manifest)
    store.compare_and_swap(
        DATASET_POINTER, DatasetPointer(sha256=built.sha256).to_json(), pointer.etag if pointer else None
    )
    return built


@dataclass(frozen=True)
class _ImageFacts:
    dhash: str
    hard: tuple[HardReason, ...]
    object_ids: tuple[str, ...]
    batch_id: str | None


class _ImageSource:
    """Bytes of labelled images, kept once by hash as they are first read. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, archive: Archive) -> None:
        self._store = store
        self._archived = ArchivedFrames(archive)
        self._one_by_one = Lock()

    def read(self, image: LabelledImage) -> bytes:
        key = dataset_image_key(image.sha256, image.image_path)
        try:
            data = self._store.get(key)
        except ObjectNotFoundError:
            data = self._first_read(image)
            if hashlib.sha256(data).hexdigest() == image.sha256:
                try:
                    self._store.put_if_absent(key, data)
                except AlreadyExistsError:
                    pass
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise IntegrityError(f"{key} is not the image that was labelled; delete it and build the dataset again")
        return data

    def _first_read(self, image: LabelledImage) -> bytes:
        """The batch's copy, which is warm, before the archive, which may not be.

        A copy with other bytes is an upright one: then the original was stored for datasets when the batch was made.
        """
        if image.copy_key is not None:
            try:
                copy = self._store.get(image.copy_key)
                if image.source is None or hashlib.sha256(copy).hexdigest() == image.sha256:
                    return copy
            except ObjectNotFoundError:
                pass  # batches may be cleared away once they are labelled
        if image.source is None:
            raise BadInputError(f"the image {image.image_path} is missing; put its labels into the inbox again")
        with self._one_by_one:  # neighbours share an index, which is fetched once
            return self._archived.read(FrameLocation(image.source, image.sha256))


def _examine(image: LabelledImage, data: bytes, tabled: TabledFrame | None) -> _ImageFacts:
    """What is kept of an image that is new or has changed."""
    grey = decode_image(data, image.image_path, grey=True)
    if grey.shape != (image.height, image.width):
        raise IntegrityError(f"{image.image_path} is not a picture of {image.width}x{image.height}; remove its labels")
    objects = _tabled_objects(image, tabled) if tabled is not None else ()
    batch = tabled.batch_id if tabled is not None else None
    return _ImageFacts(dhash(grey), hard_reasons(grey, image.boxes), objects, batch)


def _tabled_objects(image: LabelledImage, tabled: TabledFrame) -> tuple[str, ...]:
    """The object that the tables name for each box, an empty text where none of theirs overlaps it by half."""
    if not image.boxes or not tabled.object_ids:
        return ()
    overlaps = iou_matrix(np.array([box.bbox for box in image.boxes]), np.array(tabled.boxes))
    found = match(overlaps, 0.5, first="pairs")
    return tuple(tabled.object_ids[place] if place >= 0 else "" for place in found.tolist())


def _split_frame(image: LabelledImage, facts: _ImageFacts, golden: Collection[str]) -> SplitFrame:
    return SplitFrame(
        key=image.sha256,
        camera=image.camera_id or "",
        captured_at=image.captured_at,
        dhash=facts.dhash,
        path=image.file_name or image.image_path,
        boxes=tuple(box.bbox for box in image.boxes),
        object_ids=facts.object_ids,
        batch_id=facts.batch_id,
        golden=image.sha256 in golden,
    )


def hard_reasons(grey: NDArray[np.uint8], boxes: Iterable[LabelBox]) -> tuple[HardReason, ...]:
    """Why a frame is a hard case, on which a candidate must not get worse; empty when it is none.

    Args:
        grey: uint8 ``[H, W]``.
        boxes: its labels, pixels.
    """
    height, width = grey.shape
    reasons: set[HardReason] = set()
    for box in boxes:
        x1, y1, x2, y2 = box.bbox
        if min(x2 - x1, y2 - y1) < min(SMALL_SIDE * max(width, height), SMALL_PIXELS):
            reasons.add("small")
        left, top, right, bottom = int(x1), int(y1), int(np.ceil(x2)), int(np.ceil(y2))
        margin = max(4, min(right - left, bottom - top) // 2)
        inside = grey[top:bottom, left:right].astype(np.float32)
        outer = grey[max(top - margin, 0) : bottom + margin, max(left - margin, 0) : right + margin].astype(np.float32)
        ring = (outer.sum() - inside.sum()) / max(outer.size - inside.size, 1)
        if outer.size > inside.size and abs(float(inside.mean() - ring)) < LOW_CONTRAST > float(inside.std()):
            reasons.add("low_contrast")
    return tuple(sorted(reasons))


def _that_count(labels: Sequence[AcceptedLabels]) -> list[LabelledImage]:
    """One entry an image, the labels of it that count; two paths with the same bytes are one image."""
    counting = LabelHistory(labels).counting()
    return [counting[sha].image for sha in sorted(counting)]


def _under_the_list(
    images: Iterable[LabelledImage], listed: ClassList, unusable: dict[str, str]
) -> Iterator[LabelledImage]:
    """The images with the names that classes have now, and without boxes of retired ones.

    An image with a class that the list does not know is left out: without that box it would teach to overlook it.
    """
    for image in images:
        entries = [listed.entry(box.class_name) for box in image.boxes]
        unknown = next((box.class_name for box, entry in zip(image.boxes, entries, strict=True) if not entry), None)
        if unknown is not None:
            near = listed.nearest(unknown)
            advice = f"yolo-assets classes alias {near} {unknown}" if near else f"yolo-assets classes add {unknown}"
            unusable[image.image_path] = f"class {unknown!r} is not in the list of classes; {advice}"
            continue
        boxes = tuple(
            box.model_copy(update={"class_name": entry.name})
            for box, entry in zip(image.boxes, entries, strict=True)
            if entry is not None and not entry.retired
        )
        yield image if boxes == image.boxes else image.model_copy(update={"boxes": boxes})


def _class_order(before: Sequence[str], preferred: Sequence[str], images: Iterable[LabelledImage]) -> tuple[str, ...]:
    used = {box.class_name for image in images for box in image.boxes}
    order = list(dict.fromkeys([*before, *preferred, *sorted(used)]))
    if not order:
        raise BadInputError("every labelled image is a background; label at least one object")
    return tuple(order)


def _manifest(
    images: Sequence[LabelledImage],
    facts: Mapping[str, _ImageFacts],
    before: Mapping[str, DatasetItem],
    golden: Collection[str],
    splits: SplitResult,
    frozen: Mapping[str, Assignment],
    names: tuple[str, ...],
    listed: ClassList | None,
    labels: Sequence[AcceptedLabels],
    previous: Dataset | None,
    unusable: Mapping[str, str],
) -> DatasetManifest:
    def as_before(item: DatasetItem) -> DatasetItem:
        """The same item of the version before, where there is one: two versions of a large dataset fit in memory."""
        same = before.get(item.sha256)
        return same if same is not None and same == item else item

    items = tuple(
        as_before(
            DatasetItem(
                image_path=image.image_path,
                sha256=image.sha256,
                split=splits.assigned[image.sha256].split,
                group=splits.assigned[image.sha256].group,
                width=image.width,
                height=image.height,
                boxes=image.boxes,
                camera_id=image.camera_id,
                captured_at=image.captured_at,
                source=image.source,
                dhash=facts[image.sha256].dhash,
                hard=facts[image.sha256].hard,
                file_name=image.file_name,
                object_ids=splits.objects[image.sha256],
                batch_id=facts[image.sha256].batch_id,
                golden=image.sha256 in golden,
            )
        )
        for image in images
        if image.sha256 in splits.assigned
    )
    counts = _counts(items)
    inside = {item.sha256 for item in items}
    return DatasetManifest(
        class_names=names,
        class_list=listed,
        items=items,
        excluded={
            **{image.image_path: splits.excluded[image.sha256] for image in images if image.sha256 in splits.excluded},
            **unusable,
        },
        parent=previous.sha256 if previous else None,
        labels=tuple(sorted({file.source_sha256 for file in labels})),
        counts=counts,
        warnings=(
            *_warnings(items, listed.names_in_use if listed else names, counts, splits),
            *_left_out(unusable),
        ),
        kept_splits={sha: (kept.split, kept.group) for sha, kept in sorted(frozen.items()) if sha not in inside},
    )


def _counts(items: Iterable[DatasetItem]) -> dict[str, int]:
    """``train``, ``train.backgrounds`` and ``train.<class>``, likewise for the other splits."""
    counts: Counter[str] = Counter()
    for item in items:
        counts[item.split] += 1
        counts[f"{item.split}.backgrounds"] += not item.boxes
        for box in item.boxes:
            counts[f"{item.split}.{box.class_name}"] += 1
    return {key: value for key, value in sorted(counts.items()) if value}


def _warnings(
    items: Sequence[DatasetItem], names: Sequence[str], counts: Mapping[str, int], splits: SplitResult
) -> Iterable[str]:
    for split in ("val", "test"):
        if not counts.get(split):
            groups = len({item.group for item in items})
            yield (
                f"the {split} split is empty, because all images belong to {groups} groups; label frames that show "
                "other objects: of another lot or shift, or a few minutes before or after these"
            )
    for name in names:
        for split in ("train", "test"):
            if counts.get(split) and not counts.get(f"{split}.{name}"):
                yield f"class {name} has no box in the {split} split"
    group, size = Counter(item.group for item in items).most_common(1)[0] if items else ("", 0)
    if len(items) >= 20 and size > MANY_IN_ONE_GROUP * len(items):
        yield (
            f"{size} of {len(items)} images belong together (group {group}): the same objects, lot or seconds; "
            "sample farther apart"
        )
    for reason, count in sorted(Counter(splits.excluded.values()).items()):
        yield f"{count} images are in no split: {reason}"


def _left_out(unusable: Mapping[str, str]) -> Iterator[str]:
    for path in sorted(unusable)[:_NAMED]:
        yield f"{path} is left out: {unusable[path]}"
    if len(unusable) > _NAMED:
        yield f"{len(unusable) - _NAMED} more images are left out; the manifest names them under excluded"


def _same_content(one: DatasetManifest, other: DatasetManifest) -> bool:
    """Whether training reads the same of both, without their history. Item by item: two large ones fill the memory."""
    history = {"items": (), "parent": None, "labels": (), "class_list": None, "kept_splits": {}}
    facts, others = (manifest.model_copy(update=history).to_json() for manifest in (one, other))
    return (
        (facts, one.names_in_use) == (others, other.names_in_use)
        and len(one.items) == len(other.items)
        and all(a is b or a.to_json() == b.to_json() for a, b in zip(one.items, other.items, strict=True))
    )
