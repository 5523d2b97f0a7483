"""Inference on single pictures that a client sends, in the time that the cameras leave.

A picture gets a lease on the serving model like any frame, so its record names the model that saw it. It is started
only when no camera's frame waits, and only a few are processed at once; further clients are asked to retry later.
Nothing of it is written to disk. Does not belong here: unpacking pictures (``vision.pictures``), which measures what
strangers send by its header before a single pixel is unpacked.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Counter

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import SlotManager
from yolo_assets.vision.picture_head import read_head
from yolo_assets.vision.pictures import decode_image, picture_quality

_POLL = 0.005
_NAME = "the picture"
OUTCOMES = ("answered", "busy", "bad_image", "no_model", "failed")


class BusyError(UserError):
    """The cameras need the processor, or other pictures are being processed."""


class ModelFailedError(UserError):
    """The picture was sound and the model failed on it."""


class ImageService:
    """Thread-safe; one for the agent.

    Args:
        slots: where leases come from.
        queue: where frames of cameras wait for a worker.
        config: limits, device and batch.
    """

    def __init__(
        self,
        slots: SlotManager[LoadedModel],
        queue: FrameQueue,
        config: AgentConfig,
    ) -> None:
        self.settings = settings = config.infer
        self._slots = slots
        self._queue = queue
        self._device_id, self._batch_id = config.device_id, config.batch_id
        self._places = threading.Semaphore(settings.concurrency)
        self.pool = ThreadPoolExecutor(settings.concurrency, "infer", initializer=_yield_to_workers)
        """Where ``infer`` is to run."""
        self.requests = Counter(
            "yolo_edge_infer_requests", "Pictures sent for inference, by outcome.", ("outcome",), registry=None
        )
        for outcome in OUTCOMES:
            self.requests.labels(outcome)

    def enter(self) -> bool:
        """Take a place before the picture is even received; False when all are taken. ``leave`` gives it back."""
        return self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()

    def infer(self, data: bytes) -> DetectionRecord:
        """The record of a picture.

        Args:
            data: a JPEG, PNG, WebP, BMP or TIFF.

        Returns:
            A ``DetectionRecord`` of the upright picture: size and boxes are those that a viewer shows. Its
            ``image_path`` is made of the picture's SHA-256; nothing lies there.

        Raises:
            BadInputError: no such picture, or too large.
            BusyError: the cameras did not leave a moment within ``wait_s``.
            NoModelError: none is loaded.
            ModelFailedError: the inference failed.
        """
        image = decode_image(data, _NAME, self.settings.max_pixels)
        self._wait_for_cameras()
        moment = utc_now()
        with self._slots.acquire() as slot:
            begin = time.perf_counter()
            try:
                boxes = slot.model.predictor.predict(image)
                detections = boxes.to_records(slot.model.manifest.record_names, moment)
            except Exception as error:
                raise ModelFailedError(f"{slot.label} failed on this picture: {error}") from error
            seconds = time.perf_counter() - begin
            label, listed = slot.label, slot.model.manifest.class_list
        blur, brightness = picture_quality(image)
        ending = read_head(data, _NAME).ending
        return DetectionRecord.model_validate(
            {
                "image_path": f"infer/{hashlib.sha256(data).hexdigest()}{ending}",
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
            | ({"class_list": listed.label} if listed is not None else {})
        )

    def close(self) -> None:
        """Begin nothing more."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _wait_for_cameras(self) -> None:
        end = time.monotonic() + self.settings.wait_s
        while len(self._queue):
            if time.monotonic() >= end:
                raise BusyError("the cameras need all of this device's time now; try again later")
            time.sleep(_POLL)


def _yield_to_workers() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # on Linux this is the thread's own
