"""Files that survive a crash, and locks that end with their holder.

Belongs here: single steps that are right after a crash at any point. They raise ``OSError``: what a full disk or a
missing folder means to a person, the caller knows. Does not belong here: what the files hold.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import stat
import struct
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.runtime.backoff import Backoff

TEMPORARY = ".tmp-"
"""Files whose names begin so are unfinished; no reader takes them."""

_counter = itertools.count()
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
"""What file systems answer that cannot make the names of a folder durable: shares (SMB, FUSE)."""
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What file systems without locks answer."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class FolderBusyError(UserError):
    """Another process holds the lock of a folder."""

    may_pass = True


def is_full(error: OSError) -> bool:
    """Whether an error says that no space is left, on the disk or in the quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_all(descriptor: int, data: bytes | memoryview, offset: int | None = None) -> None:
    """Write every byte; the system may take fewer at once, for example just before the disk is full.

    Args:
        descriptor: an open file.
        data: the bytes.
        offset: where in the file; None: at its position, which moves on.
    """
    view = memoryview(data)
    while view:
        if offset is None:
            view = view[os.write(descriptor, view) :]
        else:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written


def fsync_file(path: Path) -> None:
    """Make the bytes of a file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable: a file whose name is lost is lost.

    File systems that cannot do it (SMB, FUSE) are trusted to keep names by themselves.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
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
        OSError: it cannot be written; nothing is left behind.
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
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_folder(path.parent)


def lock(descriptor: int, *, shared: bool = False, wait_s: float | None = 0.0) -> bool:
    """Lock an open file or folder for this process. The kernel frees it when the descriptor closes, also by a kill.

    Args:
        descriptor: open; every descriptor of its own has a lock of its own, also within one process.
        shared: holders of shared locks coexist.
        wait_s: how long to wait for another holder; None: for ever.

    Returns:
        Whether it is locked now.

    Raises:
        OSError: the file system has no locks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if wait_s is None:
        fcntl.flock(descriptor, kind)
        return True
    deadline, backoff = time.monotonic() + wait_s, Backoff(_SHORTEST_PAUSE, _LONGEST_PAUSE)
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(backoff.failed())
        else:
            return True


def unlock(descriptor: int) -> None:
    """Free a lock before its descriptor closes."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def lock_folder(path: Path, message: str, *, shared: bool = False) -> int:
    """Lock a folder itself, without a lock file in it and without waiting.

    On a share that has no locks, or none of folders (NFS), the lock holds among the processes of this user on this
    machine.

    Args:
        path: an existing folder.
        message: what to report when another process holds it.
        shared: holders of shared locks coexist.

    Returns:
        A descriptor; closing it frees the lock.

    Raises:
        FolderBusyError: held by another.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locked = lock(descriptor, shared=shared)
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (*NO_LOCKS, errno.EBADF):
            raise
        descriptor, locked = _lock_here(path, shared=shared)
    if not locked:
        os.close(descriptor)
        raise FolderBusyError(message)
    return descriptor


def _lock_here(path: Path, *, shared: bool) -> tuple[int, bool]:
    """A lock on this machine that stands for a folder: one byte of a file of this user, by the folder's real path.

    Returns:
        A descriptor, closing which frees the lock, and whether it is locked.
    """
    folder = Path(tempfile.gettempdir(), f"yolo-assets-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "not a folder of this user", str(folder))
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(folder / "folder-locks", flags, 0o600)
    byte = int.from_bytes(hashlib.sha256(os.fsencode(path.resolve())).digest()[:7], "big")
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        return descriptor, False
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, True


@contextmanager
def locked_file(path: Path, message: str) -> Generator[None]:
    """Hold a lock file for the time of the block. It is made when missing and never removed: removing one is a race.

    Args:
        path: of the lock file; its folder is made.
        message: what to report when another process holds it.

    Raises:
        FolderBusyError: held by another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not lock(descriptor):
            raise FolderBusyError(message)
        yield
    finally:
        os.close(descriptor)
