"""The bytes of an archive: tar entries, each a gzip member of its own, then the end-of-archive blocks as the last one.

Any tar and gzip reads the whole; one range read reads one entry. Every byte follows from the members' names and
content and from the hour, so packing the same members again gives the same archive. Headers are built here and not by
``tarfile``, whose output may change with the Python version.

Belongs here: framing, both ways. Does not belong here: files, hashes of the whole, stores.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from isal import isal_zlib

from yolo_assets.archive.packing.signatures import is_compressed
from yolo_assets.contracts.errors import IntegrityError

# The stub of isal leaves the type of the data open.
crc32: Callable[[bytes | memoryview, int], int] = cast(Any, isal_zlib).crc32
"""The same number as zlib's, ten times as fast."""

LEVEL = 6
CODEC = f"tar+gzip members; compressed files stored, else deflate {LEVEL} by zlib {zlib.ZLIB_RUNTIME_VERSION}"
"""What made the bytes. Another zlib may give other bytes for the same members: a resume checks this first."""
JPEG_CODEC = f"tar+gzip members; jpeg stored, else deflate {LEVEL} by zlib {zlib.ZLIB_RUNTIME_VERSION}"
"""Of plans that an earlier version wrote. They are finished as they were begun: an upload may be half sent, or whole
and only its receipt missing."""
CODECS = (CODEC, JPEG_CODEC)
"""What this version can pack by."""

BLOCK = 512
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STORED_MAX = 0xFFFF
_LATEST = 0o77777777777
"""The greatest time that a header can hold, in the year 2242."""


def is_stored(name: str, head: bytes, codec: str) -> bool:
    """Whether a member is stored: what is compressed already gains nothing from deflate.

    Args:
        name: of the file. JPEGs are stored by their name, whatever they hold: so they were in every version.
        head: its first ``signatures.LONGEST`` bytes.
        codec: one of ``CODECS``.
    """
    if name.lower().endswith((".jpg", ".jpeg")) and not name.startswith("."):
        return True
    return codec != JPEG_CODEC and is_compressed(head)


def tar_header(folder: str, name: str, size: int, mtime: int) -> bytes:
    """The header blocks of one regular file ``<folder>/<name>``: mode 0644, uid and gid 0.

    A plain ustar header where it can say everything; before it a PAX header for names that are not ASCII or too long,
    and for sizes from 8 GiB. A name that is not UTF-8 has no place in PAX: it stands as raw bytes, with GNU's long
    name entry when it is too long. A time that a header cannot hold becomes the nearest one that it can: none is
    negative, which tars read as a time of another age.
    """
    mtime = min(max(mtime, 0), _LATEST)
    raw = os.fsencode(name)
    pax: dict[str, bytes] = {}
    before = b""
    path = os.fsencode(f"{folder}/{name}")
    if len(raw) > 100 or not raw.isascii():
        try:
            raw.decode("utf-8")
            pax["path"] = path
        except UnicodeDecodeError:
            if len(raw) > 100:
                before = _ustar(b"", b"././@LongLink", len(path) + 1, 0, b"L") + _padded(path + b"\0")
    if size >= 8 << 30:
        pax["size"] = str(size).encode()
    if pax:
        body = b"".join(_pax_record(key, value) for key, value in pax.items())
        before = _ustar(b"", b"././@PaxHeader", len(body), mtime, b"x") + _padded(body)
    return before + _ustar(folder.encode(), raw[:100], 0 if "size" in pax else size, mtime, b"0")


def padding(size: int) -> bytes:
    """Zeros that fill the last tar block of a member."""
    return bytes(-size % BLOCK)


END_OF_ARCHIVE = bytes(2 * BLOCK)


class Framer:
    """Turns the bytes of one tar entry into one gzip member, stored or deflated."""

    def __init__(self, *, stored: bool) -> None:
        """Begin a member; ``stored`` copies instead of compressing."""
        self._crc = 0
        self._size = 0
        self._deflate = None if stored else zlib.compressobj(LEVEL, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY)
        self._begun = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Take bytes, give bytes of the archive."""
        if not self._begun:
            self._begun = True
            yield _GZIP_HEADER
        self._crc = crc32(data, self._crc)
        self._size += len(data)
        if self._deflate is not None:
            yield self._deflate.compress(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), _STORED_MAX):
            piece = view[start : start + _STORED_MAX]
            yield struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF)
            yield piece

    def finish(self) -> Iterator[bytes]:
        """The end of the member."""
        yield self._deflate.flush() if self._deflate is not None else b"\x01\x00\x00\xff\xff"
        yield struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)


def end_member() -> bytes:
    """The last gzip member of every archive."""
    framer = Framer(stored=False)
    return b"".join([*framer.feed(END_OF_ARCHIVE), *framer.finish()])


def content(chunks: Iterable[bytes], folder: str, name: str, size: int, mtime: int) -> Iterator[bytes]:
    """The bytes of one file out of the gzip member that holds it.

    Args:
        chunks: the member's bytes, in pieces of any size.
        folder: ``<camera>/<hour>``.
        name: what the header must say.
        size: bytes of the file.
        mtime: start of the hour, seconds since 1970.

    Raises:
        IntegrityError: not a gzip member, or not of this file.
    """
    header = tar_header(folder, name, size, mtime)
    expected = len(header) + size
    head = b""
    done = 0
    inflate = zlib.decompressobj(31)
    try:
        for chunk in chunks:
            data = inflate.decompress(chunk)
            if len(head) < len(header):
                take = len(header) - len(head)
                head, data = head + data[:take], data[take:]
                done = len(head)
                if len(head) == len(header) and head != header:
                    raise IntegrityError(f"the archive does not hold {name} where its index says")
            if data:
                kept = data[: max(0, expected - done)]
                done += len(data)
                if kept:
                    yield kept
    except zlib.error as error:
        raise IntegrityError(f"the archive is damaged at {name}: {error}") from None
    if not inflate.eof or inflate.unused_data or done != expected + len(padding(size)):
        raise IntegrityError(f"the archive is cut or damaged at {name}")


def open_unchanged(path: Path) -> tuple[int, os.stat_result]:
    """Open a regular file without following a link or waiting for a pipe.

    Raises:
        OSError: missing, a link, or not readable.
        IsADirectoryError: not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise IsADirectoryError(f"{path} is not a regular file")
    return descriptor, status


def _ustar(prefix: bytes, name: bytes, size: int, mtime: int, kind: bytes) -> bytes:
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"%011o\0" % mtime
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _padded(data: bytes) -> bytes:
    return data + padding(len(data))


def _pax_record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body
