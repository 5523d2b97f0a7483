"""Tables and views of a catalog file, and its pointer. All times are ``TIMESTAMPTZ`` in UTC; all sizes are bytes."""

from __future__ import annotations

from typing import Literal

import duckdb
from pydantic import Field

from yolo_assets.contracts.base import Record, Time

SCHEMA_VERSION = 1
"""Grows when a table changes; a file of another version is not merged into but built anew from the receipts."""

TABLES = """
CREATE TABLE archives (
    receipt_key VARCHAR NOT NULL, receipt_etag VARCHAR NOT NULL, signed_by VARCHAR NOT NULL,
    archive_key VARCHAR NOT NULL, version_id VARCHAR, camera_id VARCHAR NOT NULL, hour TIMESTAMPTZ NOT NULL,
    part INTEGER NOT NULL, start_time TIMESTAMPTZ NOT NULL, end_time TIMESTAMPTZ NOT NULL,
    file_count BIGINT NOT NULL, frame_count BIGINT NOT NULL, total_size BIGINT NOT NULL, archive_size BIGINT NOT NULL,
    md5_checksum VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, index_key VARCHAR NOT NULL, index_sha256 VARCHAR NOT NULL,
    model_versions VARCHAR[] NOT NULL, device_ids VARCHAR[] NOT NULL, batch_ids VARCHAR[] NOT NULL,
    classes VARCHAR NOT NULL, bad_records BIGINT NOT NULL, upload_status VARCHAR NOT NULL,
    verified_at TIMESTAMPTZ NOT NULL, verified_how VARCHAR NOT NULL, etag VARCHAR NOT NULL,
    retention_until TIMESTAMPTZ, writer_version VARCHAR NOT NULL, schema_version INTEGER NOT NULL
);
CREATE TABLE archive_classes (
    receipt_key VARCHAR NOT NULL, archive_key VARCHAR NOT NULL, camera_id VARCHAR NOT NULL, hour TIMESTAMPTZ NOT NULL,
    class VARCHAR NOT NULL, count BIGINT NOT NULL, max_confidence DOUBLE NOT NULL
);
CREATE TABLE problems (receipt_key VARCHAR NOT NULL, receipt_etag VARCHAR NOT NULL, problem VARCHAR NOT NULL);
CREATE TABLE hours_seen (camera_id VARCHAR NOT NULL, hour TIMESTAMPTZ NOT NULL);
CREATE TABLE meta (schema_version INTEGER NOT NULL);
"""
"""``archives``: one row per valid receipt, ``classes`` as JSON text. ``archive_classes``: its classes, one row each.
``problems``: receipts that are there and not to be believed. ``hours_seen``: camera-hours with detection tables."""

VIEWS = """
CREATE VIEW gaps AS
    SELECT camera_id, hour FROM hours_seen ANTI JOIN archives USING (camera_id, hour) ORDER BY hour, camera_id;
"""
"""``gaps``: camera-hours with detections and no archive."""

ORDERS = {
    "archives": "hour, camera_id, part",
    "archive_classes": "hour, camera_id, archive_key, class",
    "problems": "receipt_key",
    "hours_seen": "hour, camera_id",
}
"""Rows are stored in this order: the same content is the same table, and a day or a camera touches few blocks."""

_OFFLINE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


class CatalogPointer(Record):
    """``catalog/current.json``: which catalog file is the newest, and what its bytes must be."""

    schema_version: Literal[1] = 1
    version: str
    key: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)
    archives: int = Field(ge=0)
    problems: int = Field(ge=0)
    created_at: Time


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory that downloads nothing and speaks UTC."""
    connection = duckdb.connect(":memory:", config=_OFFLINE)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
