"""Knows a folder store again: the empty folder that an unmounted disk leaves behind must not pass for a new store.

A folder store carries an identity, ``.yolo_store/id``. A machine remembers, below its home, which identity it met under
which path, and opens nothing else there. The very first opening cannot know: the disk has to be mounted then. S3 names
its buckets itself and needs none of this.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from yolo_assets.storage.base import ObjectStore, StoreUnavailableError
from yolo_assets.storage.folder_errors import explained
from yolo_assets.storage.folder_files import make_folders, place, temporary
from yolo_assets.storage.forwarding import ForwardingStore
from yolo_assets.storage.keys import RESERVED

T = TypeVar("T")

ID = "id"


class MountGuard(ForwardingStore):
    """An ``ObjectStore`` in a folder that works only while the folder is the one met under its path before."""

    def __init__(self, root: Path, memory: Path, opener: Callable[[], ObjectStore], *, remember: bool = True) -> None:
        """Check the folder, then open the store in it.

        Args:
            root: the store's folder.
            memory: folder in which this machine remembers; made when needed. One that cannot be written remembers
                nothing.
            opener: opens the store; not called when the folder is not the right one.
            remember: a store that was not met before; without it one that is only read leaves no trace.

        Raises:
            StoreUnavailableError: the folder is another store than before, or none; or as ``opener``.
        """
        self._root = root
        self._id_file = root / RESERVED / ID
        self._note = memory / hashlib.sha256(bytes(root)).hexdigest()[:16]
        self._identity = _read(self._note)
        self._check()
        super().__init__(opener())
        if self._identity is None and remember:
            with contextlib.suppress(OSError):  # a store that is only read, or a home that is read-only
                _write(self._note, _read(self._id_file) or _made(self._id_file))
                self._identity = _read(self._note)
        self._file = self._file_of_identity()

    def _around(self, operation: str, key: str, request: Callable[[], T]) -> T:
        # The disk may be unmounted, or another one mounted, while the store is open. The same file is the same store.
        if self._identity is not None and self._file_of_identity() != self._file:
            self._check()
            self._file = self._file_of_identity()
        return request()

    def _file_of_identity(self) -> tuple[int, int] | None:
        try:
            status = self._id_file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _check(self) -> None:
        found = _read(self._id_file)
        if self._identity is not None and found != self._identity:
            what = "is not there" if not self._root.is_dir() else "is no store" if found is None else "is another store"
            raise StoreUnavailableError(
                f"{self._root} {what}, and this machine has stored there before; mount the disk, or, if the store was "
                f"replaced on purpose, remove {self._note}"
            )


def _read(file: Path) -> str | None:
    """The identity in a file; None when there is none."""
    try:
        with explained(file.parent):
            return file.read_text().split("\n", 1)[0] or None if file.is_file() else None
    except UnicodeDecodeError:
        return None


def _made(file: Path) -> str:
    """The identity of a store that had none; that of another process that was faster."""
    with contextlib.suppress(FileExistsError):
        _write(file, uuid.uuid4().hex)
    return _read(file) or ""


def _write(file: Path, identity: str) -> None:
    """Write it whole, and never over one that is there."""
    make_folders(file.parent, file.parent.parent)
    with temporary(file.parent, f"{identity}\n".encode()) as source:
        place(source, file, file.parent.parent, exclusive=True)
