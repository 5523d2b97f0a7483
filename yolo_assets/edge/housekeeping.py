"""What runs beside the line: sealing hours, measuring the disk, reporting hung inferences, the heartbeat.

None of it is waited for by a worker. The heartbeat has a thread of its own, because a store may hang.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import fleet_key
from yolo_assets.edge.capture import CameraThread
from yolo_assets.edge.ledger import Ledger
from yolo_assets.edge.loading import LoadedModel
from yolo_assets.edge.slots import HungLease, SlotManager
from yolo_assets.edge.threads import join
from yolo_assets.storage.base import ObjectStore

log = logging.getLogger(__name__)
_TICK = 0.2
_DISK_EVERY = 10.0


class Housekeeper:
    """Seals what is over, a few times a second."""

    def __init__(
        self,
        cameras: list[CameraThread],
        ledger: Ledger,
        slots: SlotManager[LoadedModel],
        spool: Path,
        lease_seconds: float,
    ) -> None:
        self._cameras = cameras
        self._ledger = ledger
        self._slots = slots
        self._spool = spool
        self._lease_seconds = lease_seconds
        self._stop = threading.Event()
        self.spool_bytes = 0
        self.hung: list[HungLease] = []
        self.sealed = 0
        self._thread = threading.Thread(target=self._run, name="housekeeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, then seal once more what is over by now."""
        self._stop.set()
        join(self._thread, 10.0)
        self._seal()

    @property
    def disk_used(self) -> float | None:
        """Share of the spool's disk in use, 0 to 1."""
        try:
            usage = shutil.disk_usage(self._spool)
        except OSError:
            return None
        return round(usage.used / usage.total, 4) if usage.total else None

    def _run(self) -> None:
        next_disk = 0.0
        while not self._stop.is_set():
            try:
                self._seal()
                self._look_for_hung()
                if time.monotonic() >= next_disk:
                    self.spool_bytes = folder_bytes(self._spool, self._stop)
                    next_disk = time.monotonic() + _DISK_EVERY
            except Exception:
                log.exception("housekeeping failed; it goes on")
            self._stop.wait(_TICK)

    def _seal(self) -> None:
        for camera in self._cameras:
            if camera.state == "finished":
                self.sealed += len(self._ledger.seal_all(camera.camera_id))
            else:
                self.sealed += len(self._ledger.seal_over(camera.camera_id, camera.mark))

    def _look_for_hung(self) -> None:
        found = self._slots.hung(self._lease_seconds)
        for lease in found:
            if lease.holder not in {known.holder for known in self.hung}:
                log.error(
                    "%s has been inferring on %s for %.0f s; the model's memory is kept until it returns",
                    lease.holder,
                    lease.label,
                    lease.seconds,
                )
        self.hung = found


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


class HeartbeatSender:
    """Tells the store how the device is. A store that is away or hangs is felt by nobody else."""

    def __init__(self, store: ObjectStore, seconds: float, make: Callable[[], Heartbeat]) -> None:
        self._store = store
        self._seconds = seconds
        self._make = make
        self._stop = threading.Event()
        self.error: str | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin; the first heartbeat goes out at once."""
        self._thread.start()

    def stop(self) -> None:
        """Send a last one and end; a store that hangs is not waited for."""
        self._stop.set()
        join(self._thread, 3.0)

    def _run(self) -> None:
        while True:
            last = self._stop.is_set()
            self._send()
            if last:
                return
            self._stop.wait(self._seconds)

    def _send(self) -> None:
        try:
            beat = self._make()
            self._store.put(fleet_key(beat.device_id), beat.to_json())
        except (UserError, OSError) as error:
            if self.error is None:
                log.warning("no heartbeat could be sent: %s", error)
            self.error = str(error)
        except Exception:
            log.exception("the heartbeat failed; it goes on")
        else:
            self.error = None
