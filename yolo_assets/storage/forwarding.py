"""The base of all store decorators: a store that hands everything to another one, through one method.

A decorator overrides ``_around`` when it does the same around every request, ``_listing`` when listings are different
for it, and single methods where one of them is. Locks and versions of the store behind pass through the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from yolo_assets.storage.base import ObjectInfo, ObjectLock, ObjectStore, ObjectStream, Payload, UploadedPart
from yolo_assets.storage.cold import RestoreState, Retrieval
from yolo_assets.storage.lock import Retention

T = TypeVar("T")


class ForwardingStore:
    """An ``ObjectStore`` that does what the one behind it does."""

    def __init__(self, inner: ObjectStore) -> None:
        self._decorated = inner

    @property
    def _inner(self) -> ObjectStore:
        return self._decorated

    def _around(self, operation: str, key: str, request: Callable[[], T]) -> T:
        """Do one request.

        Args:
            operation: the name of the method.
            key: the key or prefix it is about.
            request: does it; may be called again.
        """
        return request()

    def _listing(
        self, operation: str, prefix: str, start_after: str | None, begin: Callable[[str | None], Iterator[ObjectInfo]]
    ) -> Iterator[ObjectInfo]:
        """Do one listing, in key order; ``begin`` starts it after a key, None: from the beginning."""
        return begin(start_after)

    @property
    def url(self) -> str:
        """The root as a person wrote it."""
        return self._inner.url

    @property
    def object_lock(self) -> ObjectLock | None:
        """Versions and locks of the store behind; None where it has none."""
        lock = self._inner.object_lock
        return None if lock is None else _ForwardingLock(lock, self)

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        """See ``ObjectStore.get``."""
        return self._around("get", key, lambda: self._inner.get(key, version_id=version_id))

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """See ``ObjectStore.get_with_info``."""
        return self._around("get_with_info", key, lambda: self._inner.get_with_info(key))

    def get_range(self, key: str, start: int, length: int, *, version_id: str | None = None) -> bytes:
        """See ``ObjectStore.get_range``."""
        return self._around("get_range", key, lambda: self._inner.get_range(key, start, length, version_id=version_id))

    def stream(
        self,
        key: str,
        *,
        version_id: str | None = None,
        chunk_size: int = 1 << 20,
        start: int = 0,
        etag: str | None = None,
    ) -> ObjectStream:
        """See ``ObjectStore.stream``."""
        return self._around(
            "stream",
            key,
            lambda: self._inner.stream(key, version_id=version_id, chunk_size=chunk_size, start=start, etag=etag),
        )

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """See ``ObjectStore.head``."""
        return self._around("head", key, lambda: self._inner.head(key, version_id=version_id))

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.list``."""
        return self._listing("list", prefix, start_after, lambda key: self._inner.list(prefix, start_after=key))

    def put(self, key: str, data: Payload) -> ObjectInfo:
        """See ``ObjectStore.put``."""
        return self._around("put", key, lambda: self._inner.put(key, data))

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """See ``ObjectStore.put_if_absent``."""
        return self._around("put_if_absent", key, lambda: self._inner.put_if_absent(key, data, md5=md5))

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """See ``ObjectStore.compare_and_swap``."""
        return self._around("compare_and_swap", key, lambda: self._inner.compare_and_swap(key, data, etag))

    def delete(self, key: str) -> None:
        """See ``ObjectStore.delete``."""
        self._around("delete", key, lambda: self._inner.delete(key))

    def create_upload(self, key: str) -> str:
        """See ``ObjectStore.create_upload``."""
        return self._around("create_upload", key, lambda: self._inner.create_upload(key))

    def upload_part(
        self, key: str, upload_id: str, number: int, data: Payload, *, md5: str | None = None
    ) -> UploadedPart:
        """See ``ObjectStore.upload_part``."""
        return self._around("upload_part", key, lambda: self._inner.upload_part(key, upload_id, number, data, md5=md5))

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """See ``ObjectStore.list_parts``."""
        return self._around("list_parts", key, lambda: self._inner.list_parts(key, upload_id))

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None
    ) -> ObjectInfo:
        """See ``ObjectStore.complete_upload``."""
        return self._around("complete_upload", key, lambda: self._inner.complete_upload(key, upload_id, parts, crc32))

    def abort_upload(self, key: str, upload_id: str) -> None:
        """See ``ObjectStore.abort_upload``."""
        self._around("abort_upload", key, lambda: self._inner.abort_upload(key, upload_id))

    def restore_state(self, key: str, version_id: str | None) -> RestoreState:
        """See ``ObjectStore.restore_state``."""
        return self._around("restore_state", key, lambda: self._inner.restore_state(key, version_id))

    def request_restore(
        self, key: str, version_id: str | None, *, days: int, retrieval: Retrieval = "standard"
    ) -> RestoreState:
        """See ``ObjectStore.request_restore``."""
        return self._around(
            "request_restore",
            key,
            lambda: self._inner.request_restore(key, version_id, days=days, retrieval=retrieval),
        )


class _ForwardingLock:
    """The ``ObjectLock`` of a decorated store: each request goes through the decorator's ``_around``."""

    def __init__(self, inner: ObjectLock, store: ForwardingStore) -> None:
        self._inner = inner
        self._around = store._around
        self._listing = store._listing

    def get_retention(self, key: str, version_id: str | None) -> Retention | None:
        """See ``ObjectLock.get_retention``."""
        return self._around("get_retention", key, lambda: self._inner.get_retention(key, version_id))

    def set_retention(self, key: str, version_id: str | None, retention: Retention) -> None:
        """See ``ObjectLock.set_retention``."""
        self._around("set_retention", key, lambda: self._inner.set_retention(key, version_id, retention))

    def get_legal_hold(self, key: str, version_id: str | None) -> bool:
        """See ``ObjectLock.get_legal_hold``."""
        return self._around("get_legal_hold", key, lambda: self._inner.get_legal_hold(key, version_id))

    def set_legal_hold(self, key: str, version_id: str | None, on: bool) -> None:
        """See ``ObjectLock.set_legal_hold``."""
        self._around("set_legal_hold", key, lambda: self._inner.set_legal_hold(key, version_id, on))

    def versions(self, key: str) -> list[ObjectInfo]:
        """See ``ObjectLock.versions``."""
        return self._around("versions", key, lambda: self._inner.versions(key))

    def hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectLock.hidden``."""

        def begin(after: str | None) -> Iterator[ObjectInfo]:
            return (info for info in self._inner.hidden(prefix) if after is None or info.key > after)

        return self._listing("hidden", prefix, None, begin)
