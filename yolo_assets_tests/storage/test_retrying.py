"""A store that retries: what it survives, what it raises, and that it does nothing twice. Faults over real stores."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from yolo_assets.archive.upload import stored_sha256
from yolo_assets.storage import (
    AlreadyExistsError,
    CasConflictError,
    ObjectInfo,
    ObjectNotFoundError,
    ObjectStore,
    StoreUnavailableError,
    UploadGoneError,
)
from yolo_assets.storage.base import ObjectChangedError, ObjectDamagedError, ObjectStream, Payload
from yolo_assets.storage.decorators import ForwardingStore, ThrottledStore
from yolo_assets.storage.faults import (
    READS,
    WRITES,
    Effect,
    FaultyStore,
    Outage,
    StoreCall,
    StoreFault,
    at_random,
    each_once,
    fail,
    refused,
)
from yolo_assets.storage.folder import FolderStore
from yolo_assets.storage.open import open_backend
from yolo_assets.storage.retrying import RetryBounds, RetryCounts, RetryFigures, RetryingStore, read_whole

MIB = 1 << 20
FOLDERS = (f"folder-{number}" for number in itertools.count())


@pytest.fixture
def backend(store_url: str) -> ObjectStore:
    """A real store, which makes each request once."""
    return open_backend(store_url)


def retrying(store: ObjectStore, *rules: Callable[[StoreCall], StoreFault | None], **bounds: Any) -> RetryingStore:
    return RetryingStore(FaultyStore(store, *rules), RetryBounds(**bounds), RetryCounts(), sleep=lambda _: None)


def crc(data: bytes) -> int:
    return isal_zlib.crc32(data)


@pytest.mark.parametrize("effect", ["before", "after"])
def test_each_operation_survives_one_failure(backend: ObjectStore, effect: Effect) -> None:
    store = retrying(backend, each_once(effect=effect))
    assert store.put("a/1", b"one").size == 3
    assert store.put_if_absent("a/2", b"two").size == 3
    swapped = store.compare_and_swap("a/1", b"uno", backend.head("a/1").etag)  # type: ignore[union-attr]
    assert swapped.etag == backend.head("a/1").etag  # type: ignore[union-attr]
    assert store.get("a/1") == b"uno" and store.get_with_info("a/1") == (b"uno", backend.get_with_info("a/1")[1])
    assert store.get_range("a/2", 1, 1) == b"w"
    assert b"".join(store.stream("a/2")) == b"two"
    assert store.head("a/2") == backend.head("a/2") and store.head("a/3") is None
    assert [info.key for info in store.list("a/")] == ["a/1", "a/2"]
    upload = store.create_upload("a/big")
    data = bytes(5 * MIB) + b"end"
    parts = [store.upload_part("a/big", upload, 1, data[: 5 * MIB]), store.upload_part("a/big", upload, 2, b"end")]
    assert store.list_parts("a/big", upload) == parts
    assert store.complete_upload("a/big", upload, parts, crc(data)).size == len(data)
    assert backend.get("a/big") == data
    store.abort_upload("a/big", store.create_upload("a/big"))
    store.delete("a/1")
    assert backend.head("a/1") is None
    assert store.restore_state("a/2", None).readable
    assert store.request_restore("a/2", None, days=1).readable
    figures = store._counts.by_operation()
    operations = {name for name in READS | WRITES if hasattr(ForwardingStore, name)}
    assert set(figures) == operations
    assert (store._counts.retries, store._counts.given_up) == (len(operations), 0), "each failed once"


@pytest.mark.s3
@pytest.mark.parametrize("effect", ["before", "after"])
def test_locks_and_versions_survive_failures_too(s3_locked_bucket: Any, effect: Effect) -> None:
    backend = open_backend(s3_locked_bucket.url)
    store = retrying(backend, each_once(effect=effect))
    version = store.put("k", b"1").version_id
    lock = store.object_lock
    assert lock is not None and version is not None
    assert lock.get_retention("k", version) is None
    lock.set_legal_hold("k", version, on=True)
    assert lock.get_legal_hold("k", version)
    lock.set_legal_hold("k", version, on=False)
    backend.delete("k")
    assert lock.versions("k")[0].deleted
    assert [info.key for info in lock.hidden("")] == ["k"]


def test_a_folder_has_no_lock_through_any_decorator(tmp_path: Path) -> None:
    assert retrying(ThrottledStore(FolderStore(tmp_path / "store"), lambda _: None)).object_lock is None


def test_what_a_retry_cannot_cure_is_tried_once(tmp_path: Path) -> None:
    faulty = FaultyStore(FolderStore(tmp_path / "store"), fail("put", error=refused), fail("list", error=refused))
    store = RetryingStore(faulty, counts=RetryCounts())
    with pytest.raises(StoreUnavailableError, match="is refused"):
        store.put("k", b"")
    with pytest.raises(StoreUnavailableError, match="is refused"):
        list(store.list(""))
    with pytest.raises(ObjectNotFoundError):
        store.get("nothing")
    assert faulty.counts() == {"put": 1, "list": 1, "get": 1}
    assert store._counts.retries == store._counts.given_up == 0


def test_tries_are_bounded_in_number(tmp_path: Path) -> None:
    pauses: list[float] = []
    faulty, counts = FaultyStore(FolderStore(tmp_path / "store"), fail(times=None)), RetryCounts()
    store = RetryingStore(faulty, counts=counts, sleep=pauses.append)
    with pytest.raises(StoreUnavailableError, match="injected"):
        store.get("k")
    assert faulty.counts() == {"get": 5}
    assert counts.by_operation() == {"get": RetryFigures(5, 4, 1)} and (counts.retries, counts.given_up) == (4, 1)
    for pause, longest in zip(pauses, (0.4, 0.8, 1.6, 2.0), strict=True):
        assert longest / 2 <= pause <= longest
    with pytest.raises(StoreUnavailableError, match="injected"):
        list(store.list("k"))
    assert faulty.counts()["list"] == 5


def test_tries_are_bounded_in_time(tmp_path: Path) -> None:
    faulty = FaultyStore(FolderStore(tmp_path / "store"), fail(times=None))
    store = RetryingStore(faulty, RetryBounds(tries=1000, deadline=0.2, first_pause=0.02, longest_pause=0.02, jitter=0))
    with pytest.raises(StoreUnavailableError, match="injected"):
        store.get("k")
    assert 2 <= faulty.counts()["get"] <= 11


def test_a_pause_can_be_given_up(tmp_path: Path) -> None:
    def stopped(_: float) -> None:
        raise KeyboardInterrupt

    faulty = FaultyStore(FolderStore(tmp_path / "store"), fail())
    with pytest.raises(KeyboardInterrupt):
        RetryingStore(faulty, sleep=stopped).get("k")


def test_the_write_of_another_is_no_success(backend: ObjectStore) -> None:
    store = retrying(backend, fail("put_if_absent", "compare_and_swap"))
    backend.put("taken", b"theirs")
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent("taken", b"mine..")
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent("taken", b"mine, longer")
    etag = backend.put("moved", b"old").etag
    backend.put("moved", b"new")
    store = retrying(backend, fail("compare_and_swap"))
    with pytest.raises(CasConflictError):
        store.compare_and_swap("moved", b"mine", etag)
    assert (backend.get("taken"), backend.get("moved")) == (b"theirs", b"new")


def test_equal_bytes_of_another_are_refused_without_a_failure_of_ours(backend: ObjectStore) -> None:
    store = retrying(backend)
    backend.put("k", b"same")
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent("k", b"same")
    with pytest.raises(CasConflictError):
        store.compare_and_swap("k", b"same", None)


def test_a_swap_that_was_swapped_since_is_lost(backend: ObjectStore) -> None:
    class Swapped(ForwardingStore):
        """Another writer replaces our write before we learn of it."""

        def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
            info = super().compare_and_swap(key, data, etag)
            backend.compare_and_swap(key, b"theirs", info.etag)
            return info

    store = RetryingStore(FaultyStore(Swapped(backend), fail("compare_and_swap", effect="after")), sleep=lambda _: None)
    etag = backend.put("k", b"old").etag
    with pytest.raises(CasConflictError):
        store.compare_and_swap("k", b"ours", etag)
    assert backend.get("k") == b"theirs"


def test_another_archive_under_the_key_of_an_upload_is_no_success(backend: ObjectStore) -> None:
    store = retrying(backend, fail("complete_upload"))
    upload = store.create_upload("k")
    part = store.upload_part("k", upload, 1, b"mine!!")
    backend.put("k", b"theirs")
    with pytest.raises(AlreadyExistsError):
        store.complete_upload("k", upload, [part], crc(b"mine!!"))
    store.abort_upload("k", upload)
    with pytest.raises(UploadGoneError):
        store.upload_part("k", upload, 1, b"mine!!")


def test_a_completed_upload_is_recognised_by_its_etag_or_not_at_all(backend: ObjectStore) -> None:
    store = retrying(backend, fail("complete_upload", effect="after"))
    upload = store.create_upload("k")
    part = store.upload_part("k", upload, 1, b"mine!!")
    if isinstance(backend, FolderStore):  # its etag says nothing about the bytes
        with pytest.raises(AlreadyExistsError):
            store.complete_upload("k", upload, [part])
    else:
        assert store.complete_upload("k", upload, [part]) == backend.head("k")


@pytest.mark.parametrize("place", [0, 1, 700, 1000, 1999])
def test_a_broken_stream_continues_from_its_offset(backend: ObjectStore, place: int) -> None:
    data = bytes(number % 251 for number in range(2000))
    backend.put("k", data)
    store = retrying(backend, fail("stream", times=3, cut_after=place), fail("stream", nth=2))
    stream = store.stream("k", chunk_size=1000)
    assert stream.info == backend.head("k")
    assert b"".join(stream) == data
    assert b"".join(store.stream("k", start=500)) == data[500:]


def test_a_stream_without_progress_is_given_up(backend: ObjectStore) -> None:
    backend.put("k", bytes(100))
    store = retrying(backend, fail("stream", times=None, cut_after=0))
    with pytest.raises(StoreUnavailableError, match="injected"):
        b"".join(store.stream("k"))
    assert store._counts.by_operation()["stream"] == RetryFigures(5, 4, 1)


def test_a_stream_that_continues_has_all_its_tries_again(backend: ObjectStore) -> None:
    backend.put("k", bytes(range(100)))
    store = retrying(backend, fail("stream", times=None, cut_after=10))
    assert b"".join(store.stream("k", chunk_size=10)) == bytes(range(100))


def test_an_object_replaced_while_it_is_read_is_refused(backend: ObjectStore) -> None:
    backend.put("k", b"a" * 2000)
    store = retrying(backend, fail("stream", cut_after=1000))
    stream = store.stream("k", chunk_size=1000)
    assert next(stream) == b"a" * 1000
    backend.put("k", b"b" * 2000)
    with pytest.raises(ObjectChangedError, match="replaced while it was read"):
        next(stream)
    assert b"".join(store.stream("k")) == b"b" * 2000
    shorter = retrying(backend, fail("stream", cut_after=1000)).stream("k", chunk_size=1000)
    next(shorter)
    backend.put("k", b"c")
    with pytest.raises(ObjectChangedError):
        next(shorter)
    gone = retrying(backend, fail("stream", cut_after=0)).stream("k")
    backend.delete("k")
    with pytest.raises(ObjectNotFoundError):
        next(gone)


class DamagedAtTheEnd(ForwardingStore):
    """The checksum at the end of a stream does not fit, so many times."""

    def __init__(self, inner: ObjectStore, times: int) -> None:
        super().__init__(inner)
        self.times = times

    def stream(self, key: str, **options: Any) -> ObjectStream:
        stream = self._inner.stream(key, **options)

        def chunks() -> Any:
            yield from stream
            self.times -= 1
            if self.times >= 0:
                raise StoreUnavailableError("bytes were damaged on the way; run again")

        return ObjectStream(stream.info, chunks())


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_object_damaged_on_the_way_is_read_again_as_a_whole(tmp_path: Path, times: int) -> None:
    backend = FolderStore(tmp_path / "store")
    backend.put("k", b"a" * 2000)
    store = retrying(DamagedAtTheEnd(backend, times))
    if times < 3:
        assert stored_sha256(store, "k", None) == hashlib.sha256(b"a" * 2000).hexdigest()
    else:
        with pytest.raises(ObjectDamagedError, match="damaged on the way"):
            stored_sha256(store, "k", None)


def test_an_object_replaced_while_it_is_read_is_read_again_as_a_whole(backend: ObjectStore) -> None:
    backend.put("k", b"a" * 2000)
    store = retrying(backend, fail("stream", cut_after=1000))

    def read() -> bytes:
        stream = store.stream("k", chunk_size=1000)
        first = next(stream)
        if first[:1] == b"a":
            backend.put("k", b"b" * 2000)
        return first + b"".join(stream)

    assert read_whole(read) == b"b" * 2000


class ReplacedAfterHead(ForwardingStore):
    """Another writer replaces the object, or deletes it, between a HEAD and the GET after it."""

    def __init__(self, inner: ObjectStore, data: bytes | None) -> None:
        super().__init__(inner)
        self.data = data

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        info = self._inner.head(key, version_id=version_id)
        if self.data is None:
            self._inner.delete(key)
        else:
            self._inner.put(key, self.data)
        return info


@pytest.mark.parametrize("data", [None, b"other"])
def test_a_write_replaced_while_it_is_recognised_is_lost(tmp_path: Path, data: bytes | None) -> None:
    backend = FolderStore(tmp_path / "store")
    etag = backend.put("k", b"first").etag
    store = retrying(ReplacedAfterHead(backend, data), fail("compare_and_swap", effect="after"))
    with pytest.raises(CasConflictError):
        store.compare_and_swap("k", b"mine!", etag)
    store = retrying(ReplacedAfterHead(backend, data), fail("put_if_absent", effect="after"))
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent("l", b"mine!")


@pytest.mark.s3
def test_a_broken_stream_of_a_version_continues_in_that_version(s3_locked_bucket: Any) -> None:
    backend = open_backend(s3_locked_bucket.url)
    version = backend.put("k", b"a" * 2000).version_id
    backend.put("k", b"b" * 2000)
    store = retrying(backend, fail("stream", cut_after=1000))
    assert b"".join(store.stream("k", version_id=version, chunk_size=1000)) == b"a" * 2000


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_broken_listing_continues_after_the_last_key(backend: ObjectStore, place: int) -> None:
    for number in range(4):
        backend.put(f"a/{number}", b"")
    store = retrying(backend, fail("list", times=2, cut_after=place))
    assert [info.key for info in store.list("a/", start_after="a/0")] == ["a/1", "a/2", "a/3"]
    assert [info.key for info in store.list("")] == [f"a/{number}" for number in range(4)]


def test_a_retry_is_paced_again(tmp_path: Path) -> None:
    sent: list[int] = []
    faulty = FaultyStore(FolderStore(tmp_path / "store"), fail("put_if_absent", effect="after"))
    store = RetryingStore(ThrottledStore(faulty, sent.append), sleep=lambda _: None)
    store.put_if_absent("k", b"12345")
    assert sent == [5], "the second try met what the first had written"
    store.put_if_absent("l", memoryview(b"12345"))
    assert sum(sent) == 10 and store.get("l") == b"12345"


def test_an_outage_ends(tmp_path: Path) -> None:
    now = [100.0]
    away = Outage(clock=lambda: now[0])
    store = FaultyStore(FolderStore(tmp_path / "store"), away)
    away.begin(10)
    with pytest.raises(StoreUnavailableError):
        store.put("k", b"")
    now[0] = 110.0
    store.put("k", b"")
    away.between(200, 300)
    assert store.head("k") is not None
    now[0] = 250.0
    with pytest.raises(StoreUnavailableError):
        store.head("k")
    away.end()
    assert store.keys("put", "head") == ["k"] * 4 and store.head("k") is not None


KEYS = st.sampled_from(["a", "b/1", "b/2"])
DATA = st.binary(max_size=20)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, DATA),
        st.tuples(st.just("put_if_absent"), KEYS, DATA),
        st.tuples(st.just("swap"), KEYS, DATA),
        st.tuples(st.just("swap_stale"), KEYS, DATA),
        st.tuples(st.just("upload"), KEYS, DATA),
        st.tuples(st.just("delete"), KEYS, DATA),
        st.tuples(st.just("get"), KEYS, DATA),
        st.tuples(st.just("stream"), KEYS, DATA),
        st.tuples(st.just("list"), KEYS, DATA),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, seed=st.integers(0, 1 << 32), share=st.sampled_from([0.0, 0.2, 0.5]))
def test_faults_are_not_seen_above(
    steps: list[tuple[str, str, bytes]], seed: int, share: float, tmp_path: Path
) -> None:
    """Against a dictionary: whatever fails below, before or after it took effect, each step ends as without faults."""
    backend = FolderStore(tmp_path / next(FOLDERS))
    store = retrying(backend, at_random(seed, share), tries=200)
    model: dict[str, bytes] = {}
    for operation, key, data in steps:
        if operation == "put":
            store.put(key, data)
            model[key] = data
        elif operation == "put_if_absent":
            unique = data + len(model).to_bytes() + seed.to_bytes(8)
            if key in model:
                with pytest.raises(AlreadyExistsError):
                    store.put_if_absent(key, unique + b"other")
            else:
                assert store.put_if_absent(key, unique).size == len(unique)
                model[key] = unique
        elif operation == "swap":
            info = store.head(key)
            swapped = store.compare_and_swap(key, data, None if info is None else info.etag)
            model[key] = data
            assert swapped.etag == backend.head(key).etag  # type: ignore[union-attr]
        elif operation == "swap_stale":
            with pytest.raises(CasConflictError):
                store.compare_and_swap(key, b"never" + data * 2, "stale")
        elif operation == "upload":
            upload = store.create_upload(key)
            part = store.upload_part(key, upload, 1, b"upload" + data)
            if key in model:
                with pytest.raises(AlreadyExistsError):
                    store.complete_upload(key, upload, [part], crc(b"upload" + data) ^ 1)
                store.abort_upload(key, upload)
            else:
                assert store.complete_upload(key, upload, [part], crc(b"upload" + data)).size == len(data) + 6
                model[key] = b"upload" + data
        elif operation == "delete":
            store.delete(key)
            model.pop(key, None)
        elif key not in model and operation in ("get", "stream"):
            with pytest.raises(ObjectNotFoundError):
                store.get(key) if operation == "get" else b"".join(store.stream(key))
        elif operation == "get":
            assert store.get(key) == model[key] == store.get_with_info(key)[0] == store.get_range(key, 0, 1000)
        elif operation == "stream":
            assert b"".join(store.stream(key, chunk_size=3)) == model[key]
        assert [info.key for info in store.list("")] == sorted(model)
    assert {key: backend.get(key) for key in model} == model


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32), writers=st.integers(2, 5))
def test_of_racing_writers_one_wins_whatever_fails(seed: int, writers: int, tmp_path: Path) -> None:
    backend = FolderStore(tmp_path / next(FOLDERS))
    created: list[int] = []
    counted: list[int] = []

    def write(number: int) -> None:
        store = retrying(backend, at_random(seed + number, 0.4), tries=200)
        with suppress(AlreadyExistsError):
            store.put_if_absent("lock", b"writer %d" % number)
            created.append(number)
        while True:
            try:
                data, info = store.get_with_info("counter")
            except ObjectNotFoundError:
                data, info = b"", None
            with suppress(CasConflictError):
                store.compare_and_swap("counter", data + b"%d\n" % number, None if info is None else info.etag)
                counted.append(number)
                return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.get("lock") == b"writer %d" % created[0] and len(created) == 1
    entries = backend.get("counter").split()
    assert sorted(counted) == list(range(writers)) and {int(entry) for entry in entries} == set(range(writers))
