"""An annotation batch: the frames people are asked to label, copied out of the archive with the model's first guesses.

Everything a labelling tool needs lies under ``annotation/<batch>/``. The id is made of the content, so a run that
crashed is finished by the next, and asking for the same frames again is the same batch. The manifest is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydantic import ValidationError

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import annotation_key, parse_frame_name
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.learning.archived import ArchivedFrames, Located
from yolo_assets.learning.formats import coco, label_studio
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.records import BatchItem, BatchManifest, Prediction, Sampled
from yolo_assets.storage import AlreadyExistsError, ObjectStore

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Guess:
    """What a model on the line reported for a frame.

    Attributes:
        predictions: its boxes.
        model_version: ``<name>/<version>``.
    """

    predictions: tuple[Prediction, ...]
    model_version: str | None


def guesses_from_table(detections: pl.DataFrame) -> dict[str, Guess]:
    """Guesses by image path, from the detections table.

    Args:
        detections: columns ``image_path``, ``class``, ``confidence``, ``x1``, ``y1``, ``x2``, ``y2``,
            ``model_version``.

    Returns:
        Only detections whose class name can be a label; a foreign producer's others cannot be corrected in a tool.
    """
    found: dict[str, list[Prediction]] = {}
    models: dict[str, str] = {}
    columns = ("image_path", "class", "confidence", "x1", "y1", "x2", "y2", "model_version")
    for path, name, confidence, *box, model in detections.select(columns).iter_rows():
        models[path] = model
        try:
            guess = Prediction.model_validate({"bbox": tuple(box), "class": name, "confidence": confidence})
        except ValidationError:
            continue
        found.setdefault(path, []).append(guess)
    return {path: Guess(tuple(found.get(path, ())), model) for path, model in models.items()}


def write_batch(
    store: ObjectStore,
    archive: ObjectStore,
    trusted: TrustedKeys,
    sampled: Sequence[Sampled],
    *,
    class_names: Sequence[str],
    guesses: Mapping[str, Guess] | None = None,
) -> BatchManifest:
    """Copy frames out of the archive and write the batch.

    Args:
        store: the store root.
        archive: the archive root; range reads, neighbours together.
        trusted: keys whose receipts count.
        sampled: from ``sampling.sample``.
        class_names: classes that people may choose, in order; classes of guesses are added.
        guesses: the model's boxes by image path.

    Returns:
        The manifest, as it lies in the store.

    Raises:
        BadInputError: nothing was sampled, or a frame is in no archive or is no picture.
    """
    if not sampled:
        raise BadInputError("no frame was sampled, so there is no batch; archive more hours or raise the budget")
    frames = ArchivedFrames(archive, trusted)
    pictures: dict[str, bytes] = {}
    items: list[BatchItem] = []
    located: dict[str, Located] = {}
    wanted = sorted(sampled, key=lambda s: s.image_path)
    for chosen in wanted:
        found = frames.locate(chosen.image_path)
        if found is None:
            raise BadInputError(
                f"{chosen.image_path} is in no archive yet; archive its hour, then make the batch again"
            )
        located[chosen.image_path] = found
    data_of = {(found.source, found.sha256): data for found, data in frames.read_many(located.values())}
    for chosen in wanted:
        found = located[chosen.image_path]
        data = data_of[found.source, found.sha256]
        item = _item(chosen, found, data, (guesses or {}).get(chosen.image_path, Guess((), None)))
        pictures[item.file] = data
        items.append(item)
    names = list(dict.fromkeys([*class_names, *sorted({p.class_name for item in items for p in item.predictions})]))
    content = canonical_json([names, *(item.model_dump(mode="json", by_alias=True) for item in items)])
    batch = f"batch-{hashlib.sha256(content).hexdigest()[:16]}"
    manifest = BatchManifest(batch=batch, class_names=tuple(names), items=tuple(items))
    if store.head(annotation_key(batch, "manifest.json")) is None:
        _write(store, manifest, pictures)
    return manifest


def _item(chosen: Sampled, found: Located, data: bytes, guess: Guess) -> BatchItem:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise BadInputError(f"{chosen.image_path} is no picture that can be decoded; leave it out of the sample")
    height, width = picture.shape[:2]
    path = PurePosixPath(chosen.image_path)
    camera = path.parts[0]
    # Tools flatten folders and rename nothing else: camera and hash keep a base name unique over all batches.
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in path.stem)[:80]
    return BatchItem(
        file=f"{camera}_{safe}_{found.sha256[:12]}.jpg",
        image_path=chosen.image_path,
        camera_id=camera,
        captured_at=parse_frame_name(path.name),
        reason=chosen.reason,
        source=found.source,
        sha256=found.sha256,
        width=width,
        height=height,
        predictions=guess.predictions,
        model_version=guess.model_version,
    )


def _write(store: ObjectStore, manifest: BatchManifest, pictures: Mapping[str, bytes]) -> None:
    batch = manifest.batch
    for file, data in sorted(pictures.items()):
        key = annotation_key(batch, f"images/{file}")
        if store.head(key) is None:
            store.put(key, data)
    models = sorted({item.model_version for item in manifest.items if item.model_version})
    local = "/data/local-files/?d="
    tasks = [_raw(item, f"{local}{annotation_key(batch, 'images/')}{item.file}") for item in manifest.items]
    files = {
        "coco.json": coco.write([_raw(item, item.file) for item in manifest.items], manifest.class_names),
        "label_studio.json": label_studio.write(tasks, as_predictions=True, model_version=", ".join(models) or None),
        "labeling_config.xml": label_studio.labeling_config(manifest.class_names).encode(),
        "README.txt": _readme(manifest).encode(),
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
        "3. Export as Label Studio JSON, COCO JSON or YOLO zip. Keep the file names of the images.\n"
        "4. Put the export into labels/inbox/ of this store. What is wrong with it is reported, image by image.\n"
    )
