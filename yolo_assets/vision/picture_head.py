"""What a picture file says about itself: format, size, EXIF orientation. No pixel is unpacked for it.

Reads JPEG, PNG, WebP, BMP and TIFF by their content, whatever the file is called, with bounded work: files may come
from strangers. Standard library only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.text import plain

Format = Literal["JPEG", "PNG", "WebP", "BMP", "TIFF"]

PNG_START = b"\x89PNG\r\n\x1a\n"
_ORIENTATION, _WIDTH, _HEIGHT = 274, 256, 257
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # the three are tables and a reserve
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""Markers without a length."""
# What cameras, browsers and offices write as well: (offset, bytes, name).
_OTHERS = (
    (0, b"GIF8", "a GIF"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftyp", "a HEIC or a video"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\x03\x04", "a zip"),
    (0, b"\x1f\x8b", "a gzip file"),
)


class NoImageError(BadInputError):
    """Not a picture in one of the formats that are read."""


@dataclass(frozen=True)
class PictureHead:
    """What a file says about itself.

    Attributes:
        format: by its content.
        width: pixels, as the file stores them.
        height: pixels, as the file stores them.
        orientation: EXIF orientation 1 to 8; 1 when the file has none.
        exif: its EXIF data, as a TIFF file; empty when it has none.
    """

    format: Format
    width: int
    height: int
    orientation: int = 1
    exif: bytes = field(default=b"", repr=False)

    @property
    def ending(self) -> str:
        """What the name of such a file ends in."""
        return {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}[self.format]

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height before the orientation is applied."""
        return self.width, self.height

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_head(data: bytes, name: str) -> PictureHead:
    """Format, stored size and orientation.

    Args:
        data: the whole file.
        name: what messages call it.

    Raises:
        NoImageError: empty, or not in one of the formats.
        BadInputError: its header is broken or cut off.
    """
    shown = plain(name)
    try:
        if data[:3] == b"\xff\xd8\xff":
            head = _jpeg(data)
        elif data[:8] == PNG_START:
            head = _png(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            head = _webp(data)
        elif data[:4] in _TIFF_STARTS:
            head = _tiff(data)
        elif data[:2] == b"BM" and len(data) >= 26 and _number(data, 14, 4) in (12, 16, *range(40, 257)):
            head = _bmp(data)
        else:
            _refuse(data, shown)
    except (struct.error, IndexError):  # the header ends before it has said all
        head = None
    if head is None:
        raise BadInputError(f"{shown} has no readable header: it is cut off or damaged; copy the whole file again")
    if head.width < 1 or head.height < 1:
        raise BadInputError(f"{shown} says that it is {head.width} x {head.height} pixels; save it again")
    return head


def _refuse(data: bytes, name: str) -> NoReturn:
    if not data:
        raise NoImageError(f"{name} is empty (0 bytes); copy the file again or leave it out")
    what = next((kind for place, start, kind in _OTHERS if data[place : place + len(start)] == start), None)
    told = f"{name} is {what}" if what else f"{name} is not a picture that can be read"
    raise NoImageError(f"{told}; use JPEG, PNG, WebP, BMP or TIFF")


def _number(data: bytes, place: int, length: int, order: Literal["little", "big"] = "little") -> int:
    part = data[place : place + length]
    if len(part) < length:
        raise IndexError(place)
    return int.from_bytes(part, order)


def _jpeg(data: bytes) -> PictureHead | None:
    """Walk the segments to the start of the frame; each step is as long as the segment says."""
    place, exif = 2, b""
    while data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in JPEG_ALONE:
            place += 2
            continue
        if marker in _JPEG_FRAMES:
            height, width = _number(data, place + 5, 2, "big"), _number(data, place + 7, 2, "big")
            return PictureHead("JPEG", width, height, exif_orientation(exif), exif)
        length = _number(data, place + 2, 2, "big")
        if marker in (0xD9, 0xDA) or length < 2:  # the end, or the pixels, and no frame before
            return None
        if marker == 0xE1 and not exif and data[place + 4 : place + 10] == b"Exif\0\0":
            exif = data[place + 10 : place + 2 + length]
        place += 2 + length
    return None


def _png(data: bytes) -> PictureHead | None:
    if data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    place, exif = 8, b""
    while place + 12 <= len(data):  # the orientation may stand behind the pixels
        length, kind = _number(data, place, 4, "big"), data[place + 4 : place + 8]
        if kind == b"eXIf" and place + 12 + length <= len(data):
            exif = data[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
        if kind in (b"eXIf", b"IEND"):
            break
        place += 12 + length
    return PictureHead("PNG", width, height, exif_orientation(exif), exif)


def _webp(data: bytes) -> PictureHead | None:
    size: tuple[int, int] | None = None
    place, exif = 12, b""
    while place + 8 <= len(data):
        kind, length, body = data[place : place + 4], _number(data, place + 4, 4), place + 8
        if size is None:
            if kind == b"VP8X":
                size = _number(data, body + 4, 3) + 1, _number(data, body + 7, 3) + 1
            elif kind == b"VP8L" and data[body] == 0x2F:
                bits = _number(data, body + 1, 4)
                size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
            elif kind == b"VP8 " and data[body + 3 : body + 6] == b"\x9d\x01\x2a":
                size = _number(data, body + 6, 2) & 0x3FFF, _number(data, body + 8, 2) & 0x3FFF
            else:
                return None
        if kind == b"EXIF":
            exif = data[body : body + length].removeprefix(b"Exif\0\0")
            break
        place = body + length + (length & 1)
    return PictureHead("WebP", *size, exif_orientation(exif), exif) if size else None


def _bmp(data: bytes) -> PictureHead:
    if _number(data, 14, 4) == 12:  # of OS/2
        return PictureHead("BMP", _number(data, 18, 2), _number(data, 20, 2))
    width, height = struct.unpack_from("<ii", data, 18)
    return PictureHead("BMP", width, abs(height))  # a negative height means that the first row is the topmost


def _tiff(data: bytes) -> PictureHead | None:
    tags = _tags(data)
    if _WIDTH not in tags or _HEIGHT not in tags:
        return None
    return PictureHead("TIFF", tags[_WIDTH], tags[_HEIGHT], _as_orientation(tags.get(_ORIENTATION, 1)), data)


def exif_orientation(data: bytes) -> int:
    """Orientation 1 to 8 of a block of EXIF data, with or without ``Exif`` in front; 1 when it cannot be read."""
    block = data.removeprefix(b"Exif\0\0")
    if block[:4] not in _TIFF_STARTS:
        return 1
    try:
        return _as_orientation(_tags(block).get(_ORIENTATION, 1))
    except (struct.error, IndexError):
        return 1


def _as_orientation(value: int) -> int:
    return value if 1 <= value <= 8 else 1


def _tags(data: bytes) -> dict[int, int]:
    """Size and orientation out of the first directory of a TIFF or BigTIFF file; EXIF data is one, too."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = _number(data, 2, 2, order) == 43
    word, count_length, entry_length = (8, 8, 20) if big else (4, 2, 12)
    place = _number(data, 8 if big else 4, word, order)
    count = _number(data, place, count_length, order)
    place += count_length
    lengths = {3: 2, 4: 4, 16: 8}  # bytes of a number, by the type of the entry
    tags: dict[int, int] = {}
    for entry in range(place, min(place + count * entry_length, len(data)), entry_length):
        tag, length = _number(data, entry, 2, order), lengths.get(_number(data, entry + 2, 2, order))
        if tag in (_WIDTH, _HEIGHT, _ORIENTATION) and length:
            tags.setdefault(tag, _number(data, entry + entry_length - word, length, order))
    return tags
