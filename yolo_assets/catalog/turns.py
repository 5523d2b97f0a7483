"""Publishers of one machine take turns: a file lock per store, given back by the kernel also after ``kill -9``.

It saves work and is no part of the proof: the pointer moves by compare-and-swap, on one machine and across many. So a
lock that cannot be had (another user's, a file system without locks, a hung holder) delays and never forbids.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from yolo_assets.storage.base import ObjectStore

WAIT = 120.0
"""Seconds to wait for the others before going on beside them."""
_PAUSE = 0.02


@contextmanager
def turn(store: ObjectStore, wait: float | None = None) -> Iterator[bool]:
    """Hold the turn of this machine for a store.

    Args:
        store: which.
        wait: seconds; ``WAIT`` without.

    Yields:
        False when it could not be had in that time.
    """
    # The user is part of the name: in a shared temporary folder another one's file cannot be opened.
    digest = hashlib.sha256(store.url.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"yolo-catalog-{os.getuid()}-{digest}.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        yield _lock(fd, time.monotonic() + (WAIT if wait is None else wait))
    finally:
        with suppress(OSError):
            os.close(fd)


def _lock(fd: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        except OSError:
            return False
        else:
            return True
