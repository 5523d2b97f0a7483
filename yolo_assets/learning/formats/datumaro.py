"""Datumaro JSON: ``items`` with ``annotations``, whose ``label_id`` counts in ``categories``; alone or in a zip.

labelformat does not read it. An item without boxes is a background only if somebody says so: the format does not tell
which items were looked at. CVAT writes the turn of a box as its attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from yolo_assets.contracts.base import is_json_object
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.values import shown

_BESIDE = ("label", "caption")
"""Annotations of an image that mark no object."""


def is_datumaro(document: object) -> bool:
    """Whether a JSON document is of this kind, complete or not."""
    return is_json_object(document) and isinstance(document.get("items"), list) and "categories" in document


def read(name: str, document: dict[str, Any]) -> LabelFile:
    """Parse a document.

    Raises:
        BadInputError: it names no classes.
    """
    labels = _class_names(name, document["categories"])
    infos = document["infos"] if is_json_object(document.get("infos")) else {}
    told = (values.moment(infos.get(key)) for key in ("updated_at", "updated"))
    updated = next((moment for moment in told if moment is not None), None)
    parsed = LabelFile("datumaro", [], tool="Datumaro", updated_at=updated)
    for number, item in enumerate(document["items"], 1):
        try:
            parsed.images.append(_image(item, labels))
        except BadInputError as error:
            parsed.orphans.append((f"item {number}", str(error)))
    return parsed


def _class_names(name: str, categories: Any) -> Sequence[Any]:
    label = categories.get("label") if is_json_object(categories) else None
    names = label.get("labels") if is_json_object(label) else None
    if not isinstance(names, list):
        raise BadInputError(f"{name} names no classes: it has no list categories.label.labels; export it again")
    return [entry.get("name") if is_json_object(entry) else None for entry in names]


def _image(item: Any, labels: Sequence[Any]) -> RawImage:
    if not is_json_object(item):
        raise BadInputError(f"is not an object but {shown(item)}")
    media = next((item[key] for key in ("image", "media") if is_json_object(item.get(key))), {})
    path, item_id = values.name(media.get("path")), values.name(item.get("id"))
    name = path or item_id
    if name is None:
        raise BadInputError("has neither an id nor the path of an image")
    attributes = item["attr"] if is_json_object(item.get("attr")) else {}
    size = media.get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
    image = RawImage(
        name=name,
        other_names=(item_id,) if item_id is not None and item_id != name else (),
        width=values.whole(width),
        height=values.whole(height),
        reviewed_at=values.moment(attributes.get("updated_at")),
    )
    annotations = item.get("annotations")
    if not isinstance(annotations, list):
        image.problems.append(f"has annotations that are not a list but {shown(annotations)}; export it again")
        return image
    for number, row in enumerate(annotations, 1):
        try:
            if not is_json_object(row):
                raise BadInputError(f"is not an object but {shown(row)}")
            if row.get("type") not in _BESIDE:
                image.boxes.append(_box(row, labels))
        except BadInputError as error:
            image.problems.append(f"annotation {number} {error}")
    return image


def _box(row: dict[str, Any], labels: Sequence[Any]) -> RawBox:
    attributes = row["attributes"] if is_json_object(row.get("attributes")) else {}
    values.refuse_a_region(attributes)
    kind, turned = row.get("type"), attributes.get("rotation")
    if kind == "bbox":
        x, y, w, h = _numbers(row.get("bbox"), 4)
    elif kind == "rotated_bbox":
        cx, cy, w, h, turned = _numbers(row.get("points"), 5)
        x, y = cx - w / 2, cy - h / 2
    else:
        raise BadInputError(f"is a {shown(kind)}, not a box; draw rectangles")
    rotation = values.rotation(turned)
    if rotation is None:
        raise BadInputError(f"is turned by {shown(turned)}, which is not a number of degrees")
    number = values.number(row.get("label_id"))
    known = number is not None and number.is_integer() and 0 <= number < len(labels)
    class_name = values.name(labels[int(number)]) if known and number is not None else None
    score = values.number(attributes.get("score"))
    return RawBox((x, y, x + w, y + h), class_name, confidence=score, rotation=rotation)


def _numbers(written: Any, count: int) -> list[float]:
    numbers = [values.number(value) for value in written] if isinstance(written, list) else []
    found = [number for number in numbers if number is not None]
    if len(found) != count or len(numbers) != count:
        raise BadInputError(f"has no box of {count} finite numbers")
    return found
