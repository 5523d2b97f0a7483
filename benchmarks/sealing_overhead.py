"""What it costs the agent that each picture is hashed and each hour sealed by the device: with against without.

The agent's way of a frame, in one process: YOLO11n (random, lively weights, see ``edge_throughput.py``), JPEG, record,
spool, for a block of 1080p frames that ends with the seal of its hour. Blocks with and without take turns; medians and
their ratio are printed, of processor time, which other work on the machine hardly changes, and of wall time. A block
is far shorter than an hour, so the seal's own cost weighs more than it does in a plant.

Without: no SHA-256 of pictures, no list of files, no Merkle tree, no signature. The seal itself, and making the hour
durable, are part of both. "Recording alone" is the same without the model: what a device with a fast card would see.

Run: python benchmarks/sealing_overhead.py [--rounds 9] [--frames 60]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from edge_throughput import frames, make
from throughput_parts.contestant import Frame, Ours

from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour
from yolo_assets.spool import writer as writing
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.vision.hardware import cpu_model, usable_cpus
from yolo_assets_tests.support.records import frame_record

LIMIT = 0.03
HOUR = Hour.of(datetime(2026, 3, 1, 10, tzinfo=UTC))
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 90]
Infer = Callable[[Frame], list[dict[str, Any]]]


@contextmanager
def no_hash() -> Iterator[None]:
    """Pictures are written without being hashed."""
    kept, constant = writing.hashlib, SimpleNamespace(hexdigest=lambda: "0" * 64)
    writing.hashlib = SimpleNamespace(sha256=lambda _: constant)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        writing.hashlib = kept


def block(folder: Path, pictures: list[Frame], infer: Infer, signer: Signer | None) -> tuple[float, float]:
    """Processor and wall seconds of one block, its seal included."""
    os.sync()
    wall, processor = time.perf_counter(), time.process_time()
    with SpoolWriter(folder, "cam1", "box1", signer=signer) as spool:
        for number, picture in enumerate(pictures):
            found = {"detections": infer(picture), "model_version": "line/1", "device_id": "box1"}
            jpeg = cv2.imencode(".jpg", picture, JPEG)[1].tobytes()
            spool.write(HOUR.start + timedelta(milliseconds=40 * number), frame_record(found), jpeg)
        spool.seal(HOUR)
    taken = time.process_time() - processor, time.perf_counter() - wall
    shutil.rmtree(folder / "cam1")
    return taken


def measure(name: str, folder: Path, pictures: list[Frame], infer: Infer, signer: Signer, rounds: int) -> float:
    """Print medians of both; the share of the processor's time that hashing and sealing take."""
    taken: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for turn in range(rounds + 1):
        for sealed in (True, False) if turn % 2 else (False, True):
            if sealed:
                found = block(folder, pictures, infer, signer)
            else:
                with no_hash():
                    found = block(folder, pictures, infer, None)
            if turn:  # the first warms up
                taken[sealed].append(found)
    ms = {
        sealed: [statistics.median(column) / len(pictures) * 1e3 for column in zip(*found, strict=True)]
        for sealed, found in taken.items()
    }
    share = ms[True][0] / ms[False][0] - 1
    print(
        f"{name}: processor {ms[True][0]:.2f} ms a frame with, {ms[False][0]:.2f} without: {share:+.1%}; wall "
        f"{ms[True][1]:.2f} and {ms[False][1]:.2f}: {ms[True][1] / ms[False][1] - 1:+.1%}",
        flush=True,
    )
    return share


def main() -> None:
    """Both ways, then the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=60, help="of a block")
    given = parser.parse_args()
    shown = frames()
    pictures = [shown[number % len(shown)] for number in range(given.frames)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, cores = Path(temporary), usable_cpus()
        np.save(folder / "frames.npy", shown)
        make("random", folder)
        ours = Ours("ours OpenVINO f32", folder, cores)
        ours.open("random", 0.5)
        signer = Signer.load_or_create(folder / "device.key")
        size = sum(cv2.imencode(".jpg", picture, JPEG)[1].size for picture in shown) / len(shown)
        print(f"{cpu_model()}, {cores} cores, JPEG {size / 1e3:.0f} KB, load {os.getloadavg()[0]:.1f} at the beginning")
        share = measure("YOLO11n and recording", folder / "spool", pictures, ours.record, signer, given.rounds)
        measure("recording alone", folder / "spool", pictures, lambda _: [], signer, given.rounds)
        print(
            f"load {os.getloadavg()[0]:.1f} at the end; at most {LIMIT:.0%}: {'met' if share <= LIMIT else 'NOT met'}"
        )


if __name__ == "__main__":
    main()
