"""Labels put into ``labels/inbox/``: recognised, validated row by row, stored as ``labels/accepted/<sha256>.json``.

Nothing is dropped silently. An image with one bad row is not accepted with the row left out, because an object
without its box teaches a model to overlook it: the whole image waits in ``rejected`` for a corrected file. The inbox
file stays where it is; its hash shows that it was imported. A later file corrects an earlier one, image by image.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import cv2
import numpy as np
import orjson

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import LABELS_ACCEPTED, LABELS_INBOX, annotation_key, check_id, dataset_image_key
from yolo_assets.contracts.times import utc_now
from yolo_assets.learning.formats import coco, label_studio, yolo
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.records import AcceptedLabels, BatchItem, BatchManifest, LabelBox, LabelledImage, Rejected
from yolo_assets.storage import AlreadyExistsError, ObjectStore

TOLERANCE = 1.5
"""Pixels by which a box may reach outside the image and is clipped: tools round coordinates."""

MIN_SIDE = 1.0
"""Pixels below which the side of a box is a slip of the hand."""

_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")
"""Label Studio puts eight digits before the name of an uploaded file."""


@dataclass
class FileReport:
    """The result of importing one inbox file.

    Attributes:
        file: its key.
        accepted_key: where its labels are now; None when it could not be read at all.
        images: images accepted.
        boxes: boxes accepted.
        backgrounds: accepted images without a box.
        unreviewed: images in it that no one labelled yet.
        problems: one line for each thing that was not accepted.
        imported_before: the file was imported before; nothing was done.
    """

    file: str
    accepted_key: str | None = None
    images: int = 0
    boxes: int = 0
    backgrounds: int = 0
    unreviewed: int = 0
    problems: list[str] = field(default_factory=list)
    imported_before: bool = False


@dataclass
class ImportReport:
    """The result of an import, file by file."""

    files: list[FileReport] = field(default_factory=list)

    @property
    def new(self) -> list[FileReport]:
        """Files that were not imported before."""
        return [report for report in self.files if not report.imported_before]

    @property
    def images(self) -> int:
        """Images newly accepted."""
        return sum(report.images for report in self.new)

    @property
    def problems(self) -> list[str]:
        """Every problem of a new file as ``file: image: what``."""
        return [f"{PurePosixPath(r.file).name}: {problem}" for r in self.new for problem in r.problems]


class BatchImages:
    """Images that a label may be about: those of the batches that were handed out."""

    def __init__(self, batches: Collection[BatchManifest]) -> None:
        self._by_path: dict[str, LabelledImage] = {}
        self._by_file: dict[str, LabelledImage] = {}
        for batch in batches:
            for item in batch.items:
                image = _unlabelled(item, annotation_key(batch.batch, f"images/{item.file}"))
                self._by_path[item.image_path] = image
                self._by_file[PurePosixPath(item.file).stem] = image

    def find(self, image: RawImage) -> LabelledImage | None:
        """The image without boxes: by our own path when the tool carried it along, else by file name."""
        if image.image_path is not None and image.image_path in self._by_path:
            return self._by_path[image.image_path]
        stem = PurePosixPath(image.name.replace("\\", "/")).stem
        return self._by_file.get(stem) or self._by_file.get(_UPLOAD_PREFIX.sub("", stem, count=1))


def _unlabelled(item: BatchItem, copy_key: str) -> LabelledImage:
    return LabelledImage(
        image_path=item.image_path,
        sha256=item.sha256,
        width=item.width,
        height=item.height,
        boxes=(),
        camera_id=item.camera_id,
        captured_at=item.captured_at,
        source=item.source,
        copy_key=copy_key,
    )


def batches(store: ObjectStore) -> list[BatchManifest]:
    """Every annotation batch of a store, by key."""
    return [
        BatchManifest.from_json(store.get(info.key), info.key)
        for info in store.list("annotation/")
        if info.key.count("/") == 2 and info.key.endswith("/manifest.json")
    ]


def accepted(store: ObjectStore) -> list[AcceptedLabels]:
    """Every imported file, oldest first: where two label an image, the later one counts."""
    imported = [
        AcceptedLabels.from_json(store.get(info.key), info.key)
        for info in store.list(LABELS_ACCEPTED)
        if info.key.endswith(".json")
    ]
    return sorted(imported, key=lambda labels: (labels.imported_at, labels.source_sha256))


def import_inbox(store: ObjectStore, class_names: Collection[str] | None = None) -> ImportReport:
    """Import every file of the inbox that was not imported before.

    Args:
        store: the store root.
        class_names: classes that are allowed; None allows any well-formed name.

    Returns:
        One report a file. A file that cannot be read is reported and tried again next time: it may still be growing.
    """
    report = ImportReport()
    images: BatchImages | None = None
    for info in store.list(LABELS_INBOX):
        name = info.key.removeprefix(LABELS_INBOX)
        if PurePosixPath(name).name.startswith("."):
            continue
        data = store.get(info.key)
        digest = hashlib.sha256(data).hexdigest()
        key = f"{LABELS_ACCEPTED}{digest}.json"
        if store.head(key) is not None:
            report.files.append(FileReport(info.key, key, imported_before=True))
            continue
        images = images or BatchImages(batches(store))
        try:
            parsed = parse(name, data)
        except BadInputError as error:
            report.files.append(FileReport(info.key, problems=[str(error)]))
            continue
        labels = validate(parsed, images, class_names, source_file=name, source_sha256=digest, pictures=store)
        try:
            store.put_if_absent(key, labels.to_json())
        except AlreadyExistsError:
            pass  # another importer read the same bytes first; its record is the same
        report.files.append(_file_report(info.key, key, labels))
    return report


def parse(name: str, data: bytes) -> LabelFile:
    """Recognise a label file by its content and parse it.

    Args:
        name: for messages.
        data: the file.

    Raises:
        BadInputError: none of the three formats, or broken.
    """
    if data[:4] == b"PK\x03\x04":
        return yolo.read(name, data)
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadInputError(
            f"{name} is neither JSON nor a zip ({error}); export COCO JSON, Label Studio JSON or a YOLO zip"
        ) from None
    if isinstance(document, list):
        return label_studio.read(name, document)
    if isinstance(document, dict) and isinstance(document.get("images"), list):
        return coco.read(name, document)
    raise BadInputError(
        f"{name} is JSON of an unknown kind; export it as COCO JSON or as Label Studio JSON (not JSON-MIN)"
    )


def validate(
    parsed: LabelFile,
    batch_images: BatchImages,
    class_names: Collection[str] | None,
    *,
    source_file: str,
    source_sha256: str,
    pictures: ObjectStore | None = None,
) -> AcceptedLabels:
    """Accept or reject every image of a parsed file.

    Args:
        parsed: from ``parse``.
        batch_images: images that labels may be about.
        class_names: classes that are allowed; None allows any well-formed name.
        source_file: name of the inbox file.
        source_sha256: its hash.
        pictures: where images that came with the labels are stored, once by hash.
    """
    images: dict[str, LabelledImage] = {}
    rejected = [Rejected(image=name, reason=problem) for name, problem in parsed.orphans]
    for raw in parsed.images:
        problems = list(raw.problems)
        target = _target(raw, batch_images, problems)
        boxes = tuple(_boxes(raw, target, class_names, problems)) if target else ()
        if target and target.image_path in images:
            problems.append("the file labels this image twice; leave one of the two")
        if problems or target is None:
            rejected += [Rejected(image=raw.name, reason=problem) for problem in problems]
            continue
        if raw.data is not None and target.source is None and pictures is not None:
            _store_image(pictures, target.sha256, raw.data)
        images[target.image_path] = target.model_copy(update={"boxes": boxes, "annotator": raw.annotator})
    return AcceptedLabels(
        source_file=source_file,
        source_sha256=source_sha256,
        format=parsed.format,
        imported_at=utc_now(),
        images=tuple(images[path] for path in sorted(images)),
        rejected=tuple(rejected),
        unreviewed=parsed.unreviewed,
    )


def _target(raw: RawImage, batch_images: BatchImages, problems: list[str]) -> LabelledImage | None:
    """The image that the labels are about, without its boxes; None adds the reason to ``problems``."""
    item = batch_images.find(raw)
    if item is not None:
        if (raw.width or item.width, raw.height or item.height) != (item.width, item.height):
            problems.append(
                f"labelled at {raw.width}x{raw.height}, but the image has {item.width}x{item.height}; label that"
            )
        return item
    if raw.data is None:
        problems.append(
            "unknown image: in no annotation batch; keep the file names of the batch, or send a zip with images"
        )
        return None
    picture = cv2.imdecode(np.frombuffer(raw.data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        problems.append("the image in the zip cannot be decoded")
        return None
    digest = hashlib.sha256(raw.data).hexdigest()
    height, width = picture.shape[:2]
    return LabelledImage(image_path=f"imported/{digest}.jpg", sha256=digest, width=width, height=height, boxes=())


def _boxes(
    raw: RawImage, target: LabelledImage, class_names: Collection[str] | None, problems: list[str]
) -> Iterator[LabelBox]:
    for number, box in enumerate(raw.boxes, 1):
        class_problem = _class_problem(box, class_names)
        if class_problem:
            problems.append(f"box {number}: {class_problem}")
            continue
        scale = (target.width, target.height) if box.unit == "fraction" else (1, 1)
        x1, y1, x2, y2 = (v * scale[i % 2] for i, v in enumerate(box.xyxy))
        shown = f"[{x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f}]"
        outside = max(-x1, -y1, x2 - target.width, y2 - target.height)
        if outside > TOLERANCE:
            problems.append(
                f"box {number}: {shown} lies {outside:.1f} px outside the {target.width}x{target.height} image"
            )
            continue
        x1, x2 = (min(max(v, 0.0), float(target.width)) for v in (x1, x2))
        y1, y2 = (min(max(v, 0.0), float(target.height)) for v in (y1, y2))
        if min(x2 - x1, y2 - y1) < MIN_SIDE:
            problems.append(f"box {number}: {shown} is less than {MIN_SIDE:g} px wide or high")
            continue
        # A hundredth of a pixel: what three formats can carry without loss, and more than anyone can draw.
        yield LabelBox.model_validate(
            {"bbox": tuple(round(v, 2) for v in (x1, y1, x2, y2)), "class": box.class_name or ""}
        )


def _class_problem(box: RawBox, class_names: Collection[str] | None) -> str | None:
    if box.class_name is None:
        return "it names no class, or more than one"
    if class_names is not None and box.class_name not in class_names:
        return f"unknown class {box.class_name!r}; known are {', '.join(sorted(class_names))}"
    try:
        check_id(box.class_name, "class name")
    except BadInputError as error:
        return str(error)
    return None


def _store_image(store: ObjectStore, digest: str, data: bytes) -> None:
    try:
        store.put_if_absent(dataset_image_key(digest), data)
    except AlreadyExistsError:
        pass


def _file_report(file: str, key: str, labels: AcceptedLabels) -> FileReport:
    return FileReport(
        file=file,
        accepted_key=key,
        images=len(labels.images),
        boxes=sum(len(image.boxes) for image in labels.images),
        backgrounds=sum(not image.boxes for image in labels.images),
        unreviewed=labels.unreviewed,
        problems=[f"{rejected.image}: {rejected.reason}" for rejected in labels.rejected],
    )
