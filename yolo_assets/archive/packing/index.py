"""The member index of an archive as Parquet: one row per member, in small row groups that can be read one at a time.

The footer names the byte range, the SHA-256 and the first and last name of every row group, and the receipt repeats
them (``IndexGroup``). So one member is found, and proven, by reading one row group. Receipts of earlier versions name
the footer's size and SHA-256 only: then the footer is read first. Belongs here: writing and parsing. Does not belong
here: where the bytes come from (``part`` reads them from a store).

pyarrow (165 MB) writes indexes and is needed only for that. They are read here without it, so that evidence is verified
on the base installation: an index of ours has five required columns, plain values and zstd pages, and nothing else of
Parquet is understood. The tests check with pyarrow and DuckDB that other Parquet readers find the same rows.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import orjson
from backports import zstd

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.receipt import IndexGroup

ROW_GROUP = 1024
MOST_GROUPS = 64
"""Row groups that a receipt lists: 65,536 members. Of a longer index the footer is read first, which stays small."""
_COLUMNS = ("name", "offset", "length", "size", "sha256")
_GROUPS = "yolo_assets.row_groups"
_TAIL = 8  # length of the metadata in four bytes, then "PAR1"
_INT64, _BYTE_ARRAY, _FIXED = 2, 6, 7  # Parquet's physical types
_UNCOMPRESSED, _ZSTD = 0, 6  # its codecs
_KINDS = ("text", "int", "int", "int", "hash")  # of the columns
_LARGEST_PAGE = 64 << 20


def _pyarrow() -> tuple[Any, Any]:
    """Pyarrow and its Parquet module: imported by what writes an index, and without types of their own."""
    import pyarrow  # pyright: ignore[reportMissingTypeStubs]
    import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]

    return pyarrow, pyarrow.parquet


def index_bytes(rows: Sequence[IndexRow]) -> bytes:
    """The index as Parquet: row groups of at most 1,024 rows, zstd, hashes as 32 bytes."""
    pa, pq = _pyarrow()
    types = (pa.string(), pa.int64(), pa.int64(), pa.int64(), pa.binary(32))
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(_COLUMNS, types, strict=True)])
    sink = io.BytesIO()
    groups: list[tuple[int, int, str, str, str]] = []
    with pq.ParquetWriter(sink, schema, compression="zstd", use_dictionary=False) as writer:
        for begin in range(0, len(rows), ROW_GROUP):
            some = rows[begin : begin + ROW_GROUP]
            columns = [[getattr(row, name) for row in some] for name in _COLUMNS]
            arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
            start = sink.tell()
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP)
            data = sink.getbuffer()[start:]
            names = [row.name for row in some]
            groups.append((start, len(data), hashlib.sha256(data).hexdigest(), min(names), max(names)))
            del data  # a view forbids the sink to grow
        writer.add_key_value_metadata({_GROUPS: orjson.dumps(groups)})
    return sink.getvalue()


def footer_size(data: bytes, source: str) -> int:
    """Bytes at the end of an index that describe it.

    Raises:
        IntegrityError: it does not end like Parquet.
    """
    size = int.from_bytes(data[-_TAIL:-4], "little") + _TAIL
    if len(data) < _TAIL or data[-4:] != b"PAR1" or size > len(data):
        raise IntegrityError(f"{source} is not a member index: it does not end like Parquet")
    return size


def parse_index(data: bytes, source: str) -> list[IndexRow]:
    """The rows of an index, in archive order.

    Raises:
        IntegrityError: not such an index.
    """
    with _Explained(source):
        if data[:4] != b"PAR1":
            raise ValueError("it does not begin like Parquet")
        metadata = _metadata(data[-footer_size(data, source) :])
        rows = [row for group in _row_groups(metadata) for row in _rows(group, data, 0)]
        if len(rows) != metadata[3]:
            raise ValueError(f"{len(rows)} rows where its footer promises {metadata[3]}")
        return rows


def listed_groups(index: bytes, source: str) -> tuple[IndexGroup, ...] | None:
    """The row groups of an index as a receipt lists them.

    Returns:
        None where the footer has to be read: for an index that does not name their hashes, has too many of them, or
        whose row groups cannot be read by their own bytes alone, as another version of the Parquet writer may leave it.

    Raises:
        IntegrityError: not such an index.
    """
    groups = parse_footer(index[-footer_size(index, source) :], len(index), source)
    if groups is None or len(groups) > MOST_GROUPS:
        return None
    try:
        for group in groups:
            parse_group_alone(group, index[group.start : group.start + group.length], source)
    except IntegrityError:
        return None
    return tuple(groups)


def parse_footer(footer: bytes, size: int, source: str) -> list[IndexGroup] | None:
    """The row groups of an index of ``size`` bytes, from its footer; None for one that does not name their hashes.

    Raises:
        IntegrityError: not such a footer.
    """
    with _Explained(source):
        if footer_size(footer, source) != len(footer) or len(footer) > size:
            raise ValueError("its footer is not as long as it says")
        metadata = _metadata(footer)
        for pair in metadata.get(5, ()):
            if pair[1] == _GROUPS.encode():
                return [
                    IndexGroup(start=start, length=length, rows=rows, sha256=sha256, first=first, last=last)
                    for (rows, _), (start, length, sha256, first, last) in zip(
                        _row_groups(metadata), orjson.loads(pair[2]), strict=True
                    )
                ]
        return None


def parse_group(footer: bytes, size: int, number: int, start: int, data: bytes, source: str) -> list[IndexRow]:
    """The rows of one row group, from the footer and its own bytes alone.

    Args:
        footer: as in ``parse_footer``.
        size: bytes of the index.
        number: of the row group, from 0.
        start: its first byte.
        data: its bytes, their hash checked.
        source: key of the index, for messages.

    Raises:
        IntegrityError: not such a row group.
    """
    with _Explained(source):
        if start + len(data) > size:
            raise ValueError("a row group beyond its end")
        return _rows(_row_groups(_metadata(footer))[number], data, start)


def parse_group_alone(group: IndexGroup, data: bytes, source: str) -> list[IndexRow]:
    """The rows of one row group from its own bytes: its columns follow each other, all of them in zstd.

    Args:
        group: what is known of it.
        data: its bytes, their hash checked.
        source: key of the index, for messages.

    Raises:
        IntegrityError: not such a row group.
    """
    with _Explained(source):
        columns: list[list[Any]] = []
        at = 0
        for kind in _KINDS:
            values, at = _pages(data, at, group.rows, kind, _ZSTD)
            columns.append(values)
        if at != len(data):
            raise ValueError("bytes between its columns")
        return [IndexRow(*row) for row in zip(*columns, strict=True)]


def _metadata(footer: bytes) -> dict[int, Any]:
    """Parquet's ``FileMetaData`` by field number; its columns checked."""
    metadata = _Thrift(footer, 0).struct()
    # SchemaElement: 1 type, 3 repetition (0: required), 4 name. The first one is the root.
    schema = [(element[4].decode(), element.get(1), element.get(3)) for element in metadata[2][1:]]
    types = (_BYTE_ARRAY, _INT64, _INT64, _INT64, _FIXED)
    if schema != [(name, kind, 0) for name, kind in zip(_COLUMNS, types, strict=True)] or metadata[2][5][2] != 32:
        raise ValueError(f"its columns are {[name for name, _, _ in schema]}")
    return metadata


