"""What every store promises, checked on a folder and on a real S3 server alike."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.storage import (
    AlreadyExistsError,
    CasConflictError,
    ObjectNotFoundError,
    ObjectStore,
    UploadedPart,
    UploadGoneError,
    open_store,
)

PART = 5 << 20
SHARED = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ODD_KEYS = [
    "a b", "a+b", "a%20b", "a%2Fb", "a-b/c", "a.b", "a/b", "a:b", "a=b/date=2026-01-02", "*", "~", "'\"", "x&<y>;",
    "q?#", "ä/ü", "ﬀ", "\uffff", "\U0001f600", "..x", "x..", ".hidden", "a" * 255, "/".join("d" * 300),
]  # fmt: skip


def fails_in_one_line(error: type[Exception], action: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        action()
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def test_is_an_object_store(store: ObjectStore, store_url: str) -> None:
    assert isinstance(store, ObjectStore)
    assert store.url == store_url


def test_bytes_come_back_with_their_information(store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    written = store.put("a/b", b"hello")
    assert store.get("a/b") == b"hello"
    data, info = store.get_with_info("a/b")
    assert (data, info.etag, info.size, info.key) == (b"hello", written.etag, 5, "a/b")
    for seen in (store.head("a/b"), next(iter(store.list("a/")))):
        assert seen is not None
        assert (seen.key, seen.size, seen.etag) == ("a/b", 5, written.etag)
        assert '"' not in seen.etag
        assert before <= seen.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
    assert before <= written.modified_at <= datetime.now(UTC) + timedelta(seconds=2)


def test_etag_changes_with_the_bytes(store: ObjectStore) -> None:
    etags = [store.put("k", bytes([number])).etag for number in range(20)]
    assert len(set(etags)) == 20


def test_a_missing_object(store: ObjectStore) -> None:
    store.put("there/k", b"1")
    for key in ("nothing", "there", "there/k/below"):
        assert store.head(key) is None
        fails_in_one_line(ObjectNotFoundError, lambda key=key: store.get(key))
        fails_in_one_line(ObjectNotFoundError, lambda key=key: store.get_with_info(key))
        fails_in_one_line(ObjectNotFoundError, lambda key=key: store.get_range(key, 0, 0))
        fails_in_one_line(ObjectNotFoundError, lambda key=key: store.get_range(key, 0, 5))
        # Reported by the call: a caller that has begun to write a file should not find out half-way.
        fails_in_one_line(ObjectNotFoundError, lambda key=key: store.stream(key))
        store.delete(key)
    assert store.get("there/k") == b"1"


def test_delete(store: ObjectStore) -> None:
    store.put("a/b/c", b"1")
    store.delete("a/b/c")
    store.delete("a/b/c")
    assert store.head("a/b/c") is None
    assert list(store.list("")) == []
    store.put("a", b"a key that was the beginning of another is free again")


def test_stream_has_bounded_chunks(store: ObjectStore) -> None:
    data = bytes(range(256)) * 4096
    store.put("big", data)
    chunks = list(store.stream("big", chunk_size=100_000))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 100_000
    store.put("empty", b"")
    assert list(store.stream("empty")) == []


@SHARED
@given(data=st.binary(max_size=40), start=st.integers(0, 45), length=st.integers(0, 45))
def test_ranges_are_slices(store: ObjectStore, data: bytes, start: int, length: int) -> None:
    store.put("ranged", data)
    assert store.get_range("ranged", start, length) == data[start : start + length]


def test_a_negative_range_is_a_bug_of_the_caller(store: ObjectStore) -> None:
    store.put("k", b"abc")
    for start, length in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            store.get_range("k", start, length)


def test_odd_but_legal_keys(store: ObjectStore) -> None:
    for key in ODD_KEYS:
        store.put(f"odd-{hashlib.md5(key.encode()).hexdigest()[:4]}/{key}", key.encode())
    listed = [info.key for info in store.list("")]
    assert listed == sorted(listed)
    assert [store.get(key).decode() for key in listed] == [key.split("/", 1)[1] for key in listed]
    assert {key.split("/", 1)[1] for key in listed} == set(ODD_KEYS)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/..", "a/./b", "a\\b", "a\0b", "a\nb", "\ud800", "a" * 256, ".yolo_store/x"],
)
def test_illegal_keys_are_refused_by_every_method(store: ObjectStore, key: str) -> None:
    part = UploadedPart(1, 1, "0" * 32)
    for action in (
        lambda: store.get(key),
        lambda: store.get_with_info(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.stream(key),
        lambda: store.head(key),
        lambda: store.put(key, b""),
        lambda: store.put_if_absent(key, b""),
        lambda: store.compare_and_swap(key, b"", "x"),
        lambda: store.delete(key),
        lambda: store.create_upload(key),
        lambda: store.upload_part(key, "0" * 32, 1, b""),
        lambda: store.list_parts(key, "0" * 32),
        lambda: store.complete_upload(key, "0" * 32, [part]),
        lambda: store.abort_upload(key, "0" * 32),
    ):
        fails_in_one_line(BadInputError, action)
    assert list(store.list("")) == []


KEYS = st.lists(st.sampled_from(["a", "b", "-", ".", "~", "ab", "é", "z"]), min_size=1, max_size=4).map(
    # The last part ends in a letter that no folder has, so that no key is the beginning of another.
    lambda parts: "/".join(part if part != "." else "..." for part in parts) + "!"
)


@SHARED
@given(keys=st.sets(KEYS, max_size=8), prefix=st.sampled_from(["", "a", "a/", "a/b", "-/", "é", "ab!"]), data=st.data())
def test_listing_is_sorted_filtered_and_resumable(
    store: ObjectStore, keys: set[str], prefix: str, data: st.DataObject
) -> None:
    root = uuid.uuid4().hex
    for key in keys:
        store.put(f"{root}/{key}", b"x")
    expected = sorted(f"{root}/{key}" for key in keys if key.startswith(prefix))
    assert [info.key for info in store.list(f"{root}/{prefix}")] == expected
    after = f"{root}/{data.draw(st.sampled_from([*sorted(keys), 'a', 'a/', 'b', '-']))}"
    rest = [key for key in expected if key > after]
    assert [info.key for info in store.list(f"{root}/{prefix}", start_after=after)] == rest


def test_listing_more_than_a_page(store: ObjectStore) -> None:
    keys = [f"many/{number:04}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert [info.key for info in store.list("many/")] == keys
    assert [info.key for info in store.list("many/", start_after="many/0998")] == keys[999:]


def test_put_if_absent_keeps_what_is_there(store: ObjectStore) -> None:
    written = store.put_if_absent("k", b"first")
    fails_in_one_line(AlreadyExistsError, lambda: store.put_if_absent("k", b"second"))
    fails_in_one_line(AlreadyExistsError, lambda: store.put_if_absent("k", b"first"))
    assert store.get_with_info("k")[1].etag == written.etag
    assert store.get("k") == b"first"


def test_compare_and_swap(store: ObjectStore) -> None:
    first = store.compare_and_swap("k", b"1", None)
    fails_in_one_line(CasConflictError, lambda: store.compare_and_swap("k", b"x", None))
    second = store.compare_and_swap("k", b"2", first.etag)
    fails_in_one_line(CasConflictError, lambda: store.compare_and_swap("k", b"x", first.etag))
    fails_in_one_line(CasConflictError, lambda: store.compare_and_swap("missing", b"x", first.etag))
    info = store.head("k")
    assert info is not None and info.etag == second.etag
    store.put("k", b"3")
    fails_in_one_line(CasConflictError, lambda: store.compare_and_swap("k", b"x", second.etag))
    store.delete("k")
    fails_in_one_line(CasConflictError, lambda: store.compare_and_swap("k", b"x", second.etag))
    assert store.head("k") is None


def race(count: int, action: Callable[[int], bool]) -> list[int]:
    """Run ``action`` in threads that start together; the numbers of those that returned True."""
    gate = threading.Barrier(count)

    def run(number: int) -> bool:
        gate.wait(10)
        return action(number)

    with ThreadPoolExecutor(count) as pool:
        return [number for number, won in enumerate(pool.map(run, range(count))) if won]


def won(action: Callable[[], object]) -> bool:
    try:
        action()
    except (AlreadyExistsError, CasConflictError):
        return False
    return True


def test_one_of_racing_creators_wins(store: ObjectStore) -> None:
    for turn in range(5):
        key = f"race/{turn}"
        winners = race(8, lambda number, key=key: won(lambda: store.put_if_absent(key, b"%d" % number)))
        assert len(winners) == 1
        assert store.get(key) == b"%d" % winners[0]


def test_one_of_racing_swappers_wins(store: ObjectStore) -> None:
    etag = store.put("race", b"start").etag
    for turn in range(5):
        winners = race(
            8, lambda n, etag=etag, turn=turn: won(lambda: store.compare_and_swap("race", b"%d-%d" % (turn, n), etag))
        )
        assert len(winners) == 1
        data, info = store.get_with_info("race")
        assert data == b"%d-%d" % (turn, winners[0])
        etag = info.etag


def test_a_counter_under_compare_and_swap_loses_no_increment(store: ObjectStore) -> None:
    store.put("counter", b"0")

    def increment(number: int) -> bool:
        for turn in range(5):
            while True:
                data, info = store.get_with_info("counter")
                # Signed by the writer: who writes the same bytes as another cannot tell whose they are.
                new = b"%d by %d in turn %d" % (int(data.split()[0]) + 1, number, turn)
                if won(lambda new=new, info=info: store.compare_and_swap("counter", new, info.etag)):
                    break
        return True

    race(4, increment)
    assert store.get("counter").split()[0] == b"20"


def test_readers_never_see_a_mix(store: ObjectStore) -> None:
    versions = [bytes([number]) * 200_000 for number in range(4)]
    store.put("k", versions[0])
    stop = threading.Event()
    seen: list[bool] = []

    def read() -> None:
        while not stop.is_set():
            data, info = store.get_with_info("k")
            seen.append(data in versions and info.size == len(data))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(30):
        store.put("k", versions[turn % 4])
    stop.set()
    reader.join(20)
    assert len(seen) > 1 and all(seen)


def test_multipart_from_another_process_over_a_gap(store: ObjectStore, store_url: str) -> None:
    parts = [b"1" * PART, b"2" * PART, b"3" * 77]
    upload_id = store.create_upload("big/archive")
    assert store.list_parts("big/archive", upload_id) == []
    store.upload_part("big/archive", upload_id, 1, parts[0])
    store.upload_part("big/archive", upload_id, 3, parts[2])
    assert list(store.list("")) == [] and store.head("big/archive") is None

    resumed = open_store(store_url)
    held = {part.number: part for part in resumed.list_parts("big/archive", upload_id)}
    named = hashlib.sha256 if store_url.startswith("file:") else hashlib.md5
    assert {number: part.etag for number, part in held.items()} == {
        number: named(parts[number - 1]).hexdigest() for number in (1, 3)
    }
    held[2] = resumed.upload_part("big/archive", upload_id, 2, parts[1])
    in_order = [held[number] for number in (1, 2, 3)]
    info = resumed.complete_upload("big/archive", upload_id, in_order)
    assert info.size == 2 * PART + 77
    assert info == resumed.head("big/archive")
    assert store.get("big/archive") == b"".join(parts)
    assert store.get_range("big/archive", 2 * PART - 1, 3) == b"233"

    # The answer to Complete was lost and the caller asks again, or goes on with an upload that is over.
    fails_in_one_line(AlreadyExistsError, lambda: store.complete_upload("big/archive", upload_id, in_order))
    fails_in_one_line(UploadGoneError, lambda: store.upload_part("big/archive", upload_id, 1, parts[2]))
    fails_in_one_line(UploadGoneError, lambda: store.list_parts("big/archive", upload_id))
    store.abort_upload("big/archive", upload_id)
    assert store.get_range("big/archive", 0, 5) == b"11111"


def test_parts_sent_by_threads_in_any_order_and_twice(store: ObjectStore) -> None:
    parts = [bytes([number]) * PART for number in range(1, 4)] + [b"end"]
    upload_id = store.create_upload("k")
    order = [4, 3, 3, 2, 1, 2]
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda number: store.upload_part("k", upload_id, number, parts[number - 1]), order))
    listed = store.list_parts("k", upload_id)
    assert listed == sorted(set(sent), key=lambda part: part.number)
    store.complete_upload("k", upload_id, listed)
    assert hashlib.md5(store.get("k")).digest() == hashlib.md5(b"".join(parts)).digest()


def test_a_part_sent_again_with_other_bytes_replaces_the_first(store: ObjectStore) -> None:
    upload_id = store.create_upload("k")
    store.upload_part("k", upload_id, 1, b"a" * 100)
    first = store.upload_part("k", upload_id, 1, b"b" * 100)
    assert store.list_parts("k", upload_id) == [first]
    store.complete_upload("k", upload_id, [first])
    assert store.get("k") == b"b" * 100


def test_complete_does_not_overwrite(store: ObjectStore) -> None:
    upload_id = store.create_upload("k")
    part = store.upload_part("k", upload_id, 1, b"mine")
    store.put("k", b"somebody was faster")
    fails_in_one_line(AlreadyExistsError, lambda: store.complete_upload("k", upload_id, [part]))
    assert store.get("k") == b"somebody was faster"


def test_complete_refuses_parts_that_cannot_be_joined(store: ObjectStore) -> None:
    upload_id = store.create_upload("k")
    part = store.upload_part("k", upload_id, 1, b"abc")
    other = UploadedPart(1, 3, hashlib.md5(b"xyz").hexdigest())
    for bad in ([], [UploadedPart(2, 3, part.etag)], [part, UploadedPart(2, 4, part.etag)]):
        fails_in_one_line(BadInputError, lambda bad=bad: store.complete_upload("k", upload_id, bad))
    for unknown in ([other], [part, UploadedPart(2, 3, part.etag)]):
        fails_in_one_line(UploadGoneError, lambda unknown=unknown: store.complete_upload("k", upload_id, unknown))
    for number in (0, 10_001):
        fails_in_one_line(BadInputError, lambda number=number: store.upload_part("k", upload_id, number, b""))
    assert store.head("k") is None


@pytest.mark.parametrize("upload_id", ["0" * 32, "../../etc", "2~nonsense"])
def test_an_unknown_upload(store: ObjectStore, upload_id: str) -> None:
    part = UploadedPart(1, 3, hashlib.md5(b"abc").hexdigest())
    fails_in_one_line(UploadGoneError, lambda: store.upload_part("k", upload_id, 1, b"abc"))
    fails_in_one_line(UploadGoneError, lambda: store.list_parts("k", upload_id))
    fails_in_one_line(UploadGoneError, lambda: store.complete_upload("k", upload_id, [part]))
    store.abort_upload("k", upload_id)


def test_an_aborted_upload_and_that_of_another_key(store: ObjectStore) -> None:
    upload_id = store.create_upload("k")
    store.upload_part("k", upload_id, 1, b"abc")
    fails_in_one_line(UploadGoneError, lambda: store.list_parts("another", upload_id))
    store.abort_upload("another", upload_id)
    assert len(store.list_parts("k", upload_id)) == 1
    store.abort_upload("k", upload_id)
    fails_in_one_line(UploadGoneError, lambda: store.upload_part("k", upload_id, 2, b"abc"))


def test_a_version_that_does_not_exist(store: ObjectStore) -> None:
    store.put("k", b"1")
    assert store.head("k", version_id="nope") is None
    fails_in_one_line(ObjectNotFoundError, lambda: store.get("k", version_id="nope"))
    fails_in_one_line(ObjectNotFoundError, lambda: store.get_range("k", 0, 1, version_id="nope"))
    fails_in_one_line(ObjectNotFoundError, lambda: store.stream("k", version_id="nope"))
