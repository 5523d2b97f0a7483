"""Every frame's entry and outcome, counted and written at once: counts and spool never disagree.

A drop that the spool cannot take, because its disk is full or the process is killed, stays in the frame journal and is
written into the hour later: as soon as there is space, or by the next run, always before the hour is sealed.

Belongs here: what is written about a frame, and sealing hours. Does not belong here: what to write (``worker``), the
counts (``spool.frame_journal``) and the files of an hour (``spool.writer``).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.detection import DetectionRecord, Quality
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.frames import FrameId
from yolo_assets.contracts.names import frame_name
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour
from yolo_assets.edge.lots.book import Lot
from yolo_assets.edge.types import DropReason, Frame
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.spool.files import SpoolFullError, full_error
from yolo_assets.spool.frame_journal import CameraTotals, FrameJournal, PendingDrop, PendingDrops
from yolo_assets.spool.hours import SpoolHour, list_hours
from yolo_assets.spool.traces import INTERRUPTED, last_sequence, read_traces
from yolo_assets.spool.writer import Fsync, SpoolWriter, is_taken

log = logging.getLogger(__name__)
_REPORT_EVERY = 30.0
_LAST_BYTES, _LAST_SHARE = 4 << 20, 0.01


def new_record(
    frame: Frame,
    detections: list[dict[str, Any]],
    *,
    model_version: str,
    device_id: str,
    inference_ms: float,
    quality: Quality,
    lot: Lot | None = None,
    batch_id: str | None = None,
    class_list: ClassList | None = None,
) -> DetectionRecord:
    """The whole record of a processed frame.

    The spool writer only changes the path, where its name is taken, and whether a picture is there.

    Args:
        frame: what was processed.
        detections: as ``vision`` gives them: ``bbox`` in pixels, ``class``, ``confidence``, ``timestamp``.
        model_version: ``<name>/<version>`` of the model that saw the frame.
        device_id: this device.
        inference_ms: the model alone, with its pre- and post-processing.
        quality: figures of the picture.
        lot: what was in front of the camera then; a code in the picture comes before it.
        batch_id: production batch of the configuration, where nobody gave a lot; where it is None, the source's.
        class_list: that the model names; the record then says which version of it gave the classes their names.

    Raises:
        ValidationError: the model gave what no record may hold, such as NaN.
    """
    height, width = frame.image.shape[:2]
    batch = frame.batch_shown or (lot.batch_id if lot is not None else batch_id or frame.batch_id)
    part = frame.part_shown or (lot.part_id if lot is not None and lot.batch_id == batch else None)
    document = {
        "image_path": f"{frame.camera_id}/{frame.id.hour}/{frame_name(frame.captured_at)}",
        "detections": detections,
        "model_version": model_version,
        "device_id": device_id,
        "schema_version": 1,
        "camera_id": frame.camera_id,
        "sequence": frame.sequence,
        "captured_at": frame.captured_at,
        "width": width,
        "height": height,
        "inference_ms": round(inference_ms, 3),
        "image_saved": False,
        "batch_id": batch,
        "quality": quality.model_copy(update={"frozen": True}) if frame.frozen else quality,
    }
    if part is not None:
        document["part_id"] = part
    if class_list is not None:
        document["class_list"] = class_list.label
    if frame.origin is not None:
        document["source_file"] = frame.origin.name
    if frame.mask_version is not None:
        document["mask_version"] = frame.mask_version
    if not frame.time_trusted:
        document |= {"time_trusted": False, "boot_id": frame.boot_id, "monotonic_s": frame.monotonic_s}
    return DetectionRecord.model_validate(document)


class FrameRecorder:
    """The agent's only way to the spool.

    Args:
        spool: its root.
        cameras: every camera that will write.
        device_id: goes into the seals.
        journal: file of the counts that outlive the process; None keeps them in memory only.
        fsync: see ``spool.writer.Fsync``; with ``interval`` the caller must call ``sync``.
        signer: the device's key, for the seals; None: they are not signed.

    Raises:
        BadInputError: the spool cannot be written.
        FolderBusyError: another agent writes one of the cameras.
    """

    def __init__(
        self,
        spool: Path,
        cameras: list[str],
        device_id: str,
        *,
        journal: Path | None = None,
        fsync: Fsync = "hour",
        signer: Signer | None = None,
    ) -> None:
        self._spool = spool
        self._device_id = device_id
        self._reported = -_REPORT_EVERY
        self._closed = False
        self.trouble: str | None = None
        """What the spool last refused; None again once a frame was written."""
        self._pending: dict[tuple[str, Hour], PendingDrops] = {}
        self._guard = threading.Lock()
        self._writers: dict[str, SpoolWriter] = {}
        try:
            for camera in cameras:
                self._writers[camera] = SpoolWriter(spool, camera, device_id, fsync=fsync, signer=signer)
        except OSError as error:
            self._close_writers()
            raise BadInputError(
                f"cannot write the spool {spool}: {error.strerror}; give a folder that this user may write"
            ) from None
        except UserError:
            self._close_writers()
            raise
        self.journal = FrameJournal(cameras, journal)
        for camera in cameras if journal is not None else []:
            self._skip_used_numbers(camera)

    @property
    def bytes_written(self) -> int:
        """Bytes of images and records since the start."""
        return sum(writer.bytes_written for writer in self._writers.values())

    def next_sequence(self, camera: str) -> int:
        """The number of the camera's next frame: it continues where an earlier run ended."""
        return self.journal.totals(camera).next

    def lifetime(self) -> dict[str, CameraTotals]:
        """The counts of every camera over all runs, as far back as the journal goes."""
        return {camera: self.journal.totals(camera) for camera in self._writers}

    def enter(self, frame: Frame) -> None:
        """Count a captured frame."""
        self.journal.captured(frame.id)

    def drop(self, frame: Frame, reason: DropReason) -> None:
        """Close a frame that has no record. Where the disk cannot take the note it is written later."""
        if self._closed:  # an inference that came back after the stop
            self.journal.dropped_without_trace(frame.id, reason)
        else:
            self._drop(frame.id, reason, self.journal.dropped)
        if frame.origin is not None:
            frame.origin.settled(reason)

    def write(self, frame: Frame, record: DetectionRecord, jpeg: bytes | None) -> DetectionRecord | None:
        """Write a processed frame and close it. Where only the image has no space, the record is kept without it.

        Returns:
            The record as it was written; None when the spool refused it and the frame was counted as dropped.
        """
        if self._closed:
            self.drop(frame, "stopped")
            return None
        writer = self._writers[frame.camera_id]
        try:
            self._keep_reserve()
            try:
                written = writer.write(frame.captured_at, record, jpeg)
            except SpoolFullError as error:
                if jpeg is None:
                    raise
                written = writer.write(frame.captured_at, record, None)
                self._report(error)
            else:
                self.trouble = None
        except SpoolFullError as error:
            self._report(error)
            self.drop(frame, "disk_full")
            return None
        except (UserError, OSError) as error:
            self._report(error)
            self.drop(frame, "spool_error")
            return None
        self.journal.processed(frame.id)
        if frame.origin is not None:
            frame.origin.settled("processed")
        return written

    def seal_over(self, camera: str, mark: datetime) -> list[Hour]:
        """Seal the hours of a camera that are over and have no frame in flight.

        Args:
            camera: the camera.
            mark: every frame of this camera before this moment has been entered.
        """
        return self._seal(camera, [hour for hour in self.journal.hours(camera) if hour.end <= mark])

    def seal_all(self, camera: str) -> list[Hour]:
        """Seal every hour of a camera whose source has ended: nothing will come any more."""
        return self._seal(camera, self.journal.hours(camera))

    def recover(self, camera: str, mark: datetime) -> int:
        """Note what a killed run left without a trace, and seal the hours before ``mark`` that it left open.

        Returns:
            How many hours were sealed.
        """
        try:
            self._settle_earlier_run(camera)
            self.write_pending_drops()
            for spool_hour in list_hours(self._spool, camera):
                if not is_taken(spool_hour.path):
                    self.journal.add_hour(camera, spool_hour.hour)
        except (UserError, OSError) as error:
            self._report(error)
            return 0
        return len(self.seal_over(camera, mark))

    def write_pending_drops(self) -> None:
        """Write the drops that a full disk refused, once there is space."""
        with self._guard:
            pending = list(self._pending)
        try:
            for camera, hour in pending:
                self._write_pending(camera, hour, use_reserve=False)
        except (UserError, OSError) as error:
            self._report(error)

    def sync(self) -> None:
        """Make durable what is written, with ``fsync: interval``."""
        try:
            for writer in self._writers.values():
                writer.sync()
            self.journal.sync()
        except (UserError, OSError) as error:
            self._report(error)

    def close(self) -> None:
        """Close all files; open hours stay open, and the next run continues them."""
        self._closed = True
        self._close_writers()
        self.journal.close()

    def _close_writers(self) -> None:
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError as error:
                self._report(error)

    def _drop(self, frame: FrameId, reason: str, settle: Callable[..., None], claims: tuple[str, ...] = ()) -> None:
        """Note a frame without a record; where the disk refuses, remember it, in a way that outlives a kill."""
        try:
            self._keep_reserve()
            self._writers[frame.camera_id].drop(frame.captured_at, reason, sequence=frame.sequence, claims=claims)
        except (UserError, OSError) as error:
            self._report(error)
            with self._guard:
                pending = self._pending.setdefault((frame.camera_id, frame.hour), {})
                of = next((of for of in pending if of[0] == reason), (reason, frame.sequence))
                pending[of] = pending.get(of, PendingDrop()).plus(claims)
                settle(frame, reason, pending=of[1], claims=claims)
            return
        settle(frame, reason)

    def _skip_used_numbers(self, camera: str) -> None:
        """Never give a number twice, also where the journal is lost or older than the records: after a power cut."""
        try:
            hours = list_hours(self._spool, camera)
            self.journal.skip_to(camera, max((last_sequence(hour) for hour in hours[-2:]), default=-1) + 1)
        except (UserError, OSError) as error:
            self._report(error)

    def _settle_earlier_run(self, camera: str) -> None:
        """Give every frame that a killed run left open its outcome: the one its hour's files tell, or interrupted.

        What an archiver took and deleted meanwhile can no longer be asked; it keeps files for days, and a start takes
        seconds.
        """
        for key, unsettled in self.journal.totals(camera).hours.items():
            hour = Hour.from_key(key)
            traces = read_traces(SpoolHour.of(self._spool, camera, hour))
            claimed = {name for drop in unsettled.drops.values() for name in drop.claims}
            for (reason, first), drop in unsettled.drops.items():
                if first in traces.notes:  # killed between the note and its count
                    self.journal.noted(camera, hour, reason, first)
                else:
                    with self._guard:
                        self._pending.setdefault((camera, hour), {})[reason, first] = drop
            unclaimed = [*traces.unclaimed, *((line,) for line in traces.torn_drops)]
            unclaimed = [names for names in unclaimed if claimed.isdisjoint(names)]
            for sequence in unsettled.frames:
                frame = FrameId(camera, sequence, hour.start)
                if sequence in traces.records:
                    self.journal.settle_processed(frame)
                elif sequence in traces.notes:
                    self.journal.settle_dropped(frame, traces.notes[sequence])
                else:
                    claims = unclaimed.pop(0) if unclaimed else ()
                    self._drop(frame, INTERRUPTED, self.journal.settle_dropped, claims)

    def _write_pending(self, camera: str, hour: Hour, *, use_reserve: bool) -> None:
        """Write the drops of an hour that are not on disk; ``use_reserve``: also into the disk's last megabytes.

        Raises:
            SpoolFullError: still no space for them.
        """
        with self._guard:
            drops = self._pending.pop((camera, hour), {})
        for (reason, first), drop in sorted(drops.items()):
            try:
                if not use_reserve:
                    self._keep_reserve()
                self._writers[camera].drop(hour.start, reason, count=drop.count, sequence=first, claims=drop.claims)
                self.journal.noted(camera, hour, reason, first)
            except BaseException:
                with self._guard:
                    self._pending.setdefault((camera, hour), {}).update(drops)
                raise
            del drops[reason, first]

    def _keep_reserve(self) -> None:
        """Keep the disk's last megabytes for seals and for the archiver, which alone frees space."""
        status = os.statvfs(self._spool)
        if status.f_bavail * status.f_frsize < min(_LAST_BYTES, _LAST_SHARE * status.f_blocks * status.f_frsize):
            raise full_error(self._spool)

    def _seal(self, camera: str, hours: list[Hour]) -> list[Hour]:
        sealed: list[Hour] = []
        for hour in hours:
            if self.journal.hour(camera, hour).in_flight:
                continue
            try:
                self._write_pending(camera, hour, use_reserve=True)  # without its seal the hour is never archived
                seal = self._writers[camera].seal(hour)
                log.info("sealed %s %s: %d records, %d images", camera, hour, seal.records, seal.frames)
            except FolderBusyError:
                log.warning("%s %s was archived before it was sealed", camera, hour)
            except (UserError, OSError) as error:
                self._report(error)
                continue
            if self.journal.forget_hour(camera, hour):
                sealed.append(hour)
        return sealed

    def _report(self, error: Exception) -> None:
        """Remember what is wrong until a frame is written again, and log it, but not once for each frame."""
        self.trouble = str(error) or type(error).__name__
        if time.monotonic() - self._reported >= _REPORT_EVERY:
            self._reported = time.monotonic()
            log.error("the spool takes no writes: %s", self.trouble)
