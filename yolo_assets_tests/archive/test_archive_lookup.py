"""One member is found by one small read of the index, by two for older receipts, and what the reads give is proven."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.archive.packing.index import (
    footer_size,
    index_bytes,
    listed_groups,
    parse_footer,
    parse_group,
    parse_group_alone,
    parse_index,
)
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import SMALL_INDEX, ArchivedPart
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import frame_time
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour
from yolo_assets.storage import ObjectStore, open_store
from yolo_assets.storage.decorators import ForwardingStore

HOUR = Hour.from_key("20260102_03")


def row(number: int, name: str) -> IndexRow:
    return IndexRow(name, number * 1000, 1000, 990, hashlib.sha256(name.encode()).digest())


def frames(count: int) -> list[IndexRow]:
    """As an archive lists them: the seal first, the records last."""
    moments = (HOUR.start + timedelta(milliseconds=1000 * number) for number in range(count))
    names = [f"{moment:%Y%m%d_%H%M%S}_000.jpg" for moment in moments]
    return [row(number, name) for number, name in enumerate([".sealed", *names, "records.ndjson"])]


def receipt_for(data: bytes, **changes: object) -> Receipt:
    size = footer_size(data, "index")
    values: dict[str, object] = {
        "archive_key": "archives/a",
        "camera_id": "cam1",
        "hour": HOUR.key,
        "part": 1,
        "start_time": HOUR.start,
        "end_time": HOUR.end,
        "file_count": 1,
        "frame_count": 1,
        "total_size": 1,
        "archive_size": 1,
        "md5_checksum": "0",
        "sha256": "0",
        "index_key": "index/a.index.parquet",
        "index_sha256": hashlib.sha256(data).hexdigest(),
        "index_size": len(data),
        "index_footer_size": size,
        "index_footer_sha256": hashlib.sha256(data[-size:]).hexdigest(),
        "verified_at": HOUR.end,
        "verified_how": "head",
        "etag": "0",
        "writer_version": "0",
    }
    return Receipt.model_validate(values | changes)


class Counting(ForwardingStore):
    """A store that counts what is read of it."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.store = store
        self.requests = self.bytes = 0

    def _around(self, operation: str, key: str, request: Callable[[], Any]) -> Any:
        answer = request()
        self.requests += 1
        self.bytes += len(answer)
        return answer


@pytest.fixture
def root(tmp_path: Path) -> Any:
    return Counting(open_store((tmp_path / "archive").as_uri()))


def test_one_of_twenty_thousand_members_needs_one_read(root: Any) -> None:
    rows = frames(20_000)
    data = index_bytes(rows)
    root.store.put("index/a.index.parquet", data)
    new, old = receipt_for(data, index_groups=listed_groups(data, "index")), receipt_for(data)
    assert len(new.payload()) - len(old.payload()) < 5_000, "a receipt stays small"
    for receipt, requests, most in ((new, 1, 50_000), (old, 2, 100_000)):
        for wanted in (0, 1, 1023, 1024, 12_345, 20_000, 20_001):
            root.requests = root.bytes = 0
            assert ArchivedPart(root, receipt).find(rows[wanted].name) == rows[wanted]
            assert root.requests == requests
            assert root.bytes < most < len(data)
        assert ArchivedPart(root, receipt).find("20260102_030000_001.jpg") is None


def test_a_changed_row_group_is_never_believed(root: Any) -> None:
    rows = frames(3000)
    data = index_bytes(rows)
    receipt = receipt_for(data, index_groups=listed_groups(data, "index"))
    changed = bytearray(data)
    changed[40_000] ^= 1  # in the second of three
    root.store.put("index/a.index.parquet", bytes(changed))
    assert ArchivedPart(root, receipt).find(rows[5].name) == rows[5]
    with pytest.raises(IntegrityError, match="index"):
        ArchivedPart(root, receipt).find(rows[1500].name)


def test_groups_that_do_not_stand_alone_are_not_listed() -> None:
    data = index_bytes(frames(1500))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolo_assets.archive.packing.index.MOST_GROUPS", 1)
        assert listed_groups(data, "index") is None
    listed = listed_groups(data, "index")
    assert listed is not None
    piece = data[listed[1].start : listed[1].start + listed[1].length]
    for broken in (piece[:-1], piece + b"x"):  # others write something between the columns, or after them
        with pytest.raises(IntegrityError, match="not a member index"):
            parse_group_alone(listed[1], broken, "index")


