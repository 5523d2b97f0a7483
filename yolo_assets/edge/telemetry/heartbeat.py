"""Writes the device's heartbeat to the store. Has a thread of its own, because a store may hang."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import fleet_key
from yolo_assets.runtime.threads import join
from yolo_assets.storage.base import ObjectStore

log = logging.getLogger(__name__)


class HeartbeatSender:
    """Writes the device's heartbeat to the store. A store that is away or hangs delays nothing else."""

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
            log.exception("the heartbeat failed; it is tried again")
        else:
            self.error = None
