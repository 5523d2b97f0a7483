"""An annotation batch: the frames people are asked to label, gathered and copied out of the archive with pre-labels.

Everything a labelling tool needs lies under ``annotation/<batch>/``. The id is a hash of the content, so a run that
crashed is finished by the next, and a request for the same frames is the same batch. The manifest is written last.

Frames that no model has processed (a line that has none yet) have no row in the tables; they are found by the indexes
of the archive. Does not belong here: choosing among the candidates (``sampling``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

import cv2
import numpy as np
import polars as pl
from pydantic import ValidationError

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import annotation_key, frame_time, is_frame
from yolo_assets.contracts.times import hours_between
from yolo_assets.learning.archived import ArchivedFrames, FrameLocation
from yolo_assets.learning.formats import coco, label_studio
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.records import BatchItem, BatchManifest, Prediction, Sampled
from yolo_assets.learning.sampling import CandidateFrame, candidates_from_tables
from yolo_assets.storage import AlreadyExistsError, ObjectStore
from yolo_assets.tables.drift import Period, drift_report
from yolo_assets.tables.scan import read_detections, read_frames

REFERENCE = timedelta(days=7)
"""What a camera is compared with, before the time that is sampled."""


@dataclass(frozen=True)
class PreLabels:
    """What a model on the line reported for a frame: shown to people as a first guess.

    Attributes:
        predictions: its boxes.
        model_version: ``<name>/<version>``.
    """

    predictions: tuple[Prediction, ...]
    model_version: str | None


def prelabels_from_table(detections: pl.DataFrame) -> dict[str, PreLabels]:
    """Pre-labels by image path, from the detections table.

    Args:
        detections: columns ``image_path``, ``class``, ``confidence``, ``x1``, ``y1``, ``x2``, ``y2``,
            ``model_version``.

    Returns:
        Only detections whose class name can be a label; a foreign producer's others cannot be corrected in a tool.
    """
    predictions: dict[str, list[Prediction]] = {}
    models: dict[str, str] = {}
    columns = ("image_path", "class", "confidence", "x1", "y1", "x2", "y2", "model_version")
    for path, name, confidence, *box, model in detections.select(columns).iter_rows():
        models[path] = model
        try:
            prediction = Prediction.model_validate({"bbox": tuple(box), "class": name, "confidence": confidence})
        except ValidationError:
            continue
        predictions.setdefault(path, []).append(prediction)
    return {path: PreLabels(tuple(predictions.get(path, ())), model) for path, model in models.items()}


@dataclass(frozen=True)
class FramePool:
    """Frames to choose from, and the model's boxes by image path."""

    candidates: list[CandidateFrame]
    prelabels: dict[str, PreLabels]


def gather_candidates(store: ObjectStore, archive: Archive, start: datetime, end: datetime) -> FramePool:
    """Every archived frame captured in ``[start, end)``.

    Args:
        store: the store root, for the tables.
        archive: receipts and indexes are read, no frame.
        start: aware.
        end: aware.
    """
    frames, detections = read_frames(store, start, end), read_detections(store, start, end)
    before = Period(read_frames(store, start - REFERENCE, start), read_detections(store, start - REFERENCE, start))
    drift = drift_scores(drift_report(before, Period(frames, detections)))
    reported = {c.image_path: c for c in candidates_from_tables(frames, detections, drift=drift)}
    candidates: list[CandidateFrame] = []
    for hour in hours_between(start, end):
        for name in archive.names(hour=hour):
            receipt = archive.receipt(name)
            for member in archive.part(receipt).index():
                path = f"{receipt.camera_id}/{receipt.hour}/{member.name}"
                moment = frame_time(member.name)
                if not is_frame(member.name) or moment is None or not start <= moment < end:
                    continue
                candidates.append(reported.get(path) or CandidateFrame(path, receipt.camera_id, moment))
    return FramePool(candidates, prelabels_from_table(detections))


def drift_scores(report: pl.DataFrame) -> dict[str, float]:
    """How far the output of each drifted camera has moved, 0 to 1; cameras that did not drift are left out.

    Args:
        report: from ``tables.drift.drift_report``.
    """
    scores: dict[str, float] = {}
    for row in report.filter(pl.col("verdict") == "drifted").iter_rows(named=True):
        low, high = sorted((row["rate_before"] or 0.0, row["rate_now"] or 0.0))
        rate = 1 - low / high if high else 0.0
        moved = max(rate, row["class_distance"] or 0.0, row["confidence_distance"] or 0.0)
        scores[row["camera_id"]] = max(moved, scores.get(row["camera_id"], 0.0))
    return scores


def write_batch(
    store: ObjectStore,
    archive: Archive,
    sampled: Sequence[Sampled],
    *,
    class_names: Sequence[str],
    prelabels: Mapping[str, PreLabels] | None = None,
) -> BatchManifest:
    """Copy frames out of the archive and write the batch.

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
    frames = ArchivedFrames(archive)
    pictures: dict[str, bytes] = {}
    items: list[BatchItem] = []
    located: dict[str, FrameLocation] = {}
    ordered = sorted(sampled, key=lambda s: s.image_path)
    for chosen in ordered:
        frame = frames.locate(chosen.image_path)
        if frame is None:
            raise BadInputError(
                f"{chosen.image_path} is in no archive yet; archive its hour, then make the batch again"
            )
        located[chosen.image_path] = frame
    data_of = {(frame.source, frame.sha256): data for frame, data in frames.read_many(located.values())}
    for chosen in ordered:
        frame = located[chosen.image_path]
        data = data_of[frame.source, frame.sha256]
        item = _item(chosen, frame, data, (prelabels or {}).get(chosen.image_path, PreLabels((), None)))
        pictures[item.file] = data
        items.append(item)
    names = list(dict.fromkeys([*class_names, *sorted({p.class_name for item in items for p in item.predictions})]))
    content = canonical_json([names, *(item.model_dump(mode="json", by_alias=True) for item in items)])
    batch = f"batch-{hashlib.sha256(content).hexdigest()[:16]}"
    manifest = BatchManifest(batch=batch, class_names=tuple(names), items=tuple(items))
    if store.head(annotation_key(batch, "manifest.json")) is None:
        _write(store, manifest, pictures)
    return manifest


def _item(chosen: Sampled, frame: FrameLocation, data: bytes, prelabels: PreLabels) -> BatchItem:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if picture is None:
        raise BadInputError(f"{chosen.image_path} is no picture that can be decoded; leave it out of the sample")
    height, width = picture.shape[:2]
    path = PurePosixPath(chosen.image_path)
    camera = path.parts[0]
    # Tools flatten folders and rename nothing else: camera and hash keep a base name unique over all batches.
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in path.stem)[:80]
    return BatchItem(
        file=f"{camera}_{safe}_{frame.sha256[:12]}.jpg",
        image_path=chosen.image_path,
        camera_id=camera,
        captured_at=frame_time(path.name),
        reason=chosen.reason,
        source=frame.source,
        sha256=frame.sha256,
        width=width,
        height=height,
        predictions=prelabels.predictions,
        model_version=prelabels.model_version,
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
