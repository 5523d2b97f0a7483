"""Queries to the catalog: read-only, many readers at once, no network but the store's, no extension downloads.

Belongs here: opening the newest catalog, and the queries that the product makes. Does not belong here: views over the
Parquet tables (``parquet_views``), prices (``costs``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from yolo_assets.archive.known import KnownHour
from yolo_assets.catalog.answers import Answer, exact_answer, refusal, run_one
from yolo_assets.catalog.database import attach, connect, quoted, remove_abandoned, scalar, scratch_folder
from yolo_assets.catalog.parquet_views import TABLE_NAMES, ParquetTables, TableName, create_views, has_table
from yolo_assets.catalog.schema import SCHEMA_VERSION, TABLES, VIEWS
from yolo_assets.catalog.versions import cached_path, fetch_catalog, keep_in_cache, read_pointer
from yolo_assets.contracts.device_keys import EnrolledDevices, SealState
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.names import ArchiveName, check_id
from yolo_assets.contracts.times import Hour, with_near_hours
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.open import folder_of

_TRIES = 5
_ROWS = 20_000
_SUGGESTIONS = 8


class NoCatalogError(UserError):
    """Nothing was published yet."""


@contextmanager
def open_catalog(
    store: ObjectStore,
    *,
    cache: Path | None = None,
    tables: Collection[TableName] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    may_lack: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the newest catalog, which stays the same catalog until it is closed.

    Tables and views ``archives``, ``archive_classes``, ``hours``, ``gaps``, ``hours_seen``, ``problems`` (see
    ``catalog.schema``), ``detections`` and ``frames``. The connection cannot change anything, read any other file or
    load an extension.

    Args:
        store: store root.
        cache: folder where the file is kept between calls; a temporary one without. A folder store needs none: its
            file is opened where it lies.
        tables: which of ``detections`` and ``frames`` can be read: views over their Parquet files. To find the
            files takes time in a large store.
        start: of ``tables`` only the hours that touch ``[start, end)``; all without.
        end: see ``start``; give both or none.
        may_lack: where nothing was published yet, the catalog is empty instead of an error.

    Raises:
        NoCatalogError: nothing was published yet.
        IntegrityError: the published file is not what the pointer promises; rebuild it.
        BadInputError: a Parquet file in ``tables`` that is none, or a bucket that DuckDB cannot read here.
    """
    with scratch_folder() as scratch:
        root = _folder_of(store, scratch)
        lacks = may_lack and read_pointer(store) is None
        path = None if lacks else _local_file(store, root, cache, scratch)
        with connect(scratch) as connection:
            if path is None:
                connection.execute(f"ATTACH ':memory:' AS catalog_file; USE catalog_file; {TABLES} {VIEWS}; USE memory")
            else:
                _attach(connection, path, store)
            allowed = create_views(connection, ParquetTables(store, root, tables, start, end))
            connection.execute(
                "SET search_path = 'catalog_file,memory';"
                f"SET allowed_directories = [{', '.join(map(quoted, allowed))}];"
                "SET enable_external_access = false; SET lock_configuration = true"
            )
            yield connection


