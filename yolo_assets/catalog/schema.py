"""Tables and views of a catalog file, and its pointer. All times are ``TIMESTAMPTZ`` in UTC; all sizes are bytes.

The stored tables (``stored``) are compact: hashes as bytes, no key that follows from camera, hour and part. Queries go
to views over them, which any DuckDB client can read, in any time zone.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from yolo_assets.contracts.base import Record, Time

SCHEMA_VERSION = 6
"""Grows when a table changes; files of versions 2 to 5 are brought up to date, others built anew from receipts."""

TABLES = """
CREATE SCHEMA stored;
CREATE TABLE stored.archives (
    camera_id VARCHAR NOT NULL, hour TIMESTAMPTZ NOT NULL, part INTEGER NOT NULL,
    receipt_etag VARCHAR NOT NULL, signed_by VARCHAR NOT NULL, version_id VARCHAR,
    start_time TIMESTAMPTZ NOT NULL, end_time TIMESTAMPTZ NOT NULL,
    file_count BIGINT NOT NULL, frame_count BIGINT NOT NULL, total_size BIGINT NOT NULL, archive_size BIGINT NOT NULL,
    md5_checksum BLOB NOT NULL, sha256 BLOB NOT NULL, crc32 BLOB,
    index_sha256 BLOB NOT NULL, index_size BIGINT, index_footer_size BIGINT, index_footer_sha256 BLOB,
    model_versions VARCHAR[] NOT NULL, device_ids VARCHAR[] NOT NULL, batch_ids VARCHAR[] NOT NULL,
    classes VARCHAR NOT NULL, bad_records BIGINT NOT NULL, upload_status VARCHAR NOT NULL,
    verified_at TIMESTAMPTZ NOT NULL, verified_how VARCHAR NOT NULL, etag VARCHAR,
    retention_until TIMESTAMPTZ, retention_mode VARCHAR, writer_version VARCHAR NOT NULL,
    schema_version INTEGER NOT NULL, records_without_frame BIGINT,
    outside_count BIGINT, outside_first TIMESTAMPTZ, outside_last TIMESTAMPTZ, part_ids VARCHAR[],
    sealed_by VARCHAR, seal_problem VARCHAR, receipt_sha256 BLOB
);
CREATE TABLE stored.classes (
    camera_id VARCHAR NOT NULL, hour TIMESTAMPTZ NOT NULL, part INTEGER NOT NULL,
    class VARCHAR NOT NULL, count BIGINT NOT NULL, max_confidence DOUBLE NOT NULL
);
CREATE TABLE stored.meta (schema_version INTEGER NOT NULL, unsorted BIGINT NOT NULL, archive_url VARCHAR);
CREATE TABLE hours_seen (camera_id VARCHAR NOT NULL, hour TIMESTAMPTZ NOT NULL);
CREATE TABLE problems (receipt_key VARCHAR NOT NULL, receipt_etag VARCHAR NOT NULL, problem VARCHAR NOT NULL);
"""
"""``stored.archives``: one row per verified receipt; ``etag`` only where it is not the MD5.
``stored.classes``: its classes, one row each. ``stored.meta.unsorted``: rows added since the file was last written in
order; ``archive_url``: the root whose receipts they are. ``hours_seen``: camera-hours with detection tables.
``problems``: receipts that are there and untrusted."""

FROM_VERSION_2 = """
ALTER TABLE stored.archives ADD COLUMN records_without_frame BIGINT;
ALTER TABLE stored.archives ADD COLUMN outside_count BIGINT;
ALTER TABLE stored.archives ADD COLUMN outside_first TIMESTAMPTZ;
ALTER TABLE stored.archives ADD COLUMN outside_last TIMESTAMPTZ;
ALTER TABLE stored.meta ADD COLUMN archive_url VARCHAR;
UPDATE stored.meta SET schema_version = 3;
"""
"""Brings a file of version 2 to version 3: what receipts did not say then is null. The views are made anew after it."""

FROM_VERSION_3 = """
ALTER TABLE stored.archives ADD COLUMN part_ids VARCHAR[];
UPDATE stored.meta SET schema_version = 4;
"""
"""The same from version 3 to version 4."""

FROM_VERSION_4 = """
ALTER TABLE stored.archives ADD COLUMN sealed_by VARCHAR;
ALTER TABLE stored.archives ADD COLUMN seal_problem VARCHAR;
UPDATE stored.meta SET schema_version = 5;
"""
"""The same from version 4 to version 5."""

FROM_VERSION_5 = """
ALTER TABLE stored.archives ADD COLUMN receipt_sha256 BLOB;
UPDATE stored.meta SET schema_version = 6;
"""
"""The same from version 5 to version 6."""

ORDERS = {
    "stored.archives": "hour, camera_id, part",
    "stored.classes": "hour, camera_id, part, class",
    "hours_seen": "hour, camera_id",
    "problems": "receipt_key",
}
"""Rows are written in this order, so that a day or a month touches few blocks."""

_STEM = (
    "'yolo_' || camera_id || strftime(timezone('UTC', hour), '_%Y%m%d_%H') "
    "|| CASE WHEN part > 1 THEN '_p' || part ELSE '' END"
)
_DATE = "strftime(timezone('UTC', hour), '%Y-%m-%d')"
RECEIPT_KEY = (
    f"'receipts/date=' || {_DATE} || strftime(timezone('UTC', hour), '/hour=%H/') || {_STEM} || '.receipt.json'"
)
"""``ArchiveName.receipt_key`` in SQL, of the columns ``camera_id``, ``hour``, ``part``."""
_ARCHIVE_KEY = f"'archives/camera=' || camera_id || '/date=' || {_DATE} || '/' || {_STEM} || '.tar.gz'"
_INDEX_KEY = f"'index/date=' || {_DATE} || '/' || {_STEM} || '.index.parquet'"

VIEWS = f"""
CREATE OR REPLACE VIEW archives AS SELECT
    {RECEIPT_KEY} AS receipt_key, receipt_etag, signed_by, {_ARCHIVE_KEY} AS archive_key, version_id,
    camera_id, hour, part, start_time, end_time, file_count, frame_count, total_size, archive_size,
    lower(hex(md5_checksum)) AS md5_checksum, lower(hex(sha256)) AS sha256, lower(hex(crc32)) AS crc32,
    {_INDEX_KEY} AS index_key, lower(hex(index_sha256)) AS index_sha256, index_size, index_footer_size,
    lower(hex(index_footer_sha256)) AS index_footer_sha256, model_versions, device_ids, batch_ids,
    classes, bad_records, upload_status, verified_at, verified_how,
    coalesce(etag, lower(hex(md5_checksum))) AS etag, retention_until, retention_mode, writer_version, schema_version,
    records_without_frame, outside_count, outside_first, outside_last, part_ids, sealed_by, seal_problem,
    lower(hex(receipt_sha256)) AS receipt_sha256
    FROM stored.archives;
CREATE OR REPLACE VIEW archive_classes AS SELECT
    {RECEIPT_KEY} AS receipt_key, {_ARCHIVE_KEY} AS archive_key, camera_id, hour, part, class, count, max_confidence
    FROM stored.classes;
CREATE OR REPLACE VIEW hours AS
    SELECT camera_id, hour, sum(parts)::INTEGER AS parts, sum(frames)::BIGINT AS frame_count,
        sum(size)::BIGINT AS archive_size, bool_or(tables) AS has_tables
    FROM (
        SELECT camera_id, hour, 1 AS parts, frame_count AS frames, archive_size AS size, false AS tables
        FROM stored.archives
        UNION ALL SELECT camera_id, hour, 0, 0, 0, true FROM hours_seen
    ) GROUP BY camera_id, hour;
CREATE OR REPLACE VIEW gaps AS
    SELECT camera_id, hour FROM hours_seen ANTI JOIN stored.archives USING (camera_id, hour) ORDER BY hour, camera_id;
"""
"""``archives``: a receipt's fields, ``classes`` as JSON text. ``archive_classes``: one row per archive and class.
``hours``: every camera-hour that is archived or has tables. ``gaps``: those with tables and no archive."""


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
