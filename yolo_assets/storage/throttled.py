"""A store that writes no faster than it is allowed to.

The limit travels with the bytes, as ``PacedBytes``: the store behind asks for each piece at the moment it goes out, so
that what is limited is the line and not the call. A retry sends again, and is asked for again.
"""

from __future__ import annotations

from yolo_assets.storage.base import ObjectInfo, ObjectStore, Pace, PacedBytes, Payload, UploadedPart, unpaced
from yolo_assets.storage.forwarding import ForwardingStore


class ThrottledStore(ForwardingStore):
    """An ``ObjectStore`` whose writes of any size keep a pace. Reading is not limited."""

    def __init__(self, inner: ObjectStore, pace: Pace) -> None:
        """Decorate a store; ``pace`` waits until so many bytes may be sent, and may raise to give up."""
        super().__init__(inner)
        self._pace = pace

    def _paced(self, data: Payload) -> PacedBytes:
        return PacedBytes(memoryview(unpaced(data)), self._pace)

    def put(self, key: str, data: Payload) -> ObjectInfo:
        """See ``ObjectStore.put``."""
        return self._inner.put(key, self._paced(data))

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """See ``ObjectStore.put_if_absent``."""
        return self._inner.put_if_absent(key, self._paced(data), md5=md5)

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """See ``ObjectStore.compare_and_swap``."""
        return self._inner.compare_and_swap(key, self._paced(data), etag)

    def upload_part(
        self, key: str, upload_id: str, number: int, data: Payload, *, md5: str | None = None
    ) -> UploadedPart:
        """See ``ObjectStore.upload_part``."""
        return self._inner.upload_part(key, upload_id, number, self._paced(data), md5=md5)
