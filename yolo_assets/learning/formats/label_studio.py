"""Label Studio JSON (the full export): tasks with rectangles in percent of the image, and task import.

A task with a submitted annotation is reviewed; one with an empty result is a background. Tasks that are skipped, not
yet done or refused in review are counted, not taken for backgrounds. One task that cannot be read is named and stops
no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from yolo_assets.contracts.base import canonical_json, is_json_object
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import is_frame
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.values import shown

FROM_NAME = "label"
TO_NAME = "image"
NOTE = "note"
"""The field of a task's data that holds a sentence for the person who labels."""

_ABOUT_THE_IMAGE = {
    *("choices", "textarea", "rating", "number", "taxonomy", "datetime", "relation", "pairwise", "ranker", "table"),
}
"""Answers about an image or a region that mark no object."""

_NEVER = datetime.min.replace(tzinfo=UTC)

_GEOMETRY = {"x", "y", "points", "vertices", "rle", "brushlabels", "sequence"}


def read(name: str, document: list[Any]) -> LabelFile:
    """Parse an export.

    Raises:
        BadInputError: none of its entries is a task.
    """
    if document and not any(is_json_object(task) and is_json_object(task.get("data")) for task in document):
        raise BadInputError(f"{name} is not a Label Studio export: no task has data; export as JSON, not JSON-MIN")
    parsed = LabelFile("label_studio", [], tool="Label Studio")
    for number, task in enumerate(document, 1):
        found = task if is_json_object(task) else {}
        task_id = shown(found["id"]) if values.identifier(found.get("id")) is not None else f"number {number}"
        try:
            image = _task(found, task_id)
        except BadInputError as error:
            parsed.orphans.append((f"task {task_id}", str(error)))
            continue
        if image is None:
            parsed.unreviewed += 1
        else:
            parsed.images.append(image)
    return parsed


def _task(task: dict[str, Any], task_id: str) -> RawImage | None:
    """The image of a task; None when nobody labelled it yet."""
    data = task.get("data")
    if not is_json_object(data):
        raise BadInputError("has no data; export as JSON")
    written, plain = _file_names(_picture(data))
    image = RawImage(
        name=plain,
        other_names=(written,) if written != plain else (),
        image_path=values.name(data.get("image_path")),
        reviewed=True,
    )
    try:
        last = _last_annotation(task)
    except BadInputError as error:
        image.problems.append(f"task {task_id} {error}")
        return image
    if last is None:
        return None
    image.annotator = _annotator(last)
    image.reviewed_at = _changed_at(last)
    result = last.get("result")
    if isinstance(result, list):
        _add_regions(image, result, task_id)
    else:
        image.problems.append(f"task {task_id} has a result that is not a list but {shown(result)}; export again")
    return image


def _last_annotation(task: dict[str, Any]) -> dict[str, Any] | None:
    """The annotation that counts; None when there is none, or all were skipped."""
    annotations = task.get("annotations")
    if "completions" in task and annotations is None:
        raise BadInputError("was written by a Label Studio before 1.0; export it with a newer one")
    if not isinstance(annotations, list | None):
        raise BadInputError(f"has annotations that are not a list but {shown(annotations)}; export again")
    found = [a for a in annotations or () if is_json_object(a)]
    if len(found) != len(annotations or ()):
        raise BadInputError("has an annotation that is not an object; export again")
    done = [a for a in found if not values.yes(a.get("was_cancelled")) and not _refused(a)]
    # Several people may have labelled a task: one that is starred as the truth, else the latest.
    return max(done, key=lambda a: (values.yes(a.get("ground_truth")) is True, _changed_at(a) or _NEVER), default=None)


def _refused(annotation: dict[str, Any]) -> bool:
    """Whether the last review of an annotation said no."""
    reviews = annotation.get("reviews")
    last = reviews[-1] if isinstance(reviews, list) and reviews else None
    return is_json_object(last) and values.yes(last.get("accepted", True)) is False


def _changed_at(annotation: dict[str, Any]) -> datetime | None:
    return values.moment(annotation.get("updated_at")) or values.moment(annotation.get("created_at"))


def _picture(data: dict[str, Any]) -> str:
    """The image of a task: under ``image``, or the one value that names a picture; projects choose the key."""
    image = values.name(data.get("image"))
    if image is not None:
        return image
    texts = {v for key, v in data.items() if key != "image_path" and isinstance(v, str)}
    named = [text for text in texts if is_frame(_file_names(text)[1].rsplit("/", 1)[-1])]
    if len(named) != 1:
        raise BadInputError("has no data.image, and no other value that names one picture")
    return named[0]


