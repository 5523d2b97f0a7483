"""CPU of one tick of the spool sensor over a full spool in which nothing is new.

    python benchmarks/idle_tick.py --files 1000000

Makes a spool of one-byte files below --folder (4 KB of disk each), 200 cameras, as many hours as it takes, and removes
it afterwards. "Every file" is what a tick costs that reads all folders, as the first one does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.intake.folders import Folders, describe_all
from yolo_assets.defs.intake.memory import Memory
from yolo_assets.defs.intake.spool_diff import find_changes
from yolo_assets.spool.hours import scan

CAMERAS = 200
GRACE = 300.0


def fill(spool: Path, files: int, an_hour: int) -> None:
    """One-byte files in hours that were over long ago.

    Args:
        spool: where.
        files: in all.
        an_hour: of one camera.
    """
    old = time.time() - 3 * 86400
    first = Hour.of(utc_now() - timedelta(days=60))
    for number in range(-(-files // an_hour)):
        folder = spool / f"cam{number % CAMERAS:03}" / first.next(number // CAMERAS).key
        folder.mkdir(parents=True)
        for frame in range(min(an_hour, files - number * an_hour)):
            path = folder / f"{frame:06}.jpg"
            path.write_bytes(b"x")
            os.utime(path, (old, old))
        os.utime(folder, (old, old))


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--an-hour", type=int, default=3600, help="files of one camera in one hour")
    parser.add_argument("--ticks", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where the spool is made; default: a temporary one")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="idle-tick-", dir=options.folder))
    try:
        fill(work / "spool", options.files, options.an_hour)
        print(json.dumps(measure(work, options.ticks) | {"files": options.files}, indent=2))
    finally:
        shutil.rmtree(work)


def measure(work: Path, ticks: int) -> dict[str, object]:
    """CPU seconds of a tick that reads every file, of the first ticks, and of those after them.

    Args:
        work: holds the spool, and the files that the sensor remembers it with.
        ticks: idle ones that are measured.
    """
    spool, now = work / "spool", utc_now()
    began = time.process_time()
    described, _ = describe_all(scan(spool).hours, now, GRACE)
    every_file = time.process_time() - began
    memory, text, first, idle = Memory(work / "memory"), None, [], []
    while len(idle) < ticks:
        began = time.process_time()
        look = Folders.of(work / "folders.json", spool, GRACE).look(scan(spool).hours, now)
        found = find_changes(look.closed, memory.load(text), now, 24, look.unread)
        text = memory.keep(found.cursor, text)
        (first if found.changed or look.unread else idle).append(round(time.process_time() - began, 3))
    return {
        "folders": len(described),
        "every_file_cpu_s": round(every_file, 3),
        "first_ticks_cpu_s": first,
        "idle_ticks_cpu_s": idle,
        "cursor_bytes": len(text or ""),
    }


if __name__ == "__main__":
    main()
