"""Which frames answer the question, derived from archived record files and indexes alone.

Done when a pack is made and again when it is verified: both must give the same lines, byte for byte.

A record applies to the frame whose name it ends in. A readable ``<frame>.json`` takes the place of NDJSON lines about
that frame, one in a later part the place of an earlier one (as ``Archive.hour_records`` does). A frame fits when
one of its records fits; then all its records are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from pydantic import Field, field_serializer

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.names import frame_time, is_frame, is_record_file
from yolo_assets.contracts.times import Hour
from yolo_assets.evidence.manifest import Query, frame_path, pack_names, records_path
from yolo_assets.evidence.signing import ProvenReceipt
from yolo_assets.spool.files import native_name
from yolo_assets.spool.records import LONGEST_RECORD, frame_stem, parse_record


class FoundRecord(Record):
    """One record of a frame, word for word and as it is understood."""

    source: str = Field(description="path of the record file in the pack")
    line: int | None = Field(default=None, description="from 1; none for a per-frame file")
    verbatim: str
    record: DetectionRecord

    @field_serializer("record")
    def _as_written(self, record: DetectionRecord) -> dict[str, Any]:
        # Only what the producer set: a field that a later version adds must not change the line of an old pack.
        return record.model_dump(mode="json", by_alias=True, exclude_unset=True)


class FoundFrame(Record):
    """A frame as it was archived."""

    path: str = Field(description="in the pack")
    archive: str = Field(description="name of the archive, without ending")
    member: str = Field(description="name in the archive")
    size: int = Field(ge=0)
    sha256: str


class Finding(Record):
    """One line of ``findings.ndjson``: a frame with its records, or records whose picture was not kept."""

    camera_id: str
    hour: str
    captured_at: Time | None = Field(description="none: the producer gave no time, the frame is of that hour")
    frame: FoundFrame | None
    records: tuple[FoundRecord, ...]


@dataclass(frozen=True)
class HourPart:
    """One archive of a camera-hour with its index."""

    proven: ProvenReceipt
    rows: Sequence[IndexRow]
    files: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", pack_names(row.name for row in self.rows))

    @property
    def stem(self) -> str:
        """Name of the archive, without ending."""
        return self.proven.name.stem

    def record_rows(self) -> list[IndexRow]:
        """Members that hold records."""
        return [row for row in self.rows if is_record_file(native_name(row.name))]

    def records_path(self, row: IndexRow) -> str:
        """Where a record file lies in a pack."""
        return records_path(self.stem, self.files[row.name])

    def frame_path(self, row: IndexRow) -> str:
        """Where a frame lies in a pack."""
        return frame_path(self.stem, self.files[row.name])


@dataclass(frozen=True)
class Derived:
    """What one camera-hour gives.

    Attributes:
        findings: in order of time.
        frames: rows of the frames that were found, by archive name.
        needed: paths of the record files without which the same answer does not follow.
    """

    findings: list[Finding]
    frames: dict[str, list[IndexRow]]
    needed: set[str]


def selection(query: Query) -> FrameFilter:
    """The question in the form in which the archive evaluates it, on receipts and on records."""
    return FrameFilter(query.start, query.end, query.camera_id, query.batch, query.class_name, query.min_confidence)


def derive(query: Query, parts: Sequence[HourPart], opened: Callable[[str], IO[bytes] | None]) -> Derived:
    """The findings of one camera-hour.

    Args:
        query: the question.
        parts: every archive of the hour, by part number.
        opened: gives the bytes of a record file by its path in the pack; None when it is not there.
    """
    hour = Hour.from_key(parts[0].proven.receipt.hour)
    conditions = selection(query)
    single, singles = _per_frame(parts, opened)
    needed = {part.records_path(row) for part in parts for row in part.record_rows() if _is_lines(row)}
    by_stem: dict[str, list[FoundRecord]] = {}
    for record in single:
        by_stem.setdefault(frame_stem(record.record.image_path), []).append(record)
    for record in _lines(parts, opened):
        stem = frame_stem(record.record.image_path)
        if stem in singles:
            needed |= singles[stem]  # without it the line would count
        else:
            by_stem.setdefault(stem, []).append(record)

    frames = _frames(parts)
    findings: list[Finding] = []
    taken: dict[str, list[IndexRow]] = {}
    for stem in sorted({*by_stem, *frames}):
        records = by_stem.get(stem, [])
        if not conditions.everything and not any(conditions.fits(record.record) for record in records):
            continue
        pictures = frames.get(stem, [])
        moment = _moment([row.name for _, row in pictures], records)
        if not (query.start <= moment < query.end if moment else hour.start < query.end and hour.end > query.start):
            continue
        needed |= {record.source for record in records}
        for part, row in pictures or [(None, None)]:
            frame = None
            if part is not None and row is not None:
                taken.setdefault(part.stem, []).append(row)
                frame = FoundFrame(
                    path=part.frame_path(row),
                    archive=part.stem,
                    member=row.name,
                    size=row.size,
                    sha256=row.sha256.hex(),
                )
            camera = parts[0].proven.receipt.camera_id
            findings.append(
                Finding(camera_id=camera, hour=hour.key, captured_at=moment, frame=frame, records=tuple(records))
            )
    findings.sort(key=lambda finding: (finding.captured_at or hour.start, finding.frame.path if finding.frame else ""))
    return Derived(findings, taken, needed)


def _moment(names: list[str], records: list[FoundRecord]) -> datetime | None:
    """When a frame was taken: by its name, else by its record."""
    moments = [frame_time(name) for name in names]
    moments += [frame_time(record.record.image_path.rpartition("/")[2]) for record in records]
    moments += [record.record.captured_at for record in records]
    return next((moment for moment in moments if moment is not None), None)


def _frames(parts: Sequence[HourPart]) -> dict[str, list[tuple[HourPart, IndexRow]]]:
    """Frames by name without ending; one that a later part holds again, unchanged, once."""
    frames: dict[str, list[tuple[HourPart, IndexRow]]] = {}
    seen: set[tuple[str, bytes]] = set()
    for part in parts:
        for row in part.rows:
            name = native_name(row.name)
            if is_frame(name) and (row.name, row.sha256) not in seen:
                seen.add((row.name, row.sha256))
                frames.setdefault(frame_stem(name), []).append((part, row))
    return frames


def _is_lines(row: IndexRow) -> bool:
    return row.name.lower().endswith(".ndjson")


def _per_frame(
    parts: Sequence[HourPart], opened: Callable[[str], IO[bytes] | None]
) -> tuple[list[FoundRecord], dict[str, set[str]]]:
    """Records of per-frame files by name, and for each frame name the files that hold its record."""
    newest: dict[str, str] = {}
    for part in parts:
        newest.update({row.name: part.records_path(row) for row in part.record_rows() if not _is_lines(row)})
    records: list[FoundRecord] = []
    stems: dict[str, set[str]] = {}
    for name, path in sorted(newest.items()):
        stream = opened(path)
        if stream is None:
            continue
        with stream:
            raw = stream.read(LONGEST_RECORD + 1)
        record = _parsed(raw, path, None)
        if record is not None:
            records.append(record)
            for stem in (frame_stem(native_name(name)), frame_stem(record.record.image_path)):
                stems.setdefault(stem, set()).add(path)
    return records, stems


def _lines(parts: Sequence[HourPart], opened: Callable[[str], IO[bytes] | None]) -> Iterator[FoundRecord]:
    """Records of NDJSON files by name; a line that a later part holds again once."""
    files = sorted(
        (row.name, number, part.records_path(row))
        for number, part in enumerate(parts)
        for row in part.record_rows()
        if _is_lines(row)
    )
    seen: set[bytes] = set()
    last = None
    for name, _, path in files:
        if name != last:
            seen, last = set(), name
        stream = opened(path)
        if stream is None:
            continue
        with stream:
            for number, raw in _numbered(stream):
                if raw in seen:
                    continue
                seen.add(raw)
                record = _parsed(raw, path, number)
                if record is not None:
                    yield record


def _numbered(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, none longer than a record may be."""
    number = 0
    while raw := stream.readline(LONGEST_RECORD + 1):
        number += 1
        if len(raw) > LONGEST_RECORD and not raw.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_RECORD)) and not rest.endswith(b"\n"):
                pass
        elif line := raw.strip():
            yield number, line


def _parsed(raw: bytes, source: str, line: int | None) -> FoundRecord | None:
    """None when it is no record: its bytes are in the record file, and the receipt counts it."""
    record = parse_record(raw, source) if len(raw) <= LONGEST_RECORD else None
    if not isinstance(record, DetectionRecord):
        return None
    return FoundRecord(source=source, line=line, verbatim=raw.decode("utf-8"), record=record)