def _row_groups(metadata: dict[int, Any]) -> list[tuple[int, list[dict[int, Any]]]]:
    """Number of rows and ``ColumnMetaData`` of the columns of each row group."""
    return [(group[3], [chunk[3] for chunk in group[1]]) for group in metadata[4]]


def _rows(group: tuple[int, list[dict[int, Any]]], data: bytes, start: int) -> list[IndexRow]:
    """The rows of a row group out of bytes that begin at ``start`` of the file."""
    count, chunks = group
    columns = [_column(chunk, data, start, count, kind) for chunk, kind in zip(chunks, _KINDS, strict=True)]
    return [IndexRow(*row) for row in zip(*columns, strict=True)]


def _column(chunk: dict[int, Any], data: bytes, start: int, count: int, kind: str) -> list[Any]:
    """The values of one column chunk: data pages of plain values, uncompressed or zstd."""
    if chunk[4] not in (_UNCOMPRESSED, _ZSTD):
        raise ValueError(f"a column is compressed by codec {chunk[4]}, not by zstd")
    return _pages(data, chunk[9] - start, count, kind, chunk[4])[0]


def _pages(data: bytes, at: int, count: int, kind: str, codec: int) -> tuple[list[Any], int]:
    """``count`` values out of the pages that begin at ``at``, and where the last of them ends."""
    values: list[Any] = []
    while len(values) < count:
        header = _Thrift(data, at)
        page = header.struct()  # PageHeader: 1 type, 2 and 3 sizes, 5 DataPageHeader (1 values, 2 encoding)
        at = header.at + page[3]
        body = data[header.at : at]
        if page[1] != 0 or page[5][2] != 0 or len(body) != page[3] or not 0 <= page[2] <= _LARGEST_PAGE:
            raise ValueError("a page that does not hold plain values")
        if codec == _ZSTD:
            body = zstd.decompress(body)
        if len(body) != page[2]:
            raise ValueError("a page that is not as long as it says")
        values += _plain(body, page[5][1], kind)
    if len(values) != count:
        raise ValueError(f"{len(values)} rows where {count} are promised")
    return values, at