def _add_regions(image: RawImage, result: Sequence[Any], task_id: str) -> None:
    names = _names_apart(result)
    beside: set[str] = set()
    for number, row in enumerate(result, 1):
        if not is_json_object(row):
            image.problems.append(f"task {task_id}: region {number} is not an object but {shown(row)}")
            continue
        kind, region = row.get("type"), shown(row.get("id") or number)
        value = row.get("value")
        try:
            if kind == "rectanglelabels":
                _add_box(image, row, _one(_dict(value).get("rectanglelabels")))
            elif kind == "rectangle":
                _add_box(image, row, _one(names.get(values.identifier(row.get("id")) or "", [])))
            elif kind == "labels":
                pass  # names a rectangle of the same id; one of another kind is told with it
            elif (isinstance(kind, str) and kind in _ABOUT_THE_IMAGE) or not (
                is_json_object(value) and _GEOMETRY & value.keys()
            ):
                beside.add(shown(kind))
            else:
                raise BadInputError(f"is of type {kind!r}, not a rectangle with a label; draw rectangles")
        except BadInputError as error:
            image.problems.append(f"task {task_id}: region {region} {error}")
    if not image.boxes and beside:
        image.reviewed = False
        image.unsure = f"it holds no rectangle, but {', '.join(sorted(beside))}: whether it shows an object is open"


def _names_apart(result: Sequence[Any]) -> dict[str, list[Any]]:
    """Labels of ``<Rectangle>`` with ``<Labels>``: they stand in a row of their own under the region's id."""
    names: dict[str, list[Any]] = {}
    rectangles = {
        values.identifier(row.get("id")) for row in result if is_json_object(row) and row.get("type") == "rectangle"
    }
    for row in result:
        if is_json_object(row) and row.get("type") == "labels":
            key = values.identifier(row.get("id"))
            if key is None or key not in rectangles:
                continue
            given = _dict(row.get("value")).get("labels") if is_json_object(row.get("value")) else None
            names.setdefault(key, []).extend(given if isinstance(given, list) else [given])
    return names


def _dict(value: Any) -> dict[str, Any]:
    if not is_json_object(value):
        raise BadInputError(f"has a value that is not an object but {shown(value)}")
    return value


def _one(labels: Any) -> str | None:
    return values.name(labels[0]) if isinstance(labels, list) and len(labels) == 1 else None


def _add_box(image: RawImage, row: dict[str, Any], label: str | None) -> None:
    value = _dict(row.get("value"))
    numbers = [values.number(value.get(key)) for key in ("x", "y", "width", "height")]
    found = [n / 100 for n in numbers if n is not None]
    if len(found) != 4:
        raise BadInputError("has no finite x, y, width and height")
    turned = values.rotation(value.get("rotation"))
    if turned is None:
        raise BadInputError(f"is turned by {shown(value['rotation'])}, which is not a number of degrees")
    if values.rotation(row.get("image_rotation")) != 0:
        raise BadInputError(
            f"was drawn while the image was turned by {shown(row['image_rotation'])} degrees in the tool; "
            "turn the image back and draw it again"
        )
    for side, key in (("width", "original_width"), ("height", "original_height")):
        size = values.whole(row.get(key))
        if size is not None and getattr(image, side) not in (None, size):
            raise BadInputError(f"was drawn on an image of another {side} ({size}) than the regions before it")
        if size is not None:
            setattr(image, side, size)
    x, y, w, h = found
    image.boxes.append(RawBox((x, y, x + w, y + h), label, "fraction", rotation=turned, pivot="corner"))


def write(
    images: Sequence[RawImage],
    *,
    as_predictions: bool = False,
    model_version: str | None = None,
    notes: Sequence[str] = (),
) -> bytes:
    """Tasks for import, or, with ``as_predictions=False``, what an export of reviewed tasks looks like.

    Args:
        images: with width, height and boxes in pixels.
        as_predictions: boxes are a model's predictions that a person corrects, not labels.
        model_version: of the model that predicted them.
        notes: a sentence for each image, shown with it where the labelling configuration has a note.
    """
    tasks: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        result = [_region(image, box, index) for index, box in enumerate(image.boxes)]
        data = {"image": image.name} | ({"image_path": image.image_path} if image.image_path else {})
        if notes:
            data |= {NOTE: notes[number - 1]}
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


def labeling_config(class_names: Sequence[str], *, with_note: bool = False) -> str:
    """The XML that a Label Studio project of these classes needs.

    Args:
        class_names: in the order in which they are offered.
        with_note: the tasks have a note, which is shown above the picture.
    """
    note = f'  <Header value="${NOTE}" size="4"/>\n' if with_note else ""
    labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in class_names)
    return (
        f'<View>\n{note}  <Image name="{TO_NAME}" value="$image" zoom="true"/>\n'
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


def _file_names(image: str) -> tuple[str, str]:
    """The file of a task's image as written and without percent signs: a path, a URL, or local storage's ``?d=``."""
    try:
        url = urlsplit(image)
        local = parse_qs(url.query).get("d")
    except ValueError:
        return image, unquote(image)
    is_url = "://" in image or image.startswith("/")  # else a name, which may hold '#' or '?'
    written = local[0] if local else (url.path or image) if is_url else image
    return written, unquote(written)


def _annotator(annotation: dict[str, Any]) -> str | None:
    annotator = annotation.get("completed_by")
    if is_json_object(annotator):
        annotator = annotator.get("email") or annotator.get("id")
    return str(annotator) if isinstance(annotator, str | int) and not isinstance(annotator, bool) else None
