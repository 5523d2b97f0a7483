"""The member index of an archive as Parquet: one row a member, in small row groups that can be read one at a time.

The footer names the byte range, the SHA-256 and the first and last name of every row group; the receipt names the
footer's size and SHA-256. So one member is found, and proven, by reading the footer and one row group. Belongs here:
writing and parsing. Does not belong here: where the bytes come from (``part`` reads them from a store).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import IntegrityError

ROW_GROUP = 1024
_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("sha256", pa.binary(32), nullable=False),
    ]
)
_GROUPS = b"yolo_assets.row_groups"
_TAIL = 8  # length of the metadata in four bytes, then "PAR1"


@dataclass(frozen=True)
class RowGroup:
    """Where a row group lies in an index.

    Attributes:
        start: its first byte.
        length: in bytes.
        sha256: of these bytes, hexadecimal.
        first: the lowest name in it.
        last: the highest name in it.
    """

    start: int
    length: int
    sha256: str
    first: str
    last: str


def index_bytes(rows: Sequence[IndexRow]) -> bytes:
    """The index as Parquet: row groups of at most 1,024 rows, zstd, hashes as 32 bytes."""
    sink = io.BytesIO()
    groups = []
    with pq.ParquetWriter(sink, _SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for begin in range(0, len(rows), ROW_GROUP):
            some = rows[begin : begin + ROW_GROUP]
            start = sink.tell()
            writer.write_table(_table(some), row_group_size=ROW_GROUP)
            data = sink.getbuffer()[start:]
            names = [row.name for row in some]
            groups.append([start, len(data), hashlib.sha256(data).hexdigest(), min(names), max(names)])
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
        return _rows(_open(data).read(use_threads=False))


def parse_footer(footer: bytes, size: int, source: str) -> list[RowGroup] | None:
    """The row groups of an index of ``size`` bytes, from its footer; None for one that does not name their hashes.

    Raises:
        IntegrityError: not such a footer.
    """
    with _Explained(source):
        metadata = _open(_sparse(size, {size - len(footer): footer})).metadata.metadata or {}
        if _GROUPS not in metadata:
            return None
        return [RowGroup(*group) for group in orjson.loads(metadata[_GROUPS])]


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
        file = _open(_sparse(size, {start: data, size - len(footer): footer}))
        return _rows(file.read_row_group(number, use_threads=False))


def _table(rows: Sequence[IndexRow]) -> pa.Table:
    columns = [
        [row.name for row in rows],
        [row.offset for row in rows],
        [row.length for row in rows],
        [row.size for row in rows],
        [row.sha256 for row in rows],
    ]
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)


def _open(data: bytes | bytearray) -> pq.ParquetFile:
    # No threads and no Python file: Arrow's pool, still at work when the process ends, aborts it now and then.
    return pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)


def _rows(table: pa.Table) -> list[IndexRow]:
    table = table.select(_SCHEMA.names).cast(_SCHEMA)
    columns = (table.column(field.name).to_pylist() for field in _SCHEMA)
    return [IndexRow(*row) for row in zip(*columns, strict=True)]


def _sparse(size: int, known: dict[int, bytes]) -> bytearray:
    """A file of which only some bytes are known; Parquet reads no others."""
    data = bytearray(size)
    for start, piece in known.items():
        data[start : start + len(piece)] = piece
    return data


class _Explained:
    """Turns whatever reading strange bytes raises into one error."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException | OSError | KeyError | ValueError | TypeError):
            raise IntegrityError(f"{self._source} is not a member index: {error}") from None
