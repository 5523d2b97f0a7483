"""Which of the formats a label file is, by its content and not by its name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import orjson

from yolo_assets.contracts.base import is_json_object
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.text import decode_text, plain
from yolo_assets.learning.formats import coco, label_studio, yolo
from yolo_assets.learning.formats.base import LabelFile
from yolo_assets.learning.formats.pictures_in_zip import PictureIndex
from yolo_assets.learning.formats.values import shown
from yolo_assets.learning.formats.zips import unpack

_WANTED = "export COCO JSON, Label Studio JSON or a YOLO zip"


def parse(name: str, data: bytes) -> LabelFile:
    """Recognise a label file and parse it.

    Args:
        name: for messages.
        data: the file.

    Raises:
        BadInputError: none of the formats, or broken.
    """
    try:
        parsed = _parse(name, data)
    except BadInputError:
        raise
    # Whatever a stranger's file makes a parser do, its neighbours are read.
    except Exception as error:
        what = f"{type(error).__name__}: {shown(str(error))}"
        raise BadInputError(f"{name} cannot be read ({what}); export it again") from None
    if not (parsed.images or parsed.orphans or parsed.unreviewed):
        raise BadInputError(f"{name} holds no image; export the whole project")
    for image in parsed.images:  # a path in a zip may hold anything, line breaks among it
        image.problems = [plain(problem) for problem in image.problems]
    parsed.orphans = [(plain(where), plain(problem)) for where, problem in parsed.orphans]
    return parsed


def _parse(name: str, data: bytes) -> LabelFile:
    if data[:2] == b"PK":
        return _parse_zip(name, unpack(name, data))
    if not data.strip():
        raise BadInputError(f"{name} is empty; {_WANTED}")
    document = read_json(name, data)
    if isinstance(document, list):
        return label_studio.read(name, document)
    if is_json_object(document) and coco.is_coco(document):
        return coco.read(name, document)
    raise BadInputError(
        f"{name} is JSON of an unknown kind; export it as COCO JSON or as Label Studio JSON (not JSON-MIN)"
    )


def read_json(name: str, data: bytes) -> Any:
    """A JSON document as tools write them: with a byte-order mark, with NaN and Infinity.

    Raises:
        BadInputError: no JSON, or in an encoding that it does not announce.
    """
    try:
        text = decode_text(data, name)
    except BadInputError:
        if data.lstrip()[:1] in (b"{", b"["):
            raise
        raise BadInputError(f"{name} is neither JSON nor a zip; {_WANTED}") from None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        cause = str(error)
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()  # half a character of "\ud83d" cannot be stored anywhere
    except RecursionError:
        cause = "it is nested too deeply"
    except UnicodeEncodeError:
        raise BadInputError(f"{name} holds half a character (\\ud800 to \\udfff); correct that text") from None
    except ValueError as error:
        cause = shown(str(error))
    else:
        return document
    raise BadInputError(f"{name} is neither JSON nor a zip ({cause}); {_WANTED}")


def _parse_zip(name: str, files: Mapping[str, bytes]) -> LabelFile:
    """COCO or Label Studio JSON where the zip has such, else YOLO."""
    documents: dict[str, dict[str, Any]] = {}
    tasks: dict[str, list[Any]] = {}
    broken: list[tuple[str, str]] = []
    for path in sorted(path for path in files if path.lower().endswith(".json")):
        try:
            document = read_json(path, files[path])
        except BadInputError as error:
            broken.append((path, str(error)))
            continue
        if is_json_object(document) and coco.is_coco(document):
            documents[path] = document
        elif isinstance(document, list) and any(is_json_object(t) and "data" in t for t in document):
            tasks[path] = document
    if not documents and not tasks:
        if broken and not yolo.label_files(files):
            raise BadInputError(f"{name}: {broken[0][1]}")
        parsed = yolo.read(name, files)
        parsed.orphans += broken
        return parsed
    texts = [path for path in yolo.label_files(files) if "labels" in PurePosixPath(path.lower()).parts]
    if texts or (documents and tasks):
        kinds = [*(["COCO JSON"] if documents else []), *(["Label Studio JSON"] if tasks else [])]
        kinds += ["YOLO labels"] if texts else []
        raise BadInputError(f"{name} holds {' and '.join(kinds)}; leave one of them, else each image is labelled twice")
    parsed = coco.read_zip(name, documents, files) if documents else _read_tasks(name, tasks, files)
    parsed.orphans += broken
    parsed.lost += len(broken)
    return parsed


def _read_tasks(name: str, tasks: Mapping[str, list[Any]], files: Mapping[str, bytes]) -> LabelFile:
    merged, pictures = LabelFile("label_studio", [], tool="Label Studio"), PictureIndex(files)
    for path, document in sorted(tasks.items()):
        parsed = label_studio.read(f"{path} in {name}", document)
        for image in parsed.images:
            found = pictures.find(image.name, path)
            if len(found) == 1:
                image.data = files[found[0]]
        merged.images += parsed.images
        merged.orphans += parsed.orphans
        merged.unreviewed += parsed.unreviewed
    return merged