@contextmanager
def open_tables(store: ObjectStore, start: datetime, end: datetime) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to ``detections`` and ``frames`` of the hours that touch ``[start, end)``; it needs no catalog.

    Args:
        store: store root.
        start: aware moment.
        end: aware moment, excluded.

    Raises:
        BadInputError: see ``open_catalog``.
    """
    with scratch_folder() as scratch, connect(scratch) as connection:
        root = _folder_of(store, scratch)
        create_views(connection, ParquetTables(store, root, TABLE_NAMES, start, end))
        yield connection


def query(
    store: ObjectStore,
    sql: str,
    *,
    cache: Path | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.DataFrame:
    """The answer to one SELECT over the catalog, ``detections`` and ``frames``.

    Args:
        store: store root.
        sql: one statement that reads.
        cache: see ``open_catalog``.
        start: of ``detections`` and ``frames`` only the hours that touch ``[start, end)``; all without.
        end: see ``start``.

    Raises:
        BadInputError: not one statement that reads, or DuckDB refuses it; its reason in one line.
        NoCatalogError: nothing was published yet.
    """
    with open_catalog(store, cache=cache, tables=tables_named(sql), start=start, end=end) as connection:
        return ask(connection, sql)


def query_exactly(
    store: ObjectStore,
    sql: str,
    *,
    cache: Path | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    archive_url: str | None = None,
) -> Answer:
    """As ``query``, with every value as DuckDB has it, for people and other programs instead of a data frame.

    Args:
        store: store root.
        sql: one statement that reads.
        cache: see ``open_catalog``.
        start: see ``query``.
        end: see ``query``.
        archive_url: the archive root that is meant; None: whichever the catalog is of.

    Raises:
        BadInputError: see ``query`` and ``answers.exact_answer``.
        NoCatalogError: nothing was published yet.
    """
    with open_catalog(store, cache=cache, tables=tables_named(sql), start=start, end=end) as connection:
        if archive_url is not None:
            check_archive(connection, archive_url)
        return exact_answer(connection, sql)


def tables_named(sql: str) -> list[TableName]:
    """Which of ``detections`` and ``frames`` a question names."""
    return [name for name in TABLE_NAMES if re.search(rf"\b{name}\b", sql, re.IGNORECASE)]


def tables_missing(store: ObjectStore, sql: str) -> list[TableName]:
    """Those of ``tables_named`` of which the store holds nothing: answers about them say nothing of the plant."""
    return [name for name in tables_named(sql) if not has_table(store, name)]


def ask(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | dict[str, Any] | None = None
) -> pl.DataFrame:
    """As ``query``, on an open catalog; each ``?`` or ``$name`` in ``sql`` is replaced by a parameter."""
    try:
        return run_one(connection, sql, parameters).pl()
    except duckdb.Error as error:
        raise refusal(error) from None
    except pl.exceptions.PolarsError:
        raise BadInputError(
            "the answer holds a type that cannot be shown, like an interval; cast that column to VARCHAR"
        ) from None


def find_archives(
    connection: duckdb.DuckDBPyConnection,
    start: datetime,
    end: datetime,
    *,
    camera_id: str | None = None,
    batch_id: str | None = None,
    columns: Sequence[str] = ("*",),
) -> pl.DataFrame:
    """Rows of ``archives`` whose hour touches ``[start, end)``, by hour, camera and part.

    Args:
        connection: of ``open_catalog``.
        start: aware moment.
        end: aware moment, excluded.
        camera_id: only of this camera.
        batch_id: only with frames of this production batch.
        columns: only these; all without.
    """
    conditions = ["hour >= ?", "hour < ?"]
    given: list[Any] = [Hour.nearest(start).start, end]
    if camera_id is not None:
        conditions.append("camera_id = ?")
        given.append(check_id(camera_id))
    if batch_id is not None:
        conditions.append("list_contains(batch_ids, ?)")
        given.append(batch_id)
    sql = f"SELECT {', '.join(columns)} FROM archives WHERE {' AND '.join(conditions)} ORDER BY hour, camera_id, part"
    return ask(connection, sql, given)


def known_hours(connection: duckdb.DuckDBPyConnection) -> list[KnownHour]:
    """Every camera-hour that has a receipt, verified or not, with the end of the retention of all its parts."""
    verified = """
        SELECT camera_id, hour, CASE WHEN count(retention_until) = count(*) THEN max(retention_until) END AS until
        FROM archives GROUP BY camera_id, hour
    """
    known = [KnownHour(camera, Hour(hour), until) for camera, hour, until in ask(connection, verified).iter_rows()]
    for key in ask(connection, "SELECT DISTINCT receipt_key FROM problems")["receipt_key"]:
        with suppress(BadInputError):
            name = ArchiveName.parse(key)
            known.append(KnownHour(name.camera_id, name.hour))
    return known


def receipt_hashes(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[str, bytes | None, float, str | None]]:
    """Every verified receipt, by hour, camera and part.

    Yields:
        Its key; the SHA-256 of its bytes, None where it was cataloged before the catalog had that; when it was
        verified, in seconds since 1970; the last day of its retention, ``YYYY-MM-DD``.
    """
    cursor = connection.execute(
        "SELECT receipt_key, unhex(receipt_sha256), epoch(verified_at), "
        "strftime(timezone('UTC', retention_until), '%Y-%m-%d') FROM archives ORDER BY hour, camera_id, part"
    )
    while rows := cursor.fetchmany(_ROWS):
        yield from rows


def gaps(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Camera-hours with detections and no archive: ``camera_id, hour``."""
    return ask(connection, "SELECT * FROM gaps")


