"""Writes the hours of one camera so that a crash at any moment loses at most the frame in hand, and counts it.

Files of an hour, beside the images:

- ``records.ndjson``: one line per processed frame, in one ``write`` each. A line that a power cut tore is ended with a
  newline when the hour is opened again: it stays, reads as a bad record, and no good line is touched.
- ``drops.log``: one JSON line per frame that was captured and not processed, with the reason and its number
  (``count``: one line for so many of them, with the first's number). It is what keeps the accounting right after a
  crash, and is archived with the hour.
- ``.sealed``: written last, from what is on disk and not from memory. An image without a record, or a torn line, is
  a frame that a crash caught in hand: it is noted as dropped, reason ``interrupted``, before the seal counts.

A frame that comes after the seal, or after the archiver took the hour, is *late*: image and a one-line
``<frame>.late.ndjson`` (a drop: ``<time>.<number>.late-drop.log``) are added, each whole and under a new name. No file
that may be archived already is touched, and the seal stays as it was; the late files are the archiver's next part.

An open hour holds a shared lock on its folder, so the archiver never takes an hour from under its writer. The hours of
a camera have one writer, held by a lock on the camera's folder. A finished file is never deleted here: that is the
archiver's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour
from yolo_assets.runtime.files import is_full, lock_folder
from yolo_assets.spool.files import full_error
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.open_hour import OpenHour

Fsync = Literal["frame", "interval", "hour"]
"""When what is written is safe from a power cut. ``frame``: when ``write`` returns. ``interval``: when ``sync`` was
called after it. ``hour``: when the hour is sealed. A killed process loses nothing in any of them."""


class SpoolWriter:
    """The one writer of a camera. Safe to call from several threads; different hours do not wait for each other."""

    def __init__(self, spool: Path, camera_id: str, device_id: str, *, fsync: Fsync = "hour") -> None:
        """Take the camera's folder, made when missing.

        Args:
            spool: root of the spool.
            camera_id: letters, digits, ``_`` and ``-``.
            device_id: goes into the seals.
            fsync: see ``Fsync``.

        Raises:
            BadInputError: the camera id is none.
            FolderBusyError: another process writes this camera.
        """
        self.spool = spool
        self.camera_id = check_id(camera_id)
        self.device_id = device_id
        self.bytes_written = 0
        self._fsync: Fsync = fsync
        self._hours: dict[Hour, OpenHour] = {}
        self._guard = threading.Lock()
        folder = spool / camera_id
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(
            folder, f"camera {camera_id} in {spool} already has a writer; stop the other one first"
        )

    def write(self, captured_at: datetime, record: Mapping[str, Any], jpeg: bytes | None) -> str:
        """Add one processed frame to the hour of its capture.

        Args:
            captured_at: aware; gives hour and frame name (``_n`` is added when the name is taken).
            record: a detection record; ``image_path``, ``image_saved``, ``camera_id`` and ``captured_at`` are set here.
            jpeg: the image, or None when only the record is kept.

        Returns:
            ``<camera>/<hour>/<frame>.jpg``, relative to the spool, also when no image is kept.

        Raises:
            SpoolFullError: no room; the frame is in neither the image files nor the records.
            BadInputError: ``captured_at`` has no zone.
        """
        hour = self._open(Hour.of(captured_at))
        with hour.guard:
            path, size = hour.add(captured_at, record, jpeg)
        with self._guard:
            self.bytes_written += size
        return path

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
            claims: what a crash left of them, as ``accounting.read_traces`` names it.

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
                return opened.seal(self.device_id)
        finally:
            with self._guard:
                if self._hours.get(hour) is opened:
                    del self._hours[hour]
            opened.close()

    def sync(self) -> None:
        """Make all that is written so far durable, with ``fsync="interval"``; nobody who writes waits for it.

        Raises:
            OSError: the disk fails; the same files are tried again next time.
        """
        with self._guard:
            opened = list(self._hours.values())
        for hour in opened:
            hour.sync()

    def close(self) -> None:
        """Flush and let go of everything; the current hour stays unsealed, for the next writer to go on with."""
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
