"""Picture files as other people's tools write them, by PIL: every format, every orientation, and what is odd."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
ORIENTED = ("JPEG", "PNG", "WEBP", "TIFF")  # BMP has no place for EXIF


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """A grey picture with another colour in each corner, so that every turn of it looks different."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    half, quarter = height // 2, width // 4
    for rows, columns, colour in (
        (slice(0, half), slice(0, quarter), (220, 30, 30)),
        (slice(0, half), slice(width - quarter, width), (30, 200, 30)),
        (slice(half, height), slice(0, quarter), (30, 30, 220)),
        (slice(half, height), slice(width - quarter, width), (220, 220, 30)),
    ):
        pixels[rows, columns] = colour
    return Image.fromarray(pixels)


def saved(picture: Image.Image, kind: str, orientation: int = 1, **options: object) -> bytes:
    """The bytes of a file; ``orientation`` as EXIF says it."""
    if kind == "TIFF" and orientation != 1:
        options = {"tiffinfo": {274: orientation}} | options
    elif orientation != 1:
        exif = Image.Exif()
        exif[274] = orientation
        options = {"exif": exif} | options
    if kind == "JPEG":
        options = {"quality": 96, "subsampling": 0} | options
    if kind == "WEBP":
        options = {"lossless": True} | options
    file = io.BytesIO()
    picture.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def as_a_viewer_shows(data: bytes) -> NDArray[np.uint8]:
    """BGR ``[h, w, 3]``, upright, by PIL."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), np.uint8)[:, :, ::-1]


def top_down_bmp(picture: Image.Image) -> bytes:
    """A BMP whose first row is the topmost, as frame grabbers write it: its height is negative."""
    width, height = picture.size
    bgr = np.asarray(picture.convert("RGB"), np.uint8)[:, :, ::-1]
    padding = b"\0" * (-width * 3 % 4)
    rows = b"".join(row.tobytes() + padding for row in bgr)
    info = struct.pack("<IiiHHIIiiII", 40, width, -height, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + info + rows


def odd_but_sound() -> dict[str, tuple[str, bytes]]:
    """What a viewer shows: case to ending and bytes."""
    picture = scene()
    other = ImageOps.mirror(picture)
    deep = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    clear = picture.convert("RGBA")
    clear.putalpha(200)
    return {
        "png_16_bit": ("png", saved(deep, "PNG")),
        "tiff_16_bit": ("tif", saved(deep, "TIFF")),
        "grey_jpeg": ("jpg", saved(picture.convert("L"), "JPEG", subsampling=-1)),
        "cmyk_jpeg": ("jpg", saved(picture.convert("CMYK"), "JPEG")),
        "progressive_jpeg": ("jpeg", saved(picture, "JPEG", progressive=True)),
        "jpeg_with_a_film_behind": ("jpg", saved(picture, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(9000)),
        "palette_png_with_alpha": ("png", saved(palette, "PNG", transparency=bytes([0, 128]))),
        "png_with_alpha": ("png", saved(clear, "PNG")),
        "one_bit_png": ("png", saved(picture.convert("1"), "PNG")),
        "one_bit_tiff": ("tiff", saved(picture.convert("1"), "TIFF", compression="group4")),
        "tiff_of_pages": ("tiff", saved(picture, "TIFF", save_all=True, append_images=[other])),
        "animated_webp": ("webp", saved(picture, "WEBP", save_all=True, append_images=[other])),
        "webp_with_loss": ("webp", saved(picture, "WEBP", lossless=False, quality=95)),
        "png_called_jpg": ("jpg", saved(picture, "PNG")),
        "tiff_called_png": ("png", saved(picture, "TIFF", compression="tiff_lzw")),
        "bmp_top_down": ("bmp", top_down_bmp(picture)),
        "upper_case": ("JPG", saved(picture, "JPEG")),
    }


def no_pictures() -> dict[str, tuple[str, bytes]]:
    """What nobody can show: case to ending and bytes."""
    jpeg, png, webp = (saved(scene(), kind) for kind in ("JPEG", "PNG", "WEBP"))
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return {
        "zero_bytes": ("jpg", b""),
        "cut_jpeg": ("jpg", jpeg[: len(jpeg) * 2 // 3]),
        "jpeg_ends_in_zeros": ("jpg", jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2)),
        "cut_png": ("png", png[:-20]),
        "cut_webp": ("webp", webp[: len(webp) // 2]),
        "cut_tiff": ("tif", saved(scene(), "TIFF")[:-900]),
        "cut_bmp": ("bmp", saved(scene(), "BMP")[:-900]),
        "text": ("jpg", b"<html>503 Service Unavailable</html>"),
        "gif": ("jpg", saved(scene(), "GIF")),
        "zeros": ("png", bytes(4096)),
        "bomb": ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header + b"\0\0\0\0" + bytes(64)),
    }
