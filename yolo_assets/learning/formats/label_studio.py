"""Label Studio JSON (the full export): tasks with ``RectangleLabels`` in percent of the image, and task import.

A task with a submitted annotation is reviewed; one with an empty result is a background. Tasks that are skipped or
not yet done are counted, not taken for backgrounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage

FROM_NAME = "label"
TO_NAME = "image"


def read(name: str, document: list[Any]) -> LabelFile:
    """Parse an export.

    Raises:
        BadInputError: a task has no ``data.image``.
    """
    parsed = LabelFile("label_studio", [])
    for task in document:
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("image"), str):
            raise BadInputError(f"{name} is not a Label Studio export: a task has no data.image; export as JSON")
        done = [a for a in task.get("annotations") or () if isinstance(a, dict) and not a.get("was_cancelled")]
        if not done:
            parsed.unreviewed += 1
            continue
        # Several people may have labelled a task: the latest counts, as in the tool's own view.
        last = max(done, key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
        path = data.get("image_path")
        image = RawImage(
            name=_file_name(data["image"]),
            image_path=path if isinstance(path, str) else None,
            annotator=_annotator(last),
        )
        for row in last.get("result") or ():
            _add(image, row)
        parsed.images.append(image)
    return parsed


def _add(image: RawImage, row: Any) -> None:
    if not isinstance(row, dict) or row.get("type") != "rectanglelabels":
        kind = row.get("type") if isinstance(row, dict) else None
        if kind not in {"choices", "textarea", "rating"}:
            image.problems.append(f"a region of type {kind!r} is not a rectangle with a label")
        return
    value = row.get("value") or {}
    raw = [value.get(key) for key in ("x", "y", "width", "height")]
    numbers = [float(n) for n in raw if isinstance(n, int | float) and math.isfinite(n)]
    if len(numbers) != 4:
        image.problems.append(f"region {row.get('id')} has no finite x, y, width and height")
        return
    if value.get("rotation"):
        image.problems.append(f"region {row.get('id')} is rotated by {value['rotation']} degrees; draw it upright")
        return
    for side, key in (("width", "original_width"), ("height", "original_height")):
        if getattr(image, side) is None and isinstance(row.get(key), int) and row[key] > 0:
            setattr(image, side, row[key])
    labels = value.get("rectanglelabels")
    label = labels[0] if isinstance(labels, list) and len(labels) == 1 and isinstance(labels[0], str) else None
    x, y, w, h = (n / 100 for n in numbers)
    image.boxes.append(RawBox((x, y, x + w, y + h), label, "fraction"))


def write(images: Sequence[RawImage], *, as_predictions: bool = False, model_version: str | None = None) -> bytes:
    """Tasks for import, or, with ``as_predictions=False``, what an export of reviewed tasks looks like.

    Args:
        images: with width, height and boxes in pixels.
        as_predictions: boxes are a model's predictions that a person corrects, not labels.
        model_version: of the model that predicted them.
    """
    tasks: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        result = [_region(image, box, index) for index, box in enumerate(image.boxes)]
        data = {"image": image.name} | ({"image_path": image.image_path} if image.image_path else {})
        task: dict[str, Any] = {"id": number, "data": data}
        if as_predictions:
            scores = [box.confidence for box in image.boxes if box.confidence is not None]
            prediction: dict[str, Any] = {"result": result, "model_version": model_version or "none"}
            task["predictions"] = [prediction | ({"score": min(scores)} if scores else {})] if result else []
        else:
            by = {"completed_by": {"email": image.annotator}} if image.annotator else {}
            task["annotations"] = [{"result": result, "was_cancelled": False} | by]
        tasks.append(task)
    return canonical_json(tasks)


def labeling_config(class_names: Sequence[str]) -> str:
    """The XML that a Label Studio project of these classes needs."""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in class_names)
    return (
        f'<View>\n  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n'
        f'  <RectangleLabels name="{FROM_NAME}" toName="{TO_NAME}">\n{labels}\n  </RectangleLabels>\n</View>\n'
    )


def _region(image: RawImage, box: RawBox, index: int) -> dict[str, Any]:
    width, height = image.width or 1, image.height or 1
    x1, y1, x2, y2 = box.xyxy
    value = {
        "x": x1 / width * 100,
        "y": y1 / height * 100,
        "width": (x2 - x1) / width * 100,
        "height": (y2 - y1) / height * 100,
        "rotation": 0,
        "rectanglelabels": [box.class_name],
    }
    region: dict[str, Any] = {
        "id": f"r{index}",
        "type": "rectanglelabels",
        "from_name": FROM_NAME,
        "to_name": TO_NAME,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": value,
    }
    return region | ({} if box.confidence is None else {"score": box.confidence})


def _file_name(image: str) -> str:
    """The file of a task's image: a path, a URL, or local storage's ``/data/local-files/?d=<path>``."""
    url = urlsplit(image)
    local = parse_qs(url.query).get("d")
    return local[0] if local else (url.path or image)


def _annotator(annotation: dict[str, Any]) -> str | None:
    annotator = annotation.get("completed_by")
    if isinstance(annotator, dict):
        annotator = annotator.get("email") or annotator.get("id")
    return None if annotator is None else str(annotator)
