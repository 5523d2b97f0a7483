"""Bring a copy of the newest catalog file up to date: compare it with the stores, read what is new, write it.

Belongs here: the content of one local DuckDB file. Does not belong here: publishing it (``publish``) and questions
(``read``). A published file is never edited, only a private copy of it, which a crash may ruin. New rows are added at
the end; when these have become many, the file is written in order again, which takes seconds.

The differences are held in a database that overflows into a file, so that a million receipts need little memory. What
was read is kept when a race for the pointer is lost: the next attempt costs listings only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.database import attach, connect, quoted, scalar
from yolo_assets.catalog.receipts import (
    ARCHIVES,
    BATCH,
    CLASSES,
    ReceiptProblem,
    VerifiedReceipt,
    archive_rows,
    batches,
    class_rows,
    fetch_receipts,
    list_receipts,
)
from yolo_assets.catalog.schema import (
    FROM_VERSION_2,
    FROM_VERSION_3,
    FROM_VERSION_4,
    FROM_VERSION_5,
    ORDERS,
    RECEIPT_KEY,
    SCHEMA_VERSION,
    TABLES,
    VIEWS,
)
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import ObjectInfo, ObjectStore
from yolo_assets.tables.scan import parse_table_key

Report = Callable[[int, int], object]
"""Called with the receipts read so far and how many there are to read."""

MOST_UNSORTED = 100_000
"""So many rows may follow the ordered ones, and in a larger catalog a quarter of all."""
REPORTED = 1_000
"""Untrusted receipts that are handed to the caller; the catalog has them all."""

_LISTED = 20_000
"""Names in memory at one time."""
_TEXT = pa.string()
_LISTING = pa.schema([("receipt_key", _TEXT), ("receipt_etag", _TEXT)])
_HOURS = pa.schema([("camera_id", _TEXT), ("hour", pa.timestamp("us", "UTC"))])
_PROBLEMS = pa.schema([*_LISTING, ("problem", _TEXT)])

_PROBLEM = "receipt_key, receipt_etag, problem"
_VERIFIED = "read_archives SEMI JOIN to_read USING (receipt_key, receipt_etag)"
_VERIFIED_KEYS = f"SELECT receipt_key FROM {_VERIFIED}"


class StoreDifferences:
    """What in the stores differs from a catalog.

    Tables of its database, each of the dates in question: ``listed`` and ``table_hours`` (what the stores list),
    ``cataloged`` (rows of the catalog), ``to_read`` (receipts that the catalog does not hold as they are now),
    ``dropped`` (rows of the catalog that are no longer true), ``read_archives``, ``read_classes``, ``read_problems``
    (receipts that were read).
    """

    def __init__(self, folder: Path) -> None:
        """Open an empty database; ``folder`` must outlive it and takes what does not fit into memory."""
        self.dates: list[str] | None = None
        self.connection = connect(folder)
        for name, schema in (("listed", _LISTING), ("table_hours", _HOURS), ("read_problems", _PROBLEMS)):
            self._create(name, schema)
        self._create("read_archives", pa.unify_schemas([_LISTING, ARCHIVES]))
        self._create("read_classes", pa.unify_schemas([_LISTING, CLASSES]))
        self._create("already_read", _LISTING)

    def list_stores(self, store: ObjectStore, archive: Archive, dates: Collection[str] | None) -> None:
        """Record what the stores list now, in place of an earlier listing.

        Args:
            store: store root.
            archive: holds the receipts.
            dates: only these (``YYYY-MM-DD``); all without.
        """
        self.dates = dates if dates is None else sorted(set(dates))
        self.connection.execute("TRUNCATE listed")
        for infos in batches(list_receipts(archive, self.dates), _LISTED):
            columns = [[info.key for info in infos], [info.etag for info in infos]]
            self._insert("listed", pa.table(columns, schema=_LISTING))
        self.connection.execute("TRUNCATE table_hours")
        for hours in batches(_hours_with_tables(store, self.dates), _LISTED):
            columns = [[camera for camera, _ in hours], [hour.start for _, hour in hours]]
            self._insert("table_hours", pa.table(columns, schema=_HOURS))

    def compare(self, base: Path, archive: Archive) -> None:
        """Find what is new and what is no longer true.

        Args:
            base: the catalog to compare with.
            archive: rows signed by keys that it does not trust are verified again.
        """
        run = self.connection.execute
        attach(self.connection, base, "base", read_only=True)
        run(
            f"CREATE OR REPLACE TABLE cataloged AS SELECT camera_id, hour, part, {RECEIPT_KEY} AS receipt_key, "
            f"receipt_etag, signed_by FROM base.stored.archives WHERE {_in_dates(self.dates)}"
        )
        run("DETACH base")
        run(
            "CREATE OR REPLACE TABLE unchanged AS SELECT receipt_key FROM cataloged SEMI JOIN listed "
            "USING (receipt_key, receipt_etag) WHERE signed_by IN (SELECT unnest(?))",
            [sorted(archive.trusted.keys)],
        )
        run("CREATE OR REPLACE TABLE to_read AS SELECT * FROM listed ANTI JOIN unchanged USING (receipt_key)")
        run("CREATE OR REPLACE TABLE dropped AS SELECT * FROM cataloged ANTI JOIN unchanged USING (receipt_key)")

    def read_receipts(self, archive: Archive, readers: int, report: Report) -> None:
        """Fetch and verify the receipts to read that were not read before."""
        missing = "FROM to_read ANTI JOIN already_read USING (receipt_key, receipt_etag)"
        total, done = scalar(self.connection, f"SELECT count(*) {missing}"), 0
        if total:
            report(0, total)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT receipt_key, receipt_etag {missing} ORDER BY receipt_key")
            for batch in fetch_receipts(archive, _rows(cursor), readers):
                self._store(batch)
                done = min(done + BATCH, total)
                report(done, total)

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def _store(self, batch: list[VerifiedReceipt | ReceiptProblem]) -> None:
        verified = [entry for entry in batch if isinstance(entry, VerifiedReceipt)]
        untrusted = [entry for entry in batch if isinstance(entry, ReceiptProblem)]
        archives = archive_rows(verified).add_column(0, "receipt_key", _column(entry.key for entry in verified))
        self._insert("read_archives", archives)
        per_class = [entry for entry in verified for _ in entry.receipt.classes]
        classes = class_rows(verified).append_column("receipt_key", _column(entry.key for entry in per_class))
        classes = classes.append_column("receipt_etag", _column(entry.etag for entry in per_class))
        self._insert("read_classes", classes)
        problems = [[e.key for e in untrusted], [e.etag for e in untrusted], [e.problem for e in untrusted]]
        self._insert("read_problems", pa.table(problems, schema=_PROBLEMS))
        listing = [[entry.key for entry in batch], [entry.etag for entry in batch]]
        self._insert("already_read", pa.table(listing, schema=_LISTING))

    def _create(self, name: str, schema: pa.Schema) -> None:
        self.connection.register("incoming", schema.empty_table())
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")

    def _insert(self, name: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self.connection.register("incoming", rows)
            self.connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")


@dataclass(frozen=True)
class AppliedChange:
    """What was changed in a catalog file.

    Attributes:
        changed: False when the catalog said the same before; nothing was written then.
        added: receipts that are new or have changed.
        removed: rows whose receipt is gone or no longer trusted.
        archives: rows of ``archives`` now.
        problems: rows of ``problems`` now.
        reported: the first of them.
    """

    changed: bool
    added: int
    removed: int
    archives: int
    problems: int
    reported: tuple[ReceiptProblem, ...]


def create(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write a catalog without rows at ``path``, which must not exist."""
    _create(connection, path)
    connection.execute("DETACH fresh")


