"""A catalog file: the newest one's rows that still hold, plus new ones, written in order into a fresh file.

Belongs here: the content of one local DuckDB file. Does not belong here: publishing it (``publish``) and questions
(``read``). A file is always written anew, never edited: merged and rebuilt catalogs are the same by construction, rows
lie in order, and no file is ever half changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from yolo_assets.catalog.receipts import FoundReceipt, Problem
from yolo_assets.catalog.schema import ORDERS, SCHEMA_VERSION, TABLES, VIEWS, connect, quoted
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.times import Hour

_DAY = "strftime(hour, '%Y-%m-%d')"
_NOT_DROPPED = "receipt_key NOT IN (FROM dropped)"
_MOMENT = pl.Datetime("us", "UTC")
_ARCHIVES: dict[str, Any] = {
    **dict.fromkeys(("receipt_key", "receipt_etag", "signed_by", "archive_key", "version_id", "camera_id"), pl.String),
    "hour": _MOMENT,
    "part": pl.Int32,
    **dict.fromkeys(("start_time", "end_time"), _MOMENT),
    **dict.fromkeys(("file_count", "frame_count", "total_size", "archive_size"), pl.Int64),
    **dict.fromkeys(("md5_checksum", "sha256", "index_key", "index_sha256"), pl.String),
    **dict.fromkeys(("model_versions", "device_ids", "batch_ids"), pl.List(pl.String)),
    "classes": pl.String,
    "bad_records": pl.Int64,
    "upload_status": pl.String,
    "verified_at": _MOMENT,
    "verified_how": pl.String,
    "etag": pl.String,
    "retention_until": _MOMENT,
    "writer_version": pl.String,
    "schema_version": pl.Int32,
}
_CLASSES: dict[str, Any] = {
    **dict.fromkeys(("receipt_key", "archive_key", "camera_id"), pl.String),
    "hour": _MOMENT,
    "class": pl.String,
    "count": pl.Int64,
    "max_confidence": pl.Float64,
}
_PROBLEMS: dict[str, Any] = dict.fromkeys(("receipt_key", "receipt_etag", "problem"), pl.String)
_HOURS: dict[str, Any] = {"camera_id": pl.String, "hour": _MOMENT}


@dataclass(frozen=True)
class Base:
    """The newest catalog as a local file, and what of it is to be compared with the receipts.

    Attributes:
        path: the file.
        known: receipt key to ``(etag, key id that signed it)``, of the dates in question.
        hours: camera-hours with detection tables, of the dates in question.
        problems: all of them.
    """

    path: Path
    known: dict[str, tuple[str, str]]
    hours: frozenset[tuple[str, Hour]]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, path: Path, dates: Collection[str] | None) -> Base | None:
        """Read a catalog; None when it is damaged or of another version, and the receipts must tell all again.

        Args:
            path: a local file.
            dates: the dates in question (``YYYY-MM-DD``); all without.
        """
        try:
            with connect() as connection:
                _attach(connection, path)
                if connection.execute("SELECT schema_version FROM base.meta").fetchall() != [(SCHEMA_VERSION,)]:
                    return None
                where = "true" if dates is None else f"{_DAY} IN (SELECT unnest(?))"
                given = [] if dates is None else [list(dates)]
                receipts = f"SELECT receipt_key, receipt_etag, signed_by FROM base.archives WHERE {where}"
                hours = f"SELECT camera_id, hour FROM base.hours_seen WHERE {where}"
                problems = "SELECT receipt_key, receipt_etag, problem FROM base.problems ORDER BY receipt_key"
                return cls(
                    path,
                    {key: (etag, by) for key, etag, by in connection.execute(receipts, given).fetchall()},
                    frozenset((c, Hour(h)) for c, h in connection.execute(hours, given).pl().iter_rows()),
                    tuple(Problem(*row) for row in connection.execute(problems).fetchall()),
                )
        except duckdb.Error:
            return None


@dataclass(frozen=True)
class Change:
    """What is different from the base.

    Attributes:
        dates: the dates that were looked at; all without.
        dropped: receipt keys of base rows that hold no longer.
        added: new or changed receipts.
        problems: all problems, of whatever date.
        hours: all camera-hours with detection tables on the dates that were looked at.
    """

    dates: Collection[str] | None
    dropped: Collection[str]
    added: Sequence[FoundReceipt]
    problems: Sequence[Problem]
    hours: Collection[tuple[str, Hour]]


def write_catalog(path: Path, base: Path | None, change: Change) -> tuple[int, int]:
    """Write a catalog file.

    Args:
        path: where; must not exist.
        base: the catalog that the change is of; None when ``change`` is everything.
        change: what is to be different.

    Returns:
        Rows in ``archives`` and in ``problems``.
    """
    tables = {
        "archives": pl.DataFrame([_archive_row(found) for found in change.added], schema=_ARCHIVES, orient="row"),
        "archive_classes": pl.DataFrame(
            [row for found in change.added for row in _class_rows(found)], schema=_CLASSES, orient="row"
        ),
        "problems": pl.DataFrame([(p.key, p.etag, p.problem) for p in change.problems], schema=_PROBLEMS, orient="row"),
        "hours_seen": pl.DataFrame([(c, hour.start) for c, hour in change.hours], schema=_HOURS, orient="row"),
    }
    keeps = {} if base is None else {"archives": _NOT_DROPPED, "archive_classes": _NOT_DROPPED}
    if base is not None and change.dates is not None:
        keeps["hours_seen"] = f"{_DAY} NOT IN (FROM looked_at)"
    with connect() as connection:
        connection.execute(f"ATTACH {quoted(str(path))} AS fresh")
        if base is not None:
            _attach(connection, base)
        connection.register("dropped", _column("receipt_key", change.dropped))
        connection.register("looked_at", _column("date", change.dates or ()))
        connection.execute("USE fresh")
        connection.execute(TABLES)
        for name, table in tables.items():
            connection.register("incoming", table.to_arrow())
            source = "SELECT * FROM incoming"
            if name in keeps:
                source += f" UNION ALL SELECT * FROM base.{name} WHERE {keeps[name]}"
            connection.execute(f"INSERT INTO {name} {source} ORDER BY {ORDERS[name]}")
        connection.execute("INSERT INTO meta VALUES (?)", [SCHEMA_VERSION])
        connection.execute(VIEWS)
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM archives), (SELECT count(*) FROM problems)"
        ).fetchone()
        connection.execute("USE memory")
        connection.execute("DETACH fresh")  # checkpoints: everything is in the one file, no log beside it
    assert counts is not None
    return counts[0], counts[1]


def _attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    connection.execute(f"ATTACH {quoted(str(path))} AS base (READ_ONLY)")


def _column(name: str, values: Iterable[str]) -> Any:
    return pl.DataFrame({name: list(values)}, schema={name: pl.String}).to_arrow()


def _archive_row(found: FoundReceipt) -> dict[str, Any]:
    receipt = found.receipt
    told = receipt.model_dump(mode="python", exclude={"signature", "classes", "hour"})
    lists = {name: list(told[name]) for name in ("model_versions", "device_ids", "batch_ids")}
    return {
        **told,
        **lists,
        "receipt_key": found.key,
        "receipt_etag": found.etag,
        "signed_by": found.signed_by,
        "hour": Hour.from_key(receipt.hour).start,
        "classes": canonical_json({k: v.model_dump(mode="json") for k, v in receipt.classes.items()}).decode(),
    }


def _class_rows(found: FoundReceipt) -> list[dict[str, Any]]:
    receipt = found.receipt
    shared = {
        "receipt_key": found.key,
        "archive_key": receipt.archive_key,
        "camera_id": receipt.camera_id,
        "hour": Hour.from_key(receipt.hour).start,
    }
    return [
        {**shared, "class": name, "count": summary.count, "max_confidence": summary.max_confidence}
        for name, summary in receipt.classes.items()
    ]
