"""The file-system moves under the folder store: durable temporary files, locks, placing a file at once.

Belongs here: single steps on files that are right after a crash at any point. Does not belong here: keys and errors
for people (``folder``); these functions raise ``OSError``.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_assets.runtime import files
from yolo_assets.storage.base import Pace, PacedBytes, Payload

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process. Locks are held for milliseconds; longer means it is stopped or hung."""

_YOUNG = 60.0
"""Seconds within which a temporary file is left alone: its writer may not have locked it yet."""

_PIECE = 1 << 20
_WAITED = 0.001

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
_STEPS = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)


def lock(fd: int) -> None:
    """Take an exclusive lock on an open file; the kernel frees it when the file closes, also after ``kill -9``.

    Raises:
        OSError: ETIMEDOUT when another holds it all the time; others when the file system has no locks.
    """
    if not files.lock(fd, wait_s=LOCK_TIMEOUT):
        raise OSError(errno.ETIMEDOUT, f"another process held a lock for {LOCK_TIMEOUT:g} s")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``. It is made when missing and never removed: removing one is a race."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # made by another user with a strict umask; reading is enough to lock a local file
        fd = os.open(path, os.O_RDONLY)
    try:
        lock(fd)
        yield
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable; file systems that cannot (SMB, FUSE) are trusted to do it themselves."""
    files.fsync_folder(folder)


def make_folders(folder: Path, root: Path) -> None:
    """Create the folders between ``root``, which must exist, and ``folder``, durably."""
    if folder == root or folder.is_dir():
        return
    make_folders(folder.parent, root)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder)) from None
    else:
        sync_folder(folder.parent)


def set_time(file: int | Path, nanoseconds: int) -> None:
    """Set the modification time, of which the etag is made."""
    os.utime(file, ns=(nanoseconds, nanoseconds))


def write_at_pace(fd: int, data: bytes | memoryview, pace: Pace) -> None:
    """Write all of ``data`` in pieces, each when ``pace`` lets it go.

    Where that takes long, each piece is brought to the disk before the next: a NAS would else get all of them at once,
    from this machine's memory, when the file is synced.
    """
    view = memoryview(data)
    for start in range(0, len(view), _PIECE):
        piece = view[start : start + _PIECE]
        asked = time.monotonic()
        pace(len(piece))
        waited = time.monotonic() - asked > _WAITED
        files.write_all(fd, piece, start)
        if waited:
            os.fdatasync(fd)


@contextmanager
def temporary(folder: Path, data: Payload) -> Iterator[Path]:
    """A durable file with ``data`` for the time of the block, stamped with the present.

    Locked all that time, so that ``sweep`` can tell a living writer's file from a killed one's; no one waits for that
    lock, so paced bytes may take their time.
    """
    path = folder / uuid.uuid4().hex
    # The mode is left to the umask: an archive must be readable by others than its writer.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        lock(fd)
        if isinstance(data, PacedBytes):
            write_at_pace(fd, data.data, data.pace)
        else:
            files.write_all(fd, data, 0)
        set_time(fd, time.time_ns())
        os.fsync(fd)
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def stamp_after(path: Path, previous: os.stat_result) -> None:
    """Give a file a later modification time than ``previous`` has, whatever steps the file system keeps time in.

    The etag is made of it. Without this, two writes within one tick of a coarse clock would look like none.
    """
    for step in (0, *_STEPS):
        if path.stat().st_mtime_ns > previous.st_mtime_ns:
            return
        set_time(path, previous.st_mtime_ns + step)


def place(source: Path, target: Path, root: Path, *, exclusive: bool) -> None:
    """Move a file to its name at once and durably; the caller holds the lock of the target's key.

    Exclusive placing makes a hard link, which fails when the name is taken even where locks do not reach (another
    program, a careless mount); ``source`` stays then and the caller removes it. Where there are no hard links the lock
    alone decides.

    Raises:
        FileExistsError: ``exclusive`` and the name is taken.
        OSError: IsADirectoryError or NotADirectoryError when folders and objects collide.
    """
    for attempt in range(100):
        make_folders(target.parent, root)
        try:
            if exclusive:
                _link(source, target)
            else:
                source.replace(target)
        except FileNotFoundError:
            # A concurrent delete pruned the folder just made.
            if attempt == 99 or not source.exists():
                raise
        except IsADirectoryError:
            target.rmdir()  # left empty by a killed writer; anything in it makes this fail and the key impossible
        else:
            return sync_folder(target.parent)
    raise OSError(errno.EIO, "folders keep vanishing", str(target))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder", str(target)) from None
        if not target.samefile(source):  # the same file: NFS lost the answer to a link that succeeded
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        source.replace(target)


def prune(folder: Path, root: Path) -> None:
    """Remove empty folders upwards: S3 has none, and an empty one would keep its name from being a key."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def discard(folder: Path, trash: Path) -> None:
    """Remove a folder so that a crash half-way leaves it whole or gone, never half."""
    doomed = trash / uuid.uuid4().hex
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder of temporary files. Best effort: a failure waits for next time."""
    for path in list(folder.iterdir()):
        try:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif time.time() - path.stat().st_mtime > _YOUNG:
                fd = os.open(path, os.O_RDWR)
                try:
                    if files.lock(fd):
                        path.unlink()
                finally:
                    os.close(fd)
        except OSError:
            continue
