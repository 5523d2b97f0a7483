"""A store with the batch of the foreign files, and label files made on the spot. No test lives here."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.learning.label_history import LabelHistory, read_history
from yolo_assets.learning.labels import FileReport, import_inbox
from yolo_assets.learning.records import LabelledImage
from yolo_assets.storage import ObjectStore, open_store

FOREIGN = Path(__file__).parents[1] / "foreign" / "labels"
CLASSES = ("crack", "dent")
FILES = [item["file"] for item in json.loads((FOREIGN / "annotation/batch-1/manifest.json").read_text())["items"]]
"""Names of the eight images of the batch, 160x120 each."""


class Inbox:
    """Brings label files into a store of its own and tells what came of them."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(FOREIGN / "annotation", folder / "store" / "annotation")
        self.store: ObjectStore = open_store((folder / "store").as_uri())

    def bring(
        self, data: bytes | Any, name: str = "export", classes: tuple[str, ...] | None = CLASSES, options: str = ""
    ) -> FileReport:
        """Import one file: bytes, or a document that becomes JSON."""
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        if options:
            self.store.put(f"{LABELS_INBOX}{name}.import.yaml", options.encode())
        self.store.put(f"{LABELS_INBOX}{name}", content)
        return next(r for r in import_inbox(self.store, classes).files if r.file == f"{LABELS_INBOX}{name}")

    def images(self) -> dict[str, LabelledImage]:
        """The labels that count, by the second of the frame for those of the batch."""
        found = [one.image for one in self.history().counting().values()]
        name = {i.image_path: i.image_path.removesuffix("_000.jpg")[-1] for i in found if i.camera_id}
        return {name.get(image.image_path, image.image_path): image for image in sorted(found, key=_by_path)}

    def history(self) -> LabelHistory:
        """All that was said about the images."""
        return read_history(self.store)

    def boxes(self) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
        """Class and corners of each box, by image as ``images`` has it."""
        return {key: [(b.class_name, b.bbox) for b in image.boxes] for key, image in self.images().items()}


def _by_path(image: LabelledImage) -> str:
    return image.image_path


def coco(*images: list[dict[str, Any]], categories: Any = None, **more: Any) -> dict[str, Any]:
    """A COCO document: for each image of the batch, in order, its annotations; ids are filled in."""
    rows: list[dict[str, Any]] = []
    for image_id, found in enumerate(images, 1):
        for row in found:
            rows.append({"id": len(rows) + 1, "image_id": image_id, "category_id": 1} | row)
    return {
        "images": [
            {"id": n, "file_name": FILES[n - 1], "width": 160, "height": 120} for n in range(1, len(images) + 1)
        ],
        "annotations": rows,
        "categories": categories or [{"id": 1, "name": "crack"}, {"id": 2, "name": "dent"}],
    } | more


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def said(report: FileReport) -> str:
    """All problems of a report, a line each."""
    return "\n".join(map(str, report.problems))
