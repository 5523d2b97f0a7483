"""A store that is read from its copy when it is away or lacks an object. Writes go to the first place only.

Belongs here: which of the two places answers a read, and counting and saying that it was the second. Does not belong
here: how the copy is made (``replication``). What is read is verified by whoever reads it, wherever it lay; what turns
out to be damaged they ask the copy for (``ArchivedPart``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from yolo_assets.storage.base import (
    ObjectChangedError,
    ObjectDamagedError,
    ObjectInfo,
    ObjectLock,
    ObjectNotFoundError,
    ObjectStore,
    ObjectStream,
    StoreUnavailableError,
)
from yolo_assets.storage.cold import RestoreState
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets.storage.open import open_store
from yolo_assets.storage.retrying import QUICK, RetryBounds

T = TypeVar("T")

AWAY_SECONDS = 30.0
"""A first place that did not answer is asked again after this: each try costs seconds of retries."""


class CopyReads:
    """Counts reads that a copy answered. Safe to share between threads and stores."""

    def __init__(self) -> None:
        """None so far."""
        self._lock = threading.Lock()
        self._count = 0

    def add(self) -> None:
        """One more."""
        with self._lock:
            self._count += 1

    @property
    def count(self) -> int:
        """All so far."""
        return self._count


PROCESS_READS = CopyReads()
"""Of every store of this process: what results report."""


class FallbackStore(ForwardingStore):
    """An ``ObjectStore`` whose reads the copy answers where the first place cannot.

    A version id belongs to the first place: the copy is asked for the object as it is there. Listings are those of the
    first place as long as it answers; what it lost is found by key.
    """

    def __init__(
        self,
        first: ObjectStore,
        copy: ObjectStore,
        *,
        say: Callable[[str], None] = lambda _: None,
        reads: CopyReads = PROCESS_READS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Decorate a store.

        Args:
            first: the store.
            copy: where the same objects lie under the same keys.
            say: called with a line when the copy answers for the first time, for each reason.
            reads: counts what the copy answered.
            clock: seconds.
        """
        super().__init__(first)
        self.copy = copy
        self._say = say
        self._reads = reads
        self._clock = clock
        self._lock = threading.Lock()
        self._away_until = float("-inf")
        self._told: set[str] = set()

    @property
    def object_lock(self) -> ObjectLock | None:
        """Versions and locks of the first place; None while it is away."""
        try:
            return super().object_lock
        except StoreUnavailableError:
            return None

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        """See ``ObjectStore.get``."""
        return self._read(key, lambda: self._inner.get(key, version_id=version_id), lambda: self.copy.get(key))

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """See ``ObjectStore.get_with_info``."""
        return self._read(key, lambda: self._inner.get_with_info(key), lambda: self.copy.get_with_info(key))

    def get_range(self, key: str, start: int, length: int, *, version_id: str | None = None) -> bytes:
        """See ``ObjectStore.get_range``."""
        return self._read(
            key,
            lambda: self._inner.get_range(key, start, length, version_id=version_id),
            lambda: self.copy.get_range(key, start, length),
        )

    def stream(
        self,
        key: str,
        *,
        version_id: str | None = None,
        chunk_size: int = 1 << 20,
        start: int = 0,
        etag: str | None = None,
    ) -> ObjectStream:
        """See ``ObjectStore.stream``; where the first place goes away meanwhile, the rest comes from the copy."""

        def of_copy(position: int) -> ObjectStream:
            return self.copy.stream(key, chunk_size=chunk_size, start=position)

        def of_first() -> ObjectStream:
            stream = self._inner.stream(key, version_id=version_id, chunk_size=chunk_size, start=start, etag=etag)
            return ObjectStream(stream.info, continued(stream))

        def continued(stream: ObjectStream) -> Iterator[bytes]:
            position = start
            try:
                for chunk in stream:
                    position += len(chunk)
                    yield chunk
                return
            except (ObjectChangedError, ObjectDamagedError):
                raise
            except StoreUnavailableError as error:
                rest = self._from_copy(key, error, lambda: of_copy(position))
            finally:
                stream.close()
            yield from rest

        return self._read(key, of_first, lambda: of_copy(start))

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """See ``ObjectStore.head``."""

        def there(info: ObjectInfo | None) -> ObjectInfo:
            if info is None:
                raise ObjectNotFoundError(f"there is no object {key} in {self.url}")
            return info

        try:
            return self._read(
                key,
                lambda: there(self._inner.head(key, version_id=version_id)),
                lambda: there(self.copy.head(key)),
            )
        except ObjectNotFoundError:
            return None

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``ObjectStore.list``; where the first place goes away meanwhile, the rest comes from the copy."""
        position = start_after
        if not self._is_away():
            try:
                for info in self._inner.list(prefix, start_after=start_after):
                    position = info.key
                    yield info
                return
            except StoreUnavailableError as error:
                reason = error
        else:
            reason = StoreUnavailableError(f"{self.url} does not answer")
        yield from self._from_copy(prefix, reason, lambda: self.copy.list(prefix, start_after=position))

    def restore_state(self, key: str, version_id: str | None) -> RestoreState:
        """See ``ObjectStore.restore_state``; what is cold in the first place may be readable in the copy."""
        state = self._read(
            key, lambda: self._inner.restore_state(key, version_id), lambda: self.copy.restore_state(key, None)
        )
        if state.readable:
            return state
        try:
            copied = self.copy.restore_state(key, None)
        except (ObjectNotFoundError, StoreUnavailableError):
            return state
        return copied if copied.readable else state

    def _is_away(self) -> bool:
        with self._lock:
            return self._clock() < self._away_until

    def _read(self, key: str, first: Callable[[], T], copy: Callable[[], T]) -> T:
        if self._is_away():
            return self._from_copy(key, StoreUnavailableError(f"{self.url} does not answer"), copy)
        try:
            return first()
        except (ObjectChangedError, ObjectDamagedError):
            raise
        except (StoreUnavailableError, ObjectNotFoundError) as error:
            return self._from_copy(key, error, copy)

    def _from_copy(self, key: str, why: StoreUnavailableError | ObjectNotFoundError, copy: Callable[[], T]) -> T:
        """What the copy answers; where it cannot either, the first place's error stands."""
        away = isinstance(why, StoreUnavailableError) and why.transient
        if away and not self._is_away():
            with self._lock:
                self._away_until = self._clock() + AWAY_SECONDS
        try:
            answer = copy()
        except ObjectNotFoundError:
            if away:
                raise StoreUnavailableError(f"{why}; the copy {self.copy.url} does not have {key}") from None
            raise why from None
        except StoreUnavailableError as error:
            if isinstance(why, ObjectNotFoundError):
                raise why from None  # the first place answered: there is none
            raise StoreUnavailableError(
                f"{why}; nor can its copy be read: {error}", transient=error.transient
            ) from None
        self.answered_by_copy("away" if away else "lacking", str(why))
        return answer

    def answered_by_copy(self, kind: str, why: str) -> None:
        """Count a read that the copy answered, and say it, once for each kind of reason.

        Args:
            kind: of reason, like ``damaged``: who reads found that what the first place gave was changed.
            why: one line.
        """
        self._reads.add()
        with self._lock:
            if kind in self._told:
                return
            self._told.add(kind)
        self._say(f"{why}; read from the copy {self.copy.url}")


def open_with_copy(
    url: str,
    copy_url: str,
    *,
    memory: Path | None = None,
    retries: RetryBounds | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> FallbackStore:
    """Open a store to read it, from its copy where need be. Neither has to be there yet.

    Args:
        url: of the first place.
        copy_url: of the copy.
        memory: see ``open_store``; nothing new is remembered.
        retries: see ``open_store``; by default the first place is not waited for long, as there is another.
        say: see ``FallbackStore``.
    """

    def opened(place: str, bounds: RetryBounds | None) -> ObjectStore:
        return open_store(place, create=False, lazy=True, memory=memory, remember=False, retries=bounds)

    return FallbackStore(opened(url, retries or QUICK), opened(copy_url, retries), say=say)
