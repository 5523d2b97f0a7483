"""Splits of 100,000 frames: seconds and memory, for one camera, a numbered export, and pictures without any order.

Run: python benchmarks/splits.py [--frames 100000]. Labels are simulated: parts on a belt before one camera. Counted are
the split itself and the naming of objects, as ``datasets build`` does both after the pictures were read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from yolo_assets.learning.series import SplitFrame
from yolo_assets.learning.split import assign
from yolo_assets.simulator.part_line import PartLine

KINDS = ("camera", "numbered", "without order", "still scene without order")
START = datetime(2026, 3, 1, tzinfo=UTC)


def frames_of(kind: str, count: int) -> list[SplitFrame]:
    """Labelled frames, one a second; pictures without order have 1,000 near-duplicates of each other among them."""
    line = PartLine("moving", seconds=count, speed=60, per_second=0.3)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (count, 32), np.uint8)
    if kind != "camera":
        hashes[:1000] = hashes[0]
    if kind.startswith("still"):
        hashes[:] = hashes[0]
    frames = []
    for number in range(count):
        key = hashlib.sha256(f"{number}".encode()).hexdigest()
        path = f"frame_{number:06d}.jpg" if kind == "numbered" else f"{key}.jpg"
        moment = START + timedelta(seconds=number) if kind == "camera" else None
        boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in line.truth(float(number))[0].tolist())
        frames.append(SplitFrame(key, "cam1" if moment else "", moment, hashes[number].tobytes().hex(), path, boxes))
    return frames


def measure(kind: str, count: int) -> dict[str, object]:
    """One kind, in a process of its own."""
    frames = frames_of(kind, count)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    began, worked = time.perf_counter(), time.process_time()
    result = assign(frames)
    return {
        "kind": kind,
        "frames": count,
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - worked, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "of_it_frames_gb": round(base, 2),
        "left_out": len(result.excluded),
        **Counter(assignment.split for assignment in result.assigned.values()),
    }


def main() -> None:
    """All kinds, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--kind", choices=KINDS)
    given = parser.parse_args()
    if given.kind is not None:
        print(json.dumps(measure(given.kind, given.frames)), flush=True)
        return
    for kind in KINDS:
        subprocess.run([sys.executable, __file__, "--frames", str(given.frames), "--kind", kind], check=True)


if __name__ == "__main__":
    main()
