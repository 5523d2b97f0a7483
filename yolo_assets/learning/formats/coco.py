"""COCO detection JSON: ``images``, ``annotations`` with ``bbox`` ``[x, y, width, height]`` in pixels, ``categories``.

An image in the file counts as reviewed; without annotations it is a background.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage


def read(name: str, document: dict[str, Any]) -> LabelFile:
    """Parse a COCO document.

    Raises:
        BadInputError: lists are missing, or an image has no id or file name.
    """
    for part in ("images", "annotations", "categories"):
        if not isinstance(document.get(part), list):
            raise BadInputError(f"{name} is not COCO: it has no list {part!r}; export COCO JSON again")
    categories = {c.get("id"): c.get("name") for c in document["categories"] if isinstance(c, dict)}
    images: dict[Any, RawImage] = {}
    for entry in document["images"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str) or "id" not in entry:
            raise BadInputError(f"{name} has an image without id and file_name; export COCO JSON again")
        if entry["id"] in images:
            raise BadInputError(f"{name} has two images with id {entry['id']}; export COCO JSON again")
        path = entry.get("image_path")
        images[entry["id"]] = RawImage(
            name=entry["file_name"],
            image_path=path if isinstance(path, str) else None,
            width=_whole(entry.get("width")),
            height=_whole(entry.get("height")),
            annotator=entry["annotator"] if isinstance(entry.get("annotator"), str) else None,
        )
    parsed = LabelFile("coco", list(images.values()))
    for row in document["annotations"]:
        row = row if isinstance(row, dict) else {}
        image = images.get(row.get("image_id"))
        if image is None:
            parsed.orphans.append((f"image id {row.get('image_id')}", f"annotation {row.get('id')} names no image"))
            continue
        box = row.get("bbox")
        if not (isinstance(box, list) and len(box) == 4 and all(_number(v) for v in box)):
            image.problems.append(f"annotation {row.get('id')} has no bbox of four finite numbers")
            continue
        category = categories.get(row.get("category_id"))
        x, y, w, h = box
        image.boxes.append(RawBox((x, y, x + w, y + h), category if isinstance(category, str) else None))
    return parsed


def write(images: Sequence[RawImage], class_names: Sequence[str]) -> bytes:
    """A COCO document. Boxes with a confidence get a ``score``, as prediction files have it.

    Args:
        images: with width, height and boxes in pixels.
        class_names: category ids count from 1 in this order.
    """
    ids = {name: number for number, name in enumerate(class_names, 1)}
    annotations: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, 1):
        entry: dict[str, Any] = {"id": image_id, "file_name": image.name, "width": image.width, "height": image.height}
        entry |= {"image_path": image.image_path} if image.image_path else {}
        entry |= {"annotator": image.annotator} if image.annotator else {}
        entries.append(entry)
        for box in image.boxes:
            x1, y1, x2, y2 = box.xyxy
            row: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": ids[box.class_name or ""],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            annotations.append(row | ({} if box.confidence is None else {"score": box.confidence}))
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return canonical_json({"images": entries, "annotations": annotations, "categories": categories})


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Any) -> int | None:
    return int(value) if _number(value) and value > 0 else None
