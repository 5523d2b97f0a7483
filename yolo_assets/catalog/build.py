"""A catalog file: a private copy of the newest one, changed to what was looked at; or one without rows, filled.

Belongs here: the content of one local DuckDB file. Does not belong here: what is out there (``look``), publishing
(``publish``) and questions (``read``). A published file is never edited, only its copy, which a crash may ruin. Rows
are added at the end; when these have become many, the file is written in order again, which takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from yolo_assets.catalog.look import Look, in_dates
from yolo_assets.catalog.receipts import Problem
from yolo_assets.catalog.schema import ORDERS, SCHEMA_VERSION, TABLES, VIEWS, attach, one, quoted

MOST_UNSORTED = 100_000
"""So many rows may stand behind the ordered ones, and in a larger catalog a quarter of all."""
REPORTED = 1_000
"""Problems that are handed to the caller; the catalog has them all."""

_PROBLEM = "receipt_key, receipt_etag, problem"
_BELIEVED = "read_archives SEMI JOIN wanted USING (receipt_key, receipt_etag)"
_BELIEVED_KEYS = f"SELECT receipt_key FROM {_BELIEVED}"


@dataclass(frozen=True)
class Change:
    """What a look came to.

    Attributes:
        changed: False when the catalog said just this before; nothing was written then.
        added: receipts that are new or have changed.
        removed: rows whose receipt is gone or no longer believed.
        archives: rows of ``archives`` now.
        problems: rows of ``problems`` now.
        reported: the first of them.
    """

    changed: bool
    added: int
    removed: int
    archives: int
    problems: int
    reported: tuple[Problem, ...]


def create(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write a catalog without rows at ``path``, which must not exist."""
    _create(connection, path)
    connection.execute("DETACH fresh")


def prepare(connection: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Whether a private copy is a catalog that can be changed; with many rows out of order it is put in order too."""
    try:
        attach(connection, path, "base", read_only=True)
    except duckdb.Error:
        return False
    try:
        if one(connection, "SELECT schema_version FROM base.stored.meta") != SCHEMA_VERSION:
            return False
        unsorted = one(connection, "SELECT unsorted FROM base.stored.meta")
        if unsorted > max(MOST_UNSORTED, one(connection, "SELECT count(*) FROM base.stored.archives") // 4):
            _order(connection, path)
        return True
    except duckdb.Error:
        return False
    finally:
        connection.execute("DETACH base")


def apply(look: Look, path: Path) -> Change:
    """Change a catalog to what was looked at.

    Args:
        look: listed, compared with this file, and read.
        path: a private copy.
    """
    connection = look.connection
    attach(connection, path, "fresh", read_only=False)
    _find_differences(look)
    added = one(connection, f"SELECT count(*) FROM {_BELIEVED}")
    removed = one(connection, f"SELECT count(*) FROM dropped ANTI JOIN ({_BELIEVED_KEYS}) USING (receipt_key)")
    others = ("dropped", "hours_gone", "hours_new", "problems_gone", "problems_new")
    changed = added > 0 or any(one(connection, f"SELECT count(*) FROM {name}") for name in others)
    if changed:
        _edit(connection, added)
    archives = one(connection, "SELECT count(*) FROM fresh.stored.archives")
    problems = one(connection, "SELECT count(*) FROM fresh.problems")
    first = f"SELECT {_PROBLEM} FROM fresh.problems ORDER BY receipt_key LIMIT {REPORTED}"
    reported = tuple(Problem(*row) for row in connection.execute(first).fetchall())
    connection.execute("DETACH fresh")  # checkpoints: everything is in the one file, no log beside it
    return Change(changed, added, removed, archives, problems, reported)


def _find_differences(look: Look) -> None:
    run, hours = look.connection.execute, f"SELECT * FROM fresh.hours_seen WHERE {in_dates(look.dates)}"
    run(f"CREATE OR REPLACE TABLE hours_gone AS {hours} EXCEPT FROM tabled")
    run(f"CREATE OR REPLACE TABLE hours_new AS FROM tabled EXCEPT ({hours})")
    bad = f"SELECT {_PROBLEM} FROM read_problems SEMI JOIN wanted USING (receipt_key, receipt_etag)"
    known = f"SELECT {_PROBLEM} FROM fresh.problems"
    if look.dates is not None:  # a problem's key may be anything, so only its folder is looked at
        days = ", ".join(map(quoted, look.dates)) or "NULL"
        known += f" WHERE split_part(split_part(receipt_key, 'date=', 2), '/', 1) IN ({days})"
    run(f"CREATE OR REPLACE TABLE problems_gone AS {known} EXCEPT ({bad})")
    run(f"CREATE OR REPLACE TABLE problems_new AS {bad} EXCEPT ({known})")


def _edit(connection: duckdb.DuckDBPyConnection, added: int) -> None:
    run = connection.execute
    run("BEGIN")
    for table in ("stored.archives", "stored.classes"):
        run(f"DELETE FROM fresh.{table} WHERE (camera_id, hour, part) IN (SELECT (camera_id, hour, part) FROM dropped)")
    run("DELETE FROM fresh.hours_seen WHERE (camera_id, hour) IN (SELECT (camera_id, hour) FROM hours_gone)")
    run(f"DELETE FROM fresh.problems WHERE ({_PROBLEM}) IN (SELECT ({_PROBLEM}) FROM problems_gone)")
    filled = one(connection, "SELECT count(*) FROM fresh.stored.archives") > 0
    sources = {
        "stored.archives": f"SELECT * EXCLUDE (receipt_key) FROM {_BELIEVED}",
        "stored.classes": "SELECT * EXCLUDE (receipt_key, receipt_etag) FROM read_classes "
        "SEMI JOIN wanted USING (receipt_key, receipt_etag)",
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
    connection.execute("INSERT INTO stored.meta VALUES (?, 0)", [SCHEMA_VERSION])
    connection.execute("USE memory")


def _order(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Replace the file at ``path``, attached as ``base``, by one with the same rows in order."""
    ordered = path.with_name(f"{path.name}.ordered")
    _create(connection, ordered)
    for table, order in ORDERS.items():
        connection.execute(f"INSERT INTO fresh.{table} SELECT * FROM base.{table} ORDER BY {order}")
    connection.execute("DETACH fresh")
    ordered.replace(path)  # whoever has the old one open reads it to its end
