"""An annotation batch: the frames people are asked to label, copied out of the archive with pre-labels.

Everything a labelling tool needs lies under ``annotation/<batch>/``. The id is a hash of the content, so a run that
crashed is finished by the next, and a request for the same frames is the same batch. The manifest is written last.
A frame that is no picture, or cannot be read, is left out and told, and another takes its place.

Does not belong here: finding candidates (``candidates``), choosing among them (``sampling``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import polars as pl
from pydantic import ValidationError

from yolo_assets.archive.archive import Archive
from yolo_assets.classes.stored import current_names
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import annotation_key, dataset_image_key, detections_key, frame_time
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.archived import UNREADABLE, ArchivedFrames, FrameLocation
from yolo_assets.learning.candidates import FramePool
from yolo_assets.learning.formats import coco, label_studio
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.picture_copy import picture_copy
from yolo_assets.learning.records import ArchiveRef, BatchItem, BatchManifest, Prediction, Sampled
from yolo_assets.learning.sampling import Look, sample
from yolo_assets.storage import AlreadyExistsError, ObjectNotFoundError, ObjectStore
from yolo_assets.vision.orientation import fit_boxes

_ROUNDS = 20
"""How often the choice is made anew because a chosen frame is no picture; after that the batch is smaller."""


@dataclass(frozen=True)
class PreLabels:
    """What a model on the line reported for a frame: shown to people as a first guess.

    Attributes:
        predictions: its boxes.
        model_version: ``<name>/<version>``.
        width: of the picture that the boxes are given in, pixels; None when the record does not tell it.
        height: likewise.
    """

    predictions: tuple[Prediction, ...]
    model_version: str | None
    width: int | None = None
    height: int | None = None


NO_PRELABELS = PreLabels((), None)


def prelabels_from_table(
    detections: pl.DataFrame, renamed: Mapping[str, str | None] | None = None
) -> dict[str, PreLabels]:
    """Pre-labels by image path, from the detections table.

    Args:
        detections: columns ``image_path``, ``class``, ``confidence``, ``x1``, ``y1``, ``x2``, ``y2``,
            ``model_version`` and, if known, ``width``, ``height``.
        renamed: from ``classes.stored.current_names``: boxes get the names of now, those of retired classes go.

    Returns:
        Only detections whose class name can be a label; a foreign producer's others cannot be corrected in a tool.
    """
    predictions: dict[str, list[Prediction]] = {}
    frames: dict[str, PreLabels] = {}
    columns = ("image_path", "class", "confidence", "x1", "y1", "x2", "y2", "model_version")
    sizes = [pl.col(side) if side in detections.columns else pl.lit(None).alias(side) for side in ("width", "height")]
    for path, name, confidence, *box, model, width, height in detections.select(*columns, *sizes).iter_rows():
        frames[path] = PreLabels((), model, width, height)
        name = (renamed or {}).get(name, name)
        if name is None:
            continue
        try:
            prediction = Prediction.model_validate({"bbox": tuple(box), "class": name, "confidence": confidence})
        except ValidationError:
            continue
        predictions.setdefault(path, []).append(prediction)
    return {path: replace(known, predictions=tuple(predictions.get(path, ()))) for path, known in frames.items()}


@dataclass(frozen=True)
class MadeBatch:
    """The result of asking for a batch.

    Attributes:
        manifest: the batch as it lies in the store; None when there was nothing to label.
        left_out: why a frame that was chosen is not in it, by image path.
        boxes_left_out: why the boxes of a frame's record are not in it, by image path.
    """

    manifest: BatchManifest | None
    left_out: dict[str, str]
    boxes_left_out: dict[str, str]


def make_batch(
    store: ObjectStore,
    archive: Archive,
    pool: FramePool,
    budget: int,
    *,
    seed: int = 0,
    labelled: Collection[str] = (),
    class_names: Sequence[str],
    looks: Mapping[str, Look] | None = None,
) -> MadeBatch:
    """Choose frames and write the batch; for a chosen frame that is no picture the next candidate is taken.

    Args:
        store: the store root.
        archive: holds the frames.
        pool: the candidates.
        budget: most frames that people will label.
        seed: see ``sampling.sample``.
        labelled: image paths to leave out.
        class_names: see ``write_batch``.
        looks: see ``sampling.sample``.
    """
    reader = _BatchReader(archive, _Tables(store).prelabels)
    chosen: list[Sampled] = []
    for _ in range(_ROUNDS):
        chosen = sample(
            pool.candidates,
            budget,
            seed=seed,
            labelled={*labelled, *reader.left_out},
            class_counts=pool.class_counts or None,
            looks=looks,
        )
        if not reader.read(chosen):
            break
    chosen = [one for one in chosen if one.image_path in reader.frames]
    manifest = _write(store, reader, chosen, class_names) if chosen else None
    return MadeBatch(manifest, reader.left_out, reader.boxes_left_out)


def write_batch(
    store: ObjectStore,
    archive: Archive,
    sampled: Sequence[Sampled],
    *,
    class_names: Sequence[str],
    prelabels: Mapping[str, PreLabels] | None = None,
) -> BatchManifest:
    """Copy exactly these frames out of the archive and write the batch.

    Args:
        store: the store root.
        archive: holds the frames; range reads, neighbours together.
        sampled: from ``sampling.sample``.
        class_names: classes that people may choose, in order; classes of pre-labels are added.
        prelabels: the model's boxes by image path.

    Returns:
        The manifest, as it lies in the store.

    Raises:
        BadInputError: nothing was sampled, or a frame is in no archive or is no picture.
    """
    if not sampled:
        raise BadInputError("no frame was sampled, so there is no batch; archive more hours or raise the budget")
    known = prelabels or {}
    reader = _BatchReader(archive, lambda path: known.get(path, NO_PRELABELS))
    if reader.read(sampled):
        raise BadInputError(next(iter(reader.left_out.values())))
    return _write(store, reader, sampled, class_names)


@dataclass(frozen=True)
class _BatchFrame:
    """A frame that can be labelled: where it lies, its copy's name and size, and the guesses, upright."""

    location: FrameLocation
    ending: str
    width: int
    height: int
    prelabels: PreLabels

    def item(self, chosen: Sampled) -> BatchItem:
        path = PurePosixPath(chosen.image_path)
        # Tools flatten folders and rename nothing else: camera and hash keep a base name unique over all batches.
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in path.stem)[:80]
        return BatchItem(
            file=f"{path.parts[0]}_{safe}_{self.location.sha256[:12]}{self.ending}",
            image_path=chosen.image_path,
            camera_id=path.parts[0],
            captured_at=frame_time(path.name),
            reason=chosen.reason,
            source=self.location.source,
            sha256=self.location.sha256,
            width=self.width,
            height=self.height,
            predictions=self.prelabels.predictions,
            model_version=self.prelabels.model_version,
        )


