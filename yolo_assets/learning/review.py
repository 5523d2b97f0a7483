"""Suspicious labels of the current dataset, and a batch in which people look at them again.

The deployed model looks at every picture of the dataset, its labels are compared with what it reports and with earlier
rounds, and the most suspicious images become a batch under ``annotation/``: with the labels as they are, and a sentence
on each doubt. Its corrected export goes into the inbox like any other. Nothing is changed here. Does not
belong here: what is suspicious (``suspicion``), fetching a model (the caller).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import LABEL_SUSPECTS, annotation_key, dataset_image_key
from yolo_assets.learning.archived import UNREADABLE
from yolo_assets.learning.batch import write_files
from yolo_assets.learning.dataset import Dataset, latest_dataset
from yolo_assets.learning.formats.base import RawBox, RawImage
from yolo_assets.learning.label_history import read_history
from yolo_assets.learning.picture_copy import picture_copy
from yolo_assets.learning.records import (
    BatchItem,
    BatchManifest,
    DatasetItem,
    LabelBox,
    Prediction,
    Split,
)
from yolo_assets.learning.suspicion import (
    LOWEST_CONFIDENCE,
    LabelSuspicion,
    SuspectKind,
    suspicions,
    two_looks,
)
from yolo_assets.storage import ObjectNotFoundError, ObjectStore
from yolo_assets.vision.detections import Detections
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import decode_image

IMAGES = 50
"""Images of a review batch, where nobody says another number."""

LEAST_SCORE = 0.2
"""Below, a doubt is not worth a person's time."""


class Suspect(Record):
    """One thing in the labels of one image that may be wrong."""

    image_path: str
    sha256: str
    split: Split
    kind: SuspectKind
    score: float = Field(ge=0, le=1, description="how sure that is")
    labelled: LabelBox | None = Field(default=None, description="the label; None where one may be missing")
    reported: Prediction | None = Field(default=None, description="what the model reports there")
    earlier: LabelBox | None = Field(default=None, description="what another round of labels says there")

    @property
    def sentence(self) -> str:
        """For the person who looks at the image."""
        said = [
            *([f"the model says {self.reported.class_name} {self.reported.confidence:.2f}"] if self.reported else []),
            *([f"another round says {self.earlier.class_name}"] if self.earlier else []),
        ]
        box = self.labelled or self.reported or self.earlier
        where = f" at {box.bbox[0]:.0f},{box.bbox[1]:.0f}" if box is not None else ""
        what = f"{self.labelled.class_name} " if self.labelled is not None else ""
        return f"{what}{self.kind}?{where}: {', '.join(said)}"


