"""What a person says about a label file: read from the file beside it in the inbox, and from a list of class names.

Belongs here: the two small formats that people write by hand. Does not belong here: what the options do (``judging``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from yolo_assets.contracts.base import one_line
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.contracts.strict_yaml import parse_yaml_as_written
from yolo_assets.contracts.text import decode_text
from yolo_assets.learning.formats import values
from yolo_assets.learning.records import ImportOptions
from yolo_assets.storage import ObjectNotFoundError, ObjectStore

OPTIONS = ".import.yaml"
"""Ending of the file beside ``<file>`` that holds its ``ImportOptions``."""


def read_options(store: ObjectStore, name: str) -> tuple[ImportOptions, bytes]:
    """The options of an inbox file, and their bytes; without such a file nothing is said.

    Raises:
        BadInputError: they cannot be read; the file waits until they can.
    """
    key = f"{LABELS_INBOX}{name}{OPTIONS}"
    try:
        data = store.get(key)
    except ObjectNotFoundError:
        return ImportOptions(), b""
    return parse_options(data, f"{name}{OPTIONS}"), data


def parse_options(data: bytes, source: str) -> ImportOptions:
    """Options in YAML or JSON: ``by``, ``class_map``, ``reviewed`` (``all`` or a list of file names).

    Raises:
        BadInputError: they cannot be read.
    """
    document = parse_yaml_as_written(decode_text(data, source), source)
    try:
        options = ImportOptions.model_validate({} if document in (None, "") else document)
    except ValidationError as error:
        raise BadInputError(
            f"{source} is not a list of import options ({one_line(error)}); it may have by, class_map and reviewed"
        ) from None
    return options.model_copy(update={"class_map": check_class_map(options.class_map, source)})


def parse_class_map(data: bytes, source: str) -> dict[str, str]:
    """Our class name by theirs: YAML or JSON ``theirs: ours``, or a table with a line for each and two columns.

    Raises:
        BadInputError: neither, or a class is mapped to two.
    """
    text = decode_text(data, source)
    try:
        document = parse_yaml_as_written(text, source)
    except BadInputError:
        document = None
    if isinstance(document, dict):
        return check_class_map(document, source)
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = next((line.split(sign) for sign in ("\t", ";", "=", ",", ":") if line.count(sign) == 1), [])
        theirs, ours = (values.name(cell) for cell in cells) if len(cells) == 2 else (None, None)
        if theirs is None or ours is None:
            raise BadInputError(f"{source}: line {number} is not 'theirs: ours' ({values.shown(line.strip())!r})")
        if found.setdefault(theirs, ours) != ours:
            raise BadInputError(f"{source}: line {number} maps {theirs!r} a second time, to another class")
    if not found:
        raise BadInputError(f"{source} maps no class; write a line 'theirs: ours' for each")
    return check_class_map(found, source)


def check_class_map(given: Mapping[Any, Any], source: str) -> dict[str, str]:
    """Names on both sides, composed and without blanks around them.

    Raises:
        BadInputError: a side is no name.
    """
    found: dict[str, str] = {}
    for theirs, ours in given.items():
        left, right = values.name(theirs), values.name(ours)
        if left is None or right is None:
            raise BadInputError(
                f"{source} maps {values.shown(theirs)!r} to {values.shown(ours)!r}; both must be class names"
            )
        found[left] = right
    return found
