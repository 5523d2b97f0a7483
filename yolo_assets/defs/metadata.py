"""Metadata as people read it in the UI: tables, short texts, pictures inside Markdown. Nothing here knows a stage.

Dagster's UI shows Markdown of less than a thousand characters in place, and longer Markdown behind a button; so a
picture inside Markdown is never in place, and one that Markdown names by its address is (``defs.links``). Tables are
behind a button in most places. What matters most is therefore a text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from yolo_assets.tables.schema import TableModel

_IN_PLACE = 950
"""Characters of Markdown that the UI shows without a click, with room for the last line."""
_LONGEST = 300
_KINDS = {bool: "bool", int: "int", float: "float", str: "string"}


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, type]) -> dg.TableMetadataValue:
    """A table with typed columns; it has its header also when it is empty.

    Args:
        rows: one mapping a row; keys outside ``columns`` are left out, missing ones are empty.
        columns: name and type (bool, int, float, str) of each column, in order.
    """
    return dg.MetadataValue.table(
        [dg.TableRecord({name: _cell(row.get(name), kind) for name, kind in columns.items()}) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, _KINDS[kind]) for name, kind in columns.items()]),
    )


def _cell(value: Any, kind: type) -> str | int | float | bool:
    if value is None:
        return ""
    return round(float(value), 4) if kind is float else kind(value)


def column_schema(model: TableModel) -> dg.TableSchema:
    """The columns of a table as Dagster shows them, from the model that validates its rows.

    Args:
        model: of ``yolo_assets.tables.schema``.
    """
    schema = model.to_schema()
    unique = schema.unique if isinstance(schema.unique, list) else [schema.unique]
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=column.unique or unique == [name],
                    other=[str(check.error or check.name) for check in column.checks],
                ),
            )
            for name, column in schema.columns.items()
        ]
    )


def listed(lines: Sequence[str], otherwise: str, longest: int = _LONGEST) -> dg.MarkdownMetadataValue:
    """A list that is shown in place: as many of its lines as fit, and how many more there are.

    Args:
        lines: one sentence each.
        otherwise: shown when there is none.
        longest: characters of a line; more are cut off.
    """
    shown: list[str] = []
    for line in lines:
        item = f"- {line if len(line) <= longest else line[:longest] + '…'}"
        if sum(map(len, shown)) + len(shown) + len(item) > _IN_PLACE:
            break
        shown.append(item)
    if len(shown) < len(lines):
        shown.append(f"- and {len(lines) - len(shown)} more")
    return dg.MetadataValue.md("\n".join(shown) or otherwise)


def counted(number: int, noun: str) -> str:
    """``1 camera``, ``1,200 frames``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def picture(path: Path, title: str) -> dg.MarkdownMetadataValue:
    """A PNG or JPEG shown in place; keep it small, it is stored with the event."""
    kind = "jpeg" if path.suffix.lower() in {".jpg", ".jpeg"} else "png"
    data = base64.b64encode(path.read_bytes()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/{kind};base64,{data})")


def megabytes_per_second(size: int, seconds: float) -> float:
    """MB/s (10^6), 0 when nothing was timed."""
    return round(size / 1e6 / seconds, 1) if seconds > 0 else 0.0