class SuspectReport(Record):
    """``labels/suspects.json``: the suspicious labels of one dataset, the surest first."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: Literal[1] = 1
    asked: str = Field(description="hash of dataset, labels, model and limit: the same again is not looked at again")
    dataset: str
    model_version: str | None = Field(default=None, description="None: no model is released; rounds were compared")
    images: int = Field(ge=0, description="pictures that were looked at")
    suspects: tuple[Suspect, ...] = ()
    batch: str | None = Field(default=None, description="where people look at them again; None when there are none")
    unreadable: dict[str, str] = Field(default_factory=dict, description="image path to why it was not looked at")


def review_labels(
    store: ObjectStore,
    model: Model | None,
    *,
    limit: int = IMAGES,
    on_image: Callable[[], None] | None = None,
) -> SuspectReport:
    """Look at the newest dataset, and write the review batch.

    Args:
        store: the store root.
        model: the model that serves; without one only rounds of labels are compared.
        limit: most images that people look at again.
        on_image: called after each picture.

    Returns:
        The report as it lies in the store; that of before when nothing has changed.

    Raises:
        BadInputError: there is no dataset yet.
    """
    dataset = latest_dataset(store)
    if dataset is None:
        raise BadInputError("there is no dataset yet; import labels, then run: yolo-assets datasets build")
    earlier = _other_rounds(store, dataset)
    version = model.manifest.model_version if model is not None else None
    rounds = {sha256: [box.model_dump(mode="json") for box in boxes] for sha256, boxes in earlier.items()}
    asked = hashlib.sha256(canonical_json([2, dataset.sha256, version, limit, rounds])).hexdigest()
    before = read_suspects(store)
    if before is not None and before.asked == asked:
        return before
    unreadable: dict[str, str] = {}
    suspects = _suspects(store, dataset, model, earlier, unreadable, on_image)
    images = list(dict.fromkeys(one.sha256 for one in suspects))[:limit]
    chosen = tuple(one for one in suspects if one.sha256 in set(images))
    batch = _write_batch(store, dataset, images, chosen, version) if images else None
    report = SuspectReport(
        asked=asked,
        dataset=dataset.sha256,
        model_version=version,
        images=len(dataset.manifest.items) - len(unreadable),
        suspects=chosen,
        batch=batch,
        unreadable=unreadable,
    )
    store.put(LABEL_SUSPECTS, report.to_json())
    return report


def read_suspects(store: ObjectStore) -> SuspectReport | None:
    """The last report; None before the first."""
    try:
        return SuspectReport.from_json(store.get(LABEL_SUSPECTS), LABEL_SUSPECTS)
    except ObjectNotFoundError:
        return None


def _other_rounds(store: ObjectStore, dataset: Dataset) -> dict[str, tuple[LabelBox, ...]]:
    """Labels that differ from those that count, by SHA-256, of images where nobody settled which are right."""
    inside = {item.sha256 for item in dataset.manifest.items}
    found: dict[str, tuple[LabelBox, ...]] = {}
    for conflict in read_history(store).conflicts():
        sha256 = conflict.counts.image.sha256
        if conflict.other is not None and sha256 in inside:
            found[sha256] = conflict.other.image.boxes  # the newest that differs stays
    return found


def _suspects(
    store: ObjectStore,
    dataset: Dataset,
    model: Model | None,
    earlier: Mapping[str, tuple[LabelBox, ...]],
    unreadable: dict[str, str],
    on_image: Callable[[], None] | None,
) -> list[Suspect]:
    names = list(dict.fromkeys([*dataset.manifest.class_names, *(model.manifest.class_names if model else ())]))
    names += sorted({box.class_name for boxes in earlier.values() for box in boxes} - set(names))
    items: list[DatasetItem] = []
    reports: list[Detections] = []
    for item in dataset.manifest.items:
        try:
            reports.append(_report(store, item, model, names))
            items.append(item)
        except UNREADABLE as error:
            unreadable[item.image_path] = str(error)
        if on_image is not None:
            on_image()
    labels = [_boxes(item.boxes, names) for item in items]
    rounds = {place: _boxes(earlier[item.sha256], names) for place, item in enumerate(items) if item.sha256 in earlier}
    found = [one for one in suspicions(labels, reports, rounds) if one.score >= LEAST_SCORE]
    return [_suspect(one, items[one.image], reports[one.image], names, earlier) for one in found]


def _report(store: ObjectStore, item: DatasetItem, model: Model | None, names: Sequence[str]) -> Detections:
    """What the model reports in a picture and in its mirror image, classes numbered as in ``names``."""
    if model is None:
        return Detections.empty()
    picture = decode_image(store.get(dataset_image_key(item.sha256, item.image_path)), item.image_path)
    found = look_twice(model, picture)
    ids = [names.index(model.manifest.class_names[kind]) for kind in found.class_id]
    return Detections.of(found.xyxy, ids, found.confidence)


def look_twice(model: Model, picture: NDArray[np.uint8]) -> Detections:
    """What a model reports in a picture and in its mirror image: a second opinion at the price of one more look.

    Args:
        model: finds objects.
        picture: uint8 ``[h, w, 3]``, BGR.
    """
    plain = model.predict(picture, confidence=LOWEST_CONFIDENCE)
    turned = model.predict(np.ascontiguousarray(picture[:, ::-1]), confidence=LOWEST_CONFIDENCE)
    boxes = turned.xyxy.copy()
    boxes[:, [0, 2]] = picture.shape[1] - boxes[:, [2, 0]]
    both = two_looks(plain, Detections.of(boxes, turned.class_id, turned.confidence))
    kept = both.confidence >= LOWEST_CONFIDENCE
    return Detections.of(both.xyxy[kept], both.class_id[kept], both.confidence[kept])


def _boxes(boxes: Sequence[LabelBox], names: Sequence[str]) -> Detections:
    return Detections.of([box.bbox for box in boxes], [names.index(box.class_name) for box in boxes])


def _suspect(
    one: LabelSuspicion,
    item: DatasetItem,
    report: Detections,
    names: Sequence[str],
    earlier: Mapping[str, tuple[LabelBox, ...]],
) -> Suspect:
    reported = None
    if one.report is not None:
        box = tuple(round(float(side), 2) for side in report.xyxy[one.report])
        values = {"class": names[report.class_id[one.report]], "confidence": float(report.confidence[one.report])}
        reported = Prediction.model_validate({"bbox": box, **values})
    return Suspect(
        image_path=item.image_path,
        sha256=item.sha256,
        split=item.split,
        kind=one.kind,
        score=round(one.score, 4),
        labelled=item.boxes[one.label] if one.label is not None else None,
        reported=reported,
        earlier=earlier[item.sha256][one.earlier] if one.earlier is not None else None,
    )


def _write_batch(
    store: ObjectStore, dataset: Dataset, images: Sequence[str], suspects: Sequence[Suspect], version: str | None
) -> str:
    """Write the batch, the most suspicious image first; returns its id."""
    items, shown, notes = list[BatchItem](), list[RawImage](), list[str]()
    pictures: dict[str, bytes] = {}
    of_image = {item.sha256: item for item in dataset.manifest.items}
    for item in (of_image[sha256] for sha256 in images):
        copy = picture_copy(store.get(dataset_image_key(item.sha256, item.image_path)), item.image_path)
        doubts = [one for one in suspects if one.sha256 == item.sha256]
        stem = PurePosixPath(item.image_path).stem
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem)[:80]
        file = f"{item.camera_id or 'image'}_{safe}_{item.sha256[:12]}{copy.ending}"
        pictures[file] = copy.data
        items.append(
            BatchItem(
                file=file,
                image_path=item.image_path,
                camera_id=item.camera_id or "image",
                captured_at=item.captured_at,
                reason="suspect",
                source=item.source,
                sha256=item.sha256,
                width=item.width,
                height=item.height,
                predictions=tuple(one.reported for one in doubts if one.reported is not None),
                model_version=version,
            )
        )
        boxes = [RawBox(box.bbox, box.class_name) for box in item.boxes]
        shown.append(RawImage(name=file, image_path=item.image_path, width=item.width, height=item.height, boxes=boxes))
        notes.append("; ".join(one.sentence for one in doubts))
    content = canonical_json([dataset.sha256, notes, *(item.model_dump(mode="json", by_alias=True) for item in items)])
    batch = f"review-{hashlib.sha256(content).hexdigest()[:16]}"
    names = dataset.manifest.class_names
    for file, data in pictures.items():
        key = annotation_key(batch, f"images/{file}")
        if store.head(key) is None:
            store.put(key, data)
    manifest = BatchManifest(batch=batch, class_names=names, items=tuple(items))
    write_files(store, manifest, shown, _readme(manifest), notes=notes)
    return batch


def _readme(manifest: BatchManifest) -> str:
    return (
        f"{len(manifest.items)} labelled images in which something may be wrong, the most suspicious first.\n"
        "1. Label Studio: paste labeling_config.xml, import label_studio.json, local storage: the root of this store.\n"
        "   The boxes are the labels as they are; the line above the picture says what may be wrong.\n"
        "   CVAT and others: load images/ and coco.json.\n"
        "2. Correct what is wrong and submit; submit what is right as it is.\n"
        "3. Export JSON from Label Studio and put it into labels/inbox/ of this store, or run:\n"
        "   yolo-assets labels import FILE\n"
    )
