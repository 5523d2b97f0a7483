"""One thread for each camera: numbers the captures, counts and queues them; reconnects after errors.

Belongs here: what is the same for every source. Does not belong here: how pictures are read (``cameras``).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.frames import FrameId
from yolo_assets.edge.cameras.open import ConfiguredSource
from yolo_assets.edge.pipeline.masking import PictureMask
from yolo_assets.edge.pipeline.queue import Displaced, FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder
from yolo_assets.edge.pipeline.repeats import RepeatWatch
from yolo_assets.edge.types import Capture, DropReason, Frame, Picture
from yolo_assets.runtime.threads import join

if TYPE_CHECKING:
    from yolo_assets.edge.lots.codes import LotReader

log = logging.getLogger(__name__)

CameraState = Literal[
    "connecting",  # opened for the first time, nothing came yet
    "live",  # frames come
    "waiting",  # it works and has no new picture
    "stalled",  # frames came and have stopped, it is not given up yet
    "frozen",  # frames come and show the same picture again and again
    "reconnecting",  # it failed, and is tried again and again
    "failed",  # it cannot work as configured; tried again from time to time, for the cause may be outside this device
    "finished",  # the source has ended
    "stopped",  # the agent ends
]
_KNOWN_GAPS = 3
"""Times between pictures that tell how often a camera gives one; until then only its time-out counts."""
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class CameraThread:
    """Captures of one camera.

    Args:
        configured: the source.
        queue: where frames wait for workers.
        recorder: counts frames and writes drops.
        has_model: whether a model serves; live sources drop their frames until then, others wait.
        lot_reader: reads codes in the pictures; None: nothing is looked for.
        mask: what is painted over in each picture.
    """

    def __init__(
        self,
        configured: ConfiguredSource,
        queue: FrameQueue,
        recorder: FrameRecorder,
        has_model: threading.Event,
        lot_reader: LotReader | None = None,
        mask: PictureMask | None = None,
    ) -> None:
        self.source = configured.source
        self.kind = configured.kind
        self.camera_id = configured.source.camera_id
        self.message = ""
        self.restarts = 0
        """How often it was given up and had to be opened anew."""
        self.mark: datetime = datetime.fromtimestamp(0, UTC)
        """Every frame before this moment has been counted."""
        self._queue = queue
        self._recorder = recorder
        self._has_model = has_model
        self._lot_reader = lot_reader
        self._mask = mask
        self._sequence = recorder.next_sequence(self.camera_id)
        self._clock = configured.clock
        self._state: CameraState = "connecting"
        self._waits = configured.waits
        self._stall_s = configured.stall_s
        self._first_picture = self._last_picture = self._quiet_at = self._gone_at = 0.0
        self._gaps: deque[float] = deque(maxlen=5)
        self._repeats = RepeatWatch(configured.frozen_after_s) if configured.frozen_after_s else None
        self._frozen_told = False
        self._back_after: float | None = None
        self._stop = threading.Event()
        self._put = self._choose_put(configured)
        self._thread = threading.Thread(target=self._run, name=f"camera-{self.camera_id}", daemon=True)

    @property
    def state(self) -> CameraState:
        """Its state now. ``message`` says why, in words."""
        if self._state != "live":
            return self._state
        if self._quiet_at > self._last_picture:  # it says itself that it has nothing new
            if self._stall_s is None:
                return "waiting"
            if time.monotonic() - self._quiet_at > self._stall_s:
                return "stalled"
            if self.silent_s > self._stall_s and not self.frozen:
                return "waiting"
        elif self._stall_s is not None:
            # A camera that gives a picture every few seconds is not silent between two of them.
            usual = max(self._gaps) if len(self._gaps) >= _KNOWN_GAPS else math.inf
            if self.silent_s > max(self._stall_s, 3 * usual):
                return "stalled"
        return "frozen" if self.frozen else "live"

    @property
    def frozen(self) -> bool:
        """Whether it has shown nothing but the same picture for too long."""
        return self._repeats is not None and self._repeats.frozen

    @property
    def silent_s(self) -> float:
        """Seconds since its last picture; 0 before the first."""
        return time.monotonic() - self._last_picture if self._last_picture else 0.0

    def details(self) -> dict[str, Any]:
        """What the status says about the source, apart from its state; nothing secret."""
        message, state = self.message, self.state
        if state == "stalled":
            message = f"no picture for {self.silent_s:.0f} s"
        elif state == "frozen" and self._repeats is not None:
            message = f"the same picture for {self._repeats.same_s:.0f} s; restart the camera"
        back = round(self._back_after, 3) if self._back_after is not None else None
        codes = self._lot_reader.codes.status() if self._lot_reader else None
        return {
            "message": message,
            "back_after_s": back,
            "codes": codes,
            "mask": self._mask_status(),
            "source": self.source.facts(),
        }

    def _mask_status(self) -> dict[str, Any] | None:
        mask = self._mask
        return {"version": mask.version, "hidden_from_model": mask.hide_from_model} if mask is not None else None

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
        if not self.source.live:
            self._wait_for_model()
        while not self._stop.is_set():
            self._first_picture = 0.0
            try:
                for capture in self.source.captures(self._stop):
                    if capture.quiet:
                        self._heard(capture)
                    else:
                        if capture.image is not None:
                            self._seen()
                        self._take(capture)
                    if self._stop.is_set():
                        break
                else:
                    self._state = "stopped" if self._stop.is_set() else "finished"
                    return
            except Exception as error:  # whatever a decoder raises, this camera waits and the others continue
                self._fail(error)
        self._state = "stopped"

    def _seen(self) -> None:
        now = time.monotonic()
        if self._first_picture:
            self._gaps.append(now - self._last_picture)
        self._last_picture = now
        if not self._first_picture:
            self._gaps.clear()
            self._first_picture = now
            self._back(now)
        self._state, self.message = "live", ""

    def _heard(self, capture: Capture) -> None:
        """It works and has no new picture."""
        now = time.monotonic()
        self._quiet_at = now
        if not self._first_picture:
            self._back(now)
            self._state, self.message = "waiting", ""
        if self._repeats is not None and capture.quiet == "same":
            self._repeats.unchanged(now)
            self._tell_repeats()
        self.mark = max(self.mark, capture.captured_at)

    def _back(self, now: float) -> None:
        if self._state in ("reconnecting", "failed"):
            self._back_after = now - self._gone_at
            log.info("camera %s: back after %.1f s", self.camera_id, self._back_after)

    def _fail(self, error: Exception) -> None:
        words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        hopeless = isinstance(error, BadInputError)
        if self._state not in ("reconnecting", "failed"):
            self._gone_at = self._last_picture or time.monotonic()
        if words != self.message:
            log.warning("camera %s: %s; trying again", self.camera_id, words)
        self._state, self.message = "failed" if hopeless else "reconnecting", words
        self.restarts += 1
        if self._repeats is not None:
            self._repeats.forget()
        self._frozen_told = False
        self.mark = self.source.now()  # nothing is on its way: hours may close while the camera is away
        last = max(self._last_picture, self._quiet_at)
        lived = last - self._first_picture if self._first_picture else 0.0
        self._stop.wait(self._waits.longest() if hopeless else self._waits.after(lived))

    def _take(self, capture: Capture) -> None:
        image, whole = capture.image, None
        if image is not None and self._mask is not None:
            image, whole = self._mask.burn(image)  # first: nothing else may see what is behind the mask
        if image is not None:
            self._watch_repeats(image)
        moment = self._clock.moment() if self._clock else None
        shown = self._lot_reader.read(image, capture.captured_at) if self._lot_reader and image is not None else None
        frame = Frame(
            id=FrameId(self.camera_id, self._sequence, capture.captured_at),
            image=_NO_PIXELS if image is None else image,
            entered=time.monotonic(),
            batch_id=capture.batch_id,
            batch_shown=shown.batch_id if shown else None,
            whole=whole,
            mask_version=self._mask.version if self._mask else None,
            frozen=self.frozen,
            origin=capture.origin,
            part_shown=shown.part_id if shown else None,
            truth=capture.truth,
            time_trusted=moment.trusted if moment else True,
            boot_id=moment.boot_id if moment else "",
            monotonic_s=moment.monotonic_s if moment else 0.0,
        )
        self._sequence += 1
        self._recorder.enter(frame)
        reason: DropReason | None = None
        if image is None:
            reason = capture.lost or "unreadable"
        elif not self._has_model.is_set():
            reason = "no_model"
        if reason is not None:
            self._recorder.drop(frame, reason)
        else:
            displaced = self._put(frame)
            if displaced is not None:
                self._recorder.drop(displaced.frame, displaced.reason)
        self.mark = frame.captured_at  # a clock that was set back takes the mark along: its hours are open again

    def _watch_repeats(self, image: Picture) -> None:
        if self._repeats is None:
            return
        self._repeats.look(image, time.monotonic())
        self._tell_repeats()

    def _tell_repeats(self) -> None:
        if self._repeats is not None and self.frozen != self._frozen_told:
            self._frozen_told = self.frozen
            if self.frozen:
                log.warning("camera %s: the same picture for %.0f s", self.camera_id, self._repeats.same_s)
            else:
                log.info("camera %s: its picture changes again", self.camera_id)

    def _wait_for_model(self) -> None:
        """A file can wait: it is read once a model serves."""
        while not self._has_model.is_set() and not self._stop.is_set():
            self.message = "waiting for the first model"
            self._has_model.wait(0.2)
