"""Writes whole, closed spool hours of the simulated line in a short time, as an agent at those cameras would have.

Frames are deterministic, so a run that was interrupted continues when it is run again with the same arguments: frames
that are there are kept, sealed and archived hours passed over; hours of another simulation are refused. With a bundle
the frames go through the real model. Without one no detection record is written, because no model saw the frames: the
images are kept, and the seal counts each as dropped, reason ``no_model``. Unless the truth is asked for as records: it
is what a model would report that never errs.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolo_assets.contracts.detection import Detection, DetectionRecord, Quality
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import check_id, frame_name
from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.models.bundle import load_bundle_folder
from yolo_assets.simulator.truth import FrameTruth, check_truth_dir, true_boxes, truth_file, write_hour
from yolo_assets.simulator.weld_line import Change, LineConfig, WeldLine
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.spool.traces import used_stems
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.vision.model import Model
from yolo_assets.vision.pictures import picture_quality

TRUTH = "truth"
"""Model version of records that hold the truth: the name of no model of ours."""
NO_MODEL = "no_model"
"""Reason in the seal for frames that no model saw."""


@dataclass
class SimulatedCounts:
    """What was done for one camera."""

    sealed: int = 0
    skipped: int = 0
    frames: int = 0
    detections: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class SimulationJob:
    """What is to be done, the same for every camera.

    Attributes:
        line: what is drawn.
        out: the spool.
        truth: where the truth goes, if anywhere.
        hours: in order.
        fps: frames per simulated second.
        model: what detects in the frames, if anything.
        truth_records: the truth becomes the records.
        device_id: for records and seals.
        jpeg_quality: 1 to 100.
        progress: called with a number of frames done.
        stop: set when another camera failed: end after the frame in hand.
    """

    line: WeldLine
    out: Path
    truth: Path | None
    hours: tuple[Hour, ...]
    fps: float
    model: Model | None
    truth_records: bool
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


@dataclass(frozen=True)
class SimulateReport:
    """What a simulation did.

    Attributes:
        spool: where the hours are.
        truth: where the truth is, if it was asked for.
        cameras: their ids.
        first_hour: ``YYYYMMDD_HH``.
        last_hour: ``YYYYMMDD_HH``, included.
        sealed: camera-hours written now.
        skipped: camera-hours that were there already, from the same simulation, or that were archived.
        frames: frames written now.
        detections: boxes that the records of these frames hold.
        bytes: of images and records written now.
        model_version: as the records name it; None when there are none.
        seconds: wall time.
    """

    spool: Path
    truth: Path | None
    cameras: tuple[str, ...]
    first_hour: str
    last_hour: str
    sealed: int
    skipped: int
    frames: int
    detections: int
    bytes: int
    model_version: str | None
    seconds: float


def simulate(
    out: Path,
    *,
    cameras: int = 3,
    hours: int = 1,
    fps: float = 0.05,
    seed: int = 0,
    start: Hour | None = None,
    model: Path | None = None,
    truth_records: bool = False,
    truth: Path | None = None,
    changes: Sequence[Change] = (),
    device_id: str = "simulator",
    jpeg_quality: int = 90,
    width: int = 320,
    height: int = 256,
    progress: Callable[[int], Any] | None = None,
) -> SimulateReport:
    """Write closed spool hours of a simulated line.

    Args:
        out: the spool folder, made when missing.
        cameras: how many.
        hours: how many, one after the other.
        fps: frames per simulated second and camera; 0.05 is one in 20 seconds.
        seed: what the line is made of; the same seed gives the same bytes.
        start: the first hour; None for the latest with which all hours are past.
        model: folder of a model bundle; None writes images alone.
        truth_records: without a model: the truth as records, of model ``truth``.
        truth: folder for the truth, outside the spool.
        changes: what happens to the line.
        device_id: goes into records and seals.
        jpeg_quality: 1 to 100.
        width: of a frame, pixels.
        height: of a frame, pixels.
        progress: called with a number of frames done, from several threads.

    Raises:
        BadInputError: an argument is out of range, the hours are not past, a change comes after their end, the truth
            folder touches the spool, or an hour is there that another simulation made.
        FolderBusyError: another process writes one of the cameras.
        SpoolFullError: no room; run again when there is.
        UserError: the model cannot be loaded.
    """
    began = time.monotonic()
    check_id(device_id, "device id")
    line = WeldLine(LineConfig(seed=seed, cameras=cameras, width=width, height=height, changes=tuple(changes)))
    if not 1 <= jpeg_quality <= 100:
        raise BadInputError(f"JPEG quality {jpeg_quality} does not exist; use 1 to 100")
    if model is not None and truth_records:
        raise BadInputError("records are by a model or the truth; choose one of the two")
    if not 1 / 3600 <= fps <= 120:
        raise BadInputError(f"{fps} frames per second cannot be simulated; use 0.0003 (one an hour) to 120")
    span = _past_hours(start, hours)
    for change in line.config.changes:
        if change.at >= span[-1].end:
            raise BadInputError(
                f"the change at {format_time(change.at)} comes after the last hour, {span[-1]}; move it or add hours"
            )
    if truth is not None:
        check_truth_dir(truth, out)
    loaded = _load(model)
    job = SimulationJob(
        line, out, truth, span, fps, loaded, truth_records, device_id, jpeg_quality, progress, threading.Event()
    )
    try:
        all_counts = _run(job)
    finally:
        if loaded is not None:
            loaded.close()
    return SimulateReport(
        spool=out,
        truth=truth,
        cameras=tuple(line.cameras),
        first_hour=span[0].key,
        last_hour=span[-1].key,
        sealed=sum(counts.sealed for counts in all_counts),
        skipped=sum(counts.skipped for counts in all_counts),
        frames=sum(counts.frames for counts in all_counts),
        detections=sum(counts.detections for counts in all_counts),
        bytes=sum(counts.bytes for counts in all_counts),
        model_version=_version(job),
        seconds=time.monotonic() - began,
    )


def _version(job: SimulationJob) -> str | None:
    """The model version that the records name; None without records."""
    if job.model is not None:
        return job.model.manifest.model_version
    return TRUTH if job.truth_records else None


def count_frames(cameras: int, hours: int, fps: float) -> int:
    """Frames of a simulation: what its progress counts to. 0 for arguments that ``simulate`` refuses."""
    if not 0 < fps < math.inf:
        return 0
    return hours * sum(math.ceil(3600 * fps - index / cameras) for index in range(cameras))


def _past_hours(start: Hour | None, hours: int) -> tuple[Hour, ...]:
    if hours < 1:
        raise BadInputError(f"{hours} hours cannot be simulated; use 1 or more")
    current = Hour.of(utc_now())
    first = start or current.next(-hours)
    if first.next(hours) > current:
        latest = current.next(-hours)
        raise BadInputError(f"{hours} hours from {first} are not over yet; start at {latest} or earlier")
    return tuple(first.next(index) for index in range(hours))


def _load(bundle: Path | None) -> Model | None:
    if bundle is None:
        return None
    loaded = load_bundle_folder(bundle, only={ONNX})
    model = Model.load(loaded.manifest, loaded.files, threads=1, parallel=os.cpu_count() or 1)
    model.warm_up()
    return model


def _run(job: SimulationJob) -> list[SimulatedCounts]:
    """Cameras side by side, each with its hours in order."""
    cameras = job.line.cameras
    with ThreadPoolExecutor(min(len(cameras), os.cpu_count() or 1)) as pool:
        futures = [pool.submit(run_camera, job, camera, index / len(cameras)) for index, camera in enumerate(cameras)]
        try:
            return [future.result() for future in futures]
        except BaseException:
            job.stop.set()  # the others end after the frame in hand
            for future in futures:
                future.cancel()
            raise


def run_camera(job: SimulationJob, camera: str, phase: float) -> SimulatedCounts:
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
    counts, sequence = SimulatedCounts(), 0
    with SpoolWriter(job.out, camera, job.device_id) as writer:
        for hour in job.hours:
            moments = list(frame_moments(hour, job.fps, phase))
            folder = SpoolHour.of(job.out, camera, hour)
            there = used_stems(folder)
            _refuse_other(job, folder, moments, there)
            # Archived and off the disk: frames made again would be late ones, and become another part.
            if folder.seal() is not None or folder.receipts():
                counts.skipped += 1
                _advance(job, len(moments))
            else:
                for index, moment in enumerate(moments):
                    if job.stop.is_set():
                        return counts
                    if frame_name(moment).removesuffix(".jpg") not in there:
                        _frame(job, writer, camera, moment, sequence + index, counts)
                    _advance(job, 1)
                # Before the seal: a sealed hour has its truth.
                _write_truth(job, camera, hour, moments)
                writer.seal(hour)
                counts.sealed += 1
            sequence += len(moments)
        counts.bytes = writer.bytes_written
    return counts


def _frame(
    job: SimulationJob, writer: SpoolWriter, camera: str, moment: datetime, sequence: int, counts: SimulatedCounts
) -> None:
    scene = job.line.draw(camera, moment)
    jpeg = _encode(scene.image, job.jpeg_quality)
    counts.frames += 1
    version = _version(job)
    if version is None:
        writer.drop(moment, NO_MODEL, jpeg)
        return
    started = time.perf_counter()
    detections = _detections(job, scene.image, camera, moment)
    spent = (time.perf_counter() - started) * 1e3
    counts.detections += len(detections)
    blur, brightness = picture_quality(scene.image)
    record = DetectionRecord(
        image_path=f"{camera}/{Hour.of(moment)}/{frame_name(moment)}",
        detections=detections,
        model_version=version,
        device_id=job.device_id,
        sequence=sequence,
        width=scene.image.shape[1],
        height=scene.image.shape[0],
        inference_ms=round(spent, 3) if job.model is not None else None,
        batch_id=scene.batch_id,
        quality=Quality(blur=round(blur, 2), brightness=round(brightness, 2)),
    )
    writer.write(moment, record, jpeg)


def _detections(job: SimulationJob, image: NDArray[np.uint8], camera: str, moment: datetime) -> tuple[Detection, ...]:
    """What the model finds in a frame, or what is really in it."""
    if job.model is not None:
        records = job.model.predict(image).to_records(job.model.manifest.record_names, moment)
        return tuple(Detection.model_validate(record) for record in records)
    return tuple(
        Detection.model_validate(
            {"bbox": box.bbox, "class": box.class_name, "confidence": 1.0, "timestamp": format_time(moment)}
        )
        for box in job.line.truth(camera, moment)
    )


def _write_truth(job: SimulationJob, camera: str, hour: Hour, moments: Sequence[datetime]) -> None:
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


def _refuse_other(job: SimulationJob, folder: SpoolHour, moments: Sequence[datetime], there: set[str]) -> None:
    """Refuse an hour of another simulation: frames of another line must not get the truth of this one."""
    advice = "give another --out, or the arguments of the first run"
    planned = {frame_name(moment): moment for moment in moments}
    names = {member.name for member in folder.frames()}
    if names - planned.keys() or there - {name.removesuffix(".jpg") for name in planned}:
        raise BadInputError(f"hour {folder.name} in {job.out} holds frames of another origin; {advice}")
    seal = folder.seal()
    if seal is not None and seal.captured < len(moments):
        raise BadInputError(
            f"hour {folder.name} in {job.out} is sealed with {seal.captured} frames, not {len(moments)}; {advice}"
        )
    if seal is not None and job.truth is not None and not truth_file(job.truth, folder.camera_id, folder.hour).exists():
        raise BadInputError(f"hour {folder.name} in {job.out} is sealed and has no truth in {job.truth}; {advice}")
    first = min(names, default=None)
    if first is not None:
        scene = job.line.draw(folder.camera_id, planned[first])
        if (folder.path / first).read_bytes() != _encode(scene.image, job.jpeg_quality):
            raise BadInputError(f"hour {folder.name} in {job.out} was made with other arguments; {advice}")


def _encode(image: NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV cannot write JPEG")
    return data.tobytes()


def _advance(job: SimulationJob, frames: int) -> None:
    if job.progress is not None:
        job.progress(frames)
