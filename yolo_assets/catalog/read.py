"""Questions to the catalog: read-only, many readers at once, no network but the store's, no extension downloads."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from yolo_assets.catalog.schema import connect, quoted
from yolo_assets.catalog.versions import fetch_catalog, read_pointer
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import Hour
from yolo_assets.detections.schema import Detections, Frames, polars_schema
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.folder import FolderStore
from yolo_assets.storage.open import parse_file_url

_TRIES = 5
_TABLES = {"detections": Detections, "frames": Frames}
_NAMED = re.compile(r"\b(detections|frames)\b", re.IGNORECASE)
_READ_ONLY = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class NoCatalogError(UserError):
    """Nothing was published yet."""


@contextmanager
def open_catalog(
    store: ObjectStore, *, cache: Path | None = None, tables: Collection[str] = ()
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the newest catalog, which stays the same catalog until it is closed.

    Tables ``archives``, ``archive_classes``, ``problems``, ``hours_seen`` and view ``gaps`` (see ``catalog.schema``).
    The connection cannot change anything, read any other file or load an extension.

    Args:
        store: store root.
        cache: folder where the file is kept between calls; a temporary one without. A folder store needs none: its
            file is opened where it lies.
        tables: ``detections`` and ``frames`` as wanted: views over all their Parquet files, with a folder as store.
            Finding the files takes time in a large store, so they are there only when asked for.

    Raises:
        NoCatalogError: nothing was published yet.
        IntegrityError: the published file is not what the pointer promises; rebuild it.
        BadInputError: ``tables`` with a store that is no folder, or a Parquet file there that is none.
    """
    with tempfile.TemporaryDirectory(prefix="yolo-catalog-") as scratch:
        root = _folder_of(store, Path(scratch))
        path = _local_file(store, root, cache or Path(scratch))
        with connect() as connection:
            connection.execute(f"ATTACH {quoted(str(path))} AS catalog_file (READ_ONLY)")
            for name in tables:
                if root is None:
                    raise BadInputError(f"{name} can be asked here only when the store is a folder, not {store.url}")
                _create_view(connection, name, root)
            connection.execute("SET search_path = 'catalog_file,memory'")
            allowed = [f"{root}/{name}/" for name in _TABLES] if root is not None else []
            connection.execute(f"SET allowed_directories = [{', '.join(map(quoted, allowed))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection


def query(store: ObjectStore, sql: str, *, cache: Path | None = None) -> pl.DataFrame:
    """The answer to one SELECT over the catalog and, with a folder as store, ``detections`` and ``frames``.

    Raises:
        BadInputError: not one statement that reads, or DuckDB refuses it; its reason in one line.
        NoCatalogError: nothing was published yet.
    """
    tables = {name.lower() for name in _NAMED.findall(sql)} if isinstance(store, FolderStore) else ()
    with open_catalog(store, cache=cache, tables=tables) as connection:
        return ask(connection, sql)


def ask(connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> pl.DataFrame:
    """As ``query``, on an open catalog; ``?`` in ``sql`` stands for the parameters."""
    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READ_ONLY:
            raise BadInputError("give one SELECT (or DESCRIBE, SHOW TABLES, EXPLAIN); the catalog is only read")
        return connection.execute(statements[0], parameters).pl()
    except duckdb.Error as error:
        # The first line is the reason; the rest is a picture of the statement.
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(f"the query cannot be answered: {reason}") from None
    except pl.exceptions.PolarsError:
        raise BadInputError(
            "the answer holds a type that cannot be shown, like an interval; cast that column to VARCHAR"
        ) from None


def lookup(connection: duckdb.DuckDBPyConnection, camera_id: str, date: str) -> pl.DataFrame:
    """Archives of one camera on one day (``YYYY-MM-DD``, UTC), by hour and part."""
    start = Hour.from_key(date.replace("-", "") + "_00").start
    sql = "SELECT * FROM archives WHERE camera_id = ? AND hour >= ? AND hour < ? ORDER BY hour, part"
    return ask(connection, sql, [check_id(camera_id), start, start + timedelta(days=1)])


def with_class(
    connection: duckdb.DuckDBPyConnection, class_name: str, min_confidence: float, start: datetime, end: datetime
) -> pl.DataFrame:
    """Archives of hours in ``[start, end)`` that hold a detection of a class with at least that confidence.

    Returns:
        ``camera_id, hour, archive_key, class, count, max_confidence``; ``count`` is of all its detections.
    """
    sql = """
        SELECT camera_id, hour, archive_key, class, count, max_confidence FROM archive_classes
        WHERE class = ? AND max_confidence >= ? AND hour >= ? AND hour < ? ORDER BY hour, camera_id, archive_key
    """
    return ask(connection, sql, [class_name, min_confidence, start, end])


def gaps(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Camera-hours with detections and no archive: ``camera_id, hour``."""
    return ask(connection, "SELECT * FROM gaps")


@dataclass(frozen=True)
class Stats:
    """What the archive holds.

    Attributes:
        cameras: ``camera_id, archives, frames, bytes, first_hour, last_hour``.
        ages: ``age, archives, bytes`` by age of the hour: ``0-7 d``, ``8-90 d``, ``91 d and older``, the bounds of the
            storage tiers. It is the age that is known here, not where a store has really put an object.
        problems: receipts that are there and not believed.
    """

    cameras: pl.DataFrame
    ages: pl.DataFrame
    problems: int


def stats(connection: duckdb.DuckDBPyConnection, now: datetime) -> Stats:
    """Totals by camera and by age."""
    cameras = """
        SELECT camera_id, count(*) AS archives, sum(frame_count)::BIGINT AS frames,
            sum(archive_size)::BIGINT AS bytes, min(hour) AS first_hour, max(hour) AS last_hour
        FROM archives GROUP BY camera_id ORDER BY camera_id
    """
    ages = """
        SELECT CASE WHEN hour > ?::TIMESTAMPTZ - INTERVAL 8 DAY THEN '0-7 d'
            WHEN hour > ?::TIMESTAMPTZ - INTERVAL 91 DAY THEN '8-90 d' ELSE '91 d and older' END AS age,
            count(*) AS archives, sum(archive_size)::BIGINT AS bytes
        FROM archives GROUP BY age ORDER BY age
    """
    problems = ask(connection, "SELECT count(*) AS n FROM problems")["n"][0]
    return Stats(ask(connection, cameras), ask(connection, ages, [now, now]), problems)


def _folder_of(store: ObjectStore, scratch: Path) -> Path | None:
    """The folder of a folder store, through a link whose name holds nothing that DuckDB reads as a pattern."""
    if not isinstance(store, FolderStore):
        return None
    link = scratch / "store"
    link.symlink_to(parse_file_url(store.url), target_is_directory=True)
    return link


def _local_file(store: ObjectStore, root: Path | None, folder: Path) -> Path:
    """The newest catalog as a local file."""
    for _ in range(_TRIES):
        current = read_pointer(store)
        if current is None:
            raise NoCatalogError(f"no catalog in {store.url} yet; make one with: yolo-assets catalog rebuild")
        pointer = current[0]
        if root is not None:
            path = root / pointer.key
            if path.is_file() and path.stat().st_size == pointer.size:
                return path
            continue  # pruned between reading the pointer and looking: read it again
        path = folder / f"{pointer.version}.duckdb"
        if path.is_file() and path.stat().st_size == pointer.size:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            if fetch_catalog(store, pointer, partial):
                partial.replace(path)
                _drop_others(folder, path)
                return path
        finally:
            partial.unlink(missing_ok=True)
    raise IntegrityError(f"the catalog in {store.url} is damaged; make it anew with: yolo-assets catalog rebuild")


def _drop_others(folder: Path, newest: Path) -> None:
    """Older versions in the cache: a reader that has one open keeps it, the name alone goes."""
    for path in folder.glob("*.duckdb"):
        if path != newest:
            path.unlink(missing_ok=True)


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, root: Path) -> None:
    if next((root / name).glob("date=*/hour=*/*.parquet"), None) is None:
        connection.register(name, polars_schema(_TABLES[name]).to_frame().to_arrow())
        return
    files = quoted(f"{root}/{name}/date=*/hour=*/*.parquet")
    try:
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({files}, hive_partitioning = false)")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].replace(f"{root}/", "")
        raise BadInputError(f"the {name} cannot be read: {reason}; build that hour again") from None
