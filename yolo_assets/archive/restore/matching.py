"""Which frames of an hour meet conditions on records, and where exactly these records lie: pairs of picture and record.

A record that is a file of its own is restored as that file. One that shares a file with others (NDJSON, an array) is
taken out of it, word for word, into ``<frame>.ndjson``, which every reader of records reads; so no record comes along
that was not asked for. A frame matches when one of its records does, and then all of them come. Belongs here: finding
and taking out. Does not belong here: the conditions (``filter``), and writing (``writing``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import PartContents
from yolo_assets.archive.restore.filter import FrameFilter, RecordsTell
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import FRAME_ENDINGS, frame_time, holds_lines
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.frames import FrameFolder, frame_stem
from yolo_assets.spool.records import BadRecord, FrameRecord, ReadRecord, RecordFile, read_file

Conditions = Callable[[DetectionRecord], bool]


@dataclass(frozen=True, order=True)
class RecordPlace:
    """Where a record lies in an hour.

    Attributes:
        part: place of its archive in the order of parts, from 0.
        file: name of its file.
        number: of its line or element; 0 when it is the whole file.
    """

    part: int
    file: str
    number: int = 0


@dataclass(frozen=True)
class Extract:
    """Records of one frame that share their files with others: they become a file of their own.

    Attributes:
        name: of that file.
        places: of the records, in order.
        size: bytes of that file.
    """

    name: str
    places: tuple[RecordPlace, ...]
    size: int

    def row(self, sha256: bytes = b"") -> IndexRow:
        """As a member that lies nowhere: for a place among the files of its hour."""
        return IndexRow(portable_name(self.name), -1, 0, self.size, sha256)


@dataclass(frozen=True)
class HourMatch:
    """What of an hour meets the conditions.

    Attributes:
        pictures: file names of the matching frames that were kept.
        documents: record files that are restored as they are.
        extracts: records that are taken out of files of many.
        unreadable: records that could not be understood, so that nobody knows whether their frames match.
    """

    pictures: frozenset[str] = frozenset()
    documents: frozenset[tuple[int, str]] = frozenset()
    extracts: tuple[Extract, ...] = ()
    unreadable: int = 0

    @cached_property
    def extracted_parts(self) -> frozenset[int]:
        """Places of the archives that extracts come from."""
        return frozenset(place.part for extract in self.extracts for place in extract.places)

    def chosen(self, parts: Sequence[Sequence[IndexRow]]) -> list[list[IndexRow]]:
        """The members that are restored as they are, part by part."""

        def comes(number: int, name: str) -> bool:
            return name in self.pictures or (number, name) in self.documents

        return [[row for row in rows if comes(number, native_name(row.name))] for number, rows in enumerate(parts)]


@dataclass
class _FrameRecords:
    """The records of one frame."""

    fits: bool = False
    captured_at: datetime | None = None
    places: dict[RecordPlace, int] = field(default_factory=dict[RecordPlace, int])

    def add(self, place: RecordPlace, found: ReadRecord, fits: Conditions) -> None:
        self.fits = self.fits or fits(found.record)
        self.captured_at = self.captured_at or found.record.captured_at
        self.places[place] = len(found.raw) + 1


def match_hour(selection: FrameFilter, folder: FrameFolder, contents: Sequence[PartContents]) -> HourMatch:
    """Search the records of an hour.

    Args:
        selection: with conditions on records.
        folder: the camera-hour, with the pictures of all parts.
        contents: of each part.

    Raises:
        UserError: a part cannot be read.
    """
    pictures: set[str] = set()
    documents: set[tuple[int, str]] = set()
    extracts: defaultdict[str, dict[RecordPlace, int]] = defaultdict(dict)
    records_of, unreadable = _by_frame(folder, contents, selection.fits)
    for frame, records in records_of.items():
        moment = frame_time(frame) or records.captured_at
        if not (records.fits and selection.covers_moment(moment, folder.hour)):
            continue
        if frame in folder.frames:
            pictures.add(frame)
        if selection.frames_only:
            continue
        documents |= {(place.part, place.file) for place in records.places if not place.number}
        lines = {place: size for place, size in records.places.items() if place.number}
        if lines:
            extracts[_file_name(frame, next(iter(lines)))] |= lines
    return HourMatch(
        frozenset(pictures),
        frozenset(documents),
        tuple(Extract(name, tuple(lines), sum(lines.values())) for name, lines in sorted(extracts.items())),
        unreadable,
    )


def records_tell(folder: FrameFolder, contents: Sequence[PartContents]) -> RecordsTell:
    """When the pictures of an hour were captured and which record file is whose, where names do not tell.

    Only record files that may say so are read.

    Raises:
        UserError: a part cannot be read.
    """
    stems = {frame_stem(name): frame_time(name) is not None for name in folder.frames}
    untimed = not all(stems.values())

    def asked(file: RecordFile) -> bool:
        stem = frame_stem(file.name)
        if holds_lines(file.name) or stem in stems:
            return untimed and not stems.get(stem, False)
        return frame_time(f"{stem}{FRAME_ENDINGS[0]}") is None

    some = [replace(content, records=[file for file in content.records if asked(file)]) for content in contents]
    moments: dict[str, datetime] = {}
    owners: dict[str, tuple[str, datetime | None]] = {}
    for frame, records in _by_frame(folder, some, lambda _: True)[0].items():
        moment = frame_time(frame) or records.captured_at
        if frame in folder.frames and moment is not None:
            moments[frame] = moment
        owners |= {place.file: (frame, moment) for place in records.places if not place.number}
    return RecordsTell(moments, owners)


def matching_confidences(archive: Archive, camera_id: str, hour: Hour, selection: FrameFilter) -> list[float]:
    """Confidences of the detections of an hour that are selected: by class, confidence and time of capture.

    Raises:
        UserError: a part cannot be read.
    """
    return [
        detection.confidence
        for found in archive.hour_records(camera_id, hour)
        if isinstance(found, FrameRecord)
        and selection.covers_moment(frame_time(found.frame) or found.record.captured_at, hour)
        for detection in found.record.detections
        if selection.selects(detection)
    ]


def take_out(extracts: Sequence[Extract], contents: Sequence[PartContents]) -> list[tuple[Extract, bytes]]:
    """The bytes of each extract, its records a line each.

    Raises:
        UserError: a part cannot be read, or is not what it was when the extracts were found.
    """
    wanted = {place for extract in extracts for place in extract.places}
    raw: dict[RecordPlace, bytes] = {}
    files = {(part, file.name): file for part, content in enumerate(contents) for file in content.records}
    for part, name in sorted({(place.part, place.file) for place in wanted}.intersection(files)):
        for found in read_file(files[part, name]):
            place = RecordPlace(part, name, _number(found))
            if isinstance(found, ReadRecord) and place in wanted:
                raw[place] = found.raw
    if len(raw) < len(wanted):
        raise IntegrityError("they changed since they were searched; run again")
    return [(extract, b"".join(raw[place] + b"\n" for place in extract.places)) for extract in extracts]


def _by_frame(
    folder: FrameFolder, contents: Sequence[PartContents], fits: Conditions
) -> tuple[Mapping[str, _FrameRecords], int]:
    """The records of an hour by the picture they mean, with the same precedence as ``Archive.hour_records``.

    Returns:
        These, and how many could not be understood.
    """
    unreadable = 0
    records: defaultdict[str, _FrameRecords] = defaultdict(_FrameRecords)
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for frame in sorted(folder.frames):
        by_stem[frame_stem(frame)].append(frame)
    won: set[str] = set()

    def add(frame: str, place: RecordPlace, found: ReadRecord) -> None:
        same = [frame] if frame in folder.frames else by_stem.get(frame_stem(frame), [frame])
        for one in same:
            records[one].add(place, found, fits)

    for part, file in _newest_documents(contents):
        for found, frame in _placed(file, folder):
            if frame is None or isinstance(found, BadRecord):
                unreadable += 1
                continue
            won.update((frame_stem(file.name), frame_stem(frame)))
            add(frame, RecordPlace(part, file.name, _number(found)), found)
    seen: set[bytes] = set()
    last = ""
    for name, part, file in _files_of_lines(contents):
        if name != last:
            seen.clear()
            last = name
        for found, frame in _placed(file, folder):
            if found.raw in seen:
                continue
            seen.add(found.raw)
            if frame is None or isinstance(found, BadRecord):
                unreadable += 1
                continue
            if frame_stem(frame) not in won:
                add(frame, RecordPlace(part, name, _number(found)), found)
    return records, unreadable


def _newest_documents(contents: Sequence[PartContents]) -> list[tuple[int, RecordFile]]:
    """Record files that hold no lines, by name; one of a later part takes the place of an earlier one."""
    newest = {
        file.name: (part, file)
        for part, content in enumerate(contents)
        for file in content.records
        if not holds_lines(file.name)
    }
    return [newest[name] for name in sorted(newest)]


def _files_of_lines(contents: Sequence[PartContents]) -> list[tuple[str, int, RecordFile]]:
    found = [
        (file.name, part, file)
        for part, content in enumerate(contents)
        for file in content.records
        if holds_lines(file.name)
    ]
    return sorted(found, key=lambda entry: entry[:2])


def _placed(file: RecordFile, folder: FrameFolder) -> Iterator[tuple[ReadRecord | BadRecord, str | None]]:
    """The records of a file, and the picture that each means; None for one that cannot be understood."""
    for found in read_file(file):
        try:
            yield found, None if isinstance(found, BadRecord) else folder.frame_of(found.record)
        except BadInputError:
            yield found, None


def _number(found: ReadRecord | BadRecord) -> int:
    return found.number or 0 if isinstance(found, ReadRecord) else -1


def _file_name(frame: str, place: RecordPlace) -> str:
    """``<frame>.ndjson``; by its place where a foreign name of a picture is none of a file."""
    name = f"{frame_stem(frame)}.ndjson"
    try:
        return native_name(name) if frame_stem(frame) else f"{place.file}-{place.number}.ndjson"
    except BadInputError:
        return f"{place.file}-{place.number}.ndjson"