def _plain(body: bytes, count: int, kind: str) -> list[Any]:
    """``count`` values in Parquet's plain encoding."""
    if kind == "int":
        return list(struct.unpack(f"<{count}q", body))
    if kind == "hash":
        if len(body) != 32 * count:
            raise ValueError("hashes that are not 32 bytes long")
        return [body[place : place + 32] for place in range(0, len(body), 32)]
    starts = [0]
    for _ in range(count):
        (length,) = struct.unpack_from("<i", body, starts[-1])
        starts.append(starts[-1] + 4 + length)
        if length < 0 or starts[-1] > len(body):
            raise ValueError("a name beyond the end of its page")
    if starts[-1] != len(body):
        raise ValueError("bytes after the last name of a page")
    return [body[begin + 4 : end].decode() for begin, end in pairwise(starts)]


class _Thrift:
    """Reads Thrift's compact protocol, in which Parquet writes its metadata: structs become dicts by field number."""

    def __init__(self, data: bytes, at: int) -> None:
        if at < 0:
            raise ValueError("an offset before the beginning")
        self._data = data
        self.at = at

    def struct(self) -> dict[int, Any]:
        """The fields of a struct, by number."""
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            delta = kind >> 4
            number = number + delta if delta else self._signed()
            fields[number] = self._value(kind & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):  # a boolean field holds its value in its type
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return struct.unpack("<d", self._take(8))[0]
        if kind == 8:
            return self._take(self._unsigned())
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._unsigned()
            return [self._element(head & 15) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise ValueError(f"metadata of type {kind}")

    def _element(self, kind: int) -> Any:
        return self._byte() == 1 if kind in (1, 2) else self._value(kind)

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        piece = self._data[self.at : self.at + count]
        if len(piece) != count:
            raise ValueError("it is cut off")
        self.at += count
        return piece

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number that does not end")
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)


class _Explained:
    """Turns whatever reading foreign bytes raises into one error."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, zstd.ZstdError | LookupError | ValueError | TypeError | AttributeError | struct.error):
            raise IntegrityError(f"{self._source} is not a member index: {error}") from None
        if isinstance(error, RecursionError | MemoryError):
            raise IntegrityError(f"{self._source} is not a member index: its metadata is damaged") from None
