"""Exact answers to people's questions: whole numbers of any size, decimals, bytes, each value as DuckDB has it.

Belongs here: running one statement that reads, its error in one line, its values as plain Python ones; and what they
become in JSON and in a cell of text. Does not belong here: opening a catalog, and the product's own questions
(``read``), which are data frames.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import duckdb
import orjson
import polars as pl

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import format_time

_READ_ONLY = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_PICTURE = re.compile(r"\n\s*LINE \d+:")
"""Begins the picture of the statement at the end of DuckDB's errors."""
_NO_TIMES = (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC), date.max, date.min)
"""What DuckDB's Python client makes of an infinite time."""
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)
"""Of the whole numbers that orjson writes by itself."""
_SPELT = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"} | {
    char: char.encode("unicode_escape").decode() for char in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
}
_ESCAPES = str.maketrans(_SPELT)


@dataclass(frozen=True)
class Answer:
    """Columns and rows.

    Attributes:
        columns: their names, no two alike.
        rows: values in the order of the columns.
        in_base64: columns that hold bytes, which ``json_value`` and ``cell`` write in base64.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    in_base64: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Answer:
        """A data frame of the product's own."""
        return cls(tuple(frame.columns), frame.rows())

    def documents(self) -> Iterator[dict[str, Any]]:
        """Each row for JSON."""
        for row in self.rows:
            yield dict(zip(self.columns, map(json_value, row), strict=True))

    def cells(self) -> Iterator[list[str]]:
        """Each row for text."""
        for row in self.rows:
            yield [cell(value) for value in row]


def run_one(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | dict[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """Execute one statement that reads; each ``?`` or ``$name`` in ``sql`` is replaced by a parameter.

    Raises:
        BadInputError: not one statement that reads, or DuckDB refuses it; its reason and its suggestion in one line.
    """
    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1 or statements[0].type not in _READ_ONLY:
            raise BadInputError("give one SELECT (or DESCRIBE, SHOW TABLES, EXPLAIN); the catalog is only read")
        return connection.execute(statements[0], parameters)
    except duckdb.Error as error:
        raise refusal(error) from None


def refusal(error: duckdb.Error) -> BadInputError:
    """DuckDB's reason, with its "Did you mean" and without its picture of the statement."""
    return BadInputError(f"the query cannot be answered: {_PICTURE.split(str(error).strip(), maxsplit=1)[0]}")


def exact_answer(connection: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    """The answer to one statement that reads.

    Raises:
        BadInputError: see ``run_one``; or a column holds what no plain value stands for, an interval (whose months
            have no length) or an infinite time: the line names it.
    """
    cursor = run_one(connection, sql)
    described = [(str(name), str(kind)) for name, kind, *_ in cursor.description or ()]
    for name, kind in described:
        if "INTERVAL" in kind:
            raise BadInputError(
                f"the column {name} holds intervals, whose months have no length; cast that column to VARCHAR"
            )
    try:
        rows = cursor.fetchall()
    except duckdb.Error as error:
        raise refusal(error) from None
    timed = [number for number, (_, kind) in enumerate(described) if "TIMESTAMP" in kind or "DATE" in kind]
    for number in timed:
        if any(_is_infinite(row[number]) for row in rows):
            raise BadInputError(
                f"the column {described[number][0]} holds an infinite time, or one at the end of the calendar; cast "
                "that column to VARCHAR, or leave such rows out by isfinite"
            )
    columns = _different(name for name, _ in described)
    blobs = [name for name, (_, kind) in zip(columns, described, strict=True) if "BLOB" in kind]
    return Answer(columns, rows, tuple(blobs))


def json_value(value: Any) -> Any:
    """A value for ``orjson``: numbers stay numbers, times are as the contracts write them, bytes are base64."""
    if isinstance(value, bool | str | float) or value is None:
        return value
    if isinstance(value, int):
        return value if _SMALLEST <= value <= _LARGEST else orjson.Fragment(str(value).encode())
    if isinstance(value, Decimal):
        return orjson.Fragment(f"{value:f}".encode())
    if isinstance(value, datetime):
        return format_time(value) if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    return str(value)


def cell(value: Any) -> str:
    """A value in one cell; a list is JSON, so that it can be read back."""
    plain = json_value(value)
    if isinstance(plain, list | dict):
        return orjson.dumps(plain).decode()
    if isinstance(plain, orjson.Fragment):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return "" if plain is None else str(plain)


def tab_separated(cells: list[str]) -> str:
    r"""One line of cells; tabs, line breaks and backslashes in them are written ``\t``, ``\n``, ``\\``."""
    return "\t".join(text.translate(_ESCAPES) for text in cells)


def _is_infinite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_infinite, value))
    if isinstance(value, dict):
        return any(map(_is_infinite, value.values())) or any(map(_is_infinite, value))
    if isinstance(value, datetime):
        value = value.replace(tzinfo=UTC)
    return isinstance(value, date) and value in _NO_TIMES


def _different(names: Iterator[str]) -> tuple[str, ...]:
    """Names, those that come again with a number: in JSON the second would take the first one's place."""
    different: list[str] = []
    for name in names:
        again, number = name, 1
        while again in different:
            number += 1
            again = f"{name}_{number}"
        different.append(again)
    return tuple(different)
