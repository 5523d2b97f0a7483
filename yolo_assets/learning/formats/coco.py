"""COCO detection JSON: ``images``, ``annotations`` with ``bbox`` ``[x, y, width, height]`` in pixels, ``categories``.

An image without annotations is a background, if nothing speaks against it: COCO does not tell an image that somebody
reviewed from one that nobody opened. Keys of our own in the image's entry tell it: ``reviewed``, ``annotator`` (who it
was) and ``updated_at`` (when). One row that cannot be read holds back its image and no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yolo_assets.contracts.base import canonical_json, is_json_object
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.pictures_in_zip import PictureIndex
from yolo_assets.learning.formats.values import shown

_TOOLS = {"roboflow": "Roboflow", "label studio": "Label Studio", "cvat": "CVAT", "voxel51": "FiftyOne"}
"""By words in ``info``."""


def is_coco(document: object) -> bool:
    """Whether a JSON document is of this kind, complete or not."""
    return is_json_object(document) and isinstance(document.get("images"), list)


def read(name: str, document: dict[str, Any]) -> LabelFile:
    """Parse a COCO document.

    Raises:
        BadInputError: one of the three lists is missing.
    """
    for part in ("images", "annotations", "categories"):
        if not isinstance(document.get(part), list):
            raise BadInputError(f"{name} is not COCO: it has no list {part!r}; export COCO JSON again")
    parsed = LabelFile("coco", [], tool=_tool(document.get("info")))
    images = _images(document["images"], parsed)
    categories = _categories(document["categories"])
    for number, row in enumerate(document["annotations"], 1):
        if not is_json_object(row):
            parsed.orphans.append((f"annotation {number}", f"is not an object but {shown(row)}"))
            parsed.lost += 1
            continue
        called = shown(row["id"]) if values.identifier(row.get("id")) is not None else f"number {number}"
        image_id = values.identifier(row.get("image_id"))
        image = images.get(image_id) if image_id is not None else None
        if image is None:
            what = f"image id {shown(row['image_id'])}" if "image_id" in row else "no image id"
            parsed.orphans.append((what, f"annotation {called} belongs to no image of the file"))
            parsed.lost += 1
            continue
        try:
            image.boxes.append(_box(row, categories))
        except BadInputError as error:
            image.problems.append(f"annotation {called} {error}")
    return parsed


def read_zip(name: str, documents: Mapping[str, dict[str, Any]], files: Mapping[str, bytes]) -> LabelFile:
    """Parse every COCO document of a zip, with the pictures beside them.

    Args:
        name: of the zip, for messages.
        documents: the documents by path.
        files: everything in the zip by path.

    Raises:
        BadInputError: none of the documents can be read; the reason of the first.
    """
    merged, refused = LabelFile("coco", []), list[BadInputError]()
    pictures, used = PictureIndex(files), set[str]()
    for path, document in sorted(documents.items()):
        try:
            parsed = read(f"{path} in {name}", document)
        except BadInputError as error:
            refused.append(error)
            merged.orphans.append((path, str(error)))
            merged.lost += 1
            continue
        for image in parsed.images:
            found = pictures.find(image.name, path)
            used.update(found)
            if len(found) == 1:
                image.data = files[found[0]]
        merged.images += parsed.images
        merged.orphans += parsed.orphans
        merged.lost += parsed.lost
        merged.tool = parsed.tool
    if refused and len(refused) == len(documents):
        raise refused[0]
    merged.unreviewed = len(pictures) - len(used)
    return merged


def _tool(info: Any) -> str | None:
    """The program that wrote the document, where it says so."""
    texts = [text.casefold() for text in info.values() if isinstance(text, str)] if is_json_object(info) else []
    return next((tool for word, tool in _TOOLS.items() if any(word in text for text in texts)), None)


def _images(entries: Sequence[Any], parsed: LabelFile) -> dict[str, RawImage | None]:
    """Images by id; None under an id that two images have. What cannot be read goes to the orphans."""
    images: dict[str, RawImage | None] = {}
    for number, entry in enumerate(entries, 1):
        found = entry if is_json_object(entry) else {}
        file_name, image_id = values.name(found.get("file_name")), values.identifier(found.get("id"))
        if file_name is None or image_id is None:
            named = file_name or f"image {number}"
            lacks = "file_name" if file_name is None else "id that is text or a number"
            parsed.orphans.append((shown(named), f"image {number} of the file has no {lacks}"))
            continue
        image = _image(found, file_name)
        if image_id in images:
            problem = f"two images of the file have the id {shown(image_id)}, so it is not known whose boxes are whose"
            for twin in (images[image_id], image):
                if twin is not None:
                    twin.problems.append(problem)
            images[image_id] = None
        else:
            images[image_id] = image
        parsed.images.append(image)
    return images


def _image(entry: dict[str, Any], file_name: str) -> RawImage:
    extra = entry.get("extra")
    original = values.name(extra.get("name")) if is_json_object(extra) else None  # Roboflow renames and keeps it here
    return RawImage(
        name=file_name,
        other_names=(original,) if original else (),
        image_path=values.name(entry.get("image_path")),
        width=values.whole(entry.get("width")),
        height=values.whole(entry.get("height")),
        annotator=values.name(entry.get("annotator")),
        reviewed=values.yes(entry.get("reviewed")) is True,
        reviewed_at=values.moment(entry.get("updated_at")),
    )


def _categories(entries: Sequence[Any]) -> dict[str, str | None]:
    """Names by id; None where an id has no name, or two."""
    names: dict[str, str | None] = {}
    for entry in entries:
        key = values.identifier(entry.get("id")) if is_json_object(entry) else None
        if key is not None:
            found = values.name(entry.get("name"))
            names[key] = found if names.get(key, found) == found else None
    return names


def _box(row: dict[str, Any], categories: Mapping[str, str | None]) -> RawBox:
    attributes = row["attributes"] if is_json_object(row.get("attributes")) else {}
    for holder in (row, attributes):
        values.refuse_a_region(holder)
    x, y, w, h = _bbox(row)
    turned = next((h[k] for h in (attributes, row) for k in ("rotation", "angle") if k in h), None)
    rotation = values.rotation(turned)
    if rotation is None:
        raise BadInputError(f"is turned by {shown(turned)}, which is not a number of degrees")
    key = values.identifier(row.get("category_id"))
    name = categories.get(key) if key is not None else None
    return RawBox((x, y, x + w, y + h), name, confidence=values.number(row.get("score")), rotation=rotation)


def _bbox(row: dict[str, Any]) -> list[float]:
    """``[x, y, w, h]``, from the outline where there is no box."""
    box, outline = row.get("bbox"), row.get("segmentation")
    if isinstance(box, list) and len(box) == 4:
        numbers = [values.number(v) for v in box]
        found = [n for n in numbers if n is not None]
        if len(found) == 4:
            return found
    if box in (None, []) and outline:
        return _around(outline)
    raise BadInputError("has no bbox of four finite numbers")


def _around(outline: Any) -> list[float]:
    if not isinstance(outline, list):
        raise BadInputError("has a mask and no bbox; export boxes")
    rings = [ring for ring in outline if isinstance(ring, list)]
    numbers = [[values.number(v) for v in ring] for ring in rings]
    flat = [[n for n in ring if n is not None] for ring in numbers]
    good = all(len(ring) >= 6 and len(ring) % 2 == 0 and None not in ring for ring in numbers)
    if not rings or len(rings) != len(outline) or not good:
        raise BadInputError("has no bbox, and no outline of points that could give one; export boxes")
    xs, ys = [x for ring in flat for x in ring[::2]], [y for ring in flat for y in ring[1::2]]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


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
        entry |= {"reviewed": True} if image.reviewed else {}
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
