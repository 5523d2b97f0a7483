"""Which frames answer the question, derived from archived record files and indexes alone.

Done when a pack is made and again when it is verified: both must give the same lines, byte for byte. A pack of the
first form (version 1) is verified by the rules that it was made with, see ``FIRST_RULES``.

A record applies to the picture that ``spool.frames`` finds for it. A readable ``<frame>.json`` takes the place of
NDJSON lines about that frame, one in a later part the place of an earlier one (as ``Archive.hour_records`` does). A
frame matches when one of its records matches; then all its records are shown. What cannot be read as a record is
reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, Any

from pydantic import Field, field_serializer

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import frame_time, holds_lines, is_frame, is_record_file
from yolo_assets.contracts.text import encoding_of
from yolo_assets.contracts.times import Hour
from yolo_assets.evidence.manifest import Query, frame_path, pack_names, records_path
from yolo_assets.evidence.signing import ProvenReceipt
from yolo_assets.spool.files import native_name
from yolo_assets.spool.frames import FrameFolder, frame_stem
from yolo_assets.spool.records import LONGEST_RECORD, BadRecord, ReadRecord, RecordFile, parse_record, read_file

_OWN_FILES = {"drops.log"}
"""What our agent writes into an hour beside frames, records and the seal."""

Opened = Callable[[str], IO[bytes] | None]
"""Gives the bytes of a record file by its path in the pack; None when it is not there."""


class FoundRecord(Record):
    """One record of a frame, word for word and as it is understood."""

    source: str = Field(description="path of the record file in the pack")
    line: int | None = Field(default=None, description="line, or element of an array, from 1; none for one record")
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
class Rules:
    """How the names and records of an hour are read.

    Attributes:
        is_frame: whether a member is a frame, by its name.
        is_record_file: whether it holds records.
        holds_lines: whether such a file holds a record a line.
        stem: a name without the endings of frames and records.
        frame_time: when a frame was taken, by its name.
        frame_of: the file name of the picture that a record of a folder means; raises BadInputError.
        read_file: the records of one file.
        other_pictures: a member of any other kind is a frame when a record names it.
    """

    is_frame: Callable[[str], bool]
    is_record_file: Callable[[str], bool]
    holds_lines: Callable[[str], bool]
    stem: Callable[[str], str]
    frame_time: Callable[[str], datetime | None]
    frame_of: Callable[[FrameFolder, DetectionRecord], str]
    read_file: Callable[[RecordFile], Iterator[ReadRecord | BadRecord]]
    other_pictures: bool = True


RULES = Rules(is_frame, is_record_file, holds_lines, frame_stem, frame_time, FrameFolder.frame_of, read_file)
"""Those that packs are made with."""


@dataclass(frozen=True)
class HourPart:
    """One archive of a camera-hour with its index."""

    proven: ProvenReceipt
    rows: Sequence[IndexRow]
    rules: Rules = RULES
    files: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", pack_names(row.name for row in self.rows))

    @property
    def stem(self) -> str:
        """Name of the archive, without ending."""
        return self.proven.name.stem

    def record_rows(self) -> list[IndexRow]:
        """Members that hold records."""
        return [row for row in self.rows if self.rules.is_record_file(native_name(row.name))]

    def picture_rows(self) -> list[IndexRow]:
        """Members that may be in a pack as frames."""
        if not self.rules.other_pictures:
            return [row for row in self.rows if self.rules.is_frame(native_name(row.name))]
        return [row for row in self.rows if not self.rules.is_record_file(native_name(row.name))]

    def other_rows(self) -> list[IndexRow]:
        """Members that are neither frames nor records, nor written by our own agent."""
        return [row for row in self.picture_rows() if _is_other(native_name(row.name), self.rules)]

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
        unread: what should have been a record and is none; ``source`` is a path in the pack.
        other: members that are no frames and that no record names, as ``<archive>/<member>``.
    """

    findings: list[Finding]
    frames: dict[str, list[IndexRow]]
    needed: set[str]
    unread: list[BadRecord]
    other: list[str]


