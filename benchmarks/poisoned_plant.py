"""200 cameras, one of them spoilt in each known way: are the others archived, tabled and catalogued, and at what price?

The clean plant has 200 cameras with an hour of good frames. In the other, every spool of ``yolo_assets_tests/foreign``
takes the place of good cameras. Real commands in processes of their own: ``archive run``, ``tables build``, ``catalog
rebuild``, and a tick of every Dagster sensor. The two plants take turns; the peer is the clean one.

Run: python benchmarks/poisoned_plant.py [--cameras 200] [--frames 20] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from yolo_assets_tests.support.foreign import every_spool

HOUR = "20241015_14"
TICK = """
import dagster as dg
from yolo_assets.definitions import defs
from yolo_assets_tests.support.automation_daemon import AutomationDaemon
with dg.DagsterInstance.ephemeral() as instance:
    failed = AutomationDaemon(defs(), instance).tick_sensors()
    assert not failed, failed
"""


def main() -> None:
    """Measures, prints, and exits 1 when a good camera is missing or the ratio is above 1.2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clean, spoilt = Path(folder) / "clean", Path(folder) / "spoilt"
        foreign = sorted(path.name for path in every_spool(spoilt).iterdir())
        good = [f"good{number:03}" for number in range(options.cameras - len(foreign))]
        for name in [*good, *(f"more{number:02}" for number in range(len(foreign)))]:
            good_camera(clean / "spool" / name, options.frames)
        for name in good:
            good_camera(spoilt / "spool" / name, options.frames)
        taken: dict[str, dict[str, list[float]]] = {}
        for _ in range(options.rounds):
            for plant in (clean, spoilt):
                for step, seconds in work_through(plant, good).items():
                    taken.setdefault(step, {}).setdefault(plant.name, []).append(seconds)
        print(f"{options.cameras} cameras with {options.frames} frames; {len(foreign)} foreign ones in the other plant")
        print(f"all {len(good)} good cameras are archived, tabled and catalogued in every round of both")
        total = {"clean": 0.0, "spoilt": 0.0}
        for step, by_plant in taken.items():
            medians = {name: statistics.median(values) for name, values in by_plant.items()}
            total = {name: total[name] + medians[name] for name in total}
            print(f"  {step:16} clean {medians['clean']:6.2f} s   spoilt {medians['spoilt']:6.2f} s")
        ratio = total["spoilt"] / total["clean"]
        print(f"spoilt / clean: {ratio:.2f} of the time (limit 1.2)")
        sys.exit(ratio > 1.2)


def good_camera(folder: Path, frames: int) -> None:
    """An hour of frames with a record each."""
    hour = folder / HOUR
    hour.mkdir(parents=True)
    for number in range(frames):
        stem = f"20241015_14{number // 60:02}{number % 60:02}_000"
        (hour / f"{stem}.jpg").write_bytes(b"\xff\xd8\xff\xe0" + os.urandom(20_000) + b"\xff\xd9")
        found = {"bbox": [1, 2, 3, 4], "class": "crack", "confidence": 0.9, "timestamp": "2024-10-15T14:00:00Z"}
        record = {"image_path": f"{folder.name}/{HOUR}/{stem}.jpg", "detections": [found]}
        (hour / f"{stem}.json").write_text(json.dumps(record | {"model_version": "a/1", "device_id": "device1"}))


def work_through(plant: Path, good: list[str]) -> dict[str, float]:
    """Seconds of each step, over fresh stores; fails when a good camera is missing anywhere."""
    for name in ("archive", "store", "known-archive.json"):
        shutil.rmtree(plant / name, ignore_errors=True)
    for marker in plant.glob("spool/*/*/.*"):
        marker.unlink()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("YOLO_ASSETS_", "DAGSTER_"))}
    env |= {"YOLO_ASSETS_HOME": str(plant), "YOLO_ASSETS_GRACE_SECONDS": "0"}
    command = [sys.executable, "-m", "yolo_assets.cli.main"]
    seconds: dict[str, float] = {}

    def timed(step: str, arguments: list[str]) -> str:
        begin = time.perf_counter()
        done = subprocess.run(arguments, env=env, capture_output=True, text=True, check=False)
        seconds[step] = time.perf_counter() - begin
        if done.returncode not in (0, 1) or "Traceback" in done.stderr:
            sys.exit(f"{step}: {done.stderr[-3000:]}")
        return done.stdout

    rows = json.loads(timed("archive run", [*command, "archive", "run", "--grace", "0", "--keep-local", "--json"]))
    timed("sensors tick", [sys.executable, "-c", TICK])
    timed("tables build", [*command, "tables", "build", "--hour", HOUR, "--json"])
    timed("catalog rebuild", [*command, "catalog", "rebuild"])
    asked = "SELECT DISTINCT camera_id AS camera FROM archives"
    listed = {row["camera"] for row in json.loads(timed("query", [*command, "catalog", "query", asked, "--json"]))}
    tabled = {path.parts[-2] if path.stem == "part" else path.stem for path in plant.glob("store/frames/**/*.parquet")}
    missing = [
        name
        for name in good
        if {"archived"} != {row["status"] for row in rows if row["camera_id"] == name}
        or name not in listed
        or not any(name in part for part in tabled)
    ]
    if missing:
        sys.exit(f"{plant.name}: {missing[:5]} and more are missing: {len(missing)}")
    del seconds["query"]
    return seconds


if __name__ == "__main__":
    main()
