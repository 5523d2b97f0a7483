"""YOLO zip: a ``.txt`` with ``class cx cy w h`` in fractions beside each picture or in ``labels/``, and class names.

An empty ``.txt`` is a background, if nothing speaks against it. A picture without a ``.txt`` is unreviewed: an absent
file proves nothing. Pictures may lie in the zip; then it is a data set of its own and need not stem from a batch of
ours. Labels and pictures belong together by path, as Ultralytics, Roboflow, CVAT and Label Studio lay them out.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import yaml

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import is_frame
from yolo_assets.contracts.text import decode_text
from yolo_assets.learning.formats import values
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.class_list import is_class_list, read_class_list
from yolo_assets.learning.formats.pictures_in_zip import pair, pictures
from yolo_assets.learning.formats.values import shown

_ABOUT = re.compile(r"(read[-_ ]?me|licen[cs]e|notice|changelog|notes|attribution|credits)\b.*", re.IGNORECASE)
_ENDINGS = re.compile(r"\r*\n|\r")
_SPLIT = re.compile(r"(train|trainval|val|valid|validation|test|autosplit_.*)\.txt", re.IGNORECASE)


def read(name: str, files: Mapping[str, bytes]) -> LabelFile:
    """Parse the files of a zip.

    Args:
        name: of the zip, for messages.
        files: everything in it by path.

    Raises:
        BadInputError: no class names, or no label file.
    """
    classes = read_class_list(name, files)
    shots = pictures(files)
    labels = label_files(files)
    if not labels:
        raise BadInputError(f"{name} holds no label file; a YOLO zip has labels/<image>.txt for every reviewed image")
    pairs = pair(labels, shots)
    roboflow = any("roboflow" in PurePosixPath(path).name.lower() for path in files)
    parsed = LabelFile("yolo", [], unreviewed=len(pairs.alone), tool="Roboflow" if roboflow else None)
    for path in labels:
        stem = PurePosixPath(path).stem
        picture = pairs.picture.get(path)
        image = RawImage(name=picture or f"{stem}.jpg", data=files[picture] if picture else None)
        if path in pairs.uncertain:
            image.name = path
            image.problems.append(f"the label {pairs.uncertain[path]}")
        else:
            _add_lines(image, path, files[path], classes)
        parsed.images.append(image)
    return parsed


def label_files(files: Mapping[str, bytes]) -> list[str]:
    """The paths that are label files, in order: texts that are no class list, no list of pictures, no read-me."""
    stems = {str(PurePosixPath(path).with_suffix("")) for path in pictures(files)}
    return [
        path
        for path in sorted(files)
        if path.lower().endswith(".txt")
        and (
            str(PurePosixPath(path).with_suffix("")) in stems
            or not (is_class_list(path) or _is_about(path, files[path]) or _lists_pictures(path, files[path]))
        )
    ]


def _is_about(path: str, data: bytes) -> bool:
    """Whether a text is there for people, as a licence is: by its name, and it does not begin as labels do."""
    return bool(_ABOUT.fullmatch(PurePosixPath(path).name)) and not data.strip()[:1].isdigit()


def _lists_pictures(path: str, data: bytes) -> bool:
    """Whether a text is a list of pictures, as ``train.txt`` is; also one without any."""
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return bool(_SPLIT.fullmatch(PurePosixPath(path).name)) and "labels" not in PurePosixPath(path.lower()).parts
    return all(is_frame(PurePosixPath(line.replace("\\", "/")).name) for line in lines)


def _add_lines(image: RawImage, path: str, data: bytes, classes: Mapping[int, str]) -> None:
    try:
        text = decode_text(data, path)
    except BadInputError as error:
        image.problems.append(str(error))
        return
    lines = [(number, line) for number, line in enumerate(_ENDINGS.split(text), 1) if line.strip()]
    if lines and not any(line.strip()[0].isdigit() for _, line in lines):
        image.problems.append(f"{path} is not a label file: line {lines[0][0]} is {shown(lines[0][1].strip())!r}")
        return
    for number, line in lines:
        try:
            image.boxes.append(_box(line.split(), classes))
        except BadInputError as error:
            image.problems.append(f"line {number} {error}")


def _box(cells: Sequence[str], classes: Mapping[int, str]) -> RawBox:
    numbers = [values.number(cell) for cell in cells]
    found = [value for value in numbers if value is not None]
    if len(found) != len(cells) or len(cells) < 5:
        raise BadInputError(f"is not 'class cx cy w h' in finite numbers: {shown(' '.join(cells))!r}")
    if len(cells) == 6:
        raise BadInputError("has a sixth number, as a model's guesses have a confidence; export what people labelled")
    if len(cells) == 9:
        raise BadInputError("has four corners, as an oriented box has; export upright boxes (detection)")
    if len(cells) > 6 and len(cells) % 2:
        raise BadInputError(f"is an outline of {len(cells) // 2} points; export boxes (detection), not segments")
    if len(cells) != 5:
        raise BadInputError(f"has {len(cells)} numbers; 'class cx cy w h' has five")
    if found[0] < 0 or not found[0].is_integer():
        raise BadInputError(f"has the class {shown(cells[0])!r}, which is not a whole number")
    class_name = classes.get(int(found[0]))
    if class_name is None:
        raise BadInputError(f"has class {int(found[0])}, which the file's class names do not have")
    cx, cy, w, h = found[1:]
    return RawBox((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), class_name, "fraction")


def lines(image: RawImage, class_names: Sequence[str]) -> str:
    """The ``.txt`` of one image: one line a box, fractions with nine decimals (a pixel of 100,000)."""
    width, height = image.width or 1, image.height or 1
    text = ""
    for box in image.boxes:
        x1, y1, x2, y2 = box.xyxy
        numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        text += f"{list(class_names).index(box.class_name or '')} " + " ".join(f"{n:.9f}" for n in numbers) + "\n"
    return text


def write(images: Sequence[RawImage], class_names: Sequence[str]) -> bytes:
    """A zip of labels, and of the images that carry their data. The same input gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(path: str, data: bytes | str) -> None:
            archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)

        add("data.yaml", yaml.safe_dump({"names": dict(enumerate(class_names))}, sort_keys=False))
        for image in images:
            stem = PurePosixPath(image.name).stem
            add(f"labels/{stem}.txt", lines(image, class_names))
            if image.data is not None:
                add(f"images/{stem}{PurePosixPath(image.name).suffix or '.jpg'}", image.data)
    return buffer.getvalue()
