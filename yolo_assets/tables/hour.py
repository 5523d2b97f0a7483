"""Build the tables of one camera-hour from the spool and the archive and put them into the store.

Idempotent: the same records give the same bytes under the same keys, wherever they were read. Killed half-way, a
re-run completes it; ``frames`` is written last of the tables, so that an hour with frames has its other tables too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from yolo_assets.archive.reading.read import hour_records, list_archives
from yolo_assets.archive.retry import retry
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import (
    ArchiveName,
    detections_key,
    frames_key,
    is_record_file,
    quarantine_key,
    uploaded_name,
)
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.hours import COVERED, SpoolHour
from yolo_assets.storage.base import ObjectStore
from yolo_assets.tables.tables import HourTables, build_tables

Source = Literal["spool", "archive", "spool and archive"]
_TRIES = 3


class NoRecordsError(BadInputError):
    """Neither the spool nor the archive knows the hour."""


@dataclass(frozen=True)
class HourReport:
    """What building an hour came to.

    Attributes:
        frames: rows.
        detections: rows.
        quarantined: rows; look at them in ``quarantine``.
        repeated: records that were there twice and counted once.
        source: where the records were read.
        keys: objects written.
        sha256: over the written tables; equal when a re-run found nothing new.
    """

    camera_id: str
    hour: Hour
    frames: int
    detections: int
    quarantined: int
    repeated: int
    source: Source
    keys: tuple[str, ...]
    sha256: str


def build_hour(
    camera_id: str,
    hour: Hour,
    spool: Path,
    archive: ObjectStore,
    store: ObjectStore,
    trusted: TrustedKeys,
    *,
    archived: Collection[ArchiveName] | None = None,
) -> HourReport:
    """Tables of a camera-hour from everything that is known of it: all archived parts and what lies in the spool.

    Cost at the archive: one listing, or none with ``archived``; what is archived and still in the spool is not read
    there.

    Args:
        camera_id: the camera.
        hour: the hour; better closed, but late records are welcome: build it again.
        spool: spool folder; need not exist.
        archive: archive root; read only.
        store: store root.
        trusted: public keys of the archivers.
        archived: the parts of this camera-hour, when the caller has listed them a moment ago.

    Raises:
        NoRecordsError: neither the spool nor the archive holds a file of that hour.
        SignatureError, IntegrityError: what the archive holds is not to be believed; nothing is written.
    """
    local = SpoolHour.of(spool, camera_id, hour)
    if archived is None or not (archived or local.members()):  # it may have been archived since it was listed
        archived = retry(lambda: list(list_archives(archive, camera_id=camera_id, hour=hour)))
    if not archived and not local.members():
        raise NoRecordsError(
            f"no file of {camera_id} in hour {hour}: neither in the spool {spool} nor in {archive.url}; check both"
        )
    tables, source = _read(local, archive, trusted, archived)
    parts = {
        quarantine_key(hour, camera_id): tables.quarantine,
        detections_key(hour, camera_id): tables.detections,
        frames_key(hour, camera_id): tables.frames,
    }
    digest, written = hashlib.sha256(), []
    for key, table in parts.items():
        if key == quarantine_key(hour, camera_id) and table.is_empty():
            continue
        data = _parquet(table)
        digest.update(data)
        store.put(key, data)
        written.append(key)
    if tables.quarantine.is_empty():
        store.delete(quarantine_key(hour, camera_id))  # what an earlier build found bad is good now
    return HourReport(
        camera_id=camera_id,
        hour=hour,
        frames=tables.frames.height,
        detections=tables.detections.height,
        quarantined=tables.quarantine.height,
        repeated=tables.repeated,
        source=source,
        keys=tuple(written),
        sha256=digest.hexdigest(),
    )


def _read(
    local: SpoolHour, archive: ObjectStore, trusted: TrustedKeys, archived: Collection[ArchiveName]
) -> tuple[HourTables, Source]:
    """The tables, and where their records were.

    The archiver may reclaim a file while it is being read. Then it is in the archive, and reading again finds it there.
    """
    for attempt in range(_TRIES):
        before = {file.name for file in local.record_files()}
        here = not attempt and _all_here(local, archived)
        records = local.records() if here else hour_records(archive, local.camera_id, local.hour, trusted, local)
        tables = build_tables(local.camera_id, local.hour, records)
        if before <= {file.name for file in local.record_files()}:
            return tables, "spool" if here else "spool and archive" if before else "archive"
    raise BadInputError(f"records vanished from the spool {_TRIES} times while {local.name} was read; run it again")


def _all_here(local: SpoolHour, archived: Collection[ArchiveName]) -> bool:
    """Whether the archive has no record that the spool has not.

    So it is when nothing is archived, or every part was made from record files that lie here as they were. Told by the
    markers and finished plans that the archiver leaves in the hour before it deletes anything: a part that only they
    know means that ``archived`` is out of date, and files may be gone already.
    """
    there = {(portable_name(member.name), member.size, member.mtime_ns) for member in local.members()}
    try:
        receipts = {ArchiveName.parse(receipt.archive_key): receipt for receipt in local.receipts()}
        if receipts.keys() != set(archived):
            return False
        for name, receipt in receipts.items():
            path = local.path / f"{uploaded_name(name.part)}{COVERED}"
            plan = ArchivePlan.from_json(path.read_bytes(), str(path))
            files = {(m.name, m.size, m.mtime_ns) for m in plan.members if is_record_file(native_name(m.name))}
            # A plan made again after a part of the files was deleted names only the rest.
            whole = plan.archive_key == name.archive_key and len(plan.members) == receipt.file_count
            if not (whole and files <= there):
                return False
    except (OSError, BadInputError):
        return False
    return True


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
