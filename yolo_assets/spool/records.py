"""Detection records out of the files of an hour, of any producer: ``<frame>.json``, ``*.ndjson``, or both.

Belongs here: finding records in bytes, and saying precisely which bytes are none. Does not belong here: where the bytes
come from (a spool folder or an archive give the same stream) and what to do with bad ones (``tables``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from pydantic import ValidationError

from yolo_assets.contracts.base import one_line
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.names import FRAME_ENDINGS, is_record_file

LONGEST_RECORD = 8 << 20
"""Bytes of a record beyond which it is not read into memory but reported as bad."""

_KEPT_OF_LONG = 4096


@dataclass(frozen=True)
class BadRecord:
    """Bytes that should have been a record.

    Attributes:
        reason: one line.
        source: ``<camera>/<hour>/<file>``, with ``:<line>`` for NDJSON.
        raw: the bytes; only their beginning when they are longer than ``LONGEST_RECORD``.
    """

    reason: str
    source: str
    raw: bytes


@dataclass(frozen=True)
class RecordFile:
    """One file that holds records.

    Attributes:
        name: file name inside the hour.
        source: what errors call it.
        open: gives its bytes, from the start, each time it is called.
    """

    name: str
    source: str
    open: Callable[[], IO[bytes]]


def read_records(files: Iterable[RecordFile]) -> Iterator[DetectionRecord | BadRecord]:
    """Every record of an hour, in a fixed order: per-frame files by name, then the lines of NDJSON files by name.

    Where a readable ``<frame>.json`` and a line name the same frame, the per-frame file wins and the line is passed
    over. An unreadable per-frame file is reported and wins over nothing.
    """
    chosen = sorted((file for file in files if is_record_file(file.name)), key=lambda file: file.name)
    won: set[str] = set()
    for file in chosen:
        if file.name.lower().endswith(".ndjson"):
            continue
        found = _read_one(file)
        if isinstance(found, DetectionRecord):
            won.update((frame_stem(file.name), frame_stem(found.image_path)))
        yield found
    for file in chosen:
        if file.name.lower().endswith(".ndjson"):
            for found in _read_lines(file):
                if isinstance(found, BadRecord) or frame_stem(found.image_path) not in won:
                    yield found


def parse_record(raw: bytes, source: str) -> DetectionRecord | BadRecord:
    """One record, or why it is none."""
    try:
        return DetectionRecord.model_validate_json(raw)
    except ValidationError as error:
        return BadRecord(one_line(error), source, raw)


def frame_stem(path: str) -> str:
    """``frame`` of ``camera/hour/frame.jpg``, ``frame.json`` and ``frame.jpg.json``."""
    name = PurePosixPath(path).name
    for ending in (".json", *FRAME_ENDINGS):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name


def _read_one(file: RecordFile) -> DetectionRecord | BadRecord:
    try:
        with file.open() as stream:
            raw = stream.read(LONGEST_RECORD + 1)
    except OSError as error:
        return BadRecord(f"cannot be read: {error.strerror}", file.source, b"")
    if len(raw) > LONGEST_RECORD:
        return BadRecord(f"longer than {LONGEST_RECORD} bytes", file.source, raw[:_KEPT_OF_LONG])
    return parse_record(raw, file.source)


def _read_lines(file: RecordFile) -> Iterator[DetectionRecord | BadRecord]:
    try:
        stream = file.open()
    except OSError as error:
        yield BadRecord(f"cannot be read: {error.strerror}", file.source, b"")
        return
    with stream:
        number = 0
        while raw := stream.readline(LONGEST_RECORD + 1):
            number += 1
            source = f"{file.source}:{number}"
            if len(raw) > LONGEST_RECORD and not raw.endswith(b"\n"):
                yield BadRecord(f"longer than {LONGEST_RECORD} bytes", source, raw[:_KEPT_OF_LONG])
                while (rest := stream.readline(LONGEST_RECORD)) and not rest.endswith(b"\n"):
                    pass
                continue
            if line := raw.strip():
                yield parse_record(line, source)
