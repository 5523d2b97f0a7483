"""Every frame's entry and end, in memory and on disk at once: the books and the spool never tell different stories.

A count that the spool cannot take, because its disk is full or the process is killed, is kept in the tally file and
written into the hour later: as soon as there is room, or by the next run, always before the hour is sealed.

Belongs here: what is written about a frame, and sealing hours. Does not belong here: what to write (``worker``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.pipeline.accounting import Accounting
from yolo_assets.edge.types import DropReason, Frame
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.spool.accounting import INTERRUPTED, last_sequence, read_traces
from yolo_assets.spool.files import SpoolFullError, full_error
from yolo_assets.spool.hours import SpoolHour, list_hours
from yolo_assets.spool.open_hour import is_taken
from yolo_assets.spool.tally import Batch, Row, Tally, Waiting
from yolo_assets.spool.writer import Fsync, SpoolWriter

log = logging.getLogger(__name__)
_TELL_EVERY = 30.0
_LAST_BYTES, _LAST_SHARE = 4 << 20, 0.01


class Ledger:
    """The agent's only way to the spool.

    Args:
        spool: its root.
        cameras: every camera that will write.
        device_id: goes into the seals.
        tally: file of the counts that outlive the process; None keeps them in memory only.
        fsync: see ``spool.writer.Fsync``; with ``interval`` somebody must call ``sync``.

    Raises:
        BadInputError: the spool cannot be written.
        FolderBusyError: another agent writes one of the cameras.
    """

    def __init__(
        self, spool: Path, cameras: list[str], device_id: str, *, tally: Path | None = None, fsync: Fsync = "hour"
    ) -> None:
        self.books = Accounting(cameras)
        self._spool = spool
        self._device_id = device_id
        self._told = -_TELL_EVERY
        self._closed = False
        self.trouble: str | None = None
        """What the spool last refused; None again once a frame was written."""
        self._unnoted: dict[tuple[str, Hour], Waiting] = {}
        self._guard = threading.Lock()
        self._writers: dict[str, SpoolWriter] = {}
        try:
            for camera in cameras:
                self._writers[camera] = SpoolWriter(spool, camera, device_id, fsync=fsync)
        except OSError as error:
            self.close()
            raise BadInputError(
                f"cannot write the spool {spool}: {error.strerror}; give a folder that this user may write"
            ) from None
        except UserError:
            self.close()
            raise
        self._tally = Tally(tally, cameras) if tally is not None else None
        for camera in cameras if self._tally else []:
            self._skip_used_numbers(camera)

    @property
    def bytes_written(self) -> int:
        """Bytes of images and records since the start."""
        return sum(writer.bytes_written for writer in self._writers.values())

    def next_sequence(self, camera: str) -> int:
        """The number of the camera's next frame: it goes on where an earlier run ended."""
        return self._tally.row(camera).next if self._tally else 0

    def lifetime(self) -> dict[str, Row]:
        """The counts of every camera over all runs, as far back as the tally file goes."""
        return {camera: self._tally.row(camera) for camera in self._writers} if self._tally else {}

    def enter(self, frame: Frame) -> None:
        """Enter a captured frame."""
        hour = Hour.of(frame.captured_at)
        if self._tally:
            self._tally.captured(frame.camera_id, hour, frame.sequence)
        self.books.captured(frame.camera_id, frame.sequence, hour)

    def drop(self, frame: Frame, reason: DropReason) -> None:
        """Close a frame that has no record. Where the disk cannot take the note it is written later."""
        if not self._closed:  # an inference that came back after the stop: the next start finds that it has no trace
            self._drop(frame.camera_id, frame.captured_at, frame.sequence, reason)
        self.books.dropped(frame.camera_id, frame.sequence, reason)

    def write(self, frame: Frame, record: Mapping[str, Any], jpeg: bytes | None) -> tuple[str | None, bool]:
        """Write a processed frame and close it. Where only the image finds no room, the record is kept without it.

        Returns:
            Its path relative to the spool, None when the spool refused it and it was counted as dropped; and whether
            its image is there.
        """
        if self._closed:
            self.drop(frame, "stopped")
            return None, False
        writer = self._writers[frame.camera_id]
        record = {**record, "sequence": frame.sequence}
        if not frame.time_trusted:
            record = {**record, "time_trusted": False, "boot_id": frame.boot_id, "monotonic_s": frame.monotonic_s}
        try:
            self._refuse_the_last_room()
            try:
                path = writer.write(frame.captured_at, record, jpeg)
            except SpoolFullError as error:
                if jpeg is None:
                    raise
                path, jpeg = writer.write(frame.captured_at, record, None), None
                self._complain(error)
            else:
                self.trouble = None
        except SpoolFullError as error:
            self._complain(error)
            self.drop(frame, "disk_full")
            return None, False
        except (UserError, OSError) as error:
            self._complain(error)
            self.drop(frame, "spool_error")
            return None, False
        if self._tally:
            self._tally.processed(frame.camera_id, Hour.of(frame.captured_at), frame.sequence)
        self.books.processed(frame.camera_id, frame.sequence)
        return path, jpeg is not None

    def seal_over(self, camera: str, mark: datetime) -> list[Hour]:
        """Seal the hours of a camera that are over and have no frame in flight.

        Args:
            camera: the camera.
            mark: every frame of this camera before this moment has been entered.
        """
        return self._seal(camera, [h for h in self.books.hours(camera) if h.end <= mark])

    def seal_all(self, camera: str) -> list[Hour]:
        """Seal every hour of a camera whose source has ended: nothing will come any more."""
        return self._seal(camera, self.books.hours(camera))

    def recover(self, camera: str, mark: datetime) -> int:
        """Note what a killed run left without a trace, and seal the hours before ``mark`` that it left open.

        Returns:
            How many hours were sealed.
        """
        try:
            self._settle(camera)
            self.note_late()
            for found in list_hours(self._spool, camera):
                if not is_taken(found.path):
                    self.books.know(camera, found.hour)
        except (UserError, OSError) as error:
            self._complain(error)
            return 0
        return len(self.seal_over(camera, mark))

    def note_late(self) -> None:
        """Write the drops that a full disk refused, once there is room."""
        with self._guard:
            waiting = list(self._unnoted)
        try:
            for camera, hour in waiting:
                self._note(camera, hour, last_room=False)
        except (UserError, OSError) as error:
            self._complain(error)

    def sync(self) -> None:
        """Make durable what is written, with ``fsync: interval``."""
        try:
            for writer in self._writers.values():
                writer.sync()
            if self._tally:
                self._tally.sync()
        except (UserError, OSError) as error:
            self._complain(error)

    def close(self) -> None:
        """Let go of the spool; open hours stay open, for the next run to go on with."""
        self._closed = True
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError as error:
                self._complain(error)
        tally = getattr(self, "_tally", None)
        if tally is not None:
            tally.close()

    def _drop(self, camera: str, at: datetime, sequence: int, reason: str, claims: tuple[str, ...] = ()) -> None:
        """Note a frame without a record; where the disk refuses, remember it, in a way that outlives a kill."""
        hour = Hour.of(at)
        try:
            self._refuse_the_last_room()
            self._writers[camera].drop(at, reason, sequence=sequence, claims=claims)
        except (UserError, OSError) as error:
            self._complain(error)
            with self._guard:
                waiting = self._unnoted.setdefault((camera, hour), {})
                of = next((of for of in waiting if of[0] == reason), (reason, sequence))
                waiting[of] = waiting.get(of, Batch()).plus(claims)
                if self._tally:
                    self._tally.dropped(camera, hour, sequence, reason, unnoted=of[1], claims=claims)
            return
        if self._tally:
            self._tally.dropped(camera, hour, sequence, reason)

    def _skip_used_numbers(self, camera: str) -> None:
        """Never give a number twice, also where the tally is lost or older than the records: after a power cut."""
        assert self._tally is not None
        try:
            hours = list_hours(self._spool, camera)
            self._tally.skip(camera, max((last_sequence(found) for found in hours[-2:]), default=-1) + 1)
        except (UserError, OSError) as error:
            self._complain(error)

    def _settle(self, camera: str) -> None:
        """Give every frame that a killed run left open its outcome: the one its hour's files tell, or interrupted.

        What an archiver took and deleted meanwhile can no longer be asked; it keeps files for days, and a start takes
        seconds.
        """
        if self._tally is None:
            return
        for key, waiting in self._tally.row(camera).hours.items():
            hour = Hour.from_key(key)
            traces = read_traces(SpoolHour.of(self._spool, camera, hour))
            claimed = {name for batch in waiting.unnoted.values() for name in batch.claims}
            for (reason, first), batch in waiting.unnoted.items():
                if first in traces.notes:  # killed between the note and its count
                    self._tally.noted(camera, hour, reason, first)
                else:
                    with self._guard:
                        self._unnoted.setdefault((camera, hour), {})[reason, first] = batch
            unclaimed = [*traces.unclaimed, *((line,) for line in traces.torn_drops)]
            unclaimed = [left for left in unclaimed if claimed.isdisjoint(left)]
            for sequence in waiting.frames:
                if sequence in traces.records:
                    self._tally.processed(camera, hour, sequence)
                elif sequence in traces.notes:
                    self._tally.dropped(camera, hour, sequence, traces.notes[sequence])
                else:
                    self._drop(camera, hour.start, sequence, INTERRUPTED, unclaimed.pop(0) if unclaimed else ())

    def _note(self, camera: str, hour: Hour, *, last_room: bool) -> None:
        """Write the drops of an hour that are not on disk; ``last_room``: also into the disk's last megabytes.

        Raises:
            SpoolFullError: still no room for them.
        """
        with self._guard:
            batches = self._unnoted.pop((camera, hour), {})
        for (reason, first), batch in sorted(batches.items()):
            try:
                if not last_room:
                    self._refuse_the_last_room()
                self._writers[camera].drop(hour.start, reason, count=batch.count, sequence=first, claims=batch.claims)
                if self._tally:
                    self._tally.noted(camera, hour, reason, first)
            except BaseException:
                with self._guard:
                    self._unnoted.setdefault((camera, hour), {}).update(batches)
                raise
            del batches[reason, first]

    def _refuse_the_last_room(self) -> None:
        """Keep the disk's last megabytes for seals and for the archiver, without whom it never gets empty again."""
        status = os.statvfs(self._spool)
        if status.f_bavail * status.f_frsize < min(_LAST_BYTES, _LAST_SHARE * status.f_blocks * status.f_frsize):
            raise full_error(self._spool)

    def _seal(self, camera: str, hours: list[Hour]) -> list[Hour]:
        sealed = []
        for hour in hours:
            if self.books.hour(camera, hour).in_flight:
                continue
            try:
                self._note(camera, hour, last_room=True)  # without its seal the hour is never archived
                seal = self._writers[camera].seal(hour)
                log.info("sealed %s %s: %d records, %d images", camera, hour, seal.records, seal.frames)
            except FolderBusyError:
                log.warning("%s %s was archived before it was sealed", camera, hour)
            except (UserError, OSError) as error:
                self._complain(error)
                continue
            if self.books.forget_hour(camera, hour):
                sealed.append(hour)
        return sealed

    def _complain(self, error: Exception) -> None:
        """Remember what is wrong until a frame is written again, and log it, but not once for each frame."""
        self.trouble = str(error) or type(error).__name__
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            log.error("the spool refuses: %s", self.trouble)
