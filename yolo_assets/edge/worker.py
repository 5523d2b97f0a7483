"""Workers: a frame, a lease on the model that serves at that moment, a record on disk.

The model version of a record is taken from the lease that did the inference, so a record cannot name another model
than the one that saw the frame, whatever is switched meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2

from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.config import Sampling
from yolo_assets.edge.ledger import Ledger
from yolo_assets.edge.loading import LoadedModel
from yolo_assets.edge.metrics import EdgeMetrics
from yolo_assets.edge.queue import FrameQueue
from yolo_assets.edge.results import Result
from yolo_assets.edge.slots import NoModelError, SlotManager
from yolo_assets.edge.sources.base import Frame, Picture
from yolo_assets.edge.threads import join
from yolo_assets.edge.truth import TruthWriter
from yolo_assets.inference.quality import picture_quality

log = logging.getLogger(__name__)
_TELL_EVERY = 10.0


class Sampler:
    """Which pictures are kept: counts each camera by itself, so that a busy one does not starve a quiet one."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._seen: Counter[tuple[str, bool]] = Counter()
        self._lock = threading.Lock()

    def keep(self, camera: str, found: bool) -> bool:
        """Whether the picture of this frame is kept. The first of each kind always is, unless none are wanted."""
        every = self._sampling.detections_every if found else self._sampling.normal_every
        if not every:
            return False
        with self._lock:
            number = self._seen[camera, found]
            self._seen[camera, found] += 1
        return number % every == 0


@dataclass(frozen=True)
class WorkerParts:
    """What all workers share."""

    queue: FrameQueue
    slots: SlotManager[LoadedModel]
    ledger: Ledger
    sampler: Sampler
    truth: TruthWriter
    metrics: EdgeMetrics
    on_result: tuple[Callable[[Result], None], ...]
    device_id: str
    jpeg_quality: int
    batch_id: str | None


class Worker:
    """One thread. Ends when the queue is closed and empty."""

    def __init__(self, parts: WorkerParts, number: int) -> None:
        self._parts = parts
        self._told = -_TELL_EVERY
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the end; False when an inference hangs."""
        return join(self._thread, timeout)

    def _run(self) -> None:
        queue = self._parts.queue
        while True:
            frame = queue.get(timeout=1.0)
            if frame is not None:
                self._process(frame)
            elif queue.closed:
                return

    def _process(self, frame: Frame) -> None:
        parts = self._parts
        try:
            with parts.slots.acquire() as slot:
                begin = time.perf_counter()
                boxes = slot.model.predictor.predict(frame.image)
                seconds = time.perf_counter() - begin
                label = slot.label
                detections = boxes.to_detections(slot.model.manifest.class_names, frame.captured_at)
        except NoModelError:
            parts.ledger.drop(frame, "no_model")
            return
        except Exception as error:  # one bad frame or one failing call must not end the line
            self._complain(frame, error)
            parts.ledger.drop(frame, "inference_error")
            return
        parts.metrics.stage(label, "predict", seconds)
        begin = time.perf_counter()
        jpeg = None
        if parts.sampler.keep(frame.camera_id, bool(detections)):
            jpeg = encode_jpeg(frame.image, parts.jpeg_quality)
            parts.metrics.stage(label, "encode", time.perf_counter() - begin)
        record = self._record(frame, label, detections, seconds * 1000)
        begin = time.perf_counter()
        path = parts.ledger.write(frame, record, jpeg)
        parts.metrics.stage(label, "write", time.perf_counter() - begin)
        if path is not None and jpeg is not None:
            parts.truth.write(frame, path)
        # Also when the disk refused: the line is still seen, and the page must not freeze because a disk is full.
        result = Result(
            camera_id=frame.camera_id,
            sequence=frame.sequence,
            captured_at=frame.captured_at,
            model_version=label,
            detections=tuple(detections),
            image=frame.image,
            inference_ms=round(seconds * 1000, 3),
            entered=frame.entered,
            finished=time.monotonic(),
            at=utc_now(),
        )
        for listener in parts.on_result:
            listener(result)

    def _record(
        self, frame: Frame, label: str, detections: list[dict[str, Any]], inference_ms: float
    ) -> Mapping[str, Any]:
        """The fields of ``contracts.detection.DetectionRecord`` that the spool writer does not set itself."""
        height, width = frame.image.shape[:2]
        blur, brightness = picture_quality(frame.image)
        return {
            "detections": detections,
            "model_version": label,
            "device_id": self._parts.device_id,
            "schema_version": 1,
            "sequence": frame.sequence,
            "width": width,
            "height": height,
            "inference_ms": round(inference_ms, 3),
            "batch_id": self._parts.batch_id or frame.batch_id,
            "quality": {"blur": round(blur, 3), "brightness": round(brightness, 3)},
        }

    def _complain(self, frame: Frame, error: Exception) -> None:
        if time.monotonic() - self._told >= _TELL_EVERY:  # a model that always fails must not fill the log
            self._told = time.monotonic()
            log.error("inference on %s frame %d failed: %s", frame.camera_id, frame.sequence, error)


def encode_jpeg(image: Picture, quality: int) -> bytes:
    """A baseline JPEG of a BGR picture."""
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"a picture of shape {image.shape} cannot be encoded as JPEG")
    return data.tobytes()
