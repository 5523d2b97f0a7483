"""A receipt as rows of ``stored.archives`` and ``stored.classes`` (see ``schema``), many at a time.

Belongs here: the columns of a receipt and their types. Does not belong here: reading receipts and writing files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour

_MOMENT = pa.timestamp("us", "UTC")
_TEXTS = pa.list_(pa.string())
_COUNTS = (
    *("file_count", "frame_count", "total_size", "archive_size"),
    *("index_size", "index_footer_size", "bad_records"),
)
_KEY: list[tuple[str, pa.DataType]] = [("camera_id", pa.string()), ("hour", _MOMENT), ("part", pa.int32())]
_AS_TOLD: list[tuple[str, pa.DataType]] = [
    ("version_id", pa.string()),
    *((name, _MOMENT) for name in ("start_time", "end_time")),
    *((name, pa.int64()) for name in _COUNTS),
    ("upload_status", pa.string()),
    ("verified_at", _MOMENT),
    ("verified_how", pa.string()),
    ("retention_until", _MOMENT),
    ("retention_mode", pa.string()),
    ("writer_version", pa.string()),
    ("schema_version", pa.int32()),
]
_LISTS = ("model_versions", "device_ids", "batch_ids")
_HASHES = {"md5_checksum": 32, "sha256": 64, "crc32": 8, "index_sha256": 64, "index_footer_sha256": 64}
_HEXADECIMAL = re.compile(r"[0-9a-f]*")

ARCHIVES = pa.schema(
    [
        *_KEY,
        ("receipt_etag", pa.string()),
        ("signed_by", pa.string()),
        *_AS_TOLD,
        *((name, pa.binary()) for name in _HASHES),
        *((name, _TEXTS) for name in _LISTS),
        ("classes", pa.string()),
        ("etag", pa.string()),
    ]
)
"""The columns of ``stored.archives``, by name; in another order."""
CLASSES = pa.schema([*_KEY, ("class", pa.string()), ("count", pa.int64()), ("max_confidence", pa.float64())])
"""The columns of ``stored.classes``."""


@dataclass(frozen=True)
class FoundReceipt:
    """A receipt that proved itself."""

    key: str
    etag: str
    receipt: Receipt
    signed_by: str


def unstorable(receipt: Receipt) -> str | None:
    """What in a receipt is no value of its column, though it may be signed; None when all is well."""
    for name, length in _HASHES.items():
        value = getattr(receipt, name)
        if value is not None and not (len(value) == length and _HEXADECIMAL.fullmatch(value)):
            return f"{name} is not {length} hexadecimal digits"
    for name in (*_COUNTS, "part"):
        limit = 2**31 if name == "part" else 2**63
        if (getattr(receipt, name) or 0) >= limit:
            return f"{name} is too large"
    if any(summary.count >= 2**63 for summary in receipt.classes.values()):
        return "a count of classes is too large"
    return None


def archive_rows(found: Sequence[FoundReceipt]) -> pa.Table:
    """Rows of ``stored.archives``."""
    receipts = [one.receipt for one in found]
    columns: dict[str, list[Any]] = {name: [getattr(receipt, name) for receipt in receipts] for name, _ in _AS_TOLD}
    columns |= {name: [_bytes(getattr(receipt, name)) for receipt in receipts] for name in _HASHES}
    columns |= {name: [list(getattr(receipt, name)) for receipt in receipts] for name in _LISTS}
    columns |= {
        "camera_id": [receipt.camera_id for receipt in receipts],
        "hour": [_start(receipt) for receipt in receipts],
        "part": [receipt.part for receipt in receipts],
        "receipt_etag": [one.etag for one in found],
        "signed_by": [one.signed_by for one in found],
        "classes": [
            canonical_json({name: summary.model_dump() for name, summary in receipt.classes.items()}).decode()
            for receipt in receipts
        ],
        "etag": [None if receipt.etag == receipt.md5_checksum else receipt.etag for receipt in receipts],
    }
    return pa.table({name: columns[name] for name in ARCHIVES.names}, schema=ARCHIVES)


def class_rows(found: Sequence[FoundReceipt]) -> pa.Table:
    """Rows of ``stored.classes``."""
    rows = [
        (one.receipt.camera_id, _start(one.receipt), one.receipt.part, name, summary.count, summary.max_confidence)
        for one in found
        for name, summary in one.receipt.classes.items()
    ]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in CLASSES]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, CLASSES, strict=True)], schema=CLASSES
    )


def _start(receipt: Receipt) -> datetime:
    return Hour.from_key(receipt.hour).start


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)
