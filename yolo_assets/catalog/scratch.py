"""Folders to work in that do not pile up: what a killed process left is removed by the next one.

A catalog of a large plant has hundreds of megabytes, and a ``kill -9`` runs no clean-up.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "yolo-catalog-"
_LOCK = "lock"
_YOUNG = 60.0
"""Seconds within which a new folder is left alone: its maker may not have come to locking it."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the time of the block, among the system's temporary files (``TMPDIR``)."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield folder
        finally:
            os.close(fd)


def sweep() -> None:
    """Remove folders whose maker is gone; the kernel gave its lock back. Best effort: a failure waits for next time."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            if time.time() - status.st_mtime < _YOUNG:
                continue
            if (fd := _lock_file(folder)) is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(fd)
        except OSError:
            continue


def _lock_file(folder: Path) -> int | None:
    try:
        return os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
