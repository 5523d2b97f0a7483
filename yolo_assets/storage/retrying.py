"""The one layer that retries: a store that tries again what may work in a moment.

Only ``StoreUnavailableError`` with ``transient`` is retried; what a retry cannot cure is raised at once. Tries are
bounded in number and in time, with exponential backoff and jitter, and counted for the metrics.

What is not idempotent:

* A ``put_if_absent``, ``compare_and_swap`` or ``complete_upload`` whose answer was lost may have taken effect. When a
  later try of the same call is then refused, what is stored decides: the very bytes of this call are taken for its own
  write and the call succeeds; other bytes are another writer's. Two writers that race with equal bytes may therefore
  both succeed: a caller that needs to know which one won writes something unique. A swap of its own that another
  writer has replaced since is reported as lost.
* ``put`` and ``delete`` may take effect twice; the last one counts, as for any two writers.
* ``create_upload`` may leave an upload that no one knows the id of. It is invisible; a bucket's lifecycle rule
  (``storage init`` makes one) or the folder, after seven days, removes it.

A stream that breaks off continues from where it was, with the same object: one that was replaced meanwhile is refused
with ``ObjectChangedError``, one that turns out damaged at its end with ``ObjectDamagedError``. Its reader has used the
first bytes already; one that can start again calls ``read_whole``. A listing continues after the last key.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from isal import isal_zlib

from yolo_assets.runtime.backoff import Backoff
from yolo_assets.storage.base import (
    AlreadyExistsError,
    CasConflictError,
    ObjectChangedError,
    ObjectDamagedError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    ObjectStream,
    Payload,
    StoreUnavailableError,
    UploadedPart,
    multipart_etag,
    unpaced,
)
from yolo_assets.storage.decorators import ForwardingStore

T = TypeVar("T")


@dataclass(frozen=True)
class RetryBounds:
    """How long a store tries.

    The defaults ride out a hiccup of two to five seconds (a restarted gateway, a load balancer that moves, a burst of
    ``SlowDown``): the pauses are at most 0.4, 0.8, 1.6 and 2 s, each shortened by up to a half at random so that many
    machines do not come back together. A person at a terminal learns in that time that a store is away, and longer
    absences are for the callers' own rounds: the archiver's queue, the edge's polling, Dagster's run retries.

    Attributes:
        tries: how often a request is made before its error is raised.
        deadline: seconds after a call's first failure in which another try may begin. The first try's own time does
            not count: a part of an upload on a slow line takes minutes and deserves a second try.
        first_pause: the most seconds before the second try; doubled each time.
        longest_pause: seconds.
        jitter: share of each pause that is left to chance, 0 to 1.
    """

    tries: int = 5
    deadline: float = 30.0
    first_pause: float = 0.4
    longest_pause: float = 2.0
    jitter: float = 0.5


QUICK = RetryBounds(tries=3, deadline=5.0)
"""For callers that poll: about a second, then it is the next round's turn."""


@dataclass(frozen=True)
class RetryFigures:
    """What was counted of one operation.

    Attributes:
        attempts: requests made, first tries included.
        retries: requests that were made again.
        given_up: calls that failed although tried again, or for want of time.
    """

    attempts: int = 0
    retries: int = 0
    given_up: int = 0


class RetryCounts:
    """Counts requests by operation. Safe to share between threads and stores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}

    def add(self, operation: str, *, attempts: int = 0, retries: int = 0, given_up: int = 0) -> None:
        """Count."""
        with self._lock:
            counts = self._counts.setdefault(operation, [0, 0, 0])
            counts[0] += attempts
            counts[1] += retries
            counts[2] += given_up

    def by_operation(self) -> dict[str, RetryFigures]:
        """Everything counted so far, by the name of the store's method."""
        with self._lock:
            return {operation: RetryFigures(*counts) for operation, counts in self._counts.items()}

    @property
    def retries(self) -> int:
        """Requests that were made again, of all operations."""
        return sum(figures.retries for figures in self.by_operation().values())

    @property
    def given_up(self) -> int:
        """Calls that failed in spite of retries, of all operations."""
        return sum(figures.given_up for figures in self.by_operation().values())


PROCESS_COUNTS = RetryCounts()
"""Of every store of this process that is given no counts of its own: what metrics show."""