class _Tables:
    """The model's boxes of chosen frames: the table of each camera-hour is read once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._renamed = current_names(store)
        self._hours: dict[str, dict[str, PreLabels]] = {}

    def prelabels(self, path: str) -> PreLabels:
        """The boxes of a frame; none where no model has processed it."""
        camera, key, _ = path.split("/")
        table = detections_key(Hour.from_key(key), camera)
        if table not in self._hours:
            try:
                detections = pl.read_parquet(io.BytesIO(self._store.get(table)))
                self._hours[table] = prelabels_from_table(detections, self._renamed)
            except ObjectNotFoundError:
                self._hours[table] = {}
        return self._hours[table].get(path, NO_PRELABELS)


class _BatchReader:
    """Reads chosen frames, each once, and keeps what a batch says of them; pictures are not kept: they may be big."""

    def __init__(self, archive: Archive, prelabels: Callable[[str], PreLabels]) -> None:
        self.archived = ArchivedFrames(archive)
        self.frames: dict[str, _BatchFrame] = {}
        self.left_out: dict[str, str] = {}
        self.boxes_left_out: dict[str, str] = {}
        self._prelabels = prelabels

    def read(self, chosen: Sequence[Sampled]) -> bool:
        """Read those that were not read before; whether any of them had to be left out."""
        before = len(self.left_out)
        paths: dict[tuple[ArchiveRef, str], list[str]] = {}
        for path in sorted({one.image_path for one in chosen} - self.frames.keys() - self.left_out.keys()):
            try:
                location = self.archived.locate(path)
            except UNREADABLE as error:
                self.left_out[path] = str(error)
                continue
            if location is None:
                self.left_out[path] = f"{path} is not in any archive yet; archive its hour, then make the batch again"
                continue
            paths.setdefault((location.source, location.sha256), []).append(path)
        locations = [FrameLocation(source, sha256) for source, sha256 in paths]
        for location, data in self.archived.read_each(locations):
            for path in paths[location.source, location.sha256]:
                self._take(path, location, data)
        return len(self.left_out) > before

    def _take(self, path: str, location: FrameLocation, data: bytes | UserError) -> None:
        try:
            if isinstance(data, UserError):
                raise data
            copy = picture_copy(data, path)
        except UNREADABLE as error:
            self.left_out[path] = str(error)
            return
        known = self._prelabels(path)
        fit = fit_boxes((known.width, known.height), copy.head.stored_size, copy.head.orientation)
        if fit is None:
            self.boxes_left_out[path] = (
                f"{path}: its record is of {known.width}x{known.height}, the picture of {copy.width}x{copy.height}; "
                "its boxes are not shown"
            )
            known = replace(known, predictions=())
        else:
            turned = (one.model_copy(update={"bbox": fit.box(one.bbox)}) for one in known.predictions)
            known = replace(known, predictions=tuple(turned))
        self.frames[path] = _BatchFrame(location, copy.ending, copy.width, copy.height, known)


def _write(
    store: ObjectStore, reader: _BatchReader, chosen: Sequence[Sampled], class_names: Sequence[str]
) -> BatchManifest:
    ordered = sorted(chosen, key=lambda one: one.image_path)
    items = [reader.frames[one.image_path].item(one) for one in ordered]
    names = list(dict.fromkeys([*class_names, *sorted({p.class_name for item in items for p in item.predictions})]))
    content = canonical_json([names, *(item.model_dump(mode="json", by_alias=True) for item in items)])
    batch = f"batch-{hashlib.sha256(content).hexdigest()[:16]}"
    manifest = BatchManifest(batch=batch, class_names=tuple(names), items=tuple(items))
    if store.head(annotation_key(batch, "manifest.json")) is None:
        _write_pictures(store, reader, manifest)
        write_files(store, manifest, [_raw(item, item.file) for item in manifest.items], _readme(manifest))
    return manifest


def _write_pictures(store: ObjectStore, reader: _BatchReader, manifest: BatchManifest) -> None:
    items = {(item.source, item.sha256): item for item in manifest.items if item.source is not None}
    for location, data in reader.archived.read_many(FrameLocation(source, sha256) for source, sha256 in items):
        item = items[location.source, location.sha256]
        copy = picture_copy(data, item.image_path)
        if copy.data != data:  # datasets are of the frame itself, and by then its archive may be in a cold tier
            original = dataset_image_key(item.sha256, item.image_path)
            if store.head(original) is None:
                store.put(original, data)
        key = annotation_key(manifest.batch, f"images/{item.file}")
        if store.head(key) is None:
            store.put(key, copy.data)


def write_files(
    store: ObjectStore,
    manifest: BatchManifest,
    shown: Sequence[RawImage],
    readme: str,
    *,
    notes: Sequence[str] = (),
) -> None:
    """Write everything of a batch but its pictures, the manifest last.

    Args:
        store: the store root.
        manifest: of the batch.
        shown: the images by the names of their files, with the boxes that people see first, as the manifest has them.
        readme: what to do, for who opens the folder.
        notes: a sentence for each image that Label Studio shows with it.
    """
    batch = manifest.batch
    models = sorted({item.model_version for item in manifest.items if item.model_version})
    local = "/data/local-files/?d="
    tasks = [replace(one, name=f"{local}{annotation_key(batch, 'images/')}{one.name}") for one in shown]
    version = ", ".join(models) or None
    files = {
        "coco.json": coco.write(shown, manifest.class_names),
        "label_studio.json": label_studio.write(tasks, as_predictions=True, model_version=version, notes=notes),
        "labeling_config.xml": label_studio.labeling_config(manifest.class_names, with_note=bool(notes)).encode(),
        "README.txt": readme.encode(),
    }
    for file, data in files.items():
        store.put(annotation_key(batch, file), data)
    try:
        store.put_if_absent(annotation_key(batch, "manifest.json"), manifest.to_json())
    except AlreadyExistsError:
        pass  # another run wrote the same batch


def _raw(item: BatchItem, name: str) -> RawImage:
    boxes = [RawBox(p.bbox, p.class_name, confidence=p.confidence) for p in item.predictions]
    return RawImage(name=name, image_path=item.image_path, width=item.width, height=item.height, boxes=boxes)


def _readme(manifest: BatchManifest) -> str:
    return (
        f"{len(manifest.items)} frames to label with: {', '.join(manifest.class_names)}.\n"
        "1. Label Studio: paste labeling_config.xml, import label_studio.json, local storage: the root of this store.\n"
        "   CVAT and others: load images/ and coco.json. Boxes there are a model's guesses: correct them all.\n"
        "2. Box every defect that you can see. No defect: submit the image empty, it counts as a background.\n"
        "3. Export JSON from Label Studio: it tells reviewed images from untouched ones. Others do not: their\n"
        "   images without a box are asked about. Keep the file names of the images.\n"
        "   Pictures that tools show in different ways (turned, TIFF, 16 bit) lie here as upright PNG copies.\n"
        "4. Put the export into labels/inbox/ of this store. What is wrong with it is reported, image by image.\n"
    )
