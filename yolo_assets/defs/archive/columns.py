"""Columns of the archive stage as the UI shows them: the fields of a receipt, and the catalog that is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from yolo_assets.contracts.receipt import Receipt

_ARCHIVES = dg.AssetKey("hourly_archives")
_MADE_OF = {
    "signed_by": "signature",
    "outside_count": "outside_hour",
    "outside_first": "outside_hour",
    "outside_last": "outside_hour",
}
"""Columns of the catalog that have another name than the field of the receipt."""


def receipt_columns() -> dg.TableSchema:
    """The fields of a receipt, with what each means."""
    fields = Receipt.model_json_schema(by_alias=True)["properties"]
    return dg.TableSchema(
        [dg.TableColumn(name, _kind(field), description=field.get("description")) for name, field in fields.items()]
    )


def _kind(field: dict[str, Any]) -> str:
    kinds = [choice.get("type", "object") for choice in field.get("anyOf", [field])]
    return next((kind for kind in kinds if kind != "null"), "object")


def catalog_columns(described: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    """Columns of the view ``archives`` and the fields of receipts that they are made of.

    Args:
        described: rows of DuckDB's ``DESCRIBE``: name and type first.
    """
    known = {str(column.name): column for column in receipt_columns().columns}
    columns, deps = [], {}
    for name, kind, *_ in described:
        field = known.get(_MADE_OF.get(str(name), str(name)))
        columns.append(dg.TableColumn(name, str(kind), description=field.description if field is not None else None))
        if field is not None:
            deps[name] = [dg.TableColumnDep(_ARCHIVES, field.name)]
    return {"dagster/column_schema": dg.TableSchema(columns), "dagster/column_lineage": dg.TableColumnLineage(deps)}