@dataclass(frozen=True)
class SealFigures:
    """What the seals of archives are worth.

    Attributes:
        counts: archives by state.
        wrong: ``camera_id, hour, part, state, why`` of those that are not what a device sealed, or whose key does not
            count, the newest first. In a plant without an enrolled device no key has to count.
    """

    counts: dict[SealState, int]
    wrong: pl.DataFrame


def seals(connection: duckdb.DuckDBPyConnection, devices: EnrolledDevices, since: datetime) -> SealFigures:
    """What the seals of archives are worth.

    Args:
        connection: of ``open_catalog``.
        devices: that are enrolled.
        since: those that were archived before are left out.
    """
    rows = ask(
        connection,
        "SELECT camera_id, strftime(timezone('UTC', hour), '%Y%m%d_%H') AS hour, part, sealed_by, seal_problem, "
        "device_ids, hour + INTERVAL 1 HOUR AS closed, verified_at FROM archives "
        "WHERE verified_at >= ? ORDER BY verified_at DESC, camera_id",
        [since],
    )
    counts: dict[SealState, int] = {}
    wrong: list[tuple[str, str, int, str, str]] = []
    fine: set[SealState] = {"enrolled", "not sealed"}
    if not devices.keys and not devices.problems:
        fine.add("not enrolled")
    for camera, hour, part, key_id, problem, device_ids, closed, verified in rows.iter_rows():
        found = devices.verdict(key_id, problem, device_ids=device_ids, sealed=(closed, verified), held=verified)
        counts[found.state] = counts.get(found.state, 0) + 1
        if found.state not in fine:
            wrong.append((camera, hour, part, found.state, found.why))
    columns = {"camera_id": pl.String, "hour": pl.String, "part": pl.Int64, "state": pl.String, "why": pl.String}
    return SealFigures(counts, pl.DataFrame(wrong, schema=columns, orient="row"))


def check_camera(connection: duckdb.DuckDBPyConnection, camera_id: str, expected: Sequence[str] = ()) -> None:
    """Refuse a camera that nobody knows: no hours and no gaps of it would be a false answer.

    Args:
        connection: of ``open_catalog``.
        camera_id: the camera.
        expected: cameras that should be there, whether the catalog knows them or not.

    Raises:
        BadInputError: not a camera id, or not a camera that has hours or is expected; the line names some that are.
    """
    cameras = ask(connection, "SELECT DISTINCT camera_id FROM hours ORDER BY camera_id")["camera_id"].to_list()
    if check_id(camera_id) not in {*cameras, *expected}:
        raise BadInputError(f"the catalog has no camera {camera_id}; {_suggested(camera_id, cameras)}")


def find_hours(
    connection: duckdb.DuckDBPyConnection,
    class_name: str,
    min_confidence: float,
    start: datetime,
    end: datetime,
    camera_id: str | None = None,
    *,
    also_called: Sequence[str] = (),
) -> pl.DataFrame:
    """Camera-hours that may hold a detection of a class with at least that confidence, captured in ``[start, end)``.

    Hours that touch the range, and those next to it with a frame captured outside their hour and in the range.
    ``also_called``: other names of the class.

    Returns:
        ``camera_id, hour, count, max_confidence, archives`` by hour and camera; ``count`` is of all detections of the
        class in the hour (``counting.count_asked`` counts those that were asked for), ``archives`` how many archives
        (parts) hold them.
    """
    camera = "" if camera_id is None else "AND camera_id = $camera"
    around, until = with_near_hours(start, end)
    given: dict[str, Any] = {"around": around, "until": until, "first": Hour.nearest(start).start}
    given |= {"start": start, "end": end, "classes": [class_name, *also_called], "least": min_confidence}
    given |= {} if camera_id is None else {"camera": check_id(camera_id)}
    sql = f"""
        WITH beside AS (
            SELECT DISTINCT camera_id, hour FROM archives
            WHERE hour >= $around AND hour < $until AND outside_first < $end AND outside_last >= $start
        )
        SELECT camera_id, hour, sum(count)::BIGINT AS count, max(max_confidence) AS max_confidence,
            count(DISTINCT archive_key) AS archives
        FROM archive_classes
        WHERE list_contains($classes, class) AND hour >= $around AND hour < $until {camera}
            AND ((hour >= $first AND hour < $end) OR (camera_id, hour) IN (FROM beside))
        GROUP BY camera_id, hour HAVING max(max_confidence) >= $least ORDER BY hour, camera_id
    """
    return ask(connection, sql, given)


