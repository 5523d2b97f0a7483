"""Whole spool hours of the simulated line, closed and fast, as an agent beside those cameras would have left them.

Frames are deterministic, so a run that was interrupted goes on where it stopped when it is run again with the same
arguments: frames that are there are kept, sealed and archived hours passed over. With a bundle the frames go through
the real model. Without one no detection record is written, because nothing looked at the frames: the images are kept,
and the seal counts each as dropped, reason ``no_model``.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.model import ONNX
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.models.bundle import load_bundle_folder
from yolo_assets.simulator.camera_hours import Job, Tally, run_camera
from yolo_assets.simulator.line import Change, Line, LineConfig
from yolo_assets.simulator.truth import check_truth_dir
from yolo_assets.vision.model import Model


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
        detections: boxes that the model reported in them.
        bytes: of images and records written now.
        model_version: None when nothing looked at the frames.
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
    line = Line(LineConfig(seed=seed, cameras=cameras, width=width, height=height, changes=tuple(changes)))
    if not 1 <= jpeg_quality <= 100:
        raise BadInputError(f"JPEG quality {jpeg_quality} does not exist; use 1 to 100")
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
    job = Job(line, out, truth, span, fps, loaded, device_id, jpeg_quality, progress, threading.Event())
    try:
        tallies = _run(job)
    finally:
        if loaded is not None:
            loaded.close()
    return SimulateReport(
        spool=out,
        truth=truth,
        cameras=tuple(line.cameras),
        first_hour=span[0].key,
        last_hour=span[-1].key,
        sealed=sum(tally.sealed for tally in tallies),
        skipped=sum(tally.skipped for tally in tallies),
        frames=sum(tally.frames for tally in tallies),
        detections=sum(tally.detections for tally in tallies),
        bytes=sum(tally.bytes for tally in tallies),
        model_version=loaded.manifest.model_version if loaded is not None else None,
        seconds=time.monotonic() - began,
    )


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
    found = load_bundle_folder(bundle, only={ONNX})
    model = Model.load(found.manifest, found.files, threads=1, parallel=os.cpu_count() or 1)
    model.warm_up()
    return model


def _run(job: Job) -> list[Tally]:
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
