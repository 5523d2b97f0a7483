"""The tables of one camera-hour, from what lies in the spool and the archive into the store.

Idempotent: the same records give the same bytes under the same keys, wherever they were read. After a kill half-way a
re-run completes the hour; ``frames`` is written last of the tables, so an hour with frames has its other tables too.
Does not belong here: which record becomes which row (``rows``), reading tables back (``scan``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import (
    ArchiveName,
    detections_key,
    frames_key,
    is_record_file,
    quarantine_key,
    uploaded_name,
)
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.hours import COVERED, SpoolHour
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore
from yolo_assets.tables.objects import reaches_back, read_tables, with_object_ids
from yolo_assets.tables.rows import HourTables, build_tables

Source = Literal["spool", "archive", "spool and archive", "built before"]

_TRIES = 3


class NoRecordsError(BadInputError):
    """Neither the spool nor the archive knows the hour."""


@dataclass(frozen=True)
class HourReport:
    """The result of building the tables of an hour.

    Attributes:
        frames: rows.
        detections: rows.
        quarantined: rows; they are in ``quarantine``.
        repeated: records that were found twice and counted once.
        misplaced: rows of ``frames`` that were captured outside the hour of their folder.
        source: where the records were read.
        keys: objects written, or found.
        sha256: over these tables; equal when a re-run found nothing new.
    """

    camera_id: str
    hour: Hour
    frames: int
    detections: int
    quarantined: int
    repeated: int
    misplaced: int
    source: Source
    keys: tuple[str, ...]
    sha256: str


def cameras_of_hour(hour: Hour, spooled: Iterable[SpoolHour], archive: Archive | None) -> dict[str, list[ArchiveName]]:
    """Cameras with anything of an hour in the spool or in the archive, and the parts that are in the archive.

    Args:
        hour: the hour.
        spooled: hours of the spool; those of other hours are passed over.
        archive: only listed; None where there is none.
    """
    cameras: dict[str, list[ArchiveName]] = {found.camera_id: [] for found in spooled if found.hour == hour}
    for name in archive.names(hour=hour) if archive is not None else ():
        cameras.setdefault(name.camera_id, []).append(name)
    return dict(sorted(cameras.items()))


def build_hour(
    camera_id: str,
    hour: Hour,
    spool: Path,
    archive: Archive | None,
    store: ObjectStore,
    *,
    archived: Collection[ArchiveName] | None = None,
) -> HourReport:
    """Tables of a camera-hour from everything that there is of it: all archived parts and what lies in the spool.

    Cost at the archive: one listing, or none with ``archived``; what is archived and still in the spool is not read
    there. One listing more, and the records, of the hour before, where an object may come from it and it has no tables.

    Args:
        camera_id: the camera.
        hour: the hour; better closed, but late records are welcome: build it again.
        spool: spool folder; need not exist.
        archive: only read; None where nothing was archived yet.
        store: store root.
        archived: the parts of this camera-hour, when the caller has listed them a moment ago.

    Raises:
        NoRecordsError: neither the spool nor the archive holds a file of that hour.
        SignatureError, IntegrityError: what the archive holds is untrusted; nothing is written.
    """
    local = SpoolHour.of(spool, camera_id, hour)
    if archived is None or not (archived or local.members()):  # it may have been archived since it was listed
        archived = list(archive.names(camera_id=camera_id, hour=hour)) if archive is not None else ()
    if not archived and not local.members():
        there = "and there is no archive" if archive is None else f"nor in {archive.url}"
        raise NoRecordsError(f"no file of {camera_id} in hour {hour}: neither in the spool {spool} {there}; check both")
    tables, source = _read(local, archive, archived)
    before = _hour_before(camera_id, hour, spool, archive, store) if reaches_back(hour, tables.detections) else None
    tables = replace(tables, detections=with_object_ids(camera_id, hour, tables.frames, tables.detections, before))
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
        store.delete(quarantine_key(hour, camera_id))  # records that an earlier build rejected are valid now
    return HourReport(
        camera_id=camera_id,
        hour=hour,
        frames=tables.frames.height,
        detections=tables.detections.height,
        quarantined=tables.quarantine.height,
        repeated=tables.repeated,
        misplaced=_misplaced(tables.frames, hour),
        source=source,
        keys=tuple(written),
        sha256=digest.hexdigest(),
    )


def report_of(camera_id: str, hour: Hour, store: ObjectStore) -> HourReport | None:
    """The tables of a camera-hour as they lie in the store, as the build that wrote them reported them.

    No record is read, so what was ``repeated`` is not known and counts as 0.

    Returns:
        None when the hour was never built, or a build of it was ended half-way.
    """
    found: dict[str, bytes] = {}
    for key in (quarantine_key(hour, camera_id), detections_key(hour, camera_id), frames_key(hour, camera_id)):
        try:
            found[key] = store.get(key)
        except ObjectNotFoundError:
            continue
    if not {detections_key(hour, camera_id), frames_key(hour, camera_id)} <= found.keys():
        return None
    tables = {key: pl.read_parquet(data) for key, data in found.items()}
    frames = tables[frames_key(hour, camera_id)]
    quarantine = tables.get(quarantine_key(hour, camera_id))
    return HourReport(
        camera_id=camera_id,
        hour=hour,
        frames=frames.height,
        detections=tables[detections_key(hour, camera_id)].height,
        quarantined=0 if quarantine is None else quarantine.height,
        repeated=0,
        misplaced=_misplaced(frames, hour),
        source="built before",
        keys=tuple(found),
        sha256=hashlib.sha256(b"".join(found.values())).hexdigest(),
    )


def _hour_before(
    camera_id: str, hour: Hour, spool: Path, archive: Archive | None, store: ObjectStore
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """Frames and detections of the hour before: its tables, or what they will be; None where it cannot be read.

    What is wrong with that hour is told when it is built itself, and keeps this one from nothing.
    """
    try:
        earlier = hour.next(-1)
        tables = read_tables(store, camera_id, earlier)
        if tables is not None:
            return tables
        local = SpoolHour.of(spool, camera_id, earlier)
        archived = list(archive.names(camera_id=camera_id, hour=earlier)) if archive is not None else ()
        if not archived and not local.members():
            return None
        found, _ = _read(local, archive, archived)
    except UserError:
        return None
    return found.frames, found.detections


def _misplaced(frames: pl.DataFrame, hour: Hour) -> int:
    return frames.filter(~pl.col("captured_at").is_between(hour.start, hour.end, closed="left")).height


def _read(local: SpoolHour, archive: Archive | None, archived: Collection[ArchiveName]) -> tuple[HourTables, Source]:
    """The tables, and where their records were.

    The archiver may reclaim a file while it is being read. Then it is in the archive, and reading again finds it there.
    """
    for attempt in range(_TRIES):
        before = {file.name for file in local.record_files()}
        here = archive is None or (not attempt and _all_here(local, archived))
        cold = None if here else archive
        records = local.records() if cold is None else cold.hour_records(local.camera_id, local.hour, local)
        tables = build_tables(local.camera_id, local.hour, records)
        if before <= {file.name for file in local.record_files()}:
            return tables, "spool" if here else "spool and archive" if before else "archive"
    raise BadInputError(f"records vanished from the spool {_TRIES} times while {local.name} was read; run it again")


def _all_here(local: SpoolHour, archived: Collection[ArchiveName]) -> bool:
    """Whether the spool has every record that the archive has.

    True when nothing is archived, or every part was made from record files that lie here unchanged. It follows from the
    markers and finished plans that the archiver leaves in the hour before it deletes anything: a part that only they
    name means that ``archived`` is out of date, and files may be gone already.
    """
    present = {(portable_name(member.name), member.size, member.mtime_ns) for member in local.members()}
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
            if not (whole and files <= present):
                return False
    except (OSError, BadInputError):
        return False
    return True


def _parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
