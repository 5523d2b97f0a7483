"""How the ``catalog`` commands show tables: for people, for pipes, as CSV and as JSON."""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from yolo_assets.cli.common import emit_json, note, out
from yolo_assets.contracts.times import format_time

if TYPE_CHECKING:
    import polars as pl


def show(found: pl.DataFrame, nothing: str, *, as_json: bool = False, as_csv: bool = False) -> None:
    """An answer in the form that was asked for."""
    if as_json:
        emit_json(rows(found))
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows([cell(value) for value in row.values()] for row in rows(found))
    else:
        show_table(found, nothing)


def rows(found: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON, times as the contracts write them."""

    def plain(value: Any) -> Any:
        return format_time(value) if isinstance(value, datetime) and value.tzinfo else value

    return [{name: plain(value) for name, value in row.items()} for row in found.iter_rows(named=True)]


def cell(value: Any) -> str:
    """A value in one cell; a list is JSON, so that it can be read back."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def show_table(found: pl.DataFrame, nothing: str) -> None:
    """A table on a terminal, tab-separated lines with a heading in a pipe."""
    from rich.table import Table
    from rich.text import Text

    if found.is_empty():
        if nothing:
            note(nothing)
        return
    console = out()
    cells = [[cell(value) for value in row.values()] for row in rows(found)]
    if not console.is_terminal:
        for line in [found.columns, *cells]:
            typer.echo("\t".join(line))
        return
    table = Table(*found.columns)
    for line in cells:
        table.add_row(*map(Text, line))  # data, never markup
    console.print(table)
