"""The hours of one camera of the simulated line: draw, look, write, tell the truth, seal.

What is there already is kept when it is of this very simulation, and refused when it is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.detection import Detection, DetectionRecord, Quality
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import frame_name
from yolo_assets.contracts.times import Hour
from yolo_assets.simulator.line import Line
from yolo_assets.simulator.truth import FrameTruth, true_boxes, truth_file, write_hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.traces import used_stems
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import picture_quality

NO_MODEL = "no_model"
"""Reason in the seal for frames that nothing looked at."""


@dataclass
class Tally:
    """What was done for one camera."""

    sealed: int = 0
    skipped: int = 0
    frames: int = 0
    detections: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Job:
    """What is to be done, the same for every camera.

    Attributes:
        line: what is drawn.
        out: the spool.
        truth: where the truth goes, if anywhere.
        hours: in order.
        fps: frames per simulated second.
        model: what looks at the frames, if anything.
        device_id: for records and seals.
        jpeg_quality: 1 to 100.
        progress: told of frames done.
        stop: set when another camera failed: end after the frame in hand.
    """

    line: Line
    out: Path
    truth: Path | None
    hours: tuple[Hour, ...]
    fps: float
    model: Model | None
    device_id: str
    jpeg_quality: int
    progress: Callable[[int], Any] | None
    stop: threading.Event


def frame_moments(hour: Hour, fps: float, phase: float = 0.0) -> Iterator[datetime]:
    """Capture times of one camera-hour, whole milliseconds.

    Args:
        hour: the hour.
        fps: frames per second.
        phase: share of a frame's time, 0 to 1 without 1, by which the camera is late.
    """
    index = 0
    while (ms := int((index + phase) / fps * 1000)) < 3_600_000:
        yield hour.start + timedelta(milliseconds=ms)
        index += 1


def run_camera(job: Job, camera: str, phase: float) -> Tally:
    """Write, complete or pass over every hour of one camera.

    Args:
        job: what is to be done.
        camera: its id.
        phase: see ``frame_moments``.

    Raises:
        BadInputError: an hour is there that another simulation made.
        FolderBusyError: another process writes this camera.
        SpoolFullError: no room.
    """
    tally, sequence = Tally(), 0
    with SpoolWriter(job.out, camera, job.device_id) as writer:
        for hour in job.hours:
            moments = list(frame_moments(hour, job.fps, phase))
            folder = SpoolHour.of(job.out, camera, hour)
            there = used_stems(folder)
            _refuse_other(job, folder, moments, there)
            # Archived and off the disk: frames made again would be late ones, and become another part.
            if folder.seal() is not None or folder.receipts():
                tally.skipped += 1
                _advance(job, len(moments))
            else:
                for index, moment in enumerate(moments):
                    if job.stop.is_set():
                        return tally
                    if frame_name(moment).removesuffix(".jpg") not in there:
                        _frame(job, writer, camera, moment, sequence + index, tally)
                    _advance(job, 1)
                # Before the seal: a sealed hour has its truth.
                _write_truth(job, camera, hour, moments)
                writer.seal(hour)
                tally.sealed += 1
            sequence += len(moments)
        tally.bytes = writer.bytes_written
    return tally


def _frame(job: Job, writer: SpoolWriter, camera: str, moment: datetime, sequence: int, tally: Tally) -> None:
    scene = job.line.draw(camera, moment)
    jpeg = _encode(scene.image, job.jpeg_quality)
    tally.frames += 1
    if job.model is None:
        writer.drop(moment, NO_MODEL, jpeg)
        return
    started = time.perf_counter()
    boxes = job.model.predict(scene.image)
    spent = (time.perf_counter() - started) * 1e3
    names = job.model.manifest.class_names
    detections = tuple(
        Detection.model_validate(
            {
                "bbox": [round(float(value), 2) for value in box],
                "class": names[int(class_id)],
                "confidence": round(float(confidence), 4),
                "timestamp": moment,
            }
        )
        for box, class_id, confidence in zip(boxes.xyxy, boxes.class_id, boxes.confidence, strict=True)
    )
    tally.detections += len(detections)
    blur, brightness = picture_quality(scene.image)
    record = DetectionRecord(
        image_path=f"{camera}/{Hour.of(moment)}/{frame_name(moment)}",
        detections=detections,
        model_version=job.model.manifest.model_version,
        device_id=job.device_id,
        sequence=sequence,
        width=scene.image.shape[1],
        height=scene.image.shape[0],
        inference_ms=round(spent, 3),
        batch_id=scene.batch_id,
        quality=Quality(blur=round(blur, 2), brightness=round(brightness, 2)),
    )
    writer.write(moment, record, jpeg)


def _write_truth(job: Job, camera: str, hour: Hour, moments: Sequence[datetime]) -> None:
    if job.truth is None:
        return
    config = job.line.config
    frames = [
        FrameTruth(
            image_path=f"{camera}/{hour}/{frame_name(moment)}",
            camera_id=camera,
            captured_at=moment,
            width=config.width,
            height=config.height,
            boxes=true_boxes(job.line.truth(camera, moment)),
        )
        for moment in moments
    ]
    write_hour(job.truth, camera, hour, frames)


def _refuse_other(job: Job, folder: SpoolHour, moments: Sequence[datetime], there: set[str]) -> None:
    """Go on only with an hour of this very simulation; another line's frames must not get this one's truth."""
    advice = "give another --out, or the arguments of the first run"
    planned = {frame_name(moment).removesuffix(".jpg"): moment for moment in moments}
    if there - planned.keys():
        raise BadInputError(f"hour {folder.name} in {job.out} holds frames of another origin; {advice}")
    seal = folder.seal()
    if seal is not None and seal.captured < len(moments):
        raise BadInputError(
            f"hour {folder.name} in {job.out} is sealed with {seal.captured} frames, not {len(moments)}; {advice}"
        )
    if seal is not None and job.truth is not None and not truth_file(job.truth, folder.camera_id, folder.hour).exists():
        raise BadInputError(f"hour {folder.name} in {job.out} is sealed and has no truth in {job.truth}; {advice}")
    first = next((member for member in folder.frames() if member.name.removesuffix(".jpg") in planned), None)
    if first is not None:
        scene = job.line.draw(folder.camera_id, planned[first.name.removesuffix(".jpg")])
        if (folder.path / first.name).read_bytes() != _encode(scene.image, job.jpeg_quality):
            raise BadInputError(f"hour {folder.name} in {job.out} was made with other arguments; {advice}")


def _encode(image: NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV cannot write JPEG")
    return data.tobytes()


def _advance(job: Job, frames: int) -> None:
    if job.progress is not None:
        job.progress(frames)
