"""Records of one camera-hour become three tables, read from the spool and the archive and put into the store.

What does not fit goes to quarantine with its reason; nothing disappears. For every input record exactly one holds: it
is a row of ``frames``, or a row of ``quarantine``, or it repeats one that is (``repeated``). A frame with one bad
detection keeps its row and its other detections; the bad one is quarantined alone.

Idempotent: the same records give the same bytes under the same keys, wherever they were read. After a kill half-way a
re-run completes the hour; ``frames`` is written last of the tables, so an hour with frames has its other tables too.
Does not belong here: the columns and rules of the tables (``schema``), reading tables back (``scan``).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.detection import IMAGE_SHA256, DetectionRecord
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import (
    ArchiveName,
    check_id,
    detections_key,
    frame_time,
    frames_key,
    is_record_file,
    quarantine_key,
    uploaded_name,
)
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.hours import COVERED, SpoolHour
from yolo_assets.spool.records import BadRecord, FrameRecord
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore
from yolo_assets.tables.objects import reaches_back, read_tables, with_object_ids
from yolo_assets.tables.schema import DetectionsTable, FramesTable, QuarantineTable, TableModel, failures, polars_schema

Source = Literal["spool", "archive", "spool and archive", "built before"]
TableRow = dict[str, Any]

_TRIES = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT64 = 2**63


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


@dataclass(frozen=True)
class HourTables:
    """The tables of one camera-hour, each valid by its model in ``schema``.

    Attributes:
        frames: ``schema.FramesTable``, by capture time.
        detections: ``schema.DetectionsTable``, by capture time and position in the record.
        quarantine: ``schema.QuarantineTable``.
        repeated: input records that repeat another one word for word.
    """

    frames: pl.DataFrame
    detections: pl.DataFrame
    quarantine: pl.DataFrame
    repeated: int


def build_tables(camera_id: str, hour: Hour, records: Iterable[FrameRecord | BadRecord]) -> HourTables:
    """Tables of one camera-hour.

    Where two records differ about one image the first one wins and the other is quarantined, so give the most
    trusted source first.

    Args:
        camera_id: camera of the folder that the records were found in.
        hour: hour of that folder.
        records: readable and unreadable records, in any number of repetitions.

    Raises:
        BadInputError: ``camera_id`` is none.
    """
    builder = _Builder(check_id(camera_id), hour)
    for record in records:
        if isinstance(record, BadRecord):
            builder.add_bad(record)
        else:
            builder.add(record)
    return builder.tables()


class _Builder:
    """Collects rows, then lets the schema decide which of them stay."""

    def __init__(self, camera_id: str, hour: Hour) -> None:
        self.camera_id = camera_id
        self.hour = hour
        self.hour_ms = _milliseconds(hour.start)
        self.records: dict[str, FrameRecord] = {}
        self.frames: list[TableRow] = []
        self.detections: list[TableRow] = []
        self.quarantine: list[TableRow] = []
        self.rejected: set[tuple[str, str]] = set()
        self.repeated = 0

    def add_bad(self, bad: BadRecord) -> None:
        self._reject_record(bad.reason, bad.source, _text(bad.raw), bad.image_path)

    def add(self, found: FrameRecord) -> None:
        record = found.record
        path = f"{self.camera_id}/{self.hour.key}/{found.frame}"
        try:
            earlier = self.records.get(path)
            if earlier is not None and earlier.record == record:
                self.repeated += 1
                return
            if earlier is not None:
                raise BadInputError("another record of the same image says something else")
            frame = self._frame(record, path)
            detections = [self._detection(frame, index, record) for index in range(len(record.detections))]
        except (BadInputError, ArithmeticError) as error:
            self._reject_record(str(error), found.source, _raw(record), record.image_path)
            return
        self.records[path] = found
        self.frames.append(frame)
        self.detections.extend(detections)

    def tables(self) -> HourTables:
        frames, bad_frames = self._split(FramesTable, self.frames)
        for row, reason in bad_frames:
            found = self.records[row["image_path"]]
            self._reject_record(reason, found.source, _raw(found.record), found.record.image_path)
        valid = set(frames["image_path"])
        of_frames = [row for row in self.detections if row["image_path"] in valid]
        detections, bad_detections = self._split(DetectionsTable, of_frames)
        for row, reason in bad_detections:
            path, index = row["image_path"], row["index"]
            found = self.records[path]
            self._reject("detection", reason, found.source, _raw(found.record.detections[index]), path, index)
        counts = detections.group_by("image_path").len("n_detections").cast({"n_detections": pl.Int64})
        frames = (
            frames.drop("n_detections")
            .join(counts, on="image_path", how="left")
            .with_columns(pl.col("n_detections").fill_null(0))
            .select(polars_schema(FramesTable).names())
            .sort("captured_at", "image_path")
        )
        quarantine = pl.DataFrame(self.quarantine, schema=polars_schema(QuarantineTable), orient="row")
        return HourTables(
            frames=FramesTable.validate(frames),
            detections=DetectionsTable.validate(detections.sort("captured_at", "image_path", "index")),
            quarantine=QuarantineTable.validate(
                quarantine.sort("kind", "image_path", "index", "source", "reason", "raw", nulls_last=True)
            ),
            repeated=self.repeated,
        )

    def _split(self, model: TableModel, rows: list[TableRow]) -> tuple[pl.DataFrame, list[tuple[TableRow, str]]]:
        """The valid rows as a table, and the others with their reasons."""
        table = pl.DataFrame(rows, schema=polars_schema(model), orient="row")
        bad = failures(model, table)
        if not bad:
            return table, []
        good = table.with_row_index("row").filter(~pl.col("row").is_in(list(bad))).drop("row")
        return good, [(rows[row], reason) for row, reason in bad.items()]

    def _frame(self, record: DetectionRecord, path: str) -> TableRow:
        quality = record.quality
        return {
            "camera_id": self.camera_id,
            "hour": self.hour_ms,
            "image_path": path,
            "captured_at": _milliseconds(_captured_at(record, path)),
            "sequence": _int64(record.sequence, "sequence"),
            "model_version": record.model_version,
            "device_id": record.device_id,
            "batch_id": record.batch_id,
            "width": _int64(record.width, "width"),
            "height": _int64(record.height, "height"),
            "inference_ms": _finite(record.inference_ms),
            "image_saved": record.image_saved,
            "blur": _finite(quality.blur) if quality else None,
            "brightness": _finite(quality.brightness) if quality else None,
            "n_detections": len(record.detections),
            "extra": _extra(_without_hash(record), quality.model_extra if quality else None),
        }

    def _detection(self, frame: TableRow, index: int, record: DetectionRecord) -> TableRow:
        detection = record.detections[index]
        x1, y1, x2, y2 = detection.bbox
        shared = ("camera_id", "hour", "image_path", "captured_at", "width", "height", "model_version", "device_id")
        return {
            **{name: frame[name] for name in (*shared, "batch_id")},
            "index": index,
            "class": detection.class_name,
            "confidence": detection.confidence,
            "x1": x1,
            "y1": y1,
            "x2": x2,
            "y2": y2,
            "timestamp": _milliseconds(detection.timestamp),
            "object_id": None,
            "extra": _extra(detection.model_extra, None),
        }

    def _reject_record(self, reason: str, source: str, raw: str, path: str | None) -> None:
        """Quarantine a record; the same one in the archive and in the spool is a repetition."""
        if (source, raw) in self.rejected:
            self.repeated += 1
            return
        self.rejected.add((source, raw))
        self._reject("record", reason, source, raw, path, None)

    def _reject(self, kind: str, reason: str, source: str, raw: str, path: str | None, index: int | None) -> None:
        self.quarantine.append(
            {
                "camera_id": self.camera_id,
                "hour": self.hour_ms,
                "kind": kind,
                "image_path": path,
                "index": index,
                "reason": reason,
                "source": source,
                "raw": raw,
            }
        )


def _captured_at(record: DetectionRecord, path: str) -> datetime:
    """From the record, else from the frame's name, else from the earliest detection."""
    if record.captured_at is not None:
        return record.captured_at
    named = frame_time(path.rpartition("/")[2])
    if named is not None:
        return named
    if record.detections:
        return min(detection.timestamp for detection in record.detections)
    raise BadInputError("no capture time: not in the record, not in the frame's name, and no detection has one")


