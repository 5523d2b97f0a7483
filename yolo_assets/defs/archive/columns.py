"""Columns of the archive stage as the UI shows them: the fields of a receipt, and the catalog that is made of them."""

from __future__ import annotations

from typing import Any

import dagster as dg

from yolo_assets.contracts.receipt import Receipt

_ARCHIVES = dg.AssetKey("hourly_archives")
_TIME = "TIMESTAMP WITH TIME ZONE"
_CATALOG = {
    **dict.fromkeys(("receipt_key", "receipt_etag", "signed_by", "archive_key", "version_id", "camera_id"), "VARCHAR"),
    **{"hour": _TIME, "part": "INTEGER", "start_time": _TIME, "end_time": _TIME},
    **dict.fromkeys(("file_count", "frame_count", "total_size", "archive_size"), "BIGINT"),
    **dict.fromkeys(("md5_checksum", "sha256", "crc32", "index_key", "index_sha256"), "VARCHAR"),
    **{"index_size": "BIGINT", "index_footer_size": "BIGINT", "index_footer_sha256": "VARCHAR"},
    **dict.fromkeys(("model_versions", "device_ids", "batch_ids"), "VARCHAR[]"),
    **{"classes": "VARCHAR", "bad_records": "BIGINT", "upload_status": "VARCHAR", "verified_at": _TIME},
    **{"verified_how": "VARCHAR", "etag": "VARCHAR", "retention_until": _TIME, "retention_mode": "VARCHAR"},
    **{"writer_version": "VARCHAR", "schema_version": "INTEGER", "records_without_frame": "BIGINT"},
    **{"outside_count": "BIGINT", "outside_first": _TIME, "outside_last": _TIME, "part_ids": "VARCHAR[]"},
    **{"sealed_by": "VARCHAR", "seal_problem": "VARCHAR", "receipt_sha256": "VARCHAR"},
}
"""As DuckDB's ``DESCRIBE archives`` tells them. In Dagster's form 9 KB: of the definition, not of each event."""
_MADE_OF = {
    "signed_by": "signature",
    "outside_count": "outside_hour",
    "outside_first": "outside_hour",
    "outside_last": "outside_hour",
    "sealed_by": "custody",
    "seal_problem": "custody",
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


def catalog_schema() -> dg.TableSchema:
    """Columns of the view ``archives``."""
    fields = _fields()
    return dg.TableSchema(
        [
            dg.TableColumn(name, kind, description=field.description if (field := fields.get(name)) else None)
            for name, kind in _CATALOG.items()
        ]
    )


def catalog_lineage() -> dg.TableColumnLineage:
    """The field of the receipts that each column of the view ``archives`` is made of."""
    made_of = {name: field.name for name, field in _fields().items()}
    return dg.TableColumnLineage({name: [dg.TableColumnDep(_ARCHIVES, field)] for name, field in made_of.items()})


def _fields() -> dict[str, dg.TableColumn]:
    """The receipts' field of each column that is made of one."""
    known = {column.name: column for column in receipt_columns().columns}
    return {name: known[field] for name in _CATALOG if (field := _MADE_OF.get(name, name)) in known}
