"""``detections`` and ``frames`` as views over the Parquet tables of the store, created for each connection.

Belongs here: from a store root to views, in a folder or in a bucket. Does not belong here: what is in a published
catalog file; these views are not part of it, so that it opens on a machine without access to the store.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import duckdb
import polars as pl

from yolo_assets.catalog.database import quoted
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.open import folder_of, parse_s3_url
from yolo_assets.tables.scan import list_hours
from yolo_assets.tables.schema import DetectionsTable, FramesTable, polars_schema

TableName = Literal["detections", "frames"]
TABLE_NAMES: tuple[TableName, ...] = get_args(TableName)

_MODELS = {"detections": DetectionsTable, "frames": FramesTable}
_TYPES = {
    pl.String: "VARCHAR",
    pl.Int64: "BIGINT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.Datetime: "TIMESTAMPTZ",
}
_PATTERN = "date=*/hour=*/*.parquet"


@dataclass(frozen=True)
class ParquetTables:
    """The tables of a store that a query reads.

    Attributes:
        store: store root.
        link: the folder of a folder store, under a name without special characters; None for a bucket.
        names: which of them; the others are only listed.
        start: only hours that touch ``[start, end)``, found by one listing a day; all without, found by a pattern.
        end: see ``start``; both or none.
    """

    store: ObjectStore
    link: Path | None
    names: Collection[TableName] = ()
    start: datetime | None = None
    end: datetime | None = None


def create_views(connection: duckdb.DuckDBPyConnection, tables: ParquetTables) -> list[str]:
    """Create the views.

    Args:
        connection: to create them in.
        tables: what they read.

    Returns:
        What DuckDB must be allowed to read for them.

    Raises:
        BadInputError: a file there is no table, or DuckDB cannot reach a bucket here.
    """
    # They can be listed and described; a query that reads one without naming it is refused instead of finding nothing.
    unnamed = [name for name in TABLE_NAMES if name not in tables.names]
    refusals = {name: f"error({quoted(f'write {name} by its name in the question')})" for name in unnamed}
    connection.execute(";".join(f"CREATE VIEW {name} AS {_empty(name, where)}" for name, where in refusals.items()))
    if not tables.names:
        return []
    root = str(tables.link) if tables.link is not None else _bucket(connection, tables.store)
    for name in tables.names:
        files = list(_files(tables, root, name))
        if not files:
            connection.execute(f"CREATE VIEW {name} AS {_empty(name)}")
            continue
        listed = ", ".join(quoted(file) for file in files)
        try:
            connection.execute(
                # Tables that were written before a column was there have nothing in it.
                f"CREATE VIEW {name} AS {_empty(name)} UNION ALL BY NAME "
                f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
            )
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].replace(f"{root}/", "")
            raise BadInputError(f"the {name} cannot be read: {reason}; build that hour again") from None
    return [f"{root}/{name}/" for name in tables.names]


@cache
def _empty(name: TableName, where: str = "false") -> str:
    """A SELECT with the columns of a table and no rows."""
    columns = polars_schema(_MODELS[name]).items()
    nulls = (f'NULL::{_TYPES[kind.base_type()]} AS "{column}"' for column, kind in columns)
    return f"SELECT {', '.join(nulls)} WHERE {where}"


def _files(tables: ParquetTables, root: str, name: TableName) -> Iterator[str]:
    if tables.start is not None and tables.end is not None:
        for _, _, key in list_hours(tables.store, name, tables.start, tables.end):
            yield f"{root}/{key}"
    elif has_table(tables.store, name):
        yield f"{root}/{name}/{_PATTERN}"


def has_table(store: ObjectStore, name: TableName) -> bool:
    """Whether the store holds anything of a table."""
    return any(info.key.endswith(".parquet") for info in store.list(f"{name}/"))


def _bucket(connection: duckdb.DuckDBPyConnection, store: ObjectStore) -> str:
    """Teach a connection to read the bucket of a store, with the credentials of the store."""
    if folder_of(store.url) is not None:
        raise ValueError("a folder is read through a link")
    extension = httpfs_file()
    if extension is None:
        raise BadInputError(
            "detections and frames of a bucket are read with DuckDB's httpfs, which is not installed; "
            f"install duckdb-extension-httpfs=={duckdb.__version__}, or query archives and archive_classes"
        )
    bucket, prefix = parse_s3_url(store.url)
    if any(letter in prefix for letter in "*?["):
        raise BadInputError(f"tables under {store.url} cannot be queried: its prefix holds one of * ? [")
    connection.execute(f"LOAD {quoted(str(extension))}")
    connection.execute(_secret())
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        connection.execute(f"SET ca_cert_file = {quoted(bundle)}")
    return f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"


def httpfs_file() -> Path | None:
    """DuckDB's own signed extension for buckets, from its package; None when it is not installed."""
    spec = find_spec("duckdb_extension_httpfs")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    return file if file.is_file() else None


def _secret() -> str:
    """Credentials and endpoint as the store itself uses them."""
    from urllib.parse import urlsplit

    from boto3.session import Session

    from yolo_assets.storage.s3_client import make_client

    client = make_client()
    endpoint = urlsplit(client.meta.endpoint_url)
    credentials = Session().get_credentials()
    fields = {
        "REGION": client.meta.region_name,
        "ENDPOINT": endpoint.netloc + endpoint.path.rstrip("/"),
        "URL_STYLE": "path" if client.meta.config.s3.get("addressing_style") == "path" else "vhost",
    }
    if credentials is not None:
        frozen = credentials.get_frozen_credentials()
        fields |= {"KEY_ID": frozen.access_key, "SECRET": frozen.secret_key, "SESSION_TOKEN": frozen.token}
    options = [f"{name} {quoted(value)}" for name, value in fields.items() if value]
    return f"CREATE SECRET store (TYPE s3, {', '.join(options)}, USE_SSL {endpoint.scheme == 'https'})"
