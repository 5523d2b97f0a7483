"""Detection records out of the files of an hour, of any producer: ``<frame>.json``, lines (NDJSON), arrays, or all.

Belongs here: finding records in bytes, and saying precisely which bytes are not records. Does not belong here: where
the bytes come from (a spool folder or an archive give the same stream), which picture a record means (``frames``) and
what to do with bad ones (``tables``).

Read: a JSON object, a JSON array of objects, a record a line; in UTF-8 or in the encoding that a byte-order mark
announces. Refused, with the reason: everything else, such as the lists of Ultralytics' ``to_json``, which name neither
model nor device nor time.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

from pydantic import ValidationError

from yolo_assets.contracts.base import is_json_object, one_line
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import holds_lines, is_record_file
from yolo_assets.contracts.text import decode_text, encoding_of
from yolo_assets.spool.frames import FrameFolder, frame_stem

LONGEST_RECORD = 8 << 20
"""Bytes of a record beyond which it is not read into memory but reported as bad."""

_KEPT_OF_LONG = 4096
_PEEK = 256
_BLANK = " \t\r\n"
"""White space of JSON."""
_CHUNK = 1 << 20
_ULTRALYTICS = (
    "a list of boxes as Ultralytics' to_json writes it: it names no picture, model, device or time; write "
    '{"image_path", "detections", "model_version", "device_id"}'
)


@dataclass(frozen=True)
class BadRecord:
    """Bytes that should have been a record.

    Attributes:
        reason: one line.
        source: ``<camera>/<hour>/<file>``, with ``:<number>``, from 1, for a line or an element of an array.
        raw: the bytes; only their beginning when they are longer than ``LONGEST_RECORD``.
        image_path: as a readable record that was refused has it.
    """

    reason: str
    source: str
    raw: bytes
    image_path: str | None = None


@dataclass(frozen=True)
class ReadRecord:
    """A readable record of one file.

    Attributes:
        record: what it says.
        raw: its text, in UTF-8, without a byte-order mark.
        source: as in ``BadRecord``.
        number: of the line, or of the element of an array, from 1; None for a file with one record.
    """

    record: DetectionRecord
    raw: bytes
    source: str
    number: int | None = None


@dataclass(frozen=True)
class FrameRecord:
    """A record, and the picture that it means.

    Attributes:
        frame: file name of the picture, in the folder that the record lies in.
        record: as it was written.
        source: as in ``BadRecord``.
    """

    frame: str
    record: DetectionRecord
    source: str


@dataclass(frozen=True)
class RecordFile:
    """One file that holds records.

    Attributes:
        name: file name inside the hour.
        source: what errors call it.
        open: gives its bytes, from the start, each time it is called; seekable.
    """

    name: str
    source: str
    open: Callable[[], IO[bytes]]


def read_records(files: Iterable[RecordFile], folder: FrameFolder) -> Iterator[FrameRecord | BadRecord]:
    """Every record of an hour, in a fixed order: per-frame files by name, then the lines of NDJSON files by name.

    Where a readable ``<frame>.json`` and a line name the same frame, the per-frame file wins and the line is passed
    over. An unreadable per-frame file is reported and wins over nothing. A record of another camera is bad.
    """
    chosen = sorted((file for file in files if is_record_file(file.name)), key=lambda file: file.name)
    won: set[str] = set()
    for file in chosen:
        if holds_lines(file.name):
            continue
        for found in read_file(file):
            placed = _placed(found, folder)
            if isinstance(placed, FrameRecord):
                won.update((frame_stem(file.name), frame_stem(placed.frame)))
            yield placed
    for file in chosen:
        if holds_lines(file.name):
            for found in read_file(file):
                placed = _placed(found, folder)
                if isinstance(placed, BadRecord) or frame_stem(placed.frame) not in won:
                    yield placed


def read_file(file: RecordFile) -> Iterator[ReadRecord | BadRecord]:
    """Every record of one file, and what in it is none."""
    try:
        with file.open() as stream:
            yield from _read_lines(file, stream) if holds_lines(file.name) else _read_document(file, stream)
    except OSError as error:
        yield BadRecord(f"cannot be read: {error.strerror}", file.source, b"")


def parse_record(raw: bytes, source: str) -> DetectionRecord | BadRecord:
    """One record, or why it is none.

    Args:
        raw: the whole text of a record, with or without a byte-order mark.
        source: as in ``BadRecord``.
    """
    text = raw
    try:
        if encoding_of(raw[:4])[1]:
            text = decode_text(raw, "it").encode()
        return DetectionRecord.model_validate_json(text)
    except ValidationError as error:
        return BadRecord(_encoding_problem(text) or one_line(error), source, raw)
    except BadInputError as error:
        return BadRecord(str(error), source, raw)


def numbered_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    r"""The lines of a record file that hold something, numbered from 1, in UTF-8 whatever its byte-order mark says.

    A line longer than ``LONGEST_RECORD`` is cut there, and so longer than a record may be. Bytes that do not fit the
    encoding that the mark announces are written out as ``\xNN``, which no JSON is.

    Args:
        stream: at its start; seekable.
    """
    encoding, length = encoding_of(stream.read(4))
    stream.seek(length)
    if encoding == "utf-8":
        lines = iter(lambda: stream.readline(LONGEST_RECORD + 1), b"")
    else:
        text = io.TextIOWrapper(stream, encoding, errors="backslashreplace", newline="\n")
        lines = (line.encode(errors="backslashreplace") for line in iter(lambda: text.readline(LONGEST_RECORD + 1), ""))
    number, within = 0, False
    for raw in lines:
        number += not within
        continued, within = within, not raw.endswith(b"\n")
        line = raw if within and len(raw) > LONGEST_RECORD else raw.strip()
        if line and not continued:
            yield number, line


def merged_lines(earlier: RecordFile, later: RecordFile) -> RecordFile:
    """A file of lines that was archived and then written on: the lines of both, each once, in order."""

    def both() -> IO[bytes]:
        with earlier.open() as first, later.open() as second:
            lines = dict.fromkeys(line for stream in (first, second) for _, line in numbered_lines(stream))
        return io.BytesIO(b"".join(line + b"\n" for line in lines))

    return RecordFile(later.name, later.source, both)


def _placed(found: ReadRecord | BadRecord, folder: FrameFolder) -> FrameRecord | BadRecord:
    if isinstance(found, BadRecord):
        return found
    try:
        return FrameRecord(folder.frame_of(found.record), found.record, found.source)
    except BadInputError as error:
        return BadRecord(str(error), found.source, found.raw, found.record.image_path)


def _parsed(raw: bytes, source: str, number: int | None = None) -> ReadRecord | BadRecord:
    record = parse_record(raw, source)
    return record if isinstance(record, BadRecord) else ReadRecord(record, raw, source, number)


def _encoding_problem(raw: bytes) -> str | None:
    """Why bytes are no text; None when they are."""
    try:
        decode_text(raw, "it")
    except BadInputError as error:
        return str(error)
    return None


def _read_document(file: RecordFile, stream: IO[bytes]) -> Iterator[ReadRecord | BadRecord]:
    """The record of a JSON file, or those of an array."""
    raw = stream.read(LONGEST_RECORD + 1)
    encoding, length = encoding_of(raw[:4])
    if raw[length : length + _PEEK].decode(encoding, errors="replace").lstrip(_BLANK).startswith("["):
        stream.seek(length)
        yield from _read_array(file, io.TextIOWrapper(stream, encoding))
    elif _is_lines(raw[length:].decode(encoding, errors="replace")):
        stream.seek(0)
        yield from _read_lines(file, stream)
    elif len(raw) > LONGEST_RECORD:
        yield BadRecord(f"longer than {LONGEST_RECORD} bytes", file.source, raw[:_KEPT_OF_LONG])
    else:
        found = _parsed(raw, file.source)
        marked = length > 0 and isinstance(found, ReadRecord)
        yield replace(found, raw=decode_text(raw, "it").encode()) if marked else found


def _is_lines(text: str) -> bool:
    """Whether a text holds a record a line, whatever its file is called: its first line is an object, and not all."""
    first, _, rest = text.lstrip(_BLANK).partition("\n")
    if not first.rstrip(_BLANK).endswith("}") or not rest.strip(_BLANK):
        return False
    try:
        return is_json_object(json.loads(first))
    except (ValueError, RecursionError):
        return False


def _read_array(file: RecordFile, text: IO[str]) -> Iterator[ReadRecord | BadRecord]:
    number = 0
    try:
        for number, (element, value) in enumerate(_array_elements(text, LONGEST_RECORD), start=1):
            if is_json_object(value) and "image_path" not in value and "box" in value:
                yield BadRecord(_ULTRALYTICS, file.source, element.encode())
                return
            yield _parsed(element.encode(), f"{file.source}:{number}", number)
        if number == 0:
            yield BadRecord("an empty list: it holds no record", file.source, b"[]")
    except BadInputError as error:
        yield BadRecord(f"{error}; what follows in the file is not read", f"{file.source}:{number + 1}", b"")


def _array_elements(text: IO[str], longest: int) -> Iterator[tuple[str, Any]]:
    """The elements of a JSON array, each as it is written and as parsed: an hour in one array may exceed memory.

    Args:
        text: at its start; strict about its encoding.
        longest: characters of an element beyond which it is not read.

    Raises:
        BadInputError: no text in its encoding, no JSON, or an element that is too long. What came before was yielded.
    """
    window = _Window(text)
    decoder = json.JSONDecoder()
    if window.next() != "[":
        raise BadInputError("it is no list")
    window.skip()
    if window.next() == "]":
        window.end()
        return
    while True:
        window.next()
        while True:
            try:
                value, end = decoder.raw_decode(window.text, window.place)
                break
            except (json.JSONDecodeError, RecursionError):
                if len(window.text) - window.place > longest:
                    raise BadInputError(f"an element that is no JSON, or longer than {longest} characters") from None
                if not window.more():
                    raise BadInputError("an element that is no JSON, or the file is cut off") from None
        yield window.text[window.place : end], value
        window.place = end
        after = window.next()
        if after == "]":
            window.end()
            return
        if after != ",":
            raise BadInputError("',' is missing after an element, or the file is cut off")
        window.skip()


class _Window:
    """The part of a text that is being looked at."""

    def __init__(self, stream: IO[str]) -> None:
        self.text = ""
        self.place = 0
        self._stream = stream

    def next(self) -> str:
        """The next character that is not white space; ``""`` at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place] in _BLANK:
                self.place += 1
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def skip(self) -> None:
        """Pass the character that ``next`` showed."""
        self.place += 1

    def end(self) -> None:
        """Pass the character that ``next`` showed, which must be the last one."""
        self.skip()
        if self.next():
            raise BadInputError("the list ends before the file does")

    def more(self) -> bool:
        """Read on; False at the end."""
        try:
            read = self._stream.read(_CHUNK)
        except UnicodeDecodeError:
            raise BadInputError("it is not UTF-8; save it as UTF-8") from None
        self.text, self.place = self.text[self.place :] + read, 0
        return bool(read)


def _read_lines(file: RecordFile, stream: IO[bytes]) -> Iterator[ReadRecord | BadRecord]:
    start = stream.read(_KEPT_OF_LONG)
    problem = _encoding_problem(start[:2])
    if problem is not None and "UTF-16" in problem:
        yield BadRecord(problem, file.source, start)  # its lines cannot be told
        return
    stream.seek(0)
    for number, line in numbered_lines(stream):
        source = f"{file.source}:{number}"
        if len(line) > LONGEST_RECORD:
            yield BadRecord(f"longer than {LONGEST_RECORD} bytes", source, line[:_KEPT_OF_LONG])
        else:
            yield _parsed(line, source, number)