class RetryingStore(ForwardingStore):
    """An ``ObjectStore`` that retries; see the module for what that means for each method."""

    def __init__(
        self,
        inner: ObjectStore,
        bounds: RetryBounds | None = None,
        counts: RetryCounts = PROCESS_COUNTS,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Decorate a store.

        Args:
            inner: makes single attempts.
            bounds: how long to try.
            counts: where to count.
            sleep: pauses for seconds; may raise to give up.
        """
        super().__init__(inner)
        self._bounds = bounds or RetryBounds()
        self._counts = counts
        self._sleep = sleep

    def _around(self, operation: str, key: str, request: Callable[[], T]) -> T:
        return self._tried(operation, lambda _: request())

    def _tried(self, operation: str, request: Callable[[bool], T]) -> T:
        """Make a request until it works; its argument is whether an earlier try of the call failed."""
        patience: _Patience | None = None
        while True:
            self._counts.add(operation, attempts=1)
            try:
                return request(patience is not None)
            except StoreUnavailableError as error:
                patience = patience or self._patience(operation)
                patience.wait(error)

    def _patience(self, operation: str) -> _Patience:
        return _Patience(self._bounds, self._counts, operation, self._sleep)

    def _listing(
        self, operation: str, prefix: str, start_after: str | None, begin: Callable[[str | None], Iterator[ObjectInfo]]
    ) -> Iterator[ObjectInfo]:
        patience: _Patience | None = None
        while True:
            self._counts.add(operation, attempts=1)
            try:
                for info in begin(start_after):
                    yield info
                    start_after, patience = info.key, None
                return
            except StoreUnavailableError as error:
                patience = patience or self._patience(operation)
                patience.wait(error)

    def stream(
        self,
        key: str,
        *,
        version_id: str | None = None,
        chunk_size: int = 1 << 20,
        start: int = 0,
        etag: str | None = None,
    ) -> ObjectStream:
        """See ``ObjectStore.stream``. After a break chunks may be cut at other places."""

        def begin(place: int, etag: str | None) -> ObjectStream:
            return self._inner.stream(key, version_id=version_id, chunk_size=chunk_size, start=place, etag=etag)

        def chunks(stream: ObjectStream | None, info: ObjectInfo) -> Iterator[bytes]:
            patience: _Patience | None = None
            place = start
            while True:
                try:
                    if stream is None:
                        self._counts.add("stream", attempts=1)
                        stream = begin(place, info.etag)
                    for chunk in stream:
                        place += len(chunk)
                        yield chunk
                        patience = None
                    return
                except StoreUnavailableError as error:
                    if place >= info.size:
                        if not error.transient:
                            raise
                        raise ObjectDamagedError(str(error)) from error
                    stream, patience = None, patience or self._patience("stream")
                    patience.wait(error)

        first = self._tried("stream", lambda _: begin(start, etag))
        return ObjectStream(first.info, chunks(first, first.info))

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """See ``ObjectStore.put_if_absent``."""

        def request(again: bool) -> ObjectInfo:
            try:
                return self._inner.put_if_absent(key, data, md5=md5)
            except AlreadyExistsError:
                own = self._own_write(key, unpaced(data), md5) if again else None
                if own is None:
                    raise
                return own

        return self._tried("put_if_absent", request)

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """See ``ObjectStore.compare_and_swap``."""

        def request(again: bool) -> ObjectInfo:
            try:
                return self._inner.compare_and_swap(key, data, etag)
            except CasConflictError:
                own = self._own_write(key, unpaced(data), None) if again else None
                if own is None:
                    raise
                return own

        return self._tried("compare_and_swap", request)

    def _own_write(self, key: str, data: bytes | memoryview, md5: str | None) -> ObjectInfo | None:
        """What the store holds under a key when it is ``data``, else None."""
        info = self._inner.head(key)
        if info is None or info.size != len(data):
            return None
        if info.etag == (md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()):
            return info
        rest = memoryview(data)
        try:
            stored = self._inner.stream(key, etag=info.etag)
        except (ObjectChangedError, ObjectNotFoundError):  # another writer was here since
            return None
        for chunk in stored:
            if rest[: len(chunk)] != chunk:
                stored.close()
                return None
            rest = rest[len(chunk) :]
        return None if rest else info

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None
    ) -> ObjectInfo:
        """See ``ObjectStore.complete_upload``."""

        def request(again: bool) -> ObjectInfo:
            try:
                return self._inner.complete_upload(key, upload_id, parts, crc32)
            except AlreadyExistsError:
                own = self._own_upload(key, parts, crc32) if again else None
                if own is None:
                    raise
                return own

        return self._tried("complete_upload", request)

    def _own_upload(self, key: str, parts: Sequence[UploadedPart], crc32: int | None) -> ObjectInfo | None:
        """What the store holds under a key when it is these parts, else None, also when that cannot be decided."""
        info = self._inner.head(key)
        if info is None or info.size != sum(part.size for part in parts):
            return None
        if crc32 is not None and info.checksum_crc32 is not None:
            return info if info.checksum_crc32 == f"{crc32:08x}" else None
        if info.etag == multipart_etag([part.etag for part in parts]):
            return info
        if crc32 is None:
            return None
        found = 0
        for chunk in self._inner.stream(key, etag=info.etag):
            found = isal_zlib.crc32(chunk, found)
        return info if found == crc32 else None


def read_whole(read: Callable[[], T]) -> T:
    """Read an object from its first byte to its last; twice more where only reading it anew helps.

    Args:
        read: reads all of it and forgets what an earlier call made of it.

    Raises:
        ObjectChangedError, ObjectDamagedError: the third time too.
    """
    for _ in range(2):
        try:
            return read()
        except (ObjectChangedError, ObjectDamagedError):
            continue
    return read()


class _Patience:
    """Of one call that failed once: whether it may try again, and the pause before."""

    def __init__(
        self, bounds: RetryBounds, counts: RetryCounts, operation: str, sleep: Callable[[float], object]
    ) -> None:
        self._bounds = bounds
        self._counts = counts
        self._operation = operation
        self._sleep = sleep
        self._begun = time.monotonic()
        self._backoff = Backoff(bounds.first_pause, bounds.longest_pause, bounds.jitter)

    def wait(self, error: StoreUnavailableError) -> None:
        """Pause before the next try.

        Raises:
            StoreUnavailableError: ``error`` itself, when no further try is due.
        """
        if not error.transient or isinstance(error, ObjectChangedError):
            raise error
        pause = self._backoff.failed()
        late = time.monotonic() + pause > self._begun + self._bounds.deadline
        if late or self._backoff.failures >= self._bounds.tries:
            self._counts.add(self._operation, given_up=1)
            raise error
        self._counts.add(self._operation, retries=1)
        self._sleep(pause)
