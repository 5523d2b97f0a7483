"""Files of a spool: what a full disk means there, and names that may not be UTF-8.

Belongs here: what both the writer of a spool hour and the archiver do to files. Does not belong here: what the files
hold; atomic writes and locks themselves (``runtime.files``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.runtime import files

_ESCAPE = re.compile(rb"\\(\\|x[0-9a-f]{2})")


class SpoolFullError(UserError):
    """The disk of the spool is full, or the quota is used up; what was being written is not there, all else is."""


def full_error(path: Path) -> SpoolFullError:
    """The error to raise when there is no room for ``path``."""
    return SpoolFullError(f"no space on the disk for {path}; archive and reclaim hours, or give the spool more disk")


def write_atomic(path: Path, data: bytes, *, exclusive: bool = False, durable: bool = True) -> None:
    """Write a file whole or not at all, by ``runtime.files.write_atomic``.

    Args:
        path: the file; its folder exists.
        data: all its bytes.
        exclusive: fail when the name is taken instead of replacing it.
        durable: False leaves both fsyncs to the caller; the file is still never seen half written.

    Raises:
        FileExistsError: ``exclusive`` and the name is taken.
        SpoolFullError: no room; nothing is left behind.
    """
    try:
        files.write_atomic(path, data, exclusive=exclusive, durable=durable)
    except OSError as error:
        if files.is_full(error):
            raise full_error(path) from None
        raise


def portable_name(name: str) -> str:
    r"""A file name as JSON and Parquet can hold it: itself, unless it holds a backslash or bytes that are not UTF-8.

    Those become ``\\`` and ``\xNN``; ``native_name`` undoes it exactly.
    """
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\")
    return escaped.decode("utf-8", errors="backslashreplace")


def native_name(portable: str) -> str:
    """The file name that ``portable_name`` wrote.

    Raises:
        BadInputError: not the name of one file in a folder; a path is never accepted.
    """

    def plain(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return b"\\" if code == b"\\" else bytes([int(code[1:], 16)])

    raw = _ESCAPE.sub(plain, portable.encode("utf-8", errors="surrogatepass"))
    if not raw or b"/" in raw or b"\0" in raw or raw in (b".", b".."):
        raise BadInputError(f"{portable!r} is not the name of a file in an hour; paths are refused")
    return os.fsdecode(raw)
