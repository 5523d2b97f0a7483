"""What runs apart from the workers: sealing hours, watching the disk, reporting hung inferences, making writes durable.

None of it is waited for by a worker. Making writes durable has a thread of its own, because a disk may take long.
Nothing here deletes: when the disk fills, fewer pictures are written until the archiver has freed space.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.pipeline.capture import CameraThread
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.sampling import Sampler, stage_name
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import HungLease, SlotManager
from yolo_assets.runtime.threads import join
from yolo_assets.spool.pressure import Level, Stage, next_stage, reason

log = logging.getLogger(__name__)
_TICK = 0.2
_DISK_EVERY = 10.0
_SHARE_OF_TIME = 0.02
_SAVE_EVERY = 10.0
_REPORT_EVERY = 300.0
_CONSEQUENCES = {
    Stage.NORMAL: "all pictures are kept as configured again",
    Stage.FEWER: "fewer pictures without a detection are kept",
    Stage.RECORDS: "of frames without a detection only the record is kept",
    Stage.NO_IMAGES: "NO PICTURES ARE KEPT, records only; archive and reclaim hours, or give the spool more disk",
}


@dataclass(frozen=True)
class DiskState:
    """How full the spool's disk is, and what that costs.

    Attributes:
        spool_bytes: of the spool, at the last count and what was written since.
        used: share of the disk in use, 0 to 1; None when it cannot be measured.
        stage: what is given up.
        since: when the stage began.
        reason: why, for operators; empty in the normal stage.
        withheld: pictures that the stages cost since the start, by stage.
    """

    spool_bytes: int
    used: float | None
    stage: Stage
    since: datetime
    reason: str
    withheld: dict[str, int]

    @property
    def stage_name(self) -> str:
        """``normal``, ``fewer_normal``, ``records_only`` or ``no_images``."""
        return stage_name(self.stage)

    @property
    def alarm(self) -> str | None:
        """A line for the page when detections lose their pictures."""
        return f"{self.reason}: {_CONSEQUENCES[self.stage]}" if self.stage is Stage.NO_IMAGES else None


class Maintenance:
    """Seals hours, checks the disk and saves the clock, a few times a second."""

    def __init__(
        self,
        cameras: list[CameraThread],
        recorder: FrameRecorder,
        slots: SlotManager[LoadedModel],
        config: AgentConfig,
        sampler: Sampler,
        clock: DeviceClock,
    ) -> None:
        self._cameras = cameras
        self._recorder = recorder
        self._slots = slots
        self._spool = config.spool
        self._lease_seconds = config.lease_seconds
        self._watermarks = config.disk.watermarks()
        self._sampler = sampler
        self._clock = clock
        self.chores: list[Callable[[], None]] = []
        """Called at each round; each must return soon."""
        self.on_sealed: list[Callable[[str, Hour], None]] = []
        """Called with each hour of a camera that got its seal; each must return at once."""
        self._stop = threading.Event()
        self._counted = 0
        self._written = 0
        self._since = utc_now()
        self._reason = ""
        self._reported = 0.0
        self.hung: list[HungLease] = []
        self.sealed = 0
        self._threads = [threading.Thread(target=self._run, name="maintenance", daemon=True)]
        self._interval = config.disk.fsync == "interval"
        if self._interval:
            every = config.disk.fsync_seconds
            self._threads.append(threading.Thread(target=self._sync, args=(every,), name="fsync", daemon=True))

    def start(self) -> None:
        """Begin; the free space is measured before this returns. The spool is counted apart: that may take minutes."""
        self._check_disk()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, then seal once more what is over by now."""
        self._stop.set()
        for thread in self._threads:
            join(thread, 10.0)
        self._recorder.write_pending_drops()
        self._seal()
        if self._interval:
            self._recorder.sync()
        self._clock.save()

    @property
    def disk(self) -> DiskState:
        """How full the spool's disk is now."""
        try:
            usage = shutil.disk_usage(self._spool)
            used = round(usage.used / usage.total, 4) if usage.total else None
        except OSError:
            used = None
        stage = self._sampler.stage
        return DiskState(self.spool_bytes, used, stage, self._since, self._reason, self._sampler.withheld())

    @property
    def spool_bytes(self) -> int:
        """Bytes of the spool: at the last count, and what was written since."""
        return self._counted + max(0, self._recorder.bytes_written - self._written)

    def status(self) -> dict[str, Any]:
        """The section ``spool`` of ``GET /v1/status``."""
        disk = self.disk
        return {
            "path": str(self._spool),
            "bytes": disk.spool_bytes,
            "disk_used": disk.used,
            "stage": disk.stage_name,
            "stage_since": format_time(disk.since),
            "reason": disk.reason,
            "images_withheld": disk.withheld,
            "trouble": self._recorder.trouble or disk.alarm,
            "sealed_hours": self.sealed,
            "lifetime": {
                camera: {"captured": totals.captured, "processed": totals.processed, "dropped": totals.dropped}
                for camera, totals in self._recorder.lifetime().items()
            },
        }

    def _run(self) -> None:
        next_count = next_save = 0.0
        while not self._stop.is_set():
            try:
                self._check_disk()
                self._recorder.write_pending_drops()
                self._seal()
                self._check_leases()
                for chore in self.chores:
                    chore()
                now = time.monotonic()
                if now >= next_count:
                    self._count()
                    took = time.monotonic() - now
                    next_count = time.monotonic() + max(_DISK_EVERY, took / _SHARE_OF_TIME)
                if now >= next_save:
                    self._clock.save()
                    next_save = now + _SAVE_EVERY
            except Exception:
                log.exception("maintenance failed; it continues")
            self._stop.wait(_TICK)

    def _sync(self, every: float) -> None:
        while not self._stop.wait(every):
            try:
                self._recorder.sync()
            except Exception:
                log.exception("making the spool durable failed; trying again")

    def _count(self) -> None:
        written = self._recorder.bytes_written
        self._counted, self._written = folder_bytes(self._spool, self._stop), written

    def _check_disk(self) -> None:
        try:
            status = os.statvfs(self._spool)
        except OSError as error:
            log.debug("the spool's disk cannot be measured: %s", error)
            return
        level = Level(self.spool_bytes, status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)
        before, after = self._sampler.stage, next_stage(self._sampler.stage, level, self._watermarks)
        if after is not before:
            if after < before:  # count again before more is written
                self._count()
                after = next_stage(before, Level(self.spool_bytes, level.free, level.total), self._watermarks)
            self._sampler.stage, self._since = after, utc_now()
        self._reason = reason(after, level, self._watermarks)
        loud = after is Stage.NO_IMAGES and time.monotonic() - self._reported >= _REPORT_EVERY
        if after is not before or loud:
            self._reported = time.monotonic()
            report = log.error if after is Stage.NO_IMAGES else log.warning
            report("disk: %s%s", f"{self._reason}: " if self._reason else "", _CONSEQUENCES[after])

    def _seal(self) -> None:
        for camera in self._cameras:
            if camera.state == "finished":
                hours = self._recorder.seal_all(camera.camera_id)
            else:
                hours = self._recorder.seal_over(camera.camera_id, camera.mark)
            self.sealed += len(hours)
            for hour in hours:
                for told in self.on_sealed:
                    told(camera.camera_id, hour)

    def _check_leases(self) -> None:
        hung = self._slots.hung(self._lease_seconds)
        for lease in hung:
            if lease.holder not in {reported.holder for reported in self.hung}:
                log.error(
                    "%s has been inferring on %s for %.0f s; the model's memory is kept until it returns",
                    lease.holder,
                    lease.label,
                    lease.seconds,
                )
        self.hung = hung


def folder_bytes(folder: Path, stop: threading.Event | None = None) -> int:
    """Bytes of all regular files below a folder; what vanishes meanwhile is not counted."""
    total = 0
    waiting = [os.fspath(folder)]
    while waiting and not (stop is not None and stop.is_set()):
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
