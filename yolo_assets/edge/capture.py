"""One thread for each camera: numbers the captures, enters them into the books, queues them; comes back after errors.

Belongs here: what is the same for every source. Does not belong here: how pictures are got (``sources``).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from yolo_assets.contracts.errors import UserError
from yolo_assets.edge.accounting import DropReason
from yolo_assets.edge.ledger import Ledger
from yolo_assets.edge.queue import Displaced, FrameQueue
from yolo_assets.edge.sources.base import Capture, Frame
from yolo_assets.edge.sources.open import ConfiguredSource
from yolo_assets.edge.threads import join

log = logging.getLogger(__name__)

CameraState = Literal["starting", "running", "error", "finished", "stopped"]
_FIRST_WAIT, _LAST_WAIT = 0.5, 30.0
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class CameraThread:
    """Captures of one camera.

    Args:
        configured: the source.
        queue: where frames wait for workers.
        ledger: the books.
        has_model: whether a model serves; live sources drop their frames until then, others wait.
    """

    def __init__(
        self, configured: ConfiguredSource, queue: FrameQueue, ledger: Ledger, has_model: threading.Event
    ) -> None:
        self.source = configured.source
        self.kind = configured.kind
        self.camera_id = configured.source.camera_id
        self.state: CameraState = "starting"
        self.message = ""
        self.restarts = 0
        self.mark: datetime = datetime.fromtimestamp(0, UTC)
        """Every frame before this moment has been entered into the books."""
        self._queue = queue
        self._ledger = ledger
        self._has_model = has_model
        self._sequence = 0
        self._stop = threading.Event()
        self._put = self._choose_put(configured)
        self._thread = threading.Thread(target=self._run, name=f"camera-{self.camera_id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask to end; ``join`` waits for it."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; False when the source hangs."""
        return join(self._thread, timeout)

    def _choose_put(self, configured: ConfiguredSource) -> Callable[[Frame], Displaced | None]:
        if configured.policy == "latest":
            return self._queue.put_latest
        return self._queue.put_or_drop if self.source.live else self._queue.put_waiting

    def _run(self) -> None:
        failures = 0
        if not self.source.live:
            self._wait_for_model()
        while not self._stop.is_set():
            try:
                for capture in self.source.captures(self._stop):
                    failures = 0
                    self.state, self.message = "running", ""
                    self._take(capture)
                    if self._stop.is_set():
                        break
                else:
                    self.state = "stopped" if self._stop.is_set() else "finished"
                    return
            except Exception as error:  # whatever a decoder raises, this camera waits and the others go on
                failures += 1
                self._fail(error, failures)
        self.state = "stopped"

    def _fail(self, error: Exception, failures: int) -> None:
        words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        if self.state != "error":
            log.warning("camera %s: %s; trying again", self.camera_id, words)
        self.state, self.message = "error", words
        self.restarts += 1
        self.mark = max(self.mark, self.source.now())  # nothing is on its way: hours may close while the camera is away
        wait = min(_LAST_WAIT, _FIRST_WAIT * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1.5)
        self._stop.wait(wait)

    def _take(self, capture: Capture) -> None:
        image = capture.image
        frame = Frame(
            camera_id=self.camera_id,
            sequence=self._sequence,
            captured_at=capture.captured_at,
            image=_NO_PIXELS if image is None else image,
            entered=time.monotonic(),
            batch_id=capture.batch_id,
            truth=capture.truth,
        )
        self._sequence += 1
        self._ledger.enter(frame)
        reason: DropReason | None = None
        if image is None:
            reason = "unreadable"
        elif not self._has_model.is_set():
            reason = "no_model"
        if reason is not None:
            self._ledger.drop(frame, reason)
        else:
            displaced = self._put(frame)
            if displaced is not None:
                self._ledger.drop(displaced.frame, displaced.reason)
        self.mark = max(self.mark, capture.captured_at)

    def _wait_for_model(self) -> None:
        """A file does not run away: it is read once there is a model to look at it."""
        while not self._has_model.is_set() and not self._stop.is_set():
            self.message = "waiting for the first model"
            self._has_model.wait(0.2)
