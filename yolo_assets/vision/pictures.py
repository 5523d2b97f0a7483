"""Pictures before any model sees them: unpacking a file, refusing what is no frame, and figures for camera health.

The one place where picture files are decoded. Whoever made the file, what comes out is upright, 8 bit and BGR; a file
that is cut off, too large or no picture is refused with a sentence.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.text import plain
from yolo_assets.vision.orientation import upright
from yolo_assets.vision.picture_head import JPEG_ALONE, PNG_START, NoImageError, read_head

MOST_PIXELS = 200_000_000
"""Width times height beyond which nothing is unpacked: a few kilobytes can claim to be a picture of gigabytes."""

MOST_BYTES = 1 << 30
"""Bytes of a file beyond which it is not even read."""

_LONG_SIDE = 320
"""Every picture is measured at this size, so that figures of different cameras and settings can be compared."""

_MOST_SIDE = 65_500
_MOST_SCANS = 64
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # within the pixels all others are data


class TooManyPixelsError(BadInputError):
    """The picture is larger than what is unpacked."""


def check_file_size(size: int, name: str) -> None:
    """Refuse a file by its size alone, before it is read.

    Raises:
        BadInputError: it is empty, or larger than any picture that is unpacked.
    """
    if not size:
        raise NoImageError(f"{plain(name)} is empty (0 bytes); copy the file again or leave it out")
    if size > MOST_BYTES:
        raise TooManyPixelsError(f"{plain(name)} is larger than {MOST_BYTES >> 30} GiB; make it smaller")


def decode_image(data: bytes, name: str, most_pixels: int = MOST_PIXELS, *, grey: bool = False) -> NDArray[np.uint8]:
    """A picture file as BGR uint8 ``[h, w, 3]``, upright: its EXIF orientation is applied, as a viewer shows it.

    JPEG, PNG, WebP, BMP and TIFF, known by their content and not by their name. Of several pages or pictures the
    first; 16 bit becomes 8; grey, palettes and CMYK become BGR; transparency is dropped.

    Args:
        data: the whole file.
        name: what messages call it.
        most_pixels: width times height that are unpacked.
        grey: uint8 ``[h, w]`` instead, for which a JPEG is unpacked in half the time.

    Raises:
        NoImageError: empty, or not in one of these formats.
        TooManyPixelsError: it has more pixels.
        BadInputError: cut off or broken.
    """
    import cv2

    head, shown = read_head(data, name), plain(name)
    if head.width * head.height > most_pixels or max(head.width, head.height) > _MOST_SIDE:
        raise TooManyPixelsError(
            f"{shown} has {head.width} x {head.height} pixels and at most {most_pixels} are unpacked; make it smaller"
        )
    if head.format == "JPEG":
        _check_whole_jpeg(data, shown)
    elif head.format == "PNG":
        data = _plain_png(data, shown)
    _quiet_opencv()
    flags = (cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except (cv2.error, MemoryError):
        picture = None
    if picture is None or picture.dtype != np.uint8 or picture.ndim != (2 if grey else 3):
        raise BadInputError(
            f"{shown} is a {head.format} that cannot be unpacked: it is cut off, broken or of a rare kind; "
            "copy it again, or save it as 8-bit JPEG or PNG"
        )
    picture = np.asarray(picture, np.uint8)
    if head.format != "TIFF":  # its decoder turns by itself and cannot be told not to
        picture = upright(picture, head.orientation)
    if (picture.shape[1], picture.shape[0]) != head.size:
        raise BadInputError(f"{shown} is not the {head.format} that its header says; save it again")
    return picture


def _check_whole_jpeg(data: bytes, name: str) -> None:
    """Refuse a file without its end, or with more passes over its pixels than a camera or a browser makes.

    Decoders fill what is missing with grey, and a model would see a picture that no camera took. Whatever follows the
    end is no matter: phones append films there.
    """
    place, scans = _first_scan(data), 0
    while found := _JPEG_MARKER.search(data, place):
        marker, place = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return
        if marker != 0xDA:  # tables between the scans may hold bytes that look like markers
            place += int.from_bytes(data[place : place + 2], "big")
            continue
        scans += 1
        if scans > _MOST_SCANS:
            raise BadInputError(f"{name} has more than {_MOST_SCANS} scans; save it again, not progressive")
    raise BadInputError(f"{name} is cut off; copy the whole file again")


def _first_scan(data: bytes) -> int:
    """Where the pixels begin: a thumbnail in front of them has an end of its own."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # padding
            place += 1
        elif data[place + 1] in JPEG_ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def _plain_png(data: bytes, name: str) -> bytes:
    """The file with nothing in it but the picture: other chunks may unpack to much, or say a length that is a lie."""
    kept, place = [PNG_START], len(PNG_START)
    seen: set[bytes] = set()
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if end > len(data):
            break
        if kind in _PNG_NEEDED:
            if kind in seen and kind != b"IDAT":
                raise BadInputError(f"{name} is a PNG that is broken; save it again")
            kept.append(data[place:end])
            seen.add(kind)
        if kind == b"IEND":
            return b"".join(kept)
        place = end
    raise BadInputError(f"{name} is cut off or broken; copy the whole file again")


@cache
def _quiet_opencv() -> None:
    """OpenCV writes what it cannot read to standard error; here that becomes one sentence."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def check_frame(bgr: NDArray[np.uint8]) -> None:
    """Refuse what is no colour picture.

    Raises:
        BadInputError: not uint8 ``[h, w, 3]``, or without a pixel.
    """
    if not isinstance(bgr, np.ndarray) or bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.size == 0:
        got = f"{bgr.dtype.name} {list(bgr.shape)}" if isinstance(bgr, np.ndarray) else type(bgr).__name__
        raise BadInputError(f"a frame must be a BGR picture, uint8 [height, width, 3]; got {got}")


def picture_quality(bgr: NDArray[np.uint8]) -> tuple[float, float]:
    """Sharpness and brightness of a frame; cheap enough for every one.

    Args:
        bgr: uint8 ``[h, w, 3]``.

    Returns:
        Blur: variance of the Laplacian of the grey picture with a long side of at most 320 pixels (small means blurred,
        0 means one flat colour); brightness: mean of the grey picture, 0 to 255.

    Raises:
        BadInputError: not such a frame.
    """
    import cv2

    check_frame(bgr)
    height, width = bgr.shape[:2]
    scale = _LONG_SIDE / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return float(deviation[0, 0] ** 2), float(grey.mean())
