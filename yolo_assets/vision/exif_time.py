"""When a picture was taken, as its EXIF data say. Standard library only, with bounded work."""

from __future__ import annotations

import re
import struct
from datetime import datetime, timedelta, timezone, tzinfo

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.vision.picture_head import read_head

_EXIF_PART, _ASCII = 0x8769, 2
_TAKEN, _TAKEN_FRACTION, _TAKEN_ZONE = 0x9003, 0x9291, 0x9011
_LONGEST = 64
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")


def taken_at(data: bytes, zone: tzinfo) -> datetime | None:
    """The time of ``DateTimeOriginal`` with its fraction and its own zone.

    Args:
        data: the whole file: JPEG, PNG, WebP or TIFF.
        zone: where the camera's clock is set to, for a time that names no zone.

    Returns:
        Aware; None where there is none, or none that can be read.
    """
    try:
        block = read_head(data, "picture").exif
        texts = _texts(block)
        moment = datetime.strptime(texts[_TAKEN] + "+0000", "%Y:%m:%d %H:%M:%S%z")
    except (BadInputError, struct.error, IndexError, KeyError, ValueError):
        return None
    fraction = texts.get(_TAKEN_FRACTION, "")
    if fraction.isdecimal():
        moment += timedelta(seconds=float(f"0.{fraction}"))
    if found := _ZONE.fullmatch(texts.get(_TAKEN_ZONE, "")):
        hours = timedelta(hours=int(found[2]), minutes=int(found[3]))
        zone = timezone(hours if found[1] == "+" else -hours) if hours < timedelta(hours=24) else zone
    return moment.replace(tzinfo=zone)


def _texts(block: bytes) -> dict[int, str]:
    """The texts of the part of EXIF data that says how the picture was taken, by their tags."""
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", block, 4)
    part = {tag: value for tag, _, _, value in _entries(block, first, order)}[_EXIF_PART]
    texts: dict[int, str] = {}
    for tag, kind, count, place in _entries(block, part, order):
        if tag in (_TAKEN, _TAKEN_FRACTION, _TAKEN_ZONE) and kind == _ASCII and count <= _LONGEST:
            raw = struct.pack(order + "I", place)[:count] if count <= 4 else block[place : place + count]
            texts[tag] = raw.split(b"\0")[0].decode("ascii", "replace").strip()
    return texts


def _entries(block: bytes, place: int, order: str) -> list[tuple[int, int, int, int]]:
    (count,) = struct.unpack_from(order + "H", block, place)
    return [struct.unpack_from(order + "HHII", block, place + 2 + 12 * number) for number in range(count)]