def test_the_newest_frame_at_a_time(root: Any) -> None:
    rows = frames(3000)
    data = index_bytes(rows)
    root.store.put("index/a.index.parquet", data)
    for milliseconds in (0, 1, 999, 1000, 1_500_400, 2_999_000, 3_599_999):
        found = ArchivedPart(root, receipt_for(data)).newest_frame(HOUR.start + timedelta(milliseconds=milliseconds))
        assert found is not None
        second = min(milliseconds // 1000, 2999)
        assert found == (HOUR.start + timedelta(seconds=second), rows[1 + second])
    before = HOUR.start - timedelta(milliseconds=1)
    assert ArchivedPart(root, receipt_for(data)).newest_frame(before) is None


@given(names=st.sets(st.text(min_size=1, max_size=30), min_size=1, max_size=60).map(sorted), group=st.integers(1, 9))
def test_every_name_is_found_in_its_row_group(names: list[str], group: int) -> None:
    rows = [row(number, name) for number, name in enumerate(names)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolo_assets.archive.packing.index.ROW_GROUP", group)
        data = index_bytes(rows)
    assert parse_index(data, "index") == rows
    footer = data[-footer_size(data, "index") :]
    groups = parse_footer(footer, len(data), "index")
    assert groups is not None and len(groups) == -(-len(rows) // group)
    again = []
    for number, one in enumerate(groups):
        piece = data[one.start : one.start + one.length]
        assert hashlib.sha256(piece).hexdigest() == one.sha256
        found = parse_group(footer, len(data), number, one.start, piece, "index")
        assert parse_group_alone(one, piece, "index") == found
        assert all(one.first <= each.name <= one.last for each in found)
        again += found
    assert again == rows


def test_a_small_index_is_read_at_once(root: Any) -> None:
    rows = frames(500)
    data = index_bytes(rows)
    assert len(data) <= SMALL_INDEX
    root.store.put("index/a.index.parquet", data)
    assert ArchivedPart(root, receipt_for(data)).find(rows[77].name) == rows[77]
    assert root.requests == 1


@pytest.mark.parametrize("where", ["footer", "group"])
def test_a_changed_index_is_refused(where: str, root: Any) -> None:
    data = index_bytes(frames(3000))
    receipt = receipt_for(data)
    changed = bytearray(data)
    changed[-20 if where == "footer" else 50] ^= 1
    root.store.put("index/a.index.parquet", bytes(changed))
    with pytest.raises(IntegrityError, match="changed or damaged"):
        ArchivedPart(root, receipt).find(".sealed")
    with pytest.raises(IntegrityError, match="changed or damaged"):
        ArchivedPart(root, receipt).index()


def test_receipts_from_before_the_footer_was_named_are_read_in_full(root: Any) -> None:
    rows = frames(30)
    data = index_bytes(rows)
    root.store.put("index/a.index.parquet", data)
    old = receipt_for(data, index_size=None, index_footer_size=None, index_footer_sha256=None)
    assert ArchivedPart(root, old).find(rows[3].name) == rows[3]
    taken = frame_time(rows[3].name)
    assert taken is not None
    assert ArchivedPart(root, old).newest_frame(taken) == (taken, rows[3])


@given(data=st.binary(max_size=300))
def test_strange_bytes_are_no_index(data: bytes) -> None:
    for call in (
        lambda: parse_index(data, "index"),
        lambda: footer_size(data, "index"),
        lambda: parse_footer(data, len(data), "index"),
    ):
        with pytest.raises(IntegrityError, match="not a member index"):
            call()


@given(names=st.sets(st.text(min_size=1, max_size=40), max_size=40).map(sorted))
def test_other_parquet_readers_find_the_same_rows(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [row(number, name) for number, name in enumerate(names)]
    data = index_bytes(rows)
    table = pq.read_table(io.BytesIO(data))
    assert [IndexRow(**line) for line in table.to_pylist()] == rows == parse_index(data, "index")
    path = tmp_path_factory.mktemp("index") / "index.parquet"
    path.write_bytes(data)
    with duckdb.connect() as connection:
        lines = connection.read_parquet(str(path)).project('name, "offset", length, size, sha256').fetchall()
    assert [IndexRow(*line) for line in lines] == rows


@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_damaged_index_is_refused_and_never_ends_in_a_traceback(place: float, value: int, cut: int) -> None:
    data = bytearray(index_bytes(frames(20)))
    data[min(int(place * len(data)), len(data) - 1)] = value
    with contextlib.suppress(IntegrityError):
        parse_index(bytes(data[: len(data) - cut]), "index")


def test_an_index_that_another_program_wrote_in_its_own_way_is_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pq.read_table(io.BytesIO(index_bytes(frames(20)))), sink, compression="snappy")
    with pytest.raises(IntegrityError, match="is not a member index: a column is compressed by codec"):
        parse_index(sink.getvalue(), "index")
