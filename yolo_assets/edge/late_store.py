"""A store that may not be there yet: after a power cut the box is often up before the network share, or hangs in it.

Belongs here: opening the store when it is first needed and can be. Does not belong here: anything the store does.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

from yolo_assets.storage.base import ObjectStore, StoreUnavailableError
from yolo_assets.storage.open import open_store, parse_file_url


def store_folder(url: str) -> Path | None:
    """The folder behind a ``file://`` store; None for any other store."""
    return parse_file_url(url) if url.startswith("file://") else None


def open_late(url: str) -> ObjectStore:
    """The store; a folder is looked at when it is first needed, because looking at a dead share may take for ever.

    Raises:
        UsageError: not the URL of a store.
    """
    if store_folder(url) is not None:
        return cast(ObjectStore, _LateStore(url))
    return open_store(url)


class _LateStore:
    """Forwards everything to the store once it can be opened; raises ``StoreUnavailableError`` until then."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store: ObjectStore | None = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._store is None:
                self._store = _open(self._url)
        return getattr(self._store, name)


def _open(url: str) -> ObjectStore:
    """Open, but never make the folder: an agent that did would fill the place where a share is to be mounted."""
    folder = store_folder(url)
    if folder is not None and not folder.is_dir():
        raise StoreUnavailableError(f"the store's folder {folder} is not there; mount it, or make it on the centre")
    return open_store(url)
