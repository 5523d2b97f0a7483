"""Which of the formats a label file is, by its content and not by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

import orjson
from defusedxml import ElementTree

from yolo_assets.contracts.base import is_json_object
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.text import decode_text, plain
from yolo_assets.learning.formats import coco, cvat, datumaro, label_studio, pascal_voc, yolo
from yolo_assets.learning.formats.base import LabelFile
from yolo_assets.learning.formats.pictures_in_zip import PictureIndex
from yolo_assets.learning.formats.values import shown
from yolo_assets.learning.formats.zips import unpack

_WANTED = "export COCO, Label Studio or Datumaro JSON, CVAT XML, Pascal VOC or a YOLO zip"
_BEFORE_XML = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"


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
    if data.lstrip(_BEFORE_XML)[:1] == b"<":
        root = read_xml(name, data)
        if cvat.is_cvat(root):
            return cvat.read(name, root)
        if pascal_voc.is_pascal_voc(root):
            return pascal_voc.read(name, {name: root}, {})
        raise BadInputError(f"{name} is XML of an unknown kind; export CVAT for images 1.1 or Pascal VOC")
    document = read_json(name, data)
    if isinstance(document, list):
        return label_studio.read(name, document)
    if is_json_object(document) and coco.is_coco(document):
        return coco.read(name, document)
    if is_json_object(document) and datumaro.is_datumaro(document):
        return datumaro.read(name, document)
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


def read_xml(name: str, data: bytes) -> Element:
    """The root of an XML document; entities are refused: they can fill the memory or read other files.

    Raises:
        BadInputError: no XML, or one with entities.
    """
    try:
        return ElementTree.fromstring(data)
    # Expat, codecs and defusedxml each have errors of their own.
    except Exception as error:
        raise BadInputError(f"{name} is not readable XML ({shown(str(error))}); export it again") from None


def _parse_zip(name: str, files: Mapping[str, bytes]) -> LabelFile:
    """What JSON or XML files a zip has, else YOLO."""
    found = _Documents()
    for path in sorted(files):
        try:
            if path.lower().endswith(".json"):
                found.add_json(path, read_json(path, files[path]))
            elif path.lower().endswith(".xml"):
                found.add_xml(path, read_xml(path, files[path]))
        except BadInputError as error:
            if not path.lower().endswith(".xml") or b"<annotation" in files[path]:  # else about something else
                found.broken.append((path, str(error)))
    if not found.kinds():
        if found.broken and not yolo.label_files(files):
            raise BadInputError(f"{name}: {found.broken[0][1]}")
        parsed = yolo.read(name, files)
        parsed.orphans += found.broken
        return parsed
    texts = [path for path in yolo.label_files(files) if "labels" in PurePosixPath(path.lower()).parts]
    kinds = [*found.kinds(), *(["YOLO labels"] if texts else [])]
    if len(kinds) > 1:
        raise BadInputError(f"{name} holds {' and '.join(kinds)}; leave one of them, else each image is labelled twice")
    if found.coco:
        parsed = coco.read_zip(name, found.coco, files)
    elif found.pascal_voc:
        parsed = pascal_voc.read(name, found.pascal_voc, files)
    else:
        parsed = _with_pictures(list(found.read_others(name)), files)
    parsed.orphans += found.broken
    parsed.lost += len(found.broken)
    return parsed


@dataclass
class _Documents:
    """The JSON and XML files of a zip that hold labels, by kind and path, and those that cannot be read."""

    coco: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    tasks: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    datumaro: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    cvat: dict[str, Element] = field(default_factory=dict[str, Element])
    pascal_voc: dict[str, Element] = field(default_factory=dict[str, Element])
    broken: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def add_json(self, path: str, document: Any) -> None:
        """Keep a document of a kind that is known."""
        if isinstance(document, list):
            if any(is_json_object(task) and "data" in task for task in document):
                self.tasks[path] = document
        elif is_json_object(document) and coco.is_coco(document):
            self.coco[path] = document
        elif is_json_object(document) and datumaro.is_datumaro(document):
            self.datumaro[path] = document

    def add_xml(self, path: str, root: Element) -> None:
        """Keep a document of a kind that is known."""
        if cvat.is_cvat(root):
            self.cvat[path] = root
        elif pascal_voc.is_pascal_voc(root):
            self.pascal_voc[path] = root

    def kinds(self) -> list[str]:
        """What there is, in words."""
        named = {
            "COCO JSON": self.coco,
            "Label Studio JSON": self.tasks,
            "Datumaro JSON": self.datumaro,
            "CVAT XML": self.cvat,
            "Pascal VOC": self.pascal_voc,
        }
        return [kind for kind, documents in named.items() if documents]

    def read_others(self, name: str) -> Iterator[tuple[str, LabelFile]]:
        """Documents that are read one by one."""
        for path, document in self.tasks.items():
            yield path, label_studio.read(f"{path} in {name}", document)
        for path, document in self.datumaro.items():
            yield path, datumaro.read(f"{path} in {name}", document)
        for path, root in self.cvat.items():
            yield path, cvat.read(f"{path} in {name}", root)


def _with_pictures(parts: list[tuple[str, LabelFile]], files: Mapping[str, bytes]) -> LabelFile:
    """Files of one kind as one, each image with its picture in the zip."""
    pictures = PictureIndex(files)
    merged = LabelFile(parts[0][1].format, [], tool=parts[0][1].tool)
    for path, parsed in parts:
        for image in parsed.images:
            found = pictures.find(image.name, path)
            if len(found) == 1:
                image.data = files[found[0]]
        merged.images += parsed.images
        merged.orphans += parsed.orphans
        merged.unreviewed += parsed.unreviewed
        if len(parts) == 1:
            merged.updated_at = parsed.updated_at
    return merged