def selection(query: Query) -> FrameFilter:
    """The question in the form in which the archive evaluates it, on receipts and on records."""
    return FrameFilter(
        *(query.start, query.end, query.camera_id, query.batch, query.class_name, query.min_confidence),
        part_id=query.part_id,
        also_called=query.also_called,
    )


def derive(query: Query, parts: Sequence[HourPart], opened: Opened) -> Derived:
    """The findings of one camera-hour.

    Args:
        query: the question.
        parts: every archive of the hour, by part number.
        opened: the record files.
    """
    return _Derivation(query, parts, opened).result()


class _Derivation:
    """One camera-hour under one question."""

    def __init__(self, query: Query, parts: Sequence[HourPart], opened: Opened) -> None:
        self._query, self._parts, self._opened = query, parts, opened
        self._rules = parts[0].rules
        receipt = parts[0].proven.receipt
        self._camera, self._hour = receipt.camera_id, Hour.from_key(receipt.hour)
        self._frames = self._by_stem(lambda name: self._rules.is_frame(name))
        self._others = self._by_stem(lambda name: _is_other(name, self._rules)) if self._rules.other_pictures else {}
        names = (native_name(row.name) for rows in self._frames.values() for _, row in rows)
        self._folder = FrameFolder.of(self._camera, self._hour, names)
        self._unread: list[BadRecord] = []

    def result(self) -> Derived:
        query, hour, conditions = self._query, self._hour, selection(self._query)
        single, singles = self._per_frame()
        lines = {part.records_path(row) for part in self._parts for row in part.record_rows() if self._is_lines(row)}
        needed = lines | {bad.source.partition(":")[0] for bad in self._unread}
        by_stem: dict[str, list[FoundRecord]] = {}
        for stem, record in single:
            by_stem.setdefault(stem, []).append(record)
        for stem, record in self._lines():
            if stem in singles:
                needed |= singles[stem]  # without it the line would count
            else:
                by_stem.setdefault(stem, []).append(record)

        findings: list[Finding] = []
        taken: dict[str, list[IndexRow]] = {}
        for stem in sorted({*by_stem, *self._frames}):
            records = by_stem.get(stem, [])
            if not conditions.everything and not any(conditions.fits(record.record) for record in records):
                continue
            pictures = self._frames.get(stem) or self._others.get(stem, [])
            moment = self._moment([row.name for _, row in pictures], records)
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
                findings.append(
                    Finding(
                        camera_id=self._camera,
                        hour=hour.key,
                        captured_at=moment,
                        frame=frame,
                        records=tuple(records),
                    )
                )
        findings.sort(key=lambda item: (item.captured_at or hour.start, item.frame.path if item.frame else ""))
        other = [
            f"{part.stem}/{row.name}"
            for stem, rows in sorted(self._others.items())
            for part, row in rows
            if stem not in by_stem
        ]
        return Derived(findings, taken, needed, self._unread, other)

    def _moment(self, names: list[str], records: list[FoundRecord]) -> datetime | None:
        """When a frame was taken: by its name, else by its record."""
        moments = [self._rules.frame_time(name) for name in names]
        moments += [self._rules.frame_time(self._rules.frame_of(self._folder, record.record)) for record in records]
        moments += [record.record.captured_at for record in records]
        return next((moment for moment in moments if moment is not None), None)

    def _by_stem(self, chosen: Callable[[str], bool]) -> dict[str, list[tuple[HourPart, IndexRow]]]:
        """Members by name without a frame's ending; one that a later part holds again, unchanged, once."""
        members: dict[str, list[tuple[HourPart, IndexRow]]] = {}
        seen: set[tuple[str, bytes]] = set()
        for part in self._parts:
            for row in part.rows:
                name = native_name(row.name)
                if chosen(name) and (row.name, row.sha256) not in seen:
                    seen.add((row.name, row.sha256))
                    members.setdefault(self._rules.stem(name), []).append((part, row))
        return members

    def _is_lines(self, row: IndexRow) -> bool:
        return self._rules.holds_lines(native_name(row.name))

    def _per_frame(self) -> tuple[list[tuple[str, FoundRecord]], dict[str, set[str]]]:
        """Records of per-frame files by name, and for each frame stem the files that hold its record."""
        newest: dict[str, str] = {}
        for part in self._parts:
            newest.update({row.name: part.records_path(row) for row in part.record_rows() if not self._is_lines(row)})
        records: list[tuple[str, FoundRecord]] = []
        stems: dict[str, set[str]] = {}
        for name, path in sorted(newest.items()):
            for stem, record in self._read(name, path):
                records.append((stem, record))
                for known in (self._rules.stem(native_name(name)), stem):
                    stems.setdefault(known, set()).add(path)
        return records, stems

    def _lines(self) -> Iterator[tuple[str, FoundRecord]]:
        """Records of NDJSON files by name; a line that a later part holds again once."""
        files = sorted(
            (row.name, number, part.records_path(row))
            for number, part in enumerate(self._parts)
            for row in part.record_rows()
            if self._is_lines(row)
        )
        seen: set[str | bytes] = set()
        last = None
        for name, _, path in files:
            if name != last:
                seen, last = set(), name
            yield from self._read(name, path, seen)

    def _read(self, name: str, path: str, seen: set[str | bytes] | None = None) -> Iterator[tuple[str, FoundRecord]]:
        """The records of one file, each with the stem of its frame; those in ``seen`` are passed over."""
        there = self._opened(path)
        if there is None:
            return
        there.close()

        def stream() -> IO[bytes]:
            again = self._opened(path)
            assert again is not None
            return again

        for found in self._rules.read_file(RecordFile(native_name(name), path, stream)):
            if seen is not None:
                if found.raw in seen:
                    continue
                seen.add(found.raw)
            if isinstance(found, BadRecord):
                self._unread.append(found)
                continue
            try:
                stem = self._rules.stem(self._rules.frame_of(self._folder, found.record))
            except BadInputError as error:
                self._unread.append(BadRecord(str(error), found.source, found.raw))
                continue
            yield (
                stem,
                FoundRecord(source=path, line=found.number, verbatim=found.raw.decode("utf-8"), record=found.record),
            )


