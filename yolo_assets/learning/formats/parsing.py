"""From a label file to what it says: the format is recognised by the content, never by the name."""

from __future__ import annotations

import orjson

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats import coco, label_studio, yolo
from yolo_assets.learning.formats.base import Parsed


def parse(name: str, data: bytes) -> Parsed:
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
        f"{name} is JSON of no known kind; export it as COCO JSON or as Label Studio JSON (not JSON-MIN)"
    )
