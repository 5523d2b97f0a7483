"""Records of one camera-hour become the rows of three tables. Pure.

What does not fit goes to quarantine with its reason; nothing disappears. For every input record exactly one holds: it
is a row of ``frames``, or a row of ``quarantine``, or it repeats one that is (``repeated``). A frame with one bad
detection keeps its row and its other detections; the bad one is quarantined alone.

Does not belong here: the columns and their rules (``schema``), where records come from and tables go (``build``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.detection import IMAGE_SHA256, DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id, frame_time
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.records import BadRecord, FrameRecord
from yolo_assets.tables.schema import DetectionsTable, FramesTable, QuarantineTable, TableModel, failures, polars_schema

TableRow = dict[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INT64 = 2**63
_NAMED = ("mask_version", "class_list")
"""Keys of a record that are columns where their value is a text; any other value stays in ``extra``."""


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
        extra = record.model_extra or {}
        named = {key: value if isinstance(value := extra.get(key), str) else None for key in _NAMED}
        return {
            "camera_id": self.camera_id,
            "hour": self.hour_ms,
            "image_path": path,
            "captured_at": _milliseconds(_captured_at(record, path)),
            "sequence": _int64(record.sequence, "sequence"),
            "model_version": record.model_version,
            "device_id": record.device_id,
            "batch_id": record.batch_id,
            "part_id": record.part_name,
            "width": _int64(record.width, "width"),
            "height": _int64(record.height, "height"),
            "inference_ms": _finite(record.inference_ms),
            "image_saved": record.image_saved,
            "blur": _finite(quality.blur) if quality else None,
            "brightness": _finite(quality.brightness) if quality else None,
            "n_detections": len(record.detections),
            **named,
            "extra": _extra(_without_known(record, named), quality.model_extra if quality else None),
        }

    def _detection(self, frame: TableRow, index: int, record: DetectionRecord) -> TableRow:
        detection = record.detections[index]
        x1, y1, x2, y2 = detection.bbox
        shared = ("camera_id", "hour", "image_path", "captured_at", "width", "height", "model_version", "device_id")
        return {
            **{name: frame[name] for name in (*shared, "batch_id", "part_id", "class_list")},
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


def _without_known(record: DetectionRecord, named: Mapping[str, str | None]) -> dict[str, Any]:
    """Unknown keys of a record: no column shows them, and they are not the hash of its image.

    The archive's index holds that hash, and it takes much room.
    """
    known = {**named, "part_id": record.part_name, IMAGE_SHA256: record.image_sha256}
    extra = record.model_extra or {}
    return {key: value for key, value in extra.items() if known.get(key) is None or known[key] != value}


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
