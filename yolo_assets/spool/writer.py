"""Writes the hours of one camera so that a crash at any moment loses at most the current frame, and counts it.

Files of an hour, next to the images:

- ``records.ndjson``: one line per processed frame, in one ``write`` each. A line that a power cut tore is ended with a
  newline when the hour is opened again: it stays, reads as a bad record, and no good line is touched.
- ``drops.log``: one JSON line per frame that was captured and not processed, with the reason and its number
  (``count``: one line for so many of them, with the first's number). It is what keeps the accounting right after a
  crash, and is archived with the hour.
- ``.sealed.list`` and ``.sealed.dsse``: what the device signs of the hour, see ``sealing``.
- ``.sealed``: written last, from what is on disk and not from memory. An image without a record, or a torn line, is
  a frame that a crash caught unfinished: it is noted as dropped, reason ``interrupted``, before the seal counts.

A frame that comes after the seal, or after the archiver took the hour, is *late*: image and a one-line
``<frame>.late.ndjson`` (a drop: ``<time>.<number>.late-drop.log``) are added, each whole and under a new name. No file
that may be archived already is touched, and the seal stays as it was; the late files are the archiver's next part.

An open hour holds a shared lock on its folder, so the archiver never takes an hour from under its writer. The hours of
a camera have one writer, held by a lock on the camera's folder. A finished file is never deleted here: that is the
archiver's.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from yolo_assets.contracts.detection import IMAGE_SHA256, DetectionRecord
from yolo_assets.contracts.names import (
    RECORDS_FILE,
    SEALED,
    SEALED_LIST,
    SEALED_SIGNATURE,
    UPLOADED,
    check_id,
    frame_name,
)
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.runtime.files import FolderBusyError, fsync_file, fsync_folder, is_full, lock_folder, write_all
from yolo_assets.spool.files import SpoolFullError, full_error, write_atomic
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.sealing import write_signature
from yolo_assets.spool.traces import (
    DROPS_FILE,
    INTERRUPTED,
    LATE_DROP,
    LATE_RECORD,
    count_hour,
    read_traces,
    used_stems,
)

log = logging.getLogger(__name__)

Fsync = Literal["frame", "interval", "hour"]
"""When what is written is safe from a power cut. ``frame``: when ``write`` returns. ``interval``: when ``sync`` was
called after it. ``hour``: when the hour is sealed. A killed process loses nothing in any of them."""


class SpoolWriter:
    """The one writer of a camera. Safe to call from several threads; different hours do not wait for each other."""

    def __init__(
        self, spool: Path, camera_id: str, device_id: str, *, fsync: Fsync = "hour", signer: Signer | None = None
    ) -> None:
        """Take the camera's folder, made when missing.

        Args:
            spool: root of the spool.
            camera_id: letters, digits, ``_`` and ``-``.
            device_id: goes into the seals.
            fsync: see ``Fsync``.
            signer: the device's key, which signs the seals; None: they are not signed.

        Raises:
            BadInputError: the camera id is none.
            FolderBusyError: another process writes this camera.
        """
        self.spool = spool
        self.camera_id = check_id(camera_id)
        self.device_id = device_id
        self.bytes_written = 0
        self._fsync: Fsync = fsync
        self._signer = signer
        self._hours: dict[Hour, OpenHour] = {}
        self._guard = threading.Lock()
        folder = spool / camera_id
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(
            folder, f"camera {camera_id} in {spool} already has a writer; stop the other one first"
        )

    def write(self, captured_at: datetime, record: DetectionRecord, jpeg: bytes | None) -> DetectionRecord:
        """Add one processed frame to the hour of its capture.

        Args:
            captured_at: aware; gives hour and frame name (``_n`` is added when the name is taken).
            record: of the frame; ``image_path``, ``image_saved``, ``camera_id`` and ``captured_at`` are set here.
            jpeg: the image, or None when only the record is kept.

        Returns:
            The record as it was written: ``image_path`` is ``<camera>/<hour>/<frame>.jpg``, relative to the spool, also
            when no image is kept.

        Raises:
            SpoolFullError: no room; the frame is in neither the image files nor the records.
            BadInputError: ``captured_at`` has no zone.
        """
        hour = self._open(Hour.of(captured_at))
        with hour.guard:
            written, size = hour.add(captured_at, record, jpeg)
        with self._guard:
            self.bytes_written += size
        return written

    def drop(
        self,
        captured_at: datetime,
        reason: str,
        jpeg: bytes | None = None,
        *,
        count: int = 1,
        sequence: int | None = None,
        claims: Sequence[str] = (),
    ) -> None:
        """Count captured frames that were not processed, by reason; survives a crash like a record does.

        Args:
            captured_at: aware; gives the hour.
            reason: why nothing processed it.
            jpeg: the image, where it is kept all the same, for example because there is no model yet.
            count: how many, of the same hour.
            sequence: the frame's number, of many frames the first's.
            claims: what a crash left of them, as ``traces.read_traces`` names it.

        Raises:
            SpoolFullError: no room.
        """
        hour = self._open(Hour.of(captured_at))
        with hour.guard:
            hour.add_drop(captured_at, reason, jpeg, count, sequence, claims)
        with self._guard:
            self.bytes_written += len(jpeg or b"")

    def seal(self, hour: Hour) -> Seal:
        """Complete an hour: count what is on disk, make it durable, write ``.sealed`` last, let the archiver have it.

        Sealing again returns the seal that is there. An hour without a frame gets a seal that says so.

        Raises:
            FolderBusyError: the hour closed by itself and the archiver took it.
        """
        opened = self._open(hour)
        try:
            with opened.guard:
                return opened.seal(self.device_id, self._signer)
        finally:
            with self._guard:
                if self._hours.get(hour) is opened:
                    del self._hours[hour]
            opened.close()

    def sync(self) -> None:
        """Make all that is written so far durable, with ``fsync="interval"``; no writer waits for it.

        Raises:
            OSError: the disk fails; the same files are tried again next time.
        """
        with self._guard:
            opened = list(self._hours.values())
        for hour in opened:
            hour.sync()

    def close(self) -> None:
        """Flush and close everything; the current hour stays unsealed, and the next writer continues it."""
        with self._guard:
            closing, self._hours = list(self._hours.values()), {}
            lock, self._lock = self._lock, -1
        for opened in closing:
            opened.close(durable=True)
        if lock >= 0:
            os.close(lock)

    def __enter__(self) -> SpoolWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, hour: Hour) -> OpenHour:
        with self._guard:
            if self._lock < 0:
                raise RuntimeError("the spool writer is closed")
            found = self._hours.get(hour)
            if found is None:
                path = SpoolHour.of(self.spool, self.camera_id, hour)
                try:
                    found = self._hours[hour] = OpenHour(path, self._fsync)
                except OSError as error:
                    if is_full(error):
                        raise full_error(path.path) from None
                    raise
            return found


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

    def add(self, captured_at: datetime, record: DetectionRecord, jpeg: bytes | None) -> tuple[DetectionRecord, int]:
        """Add a processed frame; the record as written, and the bytes of record and image."""
        name = self._take_name(captured_at, jpeg)
        written = record.model_copy(
            update={
                "image_path": f"{self._hour.camera_id}/{self._hour.hour}/{name}",
                "image_saved": jpeg is not None,
                "camera_id": self._hour.camera_id,
                "captured_at": captured_at,
                **({IMAGE_SHA256: hashlib.sha256(jpeg).hexdigest()} if jpeg is not None else {}),
            }
        )
        try:
            # image_path comes first so that even most of a torn line still names its frame.
            line = written.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
            self._append(RECORDS_FILE, f"{name.removesuffix('.jpg')}{LATE_RECORD}", line)
        except BaseException:
            if jpeg is not None:
                (self._hour.path / name).unlink()
            raise
        self._stems.add(name.removesuffix(".jpg"))
        return written, len(line) + len(jpeg or b"")

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
            drop[IMAGE_SHA256] = hashlib.sha256(jpeg).hexdigest()
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

    def seal(self, device_id: str, signer: Signer | None) -> Seal:
        """Make everything durable and write the seal, or give back the one that is there."""
        there = self._hour.seal()
        if there is not None:
            return there
        if self._late:
            raise FolderBusyError(
                f"hour {self._hour.name} was archived before it was sealed; it cannot be sealed any more"
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
        path, data = self._hour.path / SEALED, seal.to_json()
        try:
            if signer is not None:
                write_signature(self._hour, seal, traces.hashes, signer)
            write_atomic(path, data)
        except SpoolFullError as error:
            if signer is None:
                raise
            # Only the archiver makes room, and it waits for the seal.
            log.error("hour %s is sealed without the device's signature: %s", self._hour.name, error)
            for name in (SEALED_LIST, SEALED_SIGNATURE):
                (self._hour.path / name).unlink(missing_ok=True)
            write_atomic(path, data)
        self._late = True
        return seal

    def sync(self) -> None:
        """Make what is written so far durable: images first, so that no durable record names one that is not.

        The guard is held only to see what there is; a slow disk keeps no one from writing.
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
            self._late = True  # a thread that still holds this object must not write to closed files

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
