"""CVAT for images 1.1: ``annotations.xml`` with an ``<image>`` each and ``<box>`` in pixels, alone or in a zip.

Read here and not by labelformat, which drops the turn of a box, who drew it, and when the task last changed. An image
without boxes is a background only if somebody says so: CVAT does not tell which images were opened. Boxes whose source
is ``auto`` were drawn by a model, and nobody changed them since.
"""

from __future__ import annotations

from datetime import datetime
from xml.etree.ElementTree import Element

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.values import shown

_LEVELS = ("job", "task", "project")
_BESIDE = {"tag", "attribute"}
"""What an image has that marks no object."""


def is_cvat(root: Element) -> bool:
    """Whether an XML document is of this kind, complete or not."""
    return root.tag == "annotations"


def read(name: str, root: Element) -> LabelFile:
    """Parse a document.

    Raises:
        BadInputError: it is of a video: its frames have no names.
    """
    if root.find("track") is not None:
        raise BadInputError(f"{name} is 'CVAT for video', whose frames have no names; export 'CVAT for images 1.1'")
    parsed = LabelFile("cvat", [], tool="CVAT", updated_at=_updated_at(root))
    people = _people(root)
    for number, element in enumerate(root.findall("image"), 1):
        file_name = values.name(element.get("name"))
        if file_name is None:
            parsed.orphans.append((f"image {shown(element.get('id') or number)}", "has no name; export it again"))
            continue
        image = RawImage(
            name=file_name,
            width=values.whole(element.get("width")),
            height=values.whole(element.get("height")),
            annotator=people.get(element.get("task_id"), people.get(None)),
        )
        for place, shape in enumerate(element, 1):
            if shape.tag in _BESIDE or values.yes(shape.get("outside")):
                continue
            try:
                image.boxes.append(_box(shape))
                image.guesses += shape.get("source") == "auto"
            except BadInputError as error:
                image.problems.append(f"shape {place} {error}")
        parsed.images.append(image)
    return parsed


def _box(shape: Element) -> RawBox:
    if shape.tag != "box":
        raise BadInputError(f"is a {shown(shape.tag)}, not a box; draw rectangles")
    for attribute in shape.findall("attribute"):
        values.refuse_a_region({attribute.get("name") or "": attribute.text})
    numbers = [values.number(shape.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")]
    found = [n for n in numbers if n is not None]
    if len(found) != 4:
        raise BadInputError("has no finite xtl, ytl, xbr and ybr")
    rotation = values.rotation(shape.get("rotation"))
    if rotation is None:
        raise BadInputError(f"is turned by {shown(shape.get('rotation'))}, which is not a number of degrees")
    x1, y1, x2, y2 = found
    return RawBox((x1, y1, x2, y2), values.name(shape.get("label")), rotation=rotation)


def _updated_at(root: Element) -> datetime | None:
    texts = (root.findtext(f"meta/{level}/updated") for level in _LEVELS)
    return next((moment for text in texts if (moment := values.moment(text)) is not None), None)


def _people(root: Element) -> dict[str | None, str]:
    """Who works on the images, by task; under None for all of the file."""
    found: dict[str | None, str] = {}
    for level in _LEVELS:
        name = values.name(root.findtext(f"meta/{level}/assignee/username"))
        if name is not None:
            found.setdefault(None, name)
    for task in root.findall("meta/project/tasks/task"):
        name = values.name(task.findtext("assignee/username"))
        if name is not None:
            found[task.findtext("id")] = name
    return found
