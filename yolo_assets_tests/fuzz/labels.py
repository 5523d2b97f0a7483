"""Label files: COCO, Label Studio, YOLO; as they are, or as a zip that is built from the input."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterator

from yolo_assets.learning.formats import coco
from yolo_assets.learning.formats.base import LabelFile, RawBox, RawImage
from yolo_assets.learning.formats.recognise import parse
from yolo_assets.learning.import_options import parse_class_map, parse_options
from yolo_assets_tests.fuzz.law import foreign, refused_or
from yolo_assets_tests.fuzz.odd_json import mutate as mutate

END = b"\0\0"
"""Between a path and its content, and after the content, in an input that becomes a zip."""


def seeds() -> Iterator[bytes]:
    """The foreign label files, and their zips taken apart."""
    for data in foreign("labels", ".json"):
        yield b"f" + data
    for data in foreign("labels", ".zip"):
        yield b"f" + data
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                files = [(entry.filename, archive.read(entry)[:1500]) for entry in archive.infolist()][:8]
        except (zipfile.BadZipFile, zlib.error, EOFError):
            continue
        yield b"z" + b"".join(path.encode() + END + content + END for path, content in files)
    yield b"mcrack: defect_crack\ndent: beule\n"
    yield b"oby: Ann\nclass_map: {crack: defect_crack}\nreviewed: all\n"


def check(data: bytes) -> None:
    """The first byte says what the rest is."""
    kind, rest = data[:1], data[1:]
    if kind == b"m":
        refused_or(lambda: parse_class_map(rest, "x"))
    elif kind == b"o":
        refused_or(lambda: parse_options(rest, "x"))
    else:
        content = _zipped(rest) if kind == b"z" else rest
        parsed = refused_or(lambda: parse("x", content))
        if parsed is not None:
            _comes_back(parsed)


def _zipped(data: bytes) -> bytes:
    pieces = data.split(END)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # two files of one name are an input like any other
        for path, content in zip(pieces[::2], pieces[1::2], strict=False):
            name = path.decode("utf-8", "replace").replace("\0", "")
            archive.writestr(zipfile.ZipInfo(name or "x"), content)
    return buffer.getvalue()


def _comes_back(parsed: LabelFile) -> None:
    """Written as COCO and read again, images and boxes are the same."""
    for image in parsed.images:
        assert all("\n" not in problem for problem in image.problems), image.problems
    assert all("\n" not in text for pair in parsed.orphans for text in pair), parsed.orphans
    whole = [image for image in parsed.images if image.name and image.width and image.height]
    classes = sorted({box.class_name for image in whole for box in image.boxes if box.class_name})
    sent = [RawImage(i.name, width=i.width, height=i.height, boxes=[*filter(_is_plain, i.boxes)]) for i in whole]
    if not sent:
        return
    back = parse("again", coco.write(sent, classes))
    assert [image.name for image in back.images] == [image.name for image in sent]
    for before, after in zip(sent, back.images, strict=True):
        assert [box.class_name for box in after.boxes] == [box.class_name for box in before.boxes]


def _is_plain(box: RawBox) -> bool:
    return (
        bool(box.class_name)
        and box.unit == "pixels"
        and all(math.isfinite(side) and abs(side) < 1e9 for side in box.xyxy)
    )
