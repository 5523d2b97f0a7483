"""Workers: a frame, a lease on the model that serves at that moment, a record on disk.

The model version of a record is taken from the lease that did the inference, so a record cannot name another model
than the one that saw the frame, whatever is switched meanwhile.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from itertools import compress
from pathlib import Path
from typing import Any

import cv2
from pydantic import ValidationError

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.detection import Quality
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.cameras import SimulatedCameras
from yolo_assets.edge.lots.book import LotBook
from yolo_assets.edge.pipeline.queue import FrameQueue
from yolo_assets.edge.pipeline.recorder import FrameRecorder, new_record
from yolo_assets.edge.pipeline.sampling import Sampler
from yolo_assets.edge.serving.loaded_model import LoadedModel
from yolo_assets.edge.serving.slots import NoModelError, SlotManager
from yolo_assets.edge.types import Frame, Picture, Result
from yolo_assets.runtime.files import write_all
from yolo_assets.runtime.threads import join
from yolo_assets.vision.pictures import picture_quality

log = logging.getLogger(__name__)
_REPORT_EVERY = 10.0


class Worker:
    """One thread. Ends when the queue is closed and empty."""

    def __init__(self, processor: FrameProcessor, number: int) -> None:
        self._processor = processor
        self._thread = threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the end; False when an inference hangs."""
        return join(self._thread, timeout)

    def _run(self) -> None:
        while self._processor.next_batch(timeout=1.0):
            pass


class FrameProcessor:
    """What workers do with frames: infer, keep, record, report. Shared by all of them; thread-safe.

    Listeners are called by the worker that has the frame, so each must return within microseconds and never raise.

    Args:
        config: device, batch and picture quality.
        queue: where frames wait.
        slots: where leases on models come from.
        recorder: the agent's way to the spool.
        sampler: decides which pictures are kept.
        truth: keeps what a simulation knows.
        lots: what is in front of each camera.
    """

    def __init__(
        self,
        config: AgentConfig,
        queue: FrameQueue,
        slots: SlotManager[LoadedModel],
        recorder: FrameRecorder,
        sampler: Sampler,
        truth: TruthWriter,
        lots: LotBook,
    ) -> None:
        self._device_id, self._batch_id = config.device_id, config.batch_id
        self._jpeg_quality = config.sampling.jpeg_quality
        self._queue, self._slots, self._recorder = queue, slots, recorder
        self._sampler, self._truth, self._lots = sampler, truth, lots
        self._reported = -_REPORT_EVERY
        self.on_result: list[Callable[[Result], None]] = []
        """Called after each frame that has a result."""
        self.on_error: list[Callable[[Frame, str, BaseException], None]] = []
        """Called with frame, model version and error when an inference failed."""
        self.on_stage: list[Callable[[str, str, float], None]] = []
        """Called with model version, ``predict``, ``encode`` or ``write``, and its seconds."""
        self.on_batch: list[Callable[[str, float, int], None]] = []
        """Called with model version, seconds and number of frames, from inference to record."""

    def next_batch(self, timeout: float) -> bool:
        """Process the next frame, with those that fit into its batch; wait for one for at most ``timeout`` seconds.

        Returns:
            False when the queue is closed and empty: no frame will come any more.
        """
        frame = self._queue.get(timeout)
        if frame is None:
            return not self._queue.closed
        frames = self._with_others(frame)
        try:
            self._process(frames)
        except Exception as error:  # a worker that ends would stop every camera
            self._let_go(frames, error)
        return True

    def _with_others(self, frame: Frame) -> list[Frame]:
        """The frame and what else waits for the same slot, as many as its model likes. Never waits for more."""
        slots = self._slots
        slot = slots.slot_for(frame.camera_id)
        if slot is None or slot.model.batch == 1:
            return [frame]
        return [frame, *self._queue.take(slot.model.batch - 1, lambda camera: slots.slot_for(camera) is slot)]

    def _process(self, frames: list[Frame]) -> None:
        label = ""
        apart: list[Frame] = []
        try:
            with self._slots.acquire(frames[0].camera_id) as slot:
                label = slot.label
                # A switch since they were taken may have given some of them to another slot.
                fits = [True, *(self._slots.slot_for(frame.camera_id) is slot for frame in frames[1:])]
                apart = list(compress(frames, (not fit for fit in fits)))
                frames = list(compress(frames, fits))
                begin = time.perf_counter()
                if len(frames) == 1:
                    found = [slot.model.predictor.predict(frames[0].for_model)]
                else:
                    found = slot.model.predictor.predict_many([frame.for_model for frame in frames])
                seconds = time.perf_counter() - begin
                manifest = slot.model.manifest
                names = manifest.record_names
                detections = [b.to_records(names, f.captured_at) for b, f in zip(found, frames, strict=True)]
        except NoModelError:
            for frame in frames:
                self._recorder.drop(frame, "no_model")
        except Exception as error:  # one bad frame or one failing call must not end the line
            if len(frames) == 1:
                self._fail(frames[0], label, error)
            else:
                apart = [*frames, *apart]  # one by one: a bad frame must not take the others along
        else:
            for frame, its_own in zip(frames, detections, strict=True):
                try:
                    self._finish(frame, label, its_own, seconds, manifest.class_list)
                except Exception as error:  # the others of its batch have their results
                    self._let_go([frame], error)
            seconds = time.perf_counter() - begin
            for listener in self.on_batch:
                listener(label, seconds, len(frames))
        for frame in apart:
            self._process([frame])

    def _let_go(self, frames: list[Frame], error: Exception) -> None:
        """Close what has no outcome because something failed that never should."""
        for frame in frames:
            self._complain(frame, error)
            if self._recorder.journal.still_open([(frame.camera_id, frame.sequence)]):
                self._recorder.drop(frame, "spool_error")

    def _fail(self, frame: Frame, label: str, error: Exception) -> None:
        self._complain(frame, error)
        for listener in self.on_error:
            listener(frame, label, error)
        self._recorder.drop(frame, "inference_error")

    def _finish(
        self,
        frame: Frame,
        label: str,
        detections: list[dict[str, Any]],
        seconds: float,
        class_list: ClassList | None,
    ) -> None:
        """Keep, record and tell. ``seconds``: of the whole inference, also where it had several frames."""
        self._report_stage(label, "predict", seconds)
        begin = time.perf_counter()
        jpeg = None
        if self._sampler.keep(frame.camera_id, bool(detections)):
            try:
                jpeg = encode_jpeg(frame.image, self._jpeg_quality)
            except (ValueError, cv2.error) as error:  # the record is kept without the picture
                self._complain(frame, error)
            self._report_stage(label, "encode", time.perf_counter() - begin)
        try:
            blur, brightness = picture_quality(frame.image)
            record = new_record(
                frame,
                detections,
                model_version=label,
                device_id=self._device_id,
                inference_ms=seconds * 1000,
                quality=Quality(blur=round(blur, 3), brightness=round(brightness, 3)),
                lot=self._lots.lot_of(frame.id),
                batch_id=self._batch_id,
                class_list=class_list,
            )
        except ValidationError as error:  # the model gave what no record may hold, such as NaN
            self._fail(frame, label, error)
            return
        begin = time.perf_counter()
        written = self._recorder.write(frame, record, jpeg)
        self._report_stage(label, "write", time.perf_counter() - begin)
        if written is not None and written.image_saved:
            self._truth.write(frame, written.image_path)
        # Also when the disk refused: the camera is still seen, and the page must not freeze because a disk is full.
        result = Result(
            frame=frame,
            detections=tuple(detections),
            record=written or record,
            recorded=written is not None,
            finished=time.monotonic(),
            at=utc_now(),
            class_list=class_list,
        )
        for listener in self.on_result:
            listener(result)

    def _report_stage(self, label: str, stage: str, seconds: float) -> None:
        for listener in self.on_stage:
            listener(label, stage, seconds)

    def _complain(self, frame: Frame, error: Exception) -> None:
        if time.monotonic() - self._reported >= _REPORT_EVERY:  # a model that always fails must not fill the log
            self._reported = time.monotonic()
            log.error("%s frame %d: %s: %s", frame.camera_id, frame.sequence, type(error).__name__, error)


