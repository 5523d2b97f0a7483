"""The member index of an archive as Parquet: one row a member, small row groups so that a look-up reads little."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from yolo_assets.archive.pack import IndexRow
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


def index_bytes(rows: Sequence[IndexRow]) -> bytes:
    """The index as Parquet: row groups of at most 1,024 rows, zstd, hashes as 32 bytes."""
    columns = [
        [row.name for row in rows],
        [row.offset for row in rows],
        [row.length for row in rows],
        [row.size for row in rows],
        [row.sha256 for row in rows],
    ]
    table = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=ROW_GROUP, compression="zstd", use_dictionary=False)
    return sink.getvalue()


def parse_index(data: bytes, source: str) -> list[IndexRow]:
    """The rows of an index, in archive order.

    Raises:
        IntegrityError: not such an index.
    """
    try:
        # No threads and no Python file: Arrow's pool, still at work when the process ends, aborts it now and then.
        table = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise IntegrityError(f"{source} is not a member index: {error}") from None
    columns = (table.column(field.name).to_pylist() for field in _SCHEMA)
    return [IndexRow(*row) for row in zip(*columns, strict=True)]
