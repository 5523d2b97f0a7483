"""Knows a folder store again: the empty folder that an unmounted disk leaves behind must not pass for a new store.

A folder store carries an identity, ``.yolo_store/id``. A machine remembers, below its home, which identity it met under
which path, and opens nothing else there. The very first opening cannot know: the disk has to be mounted then. S3 names
its buckets itself and needs none of this.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from pathlib import Path

from yolo_assets.storage.base import ObjectStore, StoreUnavailableError
from yolo_assets.storage.body import Pace
from yolo_assets.storage.folder_errors import explained
from yolo_assets.storage.folder_files import make_folders, place, temporary
from yolo_assets.storage.keys import RESERVED
from yolo_assets.storage.open import open_store, parse_file_url

ID = "id"


def open_known_store(url: str, memory: Path, *, pace: Pace | None = None, look: bool = False) -> ObjectStore:
    """Open a store as ``open_store`` does, but no other folder than the one that was met under this path before.

    Args:
        url: as ``open_store``.
        memory: folder in which this machine remembers; made when needed. One that cannot be written remembers nothing.
        pace: as ``open_store``.
        look: open it to read: a store that was not met before is not remembered either.

    Raises:
        UsageError: as ``open_store``.
        StoreUnavailableError: as ``open_store``; or the folder is another store than before, or none.
    """
    if not url.startswith("file://"):
        return open_store(url, pace=pace)
    root = parse_file_url(url)
    file = memory / hashlib.sha256(bytes(root)).hexdigest()[:16]
    known, there = _read(file), _read(root / RESERVED / ID)
    if known is not None and there != known:
        what = "is not there" if not root.is_dir() else "is no store" if there is None else "is another store"
        raise StoreUnavailableError(
            f"{root} {what}, and this machine has stored there before; mount the disk, or, if the store was replaced "
            f"on purpose, remove {file}"
        )
    store = open_store(url, pace=pace)
    if known is None and not look:
        with contextlib.suppress(OSError):  # one that we only read, or a home that is read-only
            _write(file, there or _made(root))
    return store


def _read(file: Path) -> str | None:
    """The identity in a file; None when there is none."""
    try:
        with explained(file.parent):
            return file.read_text().split("\n", 1)[0] or None if file.is_file() else None
    except UnicodeDecodeError:
        return None


def _made(root: Path) -> str:
    """The identity of a store that had none; that of whoever was faster."""
    with contextlib.suppress(FileExistsError):
        _write(root / RESERVED / ID, uuid.uuid4().hex)
    return _read(root / RESERVED / ID) or ""


def _write(file: Path, identity: str) -> None:
    """Write it whole, and never over one that is there."""
    make_folders(file.parent, file.parent.parent)
    with temporary(file.parent, f"{identity}\n".encode()) as source:
        place(source, file, file.parent.parent, exclusive=True)
