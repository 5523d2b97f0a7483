"""Every frame's entry and end, in memory and on disk at once: the books and the spool never tell different stories.

Belongs here: what is written about a frame, and sealing hours. Does not belong here: what to write (``worker``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.accounting import Accounting, DropReason
from yolo_assets.edge.sources.base import Frame
from yolo_assets.spool.files import FolderBusyError, SpoolFullError
from yolo_assets.spool.writer import SpoolWriter

log = logging.getLogger(__name__)
_TELL_EVERY = 30.0


class Ledger:
    """The agent's only way to the spool."""

    def __init__(self, spool: Path, cameras: list[str], device_id: str) -> None:
        """Take the folders of all cameras.

        Raises:
            BadInputError: the spool cannot be written.
            FolderBusyError: another agent writes one of the cameras.
        """
        self.books = Accounting(cameras)
        self._told = -_TELL_EVERY
        self.trouble: str | None = None
        """What the spool last refused; None again once a frame was written."""
        self._writers: dict[str, SpoolWriter] = {}
        try:
            for camera in cameras:
                self._writers[camera] = SpoolWriter(spool, camera, device_id)
        except OSError as error:
            self.close()
            raise BadInputError(
                f"cannot write the spool {spool}: {error.strerror}; give a folder that this user may write"
            ) from None
        except UserError:
            self.close()
            raise

    @property
    def bytes_written(self) -> int:
        """Bytes of images and records since the start."""
        return sum(writer.bytes_written for writer in self._writers.values())

    def enter(self, frame: Frame) -> None:
        """Enter a captured frame."""
        self.books.captured(frame.camera_id, frame.sequence, Hour.of(frame.captured_at))

    def drop(self, frame: Frame, reason: DropReason) -> None:
        """Close a frame that has no record. A disk that is full loses the note, never the count in memory."""
        try:
            self._writers[frame.camera_id].drop(frame.captured_at, reason)
        except (UserError, OSError) as error:
            self._complain(error)
        self.books.dropped(frame.camera_id, frame.sequence, reason)

    def write(self, frame: Frame, record: Mapping[str, Any], jpeg: bytes | None) -> str | None:
        """Write a processed frame and close it.

        Returns:
            Its path relative to the spool; None when the spool refused it and it was counted as dropped.
        """
        try:
            path = self._writers[frame.camera_id].write(frame.captured_at, record, jpeg)
        except SpoolFullError as error:
            self._complain(error)
            self.drop(frame, "disk_full")
            return None
        except (UserError, OSError) as error:
            self._complain(error)
            self.drop(frame, "spool_error")
            return None
        self.trouble = None
        self.books.processed(frame.camera_id, frame.sequence)
        return path

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
        """Seal the hours before ``mark`` that an earlier run left open; how many there were."""
        try:
            return len(self._writers[camera].seal_before(mark))
        except (UserError, OSError) as error:
            self._complain(error)
            return 0

    def close(self) -> None:
        """Let go of the spool; open hours stay open, for the next run to go on with."""
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError as error:
                self._complain(error)

    def _seal(self, camera: str, hours: list[Hour]) -> list[Hour]:
        sealed = []
        for hour in hours:
            if self.books.hour(camera, hour).in_flight:
                continue
            try:
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