def _is_other(name: str, rules: Rules) -> bool:
    return not (name.startswith(".") or name in _OWN_FILES or rules.is_frame(name) or rules.is_record_file(name))


# Packs of the first form were made by these rules. They stay as they were, or such packs would no longer verify.

_FIRST_FRAMES = (".jpg", ".jpeg")
_FIRST_NAME = re.compile(r"\d{8}_\d{6}_\d{3}(?:_\d+)?\.jpe?g")


def _first_stem(name: str) -> str:
    for ending in (".json", *_FIRST_FRAMES):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def _first_records(file: RecordFile) -> Iterator[ReadRecord | BadRecord]:
    """A record a file or a line, in UTF-8 without a byte-order mark."""
    with file.open() as stream:
        whole = not file.name.lower().endswith(".ndjson")
        lines = [(None, stream.read(LONGEST_RECORD + 1))] if whole else _first_lines(stream)
        for number, raw in lines:
            marked = encoding_of(raw[:4])[1] > 0
            record = parse_record(raw, file.source) if len(raw) <= LONGEST_RECORD and not marked else None
            if isinstance(record, DetectionRecord):
                yield ReadRecord(record, raw, file.source, number)
            else:
                yield BadRecord("no record", file.source, raw)


def _first_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := stream.readline(LONGEST_RECORD + 1):
        number += 1
        if len(raw) > LONGEST_RECORD and not raw.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_RECORD)) and not rest.endswith(b"\n"):
                pass
        elif line := raw.strip():
            yield number, line


FIRST_RULES = Rules(
    is_frame=lambda name: name.lower().endswith(_FIRST_FRAMES) and not name.startswith("."),
    is_record_file=lambda name: name.lower().endswith((".json", ".ndjson")) and not name.startswith("."),
    holds_lines=lambda name: name.lower().endswith(".ndjson"),
    stem=_first_stem,
    frame_time=lambda name: frame_time(name) if _FIRST_NAME.fullmatch(name) else None,
    frame_of=lambda folder, record: PurePosixPath(record.image_path).name,
    read_file=_first_records,
    other_pictures=False,
)
"""Those of packs of version 1: JPEG alone, whole seconds are no time, a record belongs to the last part of its path."""
