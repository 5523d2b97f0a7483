"""The class names of a YOLO zip: ``data.yaml``, ``classes.txt``, ``obj.names``. A name is taken as it is written.

A list that leaves open which id a name has is refused: boxes with the name of a neighbour look right to everyone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, cast

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import DisplayName
from yolo_assets.contracts.strict_yaml import parse_yaml_as_written
from yolo_assets.contracts.text import decode_text
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.values import shown

NAME_FILES = ("classes.txt", "obj.names", "labels.txt", "predefined_classes.txt")
_YAML = (".yaml", ".yml")
_KEY = re.compile(r"0|[1-9][0-9]{0,5}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class GivenClasses:
    """What a file says about the classes of a model.

    Attributes:
        names: in the order of their ids; None: it names none.
        display_names: by class name what people call it.
    """

    names: tuple[str, ...] | None = None
    display_names: Mapping[str, DisplayName] = field(default_factory=dict[str, DisplayName])


def is_class_list(path: str) -> bool:
    """Whether a file of a zip may name the classes."""
    name = PurePosixPath(path).name.lower()
    return name in NAME_FILES or name.endswith((".names", *_YAML))


def read_class_list(name: str, files: Mapping[str, bytes]) -> dict[int, str]:
    """Names by id.

    Args:
        name: of the zip, for messages.
        files: everything in the zip by path.

    Raises:
        BadInputError: no list, one that cannot be read, or two that differ.
    """
    found: dict[str, dict[int, str]] = {}
    refused: list[BadInputError] = []
    for path in sorted(filter(is_class_list, files)):
        try:
            if path.lower().endswith(_YAML):
                names = _from_yaml(f"{path} in {name}", files[path])
            else:
                names = _from_lines(f"{path} in {name}", files[path])
        except BadInputError as error:
            if PurePosixPath(path).name.lower() in (*NAME_FILES, "data.yaml", "data.yml"):
                raise
            refused.append(error)
            continue
        if names:
            found[path] = names
    if not found:
        raise (
            refused[0]
            if refused
            else BadInputError(f"{name} does not name its classes; add data.yaml with 'names:' or classes.txt")
        )
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise BadInputError(f"{first} and {other} in {name} name different classes; leave the right one")
    return found[first]


def read_given_classes(name: str, data: bytes) -> GivenClasses:
    """A text with one class a line, or a YAML file with ``names``, ``display_names`` or both.

    Raises:
        BadInputError: it cannot be read, or leaves open which id a name has.
    """
    is_yaml = name.lower().endswith(_YAML)
    names = _from_yaml(name, data) if is_yaml else _from_lines(name, data)
    shown_as = _display_names(name, data) if is_yaml else {}
    if not names:
        if not shown_as:
            raise BadInputError(f"{name} names no classes; write one name a line, or 'names:' in YAML")
        return GivenClasses(None, shown_as)
    if sorted(names) != list(range(len(names))):
        raise BadInputError(f"{name} leaves out ids between 0 and {max(names)}; name every class")
    return GivenClasses(tuple(names[number] for number in range(len(names))), shown_as)


def _display_names(source: str, data: bytes) -> dict[str, DisplayName]:
    document = parse_yaml_as_written(decode_text(data, source), source)
    written: Any = document.get("display_names") if isinstance(document, dict) else None
    if written is None:
        return {}
    if not isinstance(written, dict):
        raise BadInputError(f"{source}: 'display_names' is no mapping; write lines like: crack: Riss")
    found: dict[str, DisplayName] = {}
    for name, given in cast("dict[Any, Any]", written).items():
        where = f"{source}: display_names of {shown(name)!r}"
        if isinstance(given, dict):
            by_language: dict[str, str] = {}
            for language, text in cast("dict[Any, Any]", given).items():
                if not _LANGUAGE.fullmatch(str(language)):
                    raise BadInputError(f"{where}: {shown(language)!r} is no language; write one like en, zh or de")
                by_language[str(language)] = _display_name(f"{where} in {language}", text)
            found[str(name)] = by_language
        else:
            found[str(name)] = _display_name(where, given)
    return found


def _display_name(where: str, given: object) -> str:
    text = values.name(given)
    if text is None or not text.isprintable():
        raise BadInputError(f"{where}: {shown(given)!r} is no name; write what people call the class")
    return text


def _from_lines(source: str, data: bytes) -> dict[int, str]:
    text = re.sub(r"\r*\n|\r", "\n", decode_text(data, source)).rstrip()
    lines = text.split("\n") if text else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise BadInputError(
                f"{source}: line {number} is blank, so it is open which id the names after it have; "
                "remove the line, or write the name that belongs there"
            )
    return {number: values.name(line) or "" for number, line in enumerate(lines)}


def _from_yaml(source: str, data: bytes) -> dict[int, str] | None:
    """None for a YAML file that is about something else."""
    document = parse_yaml_as_written(decode_text(data, source), source)
    if not isinstance(document, dict) or "names" not in document:
        return None
    names: Any = document["names"]
    if isinstance(names, list):
        pairs = list(enumerate(names))
    elif isinstance(names, dict) and all(_KEY.fullmatch(str(key)) for key in names):
        pairs = [(int(key), value) for key, value in names.items()]
    else:
        raise BadInputError(
            f"{source}: 'names' is neither a list of names nor a mapping of ids to names; write it as a list"
        )
    for number, value in pairs:
        if values.name(value) is None:
            raise BadInputError(f"{source}: the name of class {number} is {shown(value)!r}; write a name there")
    count = values.number(document.get("nc"))
    if count is not None and count != len(pairs):
        raise BadInputError(f"{source} says nc: {count:g} and names {len(pairs)} classes; correct one of the two")
    return {number: values.name(value) or "" for number, value in pairs}
