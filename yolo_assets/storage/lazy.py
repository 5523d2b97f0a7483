"""A store that is opened when it is first needed.

After a power cut a machine is often up before its network share, or hangs when it looks at a share whose server is
dead: a process that must start anyway opens its store late.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from yolo_assets.storage.base import ObjectLock, ObjectStore
from yolo_assets.storage.forwarding import ForwardingStore

T = TypeVar("T")


class LazyStore(ForwardingStore):
    """An ``ObjectStore`` that opens the one behind it with the first request, and again until that works."""

    def __init__(self, url: str, opener: Callable[[], ObjectStore]) -> None:
        """Open nothing yet.

        Args:
            url: the root, for messages.
            opener: opens the store; what it raises, every request raises until it works.
        """
        self._url = url
        self._opener = opener
        self._opened: ObjectStore | None = None
        self._lock = threading.Lock()

    @property
    def _inner(self) -> ObjectStore:
        with self._lock:
            if self._opened is None:
                self._opened = self._opener()
            return self._opened

    @property
    def url(self) -> str:
        """The root as a person wrote it."""
        return self._url

    @property
    def object_lock(self) -> ObjectLock | None:
        """Versions and locks of the store, which is opened for it."""
        return self._inner.object_lock
