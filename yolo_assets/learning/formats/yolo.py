"""YOLO zip: ``labels/**.txt`` with ``class cx cy w h`` in fractions, class names in ``data.yaml`` or ``classes.txt``.

An empty ``.txt`` is a background. An image in the zip without a ``.txt`` is unreviewed: an absent file proves nothing.
Images may lie in the zip; then it is a data set of its own and need not come from one of our batches.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath

import yaml

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage

IMAGE_ENDINGS = (".jpg", ".jpeg")
MAX_BYTES = 4 << 30
_NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
_NOT_LABELS = {*_NAME_FILES, "train.txt", "val.txt", "test.txt", "notes.txt", "readme.txt", "readme.dataset.txt"}


def read(name: str, data: bytes) -> LabelFile:
    """Parse a zip.

    Raises:
        BadInputError: not a zip, too large once unpacked, no class names, or no label file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise BadInputError(f"{name} unpacks to more than {MAX_BYTES >> 30} GiB; split it into several zips")
            files = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise BadInputError(f"{name} is not a readable zip: {error}") from None
    classes = _class_names(name, files)
    pictures = {PurePosixPath(path).stem: path for path in files if path.lower().endswith(IMAGE_ENDINGS)}
    parsed = LabelFile("yolo", [])
    for path in sorted(files):
        place = PurePosixPath(path)
        if place.suffix.lower() != ".txt" or place.name.lower() in _NOT_LABELS:
            continue
        picture = pictures.pop(place.stem, None)
        image = RawImage(name=picture or f"{place.stem}.jpg", data=files[picture] if picture else None)
        for number, line in enumerate(files[path].decode("utf-8", "replace").splitlines(), 1):
            if line.strip():
                _add(image, line, number, classes)
        parsed.images.append(image)
    if not parsed.images:
        raise BadInputError(f"{name} holds no label file; a YOLO zip has labels/<image>.txt for every reviewed image")
    parsed.unreviewed = len(pictures)
    return parsed


def _add(image: RawImage, line: str, number: int, classes: dict[int, str]) -> None:
    try:
        raw, *rest = line.split()
        class_id, (cx, cy, w, h) = int(raw), [float(value) for value in rest]
    except ValueError:
        image.problems.append(f"line {number} is not 'class cx cy w h': {line.strip()[:60]!r}")
        return
    if not all(math.isfinite(value) for value in (cx, cy, w, h)):
        image.problems.append(f"line {number} holds a number that is not finite")
        return
    class_name = classes.get(class_id)
    if class_name is None:
        image.problems.append(f"line {number} has class {class_id}, which the file's class names do not have")
        return
    image.boxes.append(RawBox((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), class_name, "fraction"))


def _class_names(name: str, files: dict[str, bytes]) -> dict[int, str]:
    for path in sorted(files):
        base = PurePosixPath(path).name.lower()
        if base in _NAME_FILES:
            return dict(enumerate(line.strip() for line in files[path].decode("utf-8").splitlines() if line.strip()))
        if base.endswith((".yaml", ".yml")):
            try:
                names = (yaml.safe_load(files[path]) or {}).get("names")
            except (yaml.YAMLError, AttributeError) as error:
                raise BadInputError(f"{path} in {name} is not a data.yaml: {error}") from None
            if isinstance(names, list):
                return {number: str(value) for number, value in enumerate(names)}
            if isinstance(names, dict) and all(str(key).isdigit() for key in names):
                return {int(key): str(value) for key, value in names.items()}
    raise BadInputError(f"{name} does not name its classes; add data.yaml with 'names:' or classes.txt")


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
                add(f"images/{stem}.jpg", image.data)
    return buffer.getvalue()
