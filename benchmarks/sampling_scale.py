"""Choosing a batch from the tables of a large plant: time and memory, by SQL and as it was done before.

Tables as the product writes them, for ``--cameras`` cameras and ``--hours`` hours at one frame a second: 200 cameras
and a week are 121 million frame rows in 67,200 files. Every camera-hour has a receipt by its name alone, so the few
archives that would be looked into are left out as unreadable. One camera turns dirty half-way. Candidates are found and
chosen in a process of its own, whose peak memory is measured; writing the batch is not part of it, since it depends on
the budget and not on the plant.

The peer is the way of before: every frame and detection as a data frame, and an object for each frame. It is run on
``--peer-cameras`` of the cameras, and never scaled up.

Run: python benchmarks/sampling_scale.py [--cameras 200] [--hours 168] [--peer-cameras 10] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.names import ArchiveName, detections_key, frames_key
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.learning.candidates import gather_candidates
from yolo_assets.learning.sampling import sample
from yolo_assets.storage import open_store
from yolo_assets.tables.scan import read_detections, read_frames
from yolo_assets.tables.schema import DetectionsTable, FramesTable, polars_schema

START = datetime(2026, 3, 2, tzinfo=UTC)
FRAMES = 3_600
CLASSES = np.array(["crack", "porosity", "spatter", "undercut", "arc_strike"])
SHARES = (0.5, 0.3, 0.15, 0.045, 0.005)
DIRTY = "cam007"


def make(folder: Path, cameras: int, hours: int) -> int:
    """Write tables and receipts' names; returns the rows of the frames tables."""
    rng = np.random.default_rng(7)
    store = folder / "store"
    draws = [_draw(rng) for _ in range(40)]
    for number in range(hours):
        hour = Hour(START + timedelta(hours=number))
        at = pl.datetime_range(hour.start, hour.end, "1s", closed="left", eager=True, time_unit="ms", time_zone="UTC")
        names = at.dt.strftime("%Y%m%d_%H%M%S_000.jpg")
        for index in range(cameras):
            camera = f"cam{index:03d}"
            frames, found = draws[int(rng.integers(len(draws)))]
            if camera == DIRTY and number >= hours // 2:
                frames = frames.with_columns(pl.col("blur") * 0.4)
            base = {
                "camera_id": pl.lit(camera),
                "hour": pl.lit(hour.start, pl.Datetime("ms", "UTC")),
                "image_path": pl.lit(f"{camera}/{hour.key}/") + names,
                "captured_at": at,
                "model_version": pl.lit("line/1"),
                "device_id": pl.lit("edge01"),
                "width": pl.lit(1920, pl.Int64),
                "height": pl.lit(1080, pl.Int64),
            }
            rows = frames.with_columns(image_saved=pl.lit(True), **base)
            boxes = (
                rows[found["row"]]
                .select(*base)
                .with_columns(found.drop("row"))
                .with_columns(timestamp="captured_at", index=pl.lit(0, pl.Int64))
            )
            for model, table, key in (
                (FramesTable, rows, frames_key(hour, camera)),
                (DetectionsTable, boxes, detections_key(hour, camera)),
            ):
                schema = polars_schema(model)
                missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in table.columns]
                path = store / key
                path.parent.mkdir(parents=True, exist_ok=True)
                table.with_columns(missing).select(schema.names()).cast(schema).write_parquet(path, compression="zstd")
            receipt = folder / "archive" / ArchiveName(camera, hour).receipt_key
            receipt.parent.mkdir(parents=True, exist_ok=True)
            receipt.touch()
    return cameras * hours * FRAMES


