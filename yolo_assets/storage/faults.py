"""A store that fails on purpose: part of the test kit, never opened by the product.

Rules decide which requests fail and how; the store behind, a real one, does everything else:

    faulty = FaultyStore(store, fail("put_if_absent", nth=2, effect="after"), each_once())
    retrying = RetryingStore(faulty)

A request that fails ``before`` never reaches the store behind; one that fails ``after`` took effect and lost its
answer. Streams and listings may also break off in the middle. ``FaultyStore`` counts its requests, whether rules are
given or not.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from yolo_assets.storage.base import ObjectInfo, ObjectStore, ObjectStream, StoreUnavailableError
from yolo_assets.storage.decorators import ForwardingStore

T = TypeVar("T")

Effect = Literal["before", "after"]

READS = frozenset(
    {"get", "get_with_info", "get_range", "stream", "head", "list", "list_parts", "restore_state"}
    | {"get_retention", "get_legal_hold", "versions", "hidden"}
)
WRITES = frozenset(
    {"put", "put_if_absent", "compare_and_swap", "delete"}
    | {"create_upload", "upload_part", "complete_upload", "abort_upload"}
    | {"request_restore", "set_retention", "set_legal_hold"}
)
"""The operations of a store, by the names of its methods."""


@dataclass(frozen=True)
class StoreCall:
    """One request.

    Attributes:
        operation: the name of the method.
        key: the key or prefix it is about.
        number: from 1, of this operation.
        total: from 1, of all operations.
    """

    operation: str
    key: str
    number: int
    total: int


@dataclass(frozen=True)
class StoreFault:
    """How a request fails.

    Attributes:
        error: what it raises.
        effect: ``after``: it took effect first.
        cut_after: of a stream so many bytes, of a listing so many entries come first; None: none.
    """

    error: BaseException
    effect: Effect = "before"
    cut_after: int | None = None


FaultRule = Callable[[StoreCall], StoreFault | None]
"""Decides about one request; asked by one thread at a time, for every request until a rule before it fails it."""

MakeError = Callable[[StoreCall], BaseException]


def unavailable(call: StoreCall) -> StoreUnavailableError:
    """What most faults raise: the store does not answer, and may in a moment."""
    return StoreUnavailableError(f"injected: {call.operation} {call.key} does not answer; run again")


def refused(call: StoreCall) -> StoreUnavailableError:
    """A refusal that no retry cures."""
    return StoreUnavailableError(f"injected: {call.operation} {call.key} is refused", transient=False)


def fail(
    *operations: str,
    nth: int = 1,
    times: int | None = 1,
    key: str = "*",
    effect: Effect = "before",
    error: MakeError = unavailable,
    cut_after: int | None = None,
) -> FaultRule:
    """Fail some requests in a row.

    Args:
        operations: names of methods; none: any.
        nth: the first to fail of those that match, from 1.
        times: how many; None: all from then on.
        key: pattern of the keys that match, as of a shell, for example ``"*.tar.gz"``.
        effect: see ``StoreFault``.
        error: makes what is raised.
        cut_after: see ``StoreFault``.
    """
    met = 0

    def rule(call: StoreCall) -> StoreFault | None:
        nonlocal met
        if (operations and call.operation not in operations) or not fnmatchcase(call.key, key):
            return None
        met += 1
        due = met >= nth and (times is None or met < nth + times)
        return StoreFault(error(call), effect, cut_after) if due else None

    return rule


def each_once(
    operations: Collection[str] = READS | WRITES, *, effect: Effect = "before", error: MakeError = unavailable
) -> FaultRule:
    """Fail the first request of each operation."""

    def rule(call: StoreCall) -> StoreFault | None:
        return StoreFault(error(call), effect) if call.number == 1 and call.operation in operations else None

    return rule


def at_random(
    seed: int, share: float, operations: Collection[str] = READS | WRITES, *, error: MakeError = unavailable
) -> FaultRule:
    """Fail a share of the requests, 0 to 1, half of them after they took effect; print the seed with a failure."""
    dice = random.Random(seed)

    def rule(call: StoreCall) -> StoreFault | None:
        if call.operation not in operations or dice.random() >= share:
            return None
        return StoreFault(error(call), dice.choice(("before", "after")), dice.choice((None, 0, 1, 1000)))

    return rule


class Outage:
    """A rule by which the store is away for some time; nothing takes effect meanwhile."""

    def __init__(self, error: MakeError = unavailable, clock: Callable[[], float] = time.time) -> None:
        self._error = error
        self._clock = clock
        self._begin = self._end = float("inf")

    def between(self, begin: float, end: float) -> Outage:
        """Away from one moment to another of the clock (default: seconds since 1970, alike in all processes)."""
        self._begin, self._end = begin, end
        return self

    def begin(self, seconds: float = float("inf")) -> None:
        """Away from now on, for so long."""
        now = self._clock()
        self._begin, self._end = now, now + seconds

    def end(self) -> None:
        """There again."""
        self._begin = self._end = float("inf")

    def __call__(self, call: StoreCall) -> StoreFault | None:
        """See ``FaultRule``."""
        return StoreFault(self._error(call)) if self._begin <= self._clock() < self._end else None


class FaultyStore(ForwardingStore):
    """An ``ObjectStore`` that fails as its rules demand, and counts.

    Attributes:
        calls: every request in order, failed ones included.
    """

    def __init__(self, inner: ObjectStore, *rules: FaultRule) -> None:
        """Decorate a store; the first rule that fails a request decides."""
        super().__init__(inner)
        self.calls: list[StoreCall] = []
        self._rules = list(rules)
        self._numbers: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, *rules: FaultRule) -> None:
        """Fail by these rules too, from now on."""
        with self._lock:
            self._rules += rules

    def heal(self) -> None:
        """Fail no longer."""
        with self._lock:
            self._rules.clear()

    def counts(self) -> Counter[str]:
        """Requests so far by operation."""
        with self._lock:
            return Counter(self._numbers)

    def keys(self, *operations: str) -> list[str]:
        """The keys that these operations were asked about, in order."""
        with self._lock:
            return [call.key for call in self.calls if call.operation in operations]

    def _fault(self, operation: str, key: str) -> StoreFault | None:
        with self._lock:
            self._numbers[operation] += 1
            call = StoreCall(operation, key, self._numbers[operation], len(self.calls) + 1)
            self.calls.append(call)
            return next((fault for rule in self._rules if (fault := rule(call)) is not None), None)

    def _around(self, operation: str, key: str, request: Callable[[], T]) -> T:
        fault = self._fault(operation, key)
        if fault is None:
            return request()
        if fault.effect == "after":
            request()
        raise fault.error

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
        fault = self._fault("stream", key)
        if fault is not None and fault.cut_after is None:
            raise fault.error
        stream = self._inner.stream(key, version_id=version_id, chunk_size=chunk_size, start=start, etag=etag)
        return stream if fault is None else ObjectStream(stream.info, _cut(stream, fault, fault.cut_after or 0))

    def _listing(
        self, operation: str, prefix: str, start_after: str | None, begin: Callable[[str | None], Iterator[ObjectInfo]]
    ) -> Iterator[ObjectInfo]:
        fault = self._fault(operation, prefix)
        entries = begin(start_after)
        if fault is not None:
            for _, entry in zip(range(fault.cut_after or 0), entries, strict=False):
                yield entry
            raise fault.error
        yield from entries


def _cut(stream: ObjectStream, fault: StoreFault, remaining: int) -> Iterator[bytes]:
    """The chunks of a stream, broken off when more bytes would come than remain."""
    for chunk in stream:
        if len(chunk) > remaining:
            if remaining:
                yield chunk[:remaining]
            stream.close()
            raise fault.error
        remaining -= len(chunk)
        yield chunk