def check_class(connection: duckdb.DuckDBPyConnection, class_name: str, also_called: Sequence[str] = ()) -> None:
    """Refuse a class that no receipt names, where receipts name others: to a misspelt name "nothing" is a false answer.

    Args:
        connection: of the catalog.
        class_name: that was asked for.
        also_called: its other names.

    Raises:
        BadInputError: the line names classes that there are.
    """
    classes = ask(connection, "SELECT DISTINCT class FROM archive_classes ORDER BY class")["class"].to_list()
    if classes and not {class_name, *also_called} & set(classes):
        raise BadInputError(f"the catalog has no class {class_name}; {_suggested(class_name, classes)}")


def _suggested(name: str, known: list[str]) -> str:
    suggestions = get_close_matches(name, known, _SUGGESTIONS) or known
    more = " and more" if len(suggestions) > _SUGGESTIONS else ""
    return f"it has {', '.join(suggestions[:_SUGGESTIONS]) or 'none yet'}{more}"


def check_archive(connection: duckdb.DuckDBPyConnection, url: str) -> None:
    """Refuse a catalog that was made of another archive root than the one that is meant.

    Raises:
        BadInputError: it is of another root.
    """
    made_of = scalar(connection, "SELECT archive_url FROM catalog_file.stored.meta")
    if made_of not in (None, url):
        raise BadInputError(
            f"the catalog is of {made_of}, not of {url}; make one of that: yolo-assets catalog rebuild --archive {url} "
            "--store URL"
        )


def gap_ranges(
    connection: duckdb.DuckDBPyConnection, camera_id: str | None = None, expected: Sequence[str] = ()
) -> pl.DataFrame:
    """What is missing, hours in a row as one range.

    Args:
        connection: of ``open_catalog``.
        camera_id: only of this camera.
        expected: cameras that should be there.

    Returns:
        ``camera_id, kind, start, end, hours``. ``kind`` is ``not archived`` (there are detections and no archive),
        ``no data`` (neither, between the first and the last hour of the camera) or ``never seen`` (an expected camera
        that has no hour at all; without start, end and hours), these last.
    """
    camera, given = ("WHERE camera_id = ?", [check_id(camera_id)]) if camera_id is not None else ("", [])
    wanted = sorted(set(expected) if camera_id is None else {camera_id}.intersection(expected))
    sql = f"""
        WITH missing AS (
            SELECT camera_id, hour, row_number() OVER (PARTITION BY camera_id ORDER BY hour) AS n FROM gaps {camera}
        ), steps AS (
            SELECT camera_id, hour, lead(hour) OVER (PARTITION BY camera_id ORDER BY hour) AS next FROM hours {camera}
        )
        SELECT camera_id, 'not archived' AS kind, min(hour) AS start, max(hour) + INTERVAL 1 HOUR AS end,
            count(*) AS hours
        FROM missing GROUP BY camera_id, hour - n * INTERVAL 1 HOUR
        UNION ALL
        SELECT camera_id, 'no data', hour + INTERVAL 1 HOUR, next, date_diff('hour', hour, next) - 1
        FROM steps WHERE next > hour + INTERVAL 1 HOUR
        UNION ALL
        SELECT camera_id, 'never seen', NULL, NULL, NULL
        FROM unnest(?::VARCHAR[]) AS expected(camera_id) ANTI JOIN hours USING (camera_id)
        ORDER BY start NULLS LAST, camera_id
    """
    return ask(connection, sql, [*given * 2, wanted])


@dataclass(frozen=True)
class Stats:
    """What the archive holds.

    Attributes:
        cameras: ``camera_id, archives, frames, bytes, first_hour, last_hour, bytes_per_day`` and bytes by tier
            (``standard, infrequent, cold``). ``bytes_per_day`` is of the seven days before, or of as many as there are.
        ages: ``age, tier, archives, frames, bytes`` by age of the hour: ``0-7 d``, ``8-90 d``, ``91 d and older``, the
            bounds of the storage tiers. It is the age that is known here, not where a store has really put an object.
        index_bytes: of the indexes, as far as receipts record it; they never change tiers.
        problems: receipts that are there and untrusted.
    """

    cameras: pl.DataFrame
    ages: pl.DataFrame
    index_bytes: int
    problems: int