def _draw(rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Figures of an hour, and its detections: 3 % of the frames have one; a fifth of them unsure."""
    frames = pl.DataFrame(
        {
            "sequence": np.arange(FRAMES),
            "n_detections": np.zeros(FRAMES, np.int64),
            "blur": np.round(rng.normal(110, 4, FRAMES), 2),
            "brightness": np.round(rng.normal(120, 2, FRAMES), 2),
            "inference_ms": np.round(rng.normal(30, 2, FRAMES), 2),
        }
    )
    rows = np.flatnonzero(rng.random(FRAMES) < 0.03)
    count = len(rows)
    corner = np.round(rng.uniform(0, 900, (count, 2)), 2)
    found = pl.DataFrame(
        {
            "row": rows,
            "class": rng.choice(CLASSES, count, p=SHARES),
            "confidence": np.round(np.where(rng.random(count) < 0.2, rng.uniform(0.25, 0.7, count), 0.9), 4),
            "x1": corner[:, 0],
            "y1": corner[:, 1],
            "x2": corner[:, 0] + 40,
            "y2": corner[:, 1] + 30,
        }
    )
    return frames, found


def by_sql(folder: Path, hours: int) -> dict[str, object]:
    """Candidates and choice, as the asset makes them."""
    store, archive = _opened(folder)
    pool = gather_candidates(store, archive, START, START + timedelta(hours=hours))
    chosen = sample(pool.candidates, 200, class_counts=pool.class_counts)
    reasons = Counter(one.reason for one in chosen)
    return {
        "rows": pool.frames,
        "candidates": len(pool.candidates),
        "chosen": len(chosen),
        "reasons": dict(reasons),
        "bad": pool.bad_pictures,
    }


def as_objects(folder: Path, hours: int, cameras: int) -> dict[str, object]:
    """The peer: the tables as data frames, a Python object for each frame."""
    store, _ = _opened(folder)
    chosen = [f"cam{index:03d}" for index in range(cameras)]
    end = START + timedelta(hours=hours)
    frames, detections = (read(store, START, end, chosen) for read in (read_frames, read_detections))
    reported: dict[str, list[tuple[str, float]]] = {}
    for path, name, confidence in detections.select("image_path", "class", "confidence").iter_rows():
        reported.setdefault(path, []).append((name, confidence))
    columns = frames.select("image_path", "camera_id", "captured_at").iter_rows()
    objects = [(path, camera, at, tuple(reported.get(path, ()))) for path, camera, at in columns]
    return {"rows": len(objects)}


def _opened(folder: Path):
    store, root = (open_store((folder / name).as_uri()) for name in ("store", "archive"))
    return store, Archive(root, TrustedKeys.of())


def measured(folder: Path, *arguments: str) -> dict[str, object]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--folder", str(folder), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--hours", type=int, default=168)
    parser.add_argument("--peer-cameras", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="keep the tables there, and use those that are there")
    parser.add_argument("--child", choices=["sql", "objects"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        started, cpu = time.perf_counter(), time.process_time()
        if given.child == "sql":
            result = by_sql(given.folder, given.hours)
        else:
            result = as_objects(given.folder, given.hours, given.peer_cameras)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "peak_mb": peak}
        print(json.dumps(result | spent))
        return
    folder = given.folder or Path(tempfile.mkdtemp(prefix="sampling-scale-"))
    try:
        if not (folder / "store").is_dir():
            started = time.perf_counter()
            rows = make(folder, given.cameras, given.hours)
            print(f"{rows:,} frame rows written in {time.perf_counter() - started:.0f} s", flush=True)
        size = ("--hours", str(given.hours))
        ours = measured(folder, "--child", "sql", *size)
        peer = measured(folder, "--child", "objects", *size, "--peer-cameras", str(given.peer_cameras))
        for name, one in (("by SQL", ours), ("as objects", peer)):
            print(
                f"{name:<12} {one['rows']:>12,} rows  {one['seconds']:7.1f} s  {one['cpu']:7.1f} s of processor  "
                f"{one['peak_mb']:7.0f} MB"
            )
        print(f"candidates {ours['candidates']:,}, chosen {ours['chosen']}: {ours['reasons']}")
        print(f"left out: {ours['bad']}")
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
