"""Whether the bytes of a file are compressed already: then they are stored in the archive and not deflated again.

Decided by how the file begins, whatever its name says, so that the same bytes are always packed the same. Belongs
here: the signatures. Does not belong here: framing (``format``).
"""

from __future__ import annotations

LONGEST = 16
"""Bytes from the beginning of a file that are enough to tell."""

_BEGINNINGS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # its bare code stream
    b"\x00\x00\x00\x0cJXL \r\n\x87\n",  # JPEG XL
    b"PK\x03\x04",  # zip, and what is one: docx, npz, onnx bundles
    b"\x1f\x8b\x08",  # gzip
    b"\xfd7zXZ\x00",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x04\x22\x4d\x18",  # lz4
    b"Rar!\x1a\x07",
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"PAR1",  # Parquet
)
_BZIP2, _BZIP2_BLOCK = b"BZh", b"1AY&SY"
_RIFF_KINDS = (b"WEBP", b"AVI ")
_ISO_MEDIA = b"ftyp"  # MP4, MOV, HEIC, AVIF: after the length of the first box


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins with these bytes (``LONGEST`` of them, or all it has) gains nothing from deflate.

    BMP, TIFF, wave sound and text are not: they are deflated, also a TIFF that is compressed inside, whose beginning
    does not tell.
    """
    return (
        head.startswith(_BEGINNINGS)
        or (head[:3] == _BZIP2 and head[4:10] == _BZIP2_BLOCK)
        or (head[:4] == b"RIFF" and head[8:12] in _RIFF_KINDS)
        or head[4:8] == _ISO_MEDIA
    )
