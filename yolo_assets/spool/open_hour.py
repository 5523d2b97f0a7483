"""One hour while it is being written: names, appends, the seal; or, once it is taken, late files.

Belongs here: the file operations of one hour. Does not belong here: which hours are open and who may write (``writer``,
whose docstring describes the files).
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from yolo_assets.contracts.names import RECORDS_FILE, SEALED, UPLOADED, frame_name
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.runtime.files import FolderBusyError, fsync_file, fsync_folder, is_full, lock_folder, write_all
from yolo_assets.spool.accounting import (
    DROPS_FILE,
    INTERRUPTED,
    LATE_DROP,
    LATE_RECORD,
    count_hour,
    read_traces,
    used_stems,
)
from yolo_assets.spool.files import full_error, write_atomic
from yolo_assets.spool.hours import SpoolHour


class OpenHour:
    """One hour being written. ``guard`` is held around every call but ``close`` and ``sync``."""

    def __init__(self, hour: SpoolHour, fsync: Literal["frame", "interval", "hour"]) -> None:
        """Make the folder when missing and take a share of its lock; without one the hour is late."""
        self.guard = threading.Lock()
        self._durable = fsync == "frame"
        self._noted = fsync == "interval"
        self._unsynced: list[str] = []
        self._hour = hour
        self._files: dict[str, int] = {}
        self._lock = -1
        hour.path.mkdir(exist_ok=True)
        try:
            self._lock = lock_folder(hour.path, f"hour {hour.name} is being archived", shared=True)
        except FolderBusyError:
            pass  # a producer never waits for the archiver: what comes now is late
        self._late = self._lock < 0 or is_taken(hour.path)
        self._stems = used_stems(hour)
        if self._late:
            self._unlock()  # late files need no lock, and the archiver must be able to take them

    def add(self, captured_at: datetime, record: Mapping[str, Any], jpeg: bytes | None) -> tuple[str, int]:
        """Add a processed frame; its path relative to the spool, and the bytes written."""
        name = self._take_name(captured_at, jpeg)
        path = f"{self._hour.camera_id}/{self._hour.hour}/{name}"
        own: dict[str, Any] = {
            "captured_at": format_time(captured_at),
            "camera_id": self._hour.camera_id,
            "image_path": path,
            "image_saved": jpeg is not None,
        }
        # image_path comes first so that even most of a torn line still names its frame.
        whole = {"image_path": path} | dict(record) | own
        try:
            line = orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
            self._append(RECORDS_FILE, f"{name.removesuffix('.jpg')}{LATE_RECORD}", line)
        except BaseException:
            if jpeg is not None:
                (self._hour.path / name).unlink()
            raise
        self._stems.add(name.removesuffix(".jpg"))
        return path, len(line) + len(jpeg or b"")

    def add_drop(
        self,
        captured_at: datetime,
        reason: str,
        jpeg: bytes | None,
        count: int,
        sequence: int | None,
        claims: Sequence[str],
    ) -> None:
        """Add frames that were not processed; ``jpeg`` goes with one only."""
        drop: dict[str, Any] = {"captured_at": format_time(captured_at), "reason": reason}
        if sequence is not None:
            drop["sequence"] = sequence
        if count > 1:
            drop["count"] = count
        if claims:
            drop["claims"] = list(claims)
        if jpeg is not None:
            drop["image"] = name = self._take_name(captured_at, jpeg)
            self._stems.add(name.removesuffix(".jpg"))
        # Late, the file of an earlier note may have been archived and reclaimed: one of the same name and content would
        # be taken for it, and deleted as archived. So each has a number of its own, in both.
        if self._late:
            drop["note"] = uuid.uuid4().hex
        line = orjson.dumps(drop, option=orjson.OPT_APPEND_NEWLINE)
        stem = frame_name(captured_at).removesuffix(".jpg")
        self._append(DROPS_FILE, f"{stem}.{drop.get('note')}{LATE_DROP}", line)

    def _take_name(self, captured_at: datetime, jpeg: bytes | None) -> str:
        """The first free name of a frame; its image, if there is one, is written under it."""
        again = 0
        while True:
            name = frame_name(captured_at, again)
            again += 1
            if name.removesuffix(".jpg") in self._stems:
                continue
            if jpeg is not None:
                try:
                    write_atomic(self._hour.path / name, jpeg, exclusive=True, durable=self._durable)
                except FileExistsError:
                    continue
                self._note(name)
            return name

    def seal(self, device_id: str) -> Seal:
        """Make everything durable and write the seal, or give back the one that is there."""
        there = self._hour.seal()
        if there is not None:
            return there
        if self._late:
            raise FolderBusyError(
                f"hour {self._hour.name} was taken by the archiver unsealed; it is not sealed any more"
            )
        # What a crash left is claimed by a note: what comes to the hour later is then not taken for it.
        traces = read_traces(self._hour)
        for left in traces.unclaimed:
            self.add_drop(self._hour.hour.start, INTERRUPTED, None, 1, None, left)
        self._flush()
        for member in self._hour.members():
            fsync_file(self._hour.path / member.name)
        fsync_folder(self._hour.path)
        seal = count_hour(self._hour, traces, device_id, utc_now())
        write_atomic(self._hour.path / SEALED, seal.to_json())
        self._late = True
        return seal

    def sync(self) -> None:
        """Make what is written so far durable: images first, so that no durable record names one that is not.

        The guard is held only to see what there is; a disk that takes long keeps nobody from writing.
        """
        with self.guard:
            names, self._unsynced = self._unsynced, []
            appended = [os.dup(descriptor) for descriptor in self._files.values()]
        try:
            while names:
                try:
                    fsync_file(self._hour.path / names[-1])
                except FileNotFoundError:
                    pass  # the hour was sealed, archived and reclaimed meanwhile
                names.pop()
            for descriptor in appended:
                os.fsync(descriptor)
            if self._hour.path.is_dir():
                fsync_folder(self._hour.path)
        except OSError:
            with self.guard:
                self._unsynced += names
            raise
        finally:
            for descriptor in appended:
                os.close(descriptor)

    def _note(self, name: str) -> None:
        if self._noted:
            self._unsynced.append(name)

    def close(self, *, durable: bool = False) -> None:
        """Let go of files and lock."""
        with self.guard:
            if durable:
                self._flush()
                fsync_folder(self._hour.path)
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()
            self._unlock()
            self._late = True  # a thread that still holds this object must not write to files let go of

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _append(self, name: str, late_name: str, line: bytes) -> None:
        if self._late:
            write_atomic(self._hour.path / late_name, line, exclusive=True, durable=self._durable)
            self._note(late_name)
            return
        path = self._hour.path / name
        try:
            descriptor = self._file(name)
            before = os.fstat(descriptor).st_size
            try:
                write_all(descriptor, line)
                if self._durable:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)  # a half line would swallow the next one
                raise
        except OSError as error:
            if is_full(error):
                raise full_error(path) from None
            raise

    def _file(self, name: str) -> int:
        """The open file to append to, its last line whole."""
        descriptor = self._files.get(name)
        if descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._hour.path / name, flags, 0o644)
            try:
                _end_torn_line(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            self._files[name] = descriptor
        return descriptor

    def _flush(self) -> None:
        for descriptor in self._files.values():
            os.fsync(descriptor)


def _end_torn_line(descriptor: int) -> None:
    """Give a file that does not end in a newline one, so that the next line stands by itself."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        write_all(descriptor, b"\n")


def is_taken(path: Path) -> bool:
    """Whether an hour is sealed or archived: what comes now is late."""
    return (path / SEALED).exists() or (path / UPLOADED).exists()