def _milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970, truncated as the contracts do."""
    return (moment - _EPOCH) // _MILLISECOND


def _int64(value: int | None, name: str) -> int | None:
    if value is not None and value >= _INT64:
        raise BadInputError(f"{name} {value} does not fit 64 bits")
    return value


def _finite(value: float | None) -> float | None:
    """NaN and infinity are written as null, as the record's own JSON does."""
    return value if value is not None and math.isfinite(value) else None


def _without_hash(record: DetectionRecord) -> dict[str, Any]:
    """Unknown keys of a record without the hash of its image: the archive's index holds it, and it takes much room."""
    extra = record.model_extra or {}
    if record.image_sha256 is None:
        return extra
    return {key: value for key, value in extra.items() if key != IMAGE_SHA256}


def _extra(extra: dict[str, Any] | None, quality: dict[str, Any] | None) -> str | None:
    """Unknown keys as JSON, for readers that know them; those of ``quality`` under that name."""
    unknown = {**(extra or {}), **({"quality": quality} if quality else {})}
    return _json(unknown) if unknown else None


def _raw(record: DetectionRecord | Any) -> str:
    return _json(record.model_dump(mode="json", by_alias=True, exclude_unset=True))


def _json(value: Any) -> str:
    try:
        return canonical_json(value).decode()
    except TypeError:  # integers over 64 bits and lone surrogates, which a foreign producer may put into extra keys
        return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _text(raw: bytes | str) -> str:
    r"""Bytes that are not UTF-8 show as ``\x..`` escapes; the archive keeps them as they were."""
    return raw.decode("utf-8", errors="backslashreplace") if isinstance(raw, bytes) else raw