def stats(connection: duckdb.DuckDBPyConnection, now: datetime) -> Stats:
    """Totals by camera and by age."""
    aged = f"""
        SELECT camera_id, hour, frame_count, archive_size,
            CASE WHEN hour > {_at(now)} - INTERVAL 8 DAY THEN 'standard'
                WHEN hour > {_at(now)} - INTERVAL 91 DAY THEN 'infrequent' ELSE 'cold' END AS tier
        FROM archives
    """
    tiers = ", ".join(
        f"coalesce(sum(archive_size) FILTER (tier = '{tier}'), 0)::BIGINT AS {tier}"
        for tier in ("standard", "infrequent", "cold")
    )
    cameras = f"""
        SELECT camera_id, count(*) AS archives, sum(frame_count)::BIGINT AS frames,
            sum(archive_size)::BIGINT AS bytes, min(hour) AS first_hour, max(hour) AS last_hour,
            (coalesce(sum(archive_size) FILTER (hour > {_at(now)} - INTERVAL 7 DAY), 0)
                / least(7, greatest(1, ceil(date_diff('hour', min(hour), {_at(now)}) / 24))))::BIGINT AS bytes_per_day,
            {tiers}
        FROM ({aged}) GROUP BY camera_id ORDER BY camera_id
    """
    ages = f"""
        SELECT CASE tier WHEN 'standard' THEN '0-7 d' WHEN 'infrequent' THEN '8-90 d' ELSE '91 d and older' END AS age,
            tier, count(*) AS archives, sum(frame_count)::BIGINT AS frames, sum(archive_size)::BIGINT AS bytes
        FROM ({aged}) GROUP BY tier ORDER BY age
    """
    indexes = ask(connection, "SELECT coalesce(sum(index_size), 0)::BIGINT AS n FROM archives")["n"][0]
    problems = ask(connection, "SELECT count(*) AS n FROM problems")["n"][0]
    return Stats(ask(connection, cameras), ask(connection, ages), indexes, problems)


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, store: ObjectStore) -> None:
    try:
        attach(connection, path, "catalog_file", read_only=True)
        version = scalar(connection, "SELECT schema_version FROM catalog_file.stored.meta")
    except duckdb.Error:
        version = None
    if version != SCHEMA_VERSION:
        state = "damaged, or from another release" if version is None else f"of version {version}, not {SCHEMA_VERSION}"
        raise IntegrityError(f"the catalog in {store.url} is {state}; rebuild it with: yolo-assets catalog rebuild")


def _at(moment: datetime) -> str:
    return f"{quoted(moment.isoformat())}::TIMESTAMPTZ"


def _folder_of(store: ObjectStore, scratch: Path) -> Path | None:
    """The folder of a folder store, through a link whose name holds nothing that DuckDB reads as a pattern."""
    folder = folder_of(store.url)
    if folder is None:
        return None
    link = scratch / "store"
    link.symlink_to(folder, target_is_directory=True)
    return link


def _local_file(store: ObjectStore, root: Path | None, cache: Path | None, scratch: Path) -> Path:
    """The newest catalog as a local file."""
    for _ in range(_TRIES):
        current = read_pointer(store)
        if current is None:
            raise NoCatalogError(f"no catalog in {store.url} yet; make one with: yolo-assets catalog rebuild")
        pointer = current[0]
        path = root / pointer.key if root is not None else cached_path(cache or scratch, pointer)
        if path.is_file() and path.stat().st_size == pointer.size:
            return path
        fetched = scratch / "fetched.duckdb"
        remove_abandoned()
        # A folder's file that is not there was pruned between reading the pointer and looking: read it again.
        if root is None and fetch_catalog(store, pointer, fetched):
            return keep_in_cache(cache, pointer, fetched) if cache is not None else fetched
    raise IntegrityError(f"the catalog in {store.url} is damaged; rebuild it with: yolo-assets catalog rebuild")
