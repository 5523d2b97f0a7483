"""File operations that survive a crash: atomic writes, folder locks, and names that may not be UTF-8.

Belongs here: what both the writer of a spool hour and the archiver do to files. Does not belong here: what the files
hold.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
from pathlib import Path

from yolo_assets.contracts.errors import BadInputError, UserError

TEMPORARY = ".tmp-"
"""Files that begin so are unfinished; nobody reads them."""

_counter = itertools.count()
_ESCAPE = re.compile(rb"\\(\\|x[0-9a-f]{2})")


class SpoolFullError(UserError):
    """The disk of the spool is full, or the quota is used up; what was being written is not there, all else is."""


class FolderBusyError(UserError):
    """Another process holds the lock of a folder."""


def is_full(error: OSError) -> bool:
    """Whether an error says that no room is left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def full_error(path: Path) -> SpoolFullError:
    """The error to raise when there is no room for ``path``."""
    return SpoolFullError(f"no room on the disk for {path}; archive and reclaim hours, or give the spool more disk")


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; ``os.write`` may take fewer, for example just before the disk is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable: a file whose name is lost is lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make the bytes of one file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, exclusive: bool = False, durable: bool = True) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: the file; its folder exists.
        data: all its bytes.
        exclusive: fail when the name is taken instead of replacing it.
        durable: False leaves both fsyncs to the caller; the file is still never seen half written.

    Raises:
        FileExistsError: ``exclusive`` and the name is taken.
        SpoolFullError: no room; nothing is left behind.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{next(_counter)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            write_all(descriptor, data)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if exclusive:
            os.link(temporary, path)  # unlike rename, refuses a name that is taken
            temporary.unlink()
        else:
            temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if is_full(error):
            raise full_error(path) from None
        raise
    if durable:
        fsync_folder(path.parent)


def lock_folder(path: Path, message: str, *, shared: bool = False) -> int:
    """Lock a folder for this process without waiting; the kernel frees it when the process ends, however it ends.

    Args:
        path: an existing folder. No lock file is left in it.
        message: what to tell when another process holds it.
        shared: several holders of shared locks may coexist.

    Returns:
        A descriptor; closing it releases the lock.

    Raises:
        FolderBusyError: held by another.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderBusyError(message) from None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


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
