"""Stores around stores: the base of all decorators, and those that limit, wait for and guard the store behind.

``ForwardingStore`` hands everything to another store, through one method. A decorator overrides ``_around`` when it
does the same around every request, ``_listing`` when listings are different for it, and single methods where one of
them is. Locks and versions of the store behind pass through the same way. Retries are ``retrying``, faults for tests
``faults``; ``open`` puts them together.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from yolo_assets.storage.base import (
    ObjectInfo,
    ObjectLock,
    ObjectStore,
    ObjectStream,
    Pace,
    PacedBytes,
    Payload,
    Retention,
    StoreUnavailableError,
    UploadedPart,
    unpaced,
)
from yolo_assets.storage.cold import RestoreState, Retrieval
from yolo_assets.storage.folder import explained
from yolo_assets.storage.folder_files import make_folders, place, temporary
from yolo_assets.storage.keys import RESERVED

T = TypeVar("T")

_ID = "id"


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
        self, key: str, upload_id: str, number: int, data: Payload, *, digest: str | None = None
    ) -> UploadedPart:
        """See ``ObjectStore.upload_part``."""
        return self._around(
            "upload_part", key, lambda: self._inner.upload_part(key, upload_id, number, data, digest=digest)
        )

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


class ThrottledStore(ForwardingStore):
    """An ``ObjectStore`` whose writes keep a pace. Reading is not limited.

    The limit travels with the bytes, as ``PacedBytes``: the store behind asks for each piece at the moment it goes out,
    so that what is limited is the line and not the call. A retry sends again, and waits again.
    """

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
        self, key: str, upload_id: str, number: int, data: Payload, *, digest: str | None = None
    ) -> UploadedPart:
        """See ``ObjectStore.upload_part``."""
        return self._inner.upload_part(key, upload_id, number, self._paced(data), digest=digest)


class LazyStore(ForwardingStore):
    """An ``ObjectStore`` that opens the one behind it with the first request, and again until that works.

    After a power cut a machine is often up before its network share, or hangs when it looks at a share whose server is
    dead: a process that must start anyway opens its store late.
    """

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


class MountGuard(ForwardingStore):
    """An ``ObjectStore`` in a folder that works only while the folder is the one met under its path before.

    The empty folder that an unmounted disk leaves behind must not pass for a new store. A folder store carries an
    identity, ``.yolo_store/id``. A machine remembers, below its home, which identity it met under which path, and opens
    nothing else there. The very first opening cannot know: the disk has to be mounted then. S3 names its buckets itself
    and needs none of this.
    """

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
        self._id_file = root / RESERVED / _ID
        self._note = memory / hashlib.sha256(bytes(root)).hexdigest()[:16]
        self._identity = _read_identity(self._note)
        self._check()
        super().__init__(opener())
        if self._identity is None and remember:
            with contextlib.suppress(OSError):  # a store that is only read, or a home that is read-only
                _write_identity(self._note, _read_identity(self._id_file) or _make_identity(self._id_file))
                self._identity = _read_identity(self._note)
        self._file = self._file_of_identity()

    def _around(self, operation: str, key: str, request: Callable[[], T]) -> T:
        self._check_again()
        return request()

    def _listing(
        self, operation: str, prefix: str, start_after: str | None, begin: Callable[[str | None], Iterator[ObjectInfo]]
    ) -> Iterator[ObjectInfo]:
        self._check_again()
        yield from begin(start_after)

    def _check_again(self) -> None:
        """The disk may be unmounted, or another one mounted, while the store is open."""
        if self._identity is not None and self._file_of_identity() != self._file:
            self._check()
            self._file = self._file_of_identity()

    def _file_of_identity(self) -> tuple[int, int] | None:
        try:
            status = self._id_file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _check(self) -> None:
        found = _read_identity(self._id_file)
        if self._identity is not None and found != self._identity:
            what = "is not there" if not self._root.is_dir() else "is no store" if found is None else "is another store"
            raise StoreUnavailableError(
                f"{self._root} {what}, and this machine has stored there before; mount the disk, or, if the store was "
                f"replaced on purpose, remove {self._note}"
            )


def _read_identity(file: Path) -> str | None:
    """The identity in a file; None when there is none."""
    try:
        with explained(file.parent):
            return file.read_text().split("\n", 1)[0] or None if file.is_file() else None
    except UnicodeDecodeError:
        return None


def _make_identity(file: Path) -> str:
    """The identity of a store that had none; that of another process that was faster."""
    with contextlib.suppress(FileExistsError):
        _write_identity(file, uuid.uuid4().hex)
    return _read_identity(file) or ""


def _write_identity(file: Path, identity: str) -> None:
    """Write it whole, and never over one that is there."""
    make_folders(file.parent, file.parent.parent)
    with temporary(file.parent, f"{identity}\n".encode()) as source:
        place(source, file, file.parent.parent, exclusive=True)