def encode_jpeg(image: Picture, quality: int) -> bytes:
    """A baseline JPEG of a BGR picture."""
    good, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise ValueError(f"a picture of shape {image.shape} cannot be encoded as JPEG")
    return data.tobytes()


class TruthWriter:
    """What a simulation knows about its kept frames, written outside the spool: a line for each.

    Real cameras have no truth.

    Raises:
        BadInputError: a truth folder and the spool lie one inside the other.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._folders: dict[str, Path] = {}
        self._lock = threading.Lock()
        for camera in config.cameras:
            if isinstance(camera, SimulatedCameras) and camera.truth is not None:
                from yolo_assets.simulator.truth import check_truth_dir

                check_truth_dir(camera.truth, config.spool)
                self._folders |= dict.fromkeys(camera.camera_ids, camera.truth)

    def write(self, frame: Frame, image_path: str) -> None:
        """Append the truth of a frame whose image was kept."""
        folder = self._folders.get(frame.camera_id)
        if folder is None or frame.truth is None:
            return
        from yolo_assets.simulator.truth import FrameTruth, true_boxes, truth_file

        height, width = frame.image.shape[:2]
        line = FrameTruth(
            image_path=image_path,
            camera_id=frame.camera_id,
            captured_at=frame.captured_at,
            width=width,
            height=height,
            boxes=true_boxes(frame.truth),
        ).to_json()
        path = truth_file(folder, frame.camera_id, Hour.of(frame.captured_at))
        with self._lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, line + b"\n")
            finally:
                os.close(descriptor)
