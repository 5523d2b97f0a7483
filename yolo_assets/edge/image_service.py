"""Judges single pictures that somebody sends, in what time the cameras leave over.

A picture gets a lease on the serving model like any frame, so its record names the model that saw it. It is begun only
when no camera's frame waits, and only a few are in hand at once: who comes then is told to come again. Nothing of it is
written to disk.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.http.images import decode_image
from yolo_assets.edge.outputs.settings import Infer
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.vision.quality import picture_quality

_LOOK = 0.005
OUTCOMES = ("answered", "busy", "bad_image", "no_model", "failed")


class BusyError(UserError):
    """The cameras need the processor, or other pictures are in hand."""


class ModelFailedError(UserError):
    """The picture was sound and the model failed on it."""


class ImageService:
    """Thread-safe; one for the agent.

    Args:
        slots: where leases come from.
        frames_waiting: frames of cameras that wait for a worker now.
        settings: limits.
        device_id: this box.
        batch_id: production batch of the configuration.
    """

    def __init__(
        self,
        slots: SlotManager[LoadedModel],
        frames_waiting: Callable[[], int],
        settings: Infer,
        device_id: str,
        batch_id: str | None,
    ) -> None:
        self.settings = settings
        self._slots = slots
        self._frames_waiting = frames_waiting
        self._device_id = device_id
        self._batch_id = batch_id
        self._places = threading.Semaphore(settings.concurrency)
        self.pool = ThreadPoolExecutor(settings.concurrency, "infer", initializer=_step_back)
        """Where ``judge`` is to run."""
        self.requests = Counter(
            "yolo_edge_infer_requests", "Pictures sent to be judged, by outcome.", ("outcome",), registry=None
        )
        for outcome in OUTCOMES:
            self.requests.labels(outcome)

    def enter(self) -> bool:
        """Take a place before the picture is even received; False when all are taken. ``leave`` gives it back."""
        return self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    def judge(self, data: bytes) -> DetectionRecord:
        """The record of a picture.

        Args:
            data: a JPEG or PNG.

        Returns:
            A ``DetectionRecord`` whose ``image_path`` is made of the picture's SHA-256; nothing lies there.

        Raises:
            BadInputError: no such picture, or too large.
            BusyError: the cameras did not leave a moment within ``wait_s``.
            NoModelError: none is loaded.
            ModelFailedError: the inference failed.
        """
        image = decode_image(data, self.settings.max_pixels)
        self._wait_for_cameras()
        moment = utc_now()
        with self._slots.acquire() as slot:
            begin = time.perf_counter()
            try:
                boxes = slot.model.predictor.predict(image)
                detections = boxes.to_detections(slot.model.manifest.class_names, moment)
            except Exception as error:
                raise ModelFailedError(f"{slot.label} failed on this picture: {error}") from error
            seconds = time.perf_counter() - begin
            label = slot.label
        blur, brightness = picture_quality(image)
        kind = "png" if data[:1] == b"\x89" else "jpg"
        return DetectionRecord.model_validate(
            {
                "image_path": f"infer/{hashlib.sha256(data).hexdigest()}.{kind}",
                "detections": detections,
                "model_version": label,
                "device_id": self._device_id,
                "captured_at": moment,
                "width": image.shape[1],
                "height": image.shape[0],
                "inference_ms": round(seconds * 1000, 3),
                "image_saved": False,
                "batch_id": self._batch_id,
                "quality": {"blur": round(blur, 3), "brightness": round(brightness, 3)},
            }
        )

    def close(self) -> None:
        """Begin nothing more."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _wait_for_cameras(self) -> None:
        end = time.monotonic() + self.settings.wait_s
        while self._frames_waiting():
            if time.monotonic() >= end:
                raise BusyError("the cameras need this box's whole time just now; ask again later")
            time.sleep(_LOOK)


def _step_back() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # on Linux this is the thread's own
