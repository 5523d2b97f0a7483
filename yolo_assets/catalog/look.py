"""What is out there now: receipts and detection tables as the stores list them, and the receipts that must be read.

Held in a database that goes on in a file when there is much, so that a million of them need little memory. What was
read once is kept when a race for the pointer is lost: a second look costs listings only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from yolo_assets.catalog.receipts import BATCH, Problem, batches, fetch_receipts, list_receipts
from yolo_assets.catalog.rows import ARCHIVES, CLASSES, FoundReceipt, archive_rows, class_rows
from yolo_assets.catalog.schema import RECEIPT_KEY, attach, connect, one
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import ObjectInfo, ObjectStore
from yolo_assets.tables.scan import parse_table_key

Report = Callable[[int, int], object]
"""Called with the receipts read so far and how many there are to read."""

_LISTED = 20_000
"""Names in memory at one time."""
_TEXT = pa.string()
_LISTING = pa.schema([("receipt_key", _TEXT), ("receipt_etag", _TEXT)])
_HOURS = pa.schema([("camera_id", _TEXT), ("hour", pa.timestamp("us", "UTC"))])
_PROBLEMS = pa.schema([*_LISTING, ("problem", _TEXT)])


class Look:
    """Compares a catalog with the stores.

    Tables of its database, each of the dates that are looked at: ``listed`` and ``tabled`` (what the stores list),
    ``known`` (what the base says), ``wanted`` (receipts that the base does not hold as they are), ``dropped`` (rows of
    the base that hold no longer), ``read_archives``, ``read_classes``, ``read_problems`` (receipts that were read).
    """

    def __init__(self, folder: Path) -> None:
        """Open an empty database; ``folder`` is scratch, outlives it and takes what does not fit into memory."""
        self.dates: list[str] | None = None
        self.connection = connect(folder)
        for name, schema in (("listed", _LISTING), ("tabled", _HOURS), ("read_problems", _PROBLEMS)):
            self._create(name, schema)
        self._create("read_archives", pa.unify_schemas([_LISTING, ARCHIVES]))
        self._create("read_classes", pa.unify_schemas([_LISTING, CLASSES]))
        self._create("seen", _LISTING)

    def list(self, store: ObjectStore, archive: ObjectStore, dates: Collection[str] | None) -> None:
        """Take down what the stores list now, in place of an earlier listing.

        Args:
            store: store root.
            archive: archive root.
            dates: only these (``YYYY-MM-DD``); all without.
        """
        self.dates = dates if dates is None else sorted(set(dates))
        self.connection.execute("TRUNCATE listed")
        for infos in batches(list_receipts(archive, self.dates), _LISTED):
            columns = [[info.key for info in infos], [info.etag for info in infos]]
            self._insert("listed", pa.table(columns, schema=_LISTING))
        self.connection.execute("TRUNCATE tabled")
        for hours in batches(_hours_with_tables(store, self.dates), _LISTED):
            columns = [[camera for camera, _ in hours], [hour.start for _, hour in hours]]
            self._insert("tabled", pa.table(columns, schema=_HOURS))

    def compare(self, base: Path, trusted: TrustedKeys) -> None:
        """Find what is new and what holds no longer.

        Args:
            base: the catalog to compare with.
            trusted: keys that count now; rows signed by others are judged again.
        """
        run = self.connection.execute
        attach(self.connection, base, "base", read_only=True)
        run(
            f"CREATE OR REPLACE TABLE known AS SELECT camera_id, hour, part, {RECEIPT_KEY} AS receipt_key, "
            f"receipt_etag, signed_by FROM base.stored.archives WHERE {in_dates(self.dates)}"
        )
        run("DETACH base")
        run(
            "CREATE OR REPLACE TABLE holds AS SELECT receipt_key FROM known SEMI JOIN listed "
            "USING (receipt_key, receipt_etag) WHERE signed_by IN (SELECT unnest(?))",
            [sorted(trusted.keys)],
        )
        run("CREATE OR REPLACE TABLE wanted AS SELECT * FROM listed ANTI JOIN holds USING (receipt_key)")
        run("CREATE OR REPLACE TABLE dropped AS SELECT * FROM known ANTI JOIN holds USING (receipt_key)")

    def read(self, archive: ObjectStore, trusted: TrustedKeys, readers: int, report: Report) -> None:
        """Fetch and verify the wanted receipts that were not read before."""
        missing = "FROM wanted ANTI JOIN seen USING (receipt_key, receipt_etag)"
        total, done = one(self.connection, f"SELECT count(*) {missing}"), 0
        if total:
            report(0, total)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT receipt_key, receipt_etag {missing} ORDER BY receipt_key")
            for found in fetch_receipts(archive, _rows(cursor), trusted, readers):
                self._keep(found)
                done = min(done + BATCH, total)
                report(done, total)

    def close(self) -> None:
        """Give the database back."""
        self.connection.close()

    def _keep(self, found: list[FoundReceipt | Problem]) -> None:
        good = [one for one in found if isinstance(one, FoundReceipt)]
        bad = [one for one in found if isinstance(one, Problem)]
        listing = pa.table([[one.key for one in good], [one.etag for one in good]], schema=_LISTING)
        self._insert("read_archives", archive_rows(good).add_column(0, "receipt_key", listing["receipt_key"]))
        several = [one for one in good for _ in one.receipt.classes]
        names = [[one.key for one in several], [one.etag for one in several]]
        classes = class_rows(good)
        for name, column in zip(_LISTING.names, names, strict=True):
            classes = classes.append_column(name, pa.array(column, _TEXT))
        self._insert("read_classes", classes)
        problems = [[p.key for p in bad], [p.etag for p in bad], [p.problem for p in bad]]
        self._insert("read_problems", pa.table(problems, schema=_PROBLEMS))
        self._insert("seen", pa.table([[one.key for one in found], [one.etag for one in found]], schema=_LISTING))

    def _create(self, name: str, schema: pa.Schema) -> None:
        self.connection.register("incoming", schema.empty_table())
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")

    def _insert(self, name: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self.connection.register("incoming", rows)
            self.connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM incoming")


def in_dates(dates: Collection[str] | None) -> str:
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


def _rows(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    while rows := cursor.fetchmany(BATCH):
        yield from rows


def _hours_with_tables(store: ObjectStore, dates: Collection[str] | None) -> Iterable[tuple[str, Hour]]:
    prefixes = ["detections/"] if dates is None else [f"detections/date={date}/" for date in dates]
    listed: Iterator[ObjectInfo] = (info for prefix in prefixes for info in store.list(prefix))
    for info in listed:
        if (found := parse_table_key(info.key)) is not None:
            hour, camera_id = found
            yield camera_id, hour