def prepare(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Whether a private copy is a catalog that can be changed; with many rows out of order it is sorted too."""
    try:
        attach(connection, path, "base", read_only=False)
    except duckdb.Error:
        return False
    try:
        version = scalar(connection, "SELECT schema_version FROM base.stored.meta")
        if version in (2, 3, 4, 5):
            connection.execute("USE base")
            changes = (FROM_VERSION_2, FROM_VERSION_3, FROM_VERSION_4, FROM_VERSION_5)
            for change in changes[int(version) - 2 :]:
                connection.execute(change)
            connection.execute(VIEWS)
        elif version != SCHEMA_VERSION:
            return False
        unsorted = scalar(connection, "SELECT unsorted FROM base.stored.meta")
        if unsorted > max(MOST_UNSORTED, scalar(connection, "SELECT count(*) FROM base.stored.archives") // 4):
            _order(connection, path)
        return True
    except duckdb.Error:
        return False
    finally:
        connection.execute("USE memory")
        connection.execute("DETACH base")


def apply(differences: StoreDifferences, path: Path, archive_url: str) -> AppliedChange:
    """Write the differences into a catalog file.

    Args:
        differences: listed, compared with this file, and read.
        path: a private copy.
        archive_url: of the root whose receipts they are.
    """
    connection = differences.connection
    attach(connection, path, "fresh", read_only=False)
    _find_changes(differences)
    added = scalar(connection, f"SELECT count(*) FROM {_VERIFIED}")
    removed = scalar(connection, f"SELECT count(*) FROM dropped ANTI JOIN ({_VERIFIED_KEYS}) USING (receipt_key)")
    others = ("dropped", "hours_gone", "hours_new", "problems_gone", "problems_new")
    changed = added > 0 or any(scalar(connection, f"SELECT count(*) FROM {name}") for name in others)
    if changed:
        _edit(connection, added)
    if scalar(connection, "SELECT archive_url FROM fresh.stored.meta") != archive_url:
        changed = True
        connection.execute("UPDATE fresh.stored.meta SET archive_url = ?", [archive_url])
    archives = scalar(connection, "SELECT count(*) FROM fresh.stored.archives")
    problems = scalar(connection, "SELECT count(*) FROM fresh.problems")
    first = f"SELECT {_PROBLEM} FROM fresh.problems ORDER BY receipt_key LIMIT {REPORTED}"
    reported = tuple(ReceiptProblem(*row) for row in connection.execute(first).fetchall())
    connection.execute("DETACH fresh")  # checkpoints: everything is in the one file, without a log
    return AppliedChange(changed, added, removed, archives, problems, reported)


def _find_changes(differences: StoreDifferences) -> None:
    run, hours = differences.connection.execute, f"SELECT * FROM fresh.hours_seen WHERE {_in_dates(differences.dates)}"
    run(f"CREATE OR REPLACE TABLE hours_gone AS {hours} EXCEPT FROM table_hours")
    run(f"CREATE OR REPLACE TABLE hours_new AS FROM table_hours EXCEPT ({hours})")
    bad = f"SELECT {_PROBLEM} FROM read_problems SEMI JOIN to_read USING (receipt_key, receipt_etag)"
    before = f"SELECT {_PROBLEM} FROM fresh.problems"
    if differences.dates is not None:  # a problem's key may be anything, so its folder gives the date
        days = ", ".join(map(quoted, differences.dates)) or "NULL"
        before += f" WHERE split_part(split_part(receipt_key, 'date=', 2), '/', 1) IN ({days})"
    run(f"CREATE OR REPLACE TABLE problems_gone AS {before} EXCEPT ({bad})")
    run(f"CREATE OR REPLACE TABLE problems_new AS {bad} EXCEPT ({before})")


def _edit(connection: duckdb.DuckDBPyConnection, added: int) -> None:
    run = connection.execute
    run("BEGIN")
    for table in ("stored.archives", "stored.classes"):
        run(f"DELETE FROM fresh.{table} WHERE (camera_id, hour, part) IN (SELECT (camera_id, hour, part) FROM dropped)")
    run("DELETE FROM fresh.hours_seen WHERE (camera_id, hour) IN (SELECT (camera_id, hour) FROM hours_gone)")
    run(f"DELETE FROM fresh.problems WHERE ({_PROBLEM}) IN (SELECT ({_PROBLEM}) FROM problems_gone)")
    filled = scalar(connection, "SELECT count(*) FROM fresh.stored.archives") > 0
    sources = {
        "stored.archives": f"SELECT * EXCLUDE (receipt_key) FROM {_VERIFIED}",
        "stored.classes": "SELECT * EXCLUDE (receipt_key, receipt_etag) FROM read_classes "
        "SEMI JOIN to_read USING (receipt_key, receipt_etag)",
        "hours_seen": "FROM hours_new",
        "problems": "FROM problems_new",
    }
    for table, source in sources.items():
        run(f"INSERT INTO fresh.{table} BY NAME {source} ORDER BY {ORDERS[table]}")
    if filled:
        run("UPDATE fresh.stored.meta SET unsorted = unsorted + ?", [added])
    run("COMMIT")


def _create(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    attach(connection, path, "fresh", read_only=False)
    connection.execute("USE fresh")
    connection.execute(TABLES)
    connection.execute(VIEWS)
    connection.execute("INSERT INTO stored.meta VALUES (?, 0, NULL)", [SCHEMA_VERSION])
    connection.execute("USE memory")


def _order(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Replace the file at ``path``, attached as ``base``, by one with the same rows in order."""
    ordered = path.with_name(f"{path.name}.ordered")
    _create(connection, ordered)
    for table, order in ORDERS.items():
        connection.execute(f"INSERT INTO fresh.{table} SELECT * FROM base.{table} ORDER BY {order}")
    connection.execute("DETACH fresh")
    ordered.replace(path)  # a reader that has the old one open keeps it


def _in_dates(dates: Collection[str] | None) -> str:
    """A condition on ``hour`` in SQL: it lies on one of these dates. Bounds first: blocks outside are not read."""
    if dates is None:
        return "true"
    starts = sorted(Hour.from_key(f"{date.replace('-', '')}_00").start for date in dates)
    if not starts:
        return "false"
    days = ", ".join(str(int(start.timestamp()) // 86400) for start in starts)
    return (
        f"hour >= {_literal(starts[0])} AND hour < {_literal(starts[-1] + timedelta(days=1))} "
        f"AND epoch(hour)::BIGINT // 86400 IN ({days})"
    )


def _literal(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat()}'"


def _column(texts: Iterable[str]) -> pa.Array:
    return pa.array(list(texts), _TEXT)


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    while rows := cursor.fetchmany(BATCH):
        yield from rows


def _hours_with_tables(store: ObjectStore, dates: Collection[str] | None) -> Iterable[tuple[str, Hour]]:
    prefixes = ["detections/"] if dates is None else [f"detections/date={date}/" for date in dates]
    listed: Iterator[ObjectInfo] = (info for prefix in prefixes for info in store.list(prefix))
    for info in listed:
        match parse_table_key(info.key):
            case (hour, camera_id):
                yield camera_id, hour
