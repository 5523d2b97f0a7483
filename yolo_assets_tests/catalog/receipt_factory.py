"""Signed receipts as an archiver would write them, without packing anything."""

from __future__ import annotations

import hashlib
import io
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ed25519

from yolo_assets.contracts.names import ArchiveName, detections_key
from yolo_assets.contracts.receipt import ClassSummary, Receipt
from yolo_assets.contracts.signing import Signer, key_id_of
from yolo_assets.contracts.times import Hour
from yolo_assets.storage import ObjectStore
from yolo_assets.tables.schema import DetectionsTable, polars_schema

FIRST = Hour.from_key("20260301_00")


def new_signer() -> Signer:
    key = ed25519.Ed25519PrivateKey.generate()
    return Signer(key, key_id_of(key.public_key()))


def receipt(name: ArchiveName, **changes) -> Receipt:
    digest = hashlib.sha256(name.stem.encode()).hexdigest()
    fields = {
        "archive_key": name.archive_key,
        "camera_id": name.camera_id,
        "hour": name.hour.key,
        "part": name.part,
        "start_time": name.hour.start,
        "end_time": name.hour.start + timedelta(minutes=59),
        "file_count": 12,
        "frame_count": 10,
        "total_size": 2000,
        "archive_size": 1000,
        "md5_checksum": digest[:32],
        "sha256": digest,
        "index_key": name.index_key,
        "index_sha256": digest,
        "model_versions": ("line/v1",),
        "device_ids": ("edge-1",),
        "batch_ids": (),
        "classes": {"crack": ClassSummary(count=3, max_confidence=0.9)},
        "verified_at": name.hour.end,
        "verified_how": "head",
        "etag": digest[:32],
        "writer_version": "test",
    }
    return Receipt.model_validate({**fields, **changes})


def signed(found: Receipt, signer: Signer) -> bytes:
    return signer.seal(found.payload(), "receipt").to_json()


def put_receipt(archive: ObjectStore, signer: Signer, name: ArchiveName, **changes) -> str:
    archive.put_if_absent(name.receipt_key, signed(receipt(name, **changes), signer))
    return name.receipt_key


def put_table(store: ObjectStore, camera_id: str, hour: Hour) -> None:
    """An empty table: for the catalog only its name counts."""
    buffer = io.BytesIO()
    polars_schema(DetectionsTable).to_frame().write_parquet(buffer)
    store.put(detections_key(hour, camera_id), buffer.getvalue())
