"""Pascal VOC: an XML for each image with ``<object>`` and ``<bndbox>``, in a zip with the pictures or alone.

Read here and not by labelformat, which drops ``verified``, by which labelImg tells that a person looked at the image,
the turn of a box that CVAT writes beside it, and whether a file counts pixels from 1, as the format's own does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.pictures_in_zip import pair, pictures
from yolo_assets.learning.formats.values import shown

_COUNTS_FROM_1 = ("roboflow", "voc")
"""In ``<database>``: the first pixel is 1 there. labelImg, CVAT and datumaro say nothing and begin at 0."""


def is_pascal_voc(root: Element) -> bool:
    """Whether an XML document is of this kind, complete or not."""
    return root.tag == "annotation"


def read(name: str, documents: Mapping[str, Element], files: Mapping[str, bytes]) -> LabelFile:
    """Parse the documents of a zip, or one alone.

    Args:
        name: of the file, for messages.
        documents: by path; a single document under the file's own name.
        files: everything in the zip by path; none of a single document.
    """
    pairs = pair(sorted(documents), pictures(files))
    parsed = LabelFile("pascal_voc", [], unreviewed=len(pairs.alone))
    for path, root in sorted(documents.items()):
        picture = pairs.picture.get(path)
        written = values.name(root.findtext("filename")) or f"{PurePosixPath(path).stem}.jpg"
        place = values.name(root.findtext("path"))
        image = RawImage(
            name=written,
            other_names=(place,) if place is not None else (),
            width=values.whole(root.findtext("size/width")),
            height=values.whole(root.findtext("size/height")),
            reviewed=root.get("verified") == "yes",
            data=files[picture] if picture is not None else None,
        )
        if image.reviewed:
            parsed.tool = "labelImg"
        if path in pairs.uncertain:
            image.problems.append(f"the label {path} {pairs.uncertain[path]}")
        database = (root.findtext("source/database") or "").casefold()
        first = 1 if any(mark in database for mark in _COUNTS_FROM_1) else 0
        for number, element in enumerate(root.findall("object"), 1):
            try:
                image.boxes.append(_box(element, first))
            except BadInputError as error:
                image.problems.append(f"object {number} {error}")
        parsed.images.append(image)
    return parsed


def _box(element: Element, first: int) -> RawBox:
    attributes = {a.findtext("name") or "": a.findtext("value") for a in element.findall("attributes/attribute")}
    values.refuse_a_region(attributes)
    numbers = [values.number(element.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
    found = [n for n in numbers if n is not None]
    if len(found) != 4:
        raise BadInputError("has no bndbox of four finite numbers; draw upright rectangles")
    turned = attributes.get("rotation")
    rotation = values.rotation(turned)
    if rotation is None:
        raise BadInputError(f"is turned by {shown(turned)}, which is not a number of degrees")
    (x1, x2), (y1, y2) = sorted(found[::2]), sorted(found[1::2])
    score = values.number(element.findtext("confidence") or element.findtext("score"))
    xyxy = (x1 - first, y1 - first, x2, y2)
    return RawBox(xyxy, values.name(element.findtext("name")), confidence=score, rotation=rotation)
