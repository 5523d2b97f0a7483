"""`datasets build` of a camera with 100,000 labelled frames, end to end: seconds, memory, size of the manifest.

Small frames of a simulated belt, one a second, as they lie in a store after their label file was imported. Built are
the first version, which reads and hashes every picture; the next one with 1 % more labels, which reads those alone; and
the same again, which changes nothing. Each is a command of its own, as a person runs it, and its peak memory is
measured. How long a picture takes depends on its size: try ``--width`` and ``--height`` of yours.

Run: python benchmarks/dataset_build.py [--frames 100000] [--width 320 --height 256] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np

from yolo_assets.contracts.names import DATASET_POINTER, LABELS_ACCEPTED, dataset_image_key, dataset_key
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.records import AcceptedLabels, LabelBox, LabelledImage
from yolo_assets.simulator.part_line import PartLine
from yolo_assets.storage import open_store

START = datetime(2026, 3, 1, tzinfo=UTC)


def make(folder: Path, count: int, width: int, height: int) -> None:
    """Pictures, and one label file that names them."""
    store = open_store((folder / "store").as_uri())
    line = PartLine("moving", seconds=count, speed=60, per_second=0.3, width=width, height=height)
    rng = np.random.default_rng(0)
    belt = cv2.GaussianBlur(rng.integers(60, 160, (height, width + 997, 3), np.uint8), (0, 0), 3)
    images: list[LabelledImage] = []
    for number in range(count):
        moment = START + timedelta(seconds=number)
        picture = np.ascontiguousarray(belt[:, 7 * number % 997 :][:, :width])
        boxes: list[LabelBox] = []
        for box in line.truth(float(number))[0]:
            x1, y1, x2, y2 = box.tolist()
            if x2 - x1 < 2 or y2 - y1 < 2:
                continue
            cv2.rectangle(picture, (int(x1), int(y1)), (int(x2), int(y2)), (30, 30, 30), -1)
            boxes.append(LabelBox.model_validate({"bbox": (x1, y1, x2, y2), "class": "part"}))
        cv2.putText(picture, str(number), (4, height - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255))
        data = cv2.imencode(".jpg", picture)[1].tobytes()
        sha256 = hashlib.sha256(data).hexdigest()
        path = f"cam1/{Hour(moment.replace(minute=0, second=0)).key}/{moment:%Y%m%d_%H%M%S}_000.jpg"
        store.put(dataset_image_key(sha256, path), data)
        images.append(
            LabelledImage(
                image_path=path,
                sha256=sha256,
                width=width,
                height=height,
                boxes=tuple(boxes),
                camera_id="cam1",
                captured_at=moment,
            )
        )
    late = max(count // 100, 1)
    for name, part in (("first", images[:-late]), ("second", images[-late:])):
        digest = hashlib.sha256(name.encode()).hexdigest()
        file = AcceptedLabels(
            source_file=f"{name}.json", source_sha256=digest, format="coco", imported_at=START, images=tuple(part)
        )
        key = f"{LABELS_ACCEPTED}{digest}.json"
        if name == "second":
            (folder / "second.json").write_bytes(file.to_json())
            (folder / "second.key").write_text(key)
        else:
            store.put(key, file.to_json())


def build(folder: Path) -> tuple[dict[str, int], float, float, float]:
    """The command, in a process of its own: counts, seconds, seconds of processor, peak memory in GB."""
    environment = {**os.environ, "YOLO_ASSETS_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "yolo_assets.cli.main", "datasets", "build", "--json"]
    places = ["--store", (folder / "store").as_uri(), "--archive", (folder / "archive").as_uri()]
    began = time.perf_counter()
    child = subprocess.Popen([*command, *places], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    answer = json.loads(child.stdout.read())
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        raise SystemExit(f"the build ended with {status}")
    return answer["counts"], time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Make, build three times, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="keep the store there, and use the one that is there")
    given = parser.parse_args(argv)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="dataset-build-"))
    (folder / "archive").mkdir(parents=True, exist_ok=True)
    try:
        if not (folder / "second.key").is_file():
            began = time.perf_counter()
            make(folder, given.frames, given.width, given.height)
            print(f"{given.frames:,} pictures made in {time.perf_counter() - began:.0f} s", flush=True)
        store = open_store((folder / "store").as_uri())
        for what in ("first version", "1 % more labels", "the same again"):
            if what == "1 % more labels":
                store.put((folder / "second.key").read_text(), (folder / "second.json").read_bytes())
            counts, seconds, processor, memory = build(folder)
            said = ", ".join(f"{split} {counts.get(split, 0):,}" for split in ("train", "val", "test"))
            print(f"{what:<16} {seconds:6.1f} s  {processor:6.1f} s of processor  {memory:5.2f} GB  {said}", flush=True)
        current = json.loads(store.get(DATASET_POINTER))["sha256"]
        sizes = {name: len(store.get(dataset_key(current, name))) for name in ("manifest.json", "items.parquet")}
        print(", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()))
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
