"""Which files of a drop folder were read: remembered across restarts, so that none is read twice and none is left out.

Belongs here: what is written down, and what a killed run left open. Does not belong here: finding files and moving them
(``drop_folder``).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import is_record_file
from yolo_assets.contracts.times import Hour, format_time, parse_time
from yolo_assets.edge.cameras.source import SourceError
from yolo_assets.runtime.files import write_atomic
from yolo_assets.spool.hours import SpoolHour

log = logging.getLogger(__name__)
_SPARE_LINES = 1000


@dataclass
class ReadFile:
    """One file that was read.

    Attributes:
        size: bytes, then.
        changed_ns: its modification time, then.
        captured_at: what its record says.
        done: whether its frame has an outcome for good.
        inode: as last seen; 0: not seen by this run.
    """

    size: int
    changed_ns: int
    captured_at: datetime
    done: bool = False
    inode: int = 0


class DropJournal:
    """The memory of one drop folder: a file of lines, written anew when most of them say nothing any more.

    A file is noted before its frame is captured and again once that has its outcome. What is noted once only was caught
    by a kill: the spool tells whether it has a record.

    Args:
        file: the journal.
        spool: where records are.
        camera_id: whose.

    Every method raises `SourceError` where the journal cannot be written.

    Raises:
        BadInputError: the journal cannot be read or written.
    """

    def __init__(self, file: Path, spool: Path, camera_id: str) -> None:
        self._path, self._spool, self._camera_id = file, spool, camera_id
        self.files: dict[str, ReadFile] = {}
        self._lines = 0
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            for line in file.read_bytes().splitlines() if file.exists() else ():
                self._read(line)
            self._write_anew()
        except OSError as error:
            raise BadInputError(
                f"camera {camera_id}: cannot write the journal {file}: {error.strerror}; let the agent's user do that"
            ) from None

    def begin(self, name: str, read: ReadFile) -> None:
        """Note a file whose frame is captured next."""
        self.files[name] = read
        self._append(name, read)

    def finish(self, name: str) -> None:
        """Note that the frame of a file has its outcome for good."""
        if (read := self.files.get(name)) is not None:
            read.done = True
            self._append(name, read)

    def forget(self, name: str) -> None:
        """The file is gone from the folder, or is to be read again."""
        if self.files.pop(name, None) is not None:
            self._append(name, None)

    def keep_only(self, names: Collection[str]) -> None:
        """Forget all files that are done and not among those in the folder."""
        for name in [name for name, read in self.files.items() if read.done and name not in names]:
            del self.files[name]

    def recorded(self, name: str) -> bool:
        """Whether the spool has the record of a file that was noted once only."""
        read = self.files[name]
        hour = SpoolHour.of(self._spool, self._camera_id, Hour.of(read.captured_at))
        at = format_time(read.captured_at)
        return any(one.get("source_file") == name and one.get("captured_at") == at for one in _records(hour.path))

    def _append(self, name: str, read: ReadFile | None) -> None:
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(_line(name, read))
            self._lines += 1
            if self._lines > 2 * len(self.files) + _SPARE_LINES:
                self._write_anew()
        except OSError as error:
            raise SourceError(f"cannot write the journal {self._path}: {error.strerror}; free space there") from None

    def _write_anew(self) -> None:
        write_atomic(self._path, b"".join(_line(name, read) for name, read in self.files.items()))
        self._lines = len(self.files)

    def _read(self, line: bytes) -> None:
        try:
            noted = orjson.loads(line)
            name = noted["name"]
            if noted.get("gone"):
                self.files.pop(name, None)
                return
            at = parse_time(noted["captured_at"])
            self.files[name] = ReadFile(int(noted["size"]), int(noted["changed_ns"]), at, bool(noted["done"]))
        except (ValueError, KeyError, TypeError):  # a power cut tears a line: its file is read again
            log.warning("camera %s: a line of %s cannot be read; it is left out", self._camera_id, self._path)


def _line(name: str, read: ReadFile | None) -> bytes:
    if read is None:
        noted: dict[str, Any] = {"name": name, "gone": True}
    else:
        noted = {
            "name": name,
            "size": read.size,
            "changed_ns": read.changed_ns,
            "captured_at": format_time(read.captured_at),
            "done": read.done,
        }
    return orjson.dumps(noted) + b"\n"


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for file in folder.iterdir() if folder.is_dir() else ():
        if is_record_file(file.name):
            for line in file.read_bytes().splitlines():
                try:
                    record = orjson.loads(line)
                except ValueError:  # torn by the kill
                    continue
                if isinstance(record, dict):
                    yield record
