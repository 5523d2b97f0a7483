"""Resident memory of the archiver for an hour of 4 GB in 20,000 files, into a folder and into S3.

A real ``yolo-assets archive run`` in a process of its own; the figure is what the kernel says was the highest
(``VmHWM``). The peer is a program that reads the hour before it writes it: it needs the hour's size.

Run: python benchmarks/pack_memory.py [--gigabytes 4] [--members 20000] [--stores folder s3] [--s3-server ceph]

Needs twice the size as free disk, and as much memory as the size for the server that is started for S3.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from yolo_assets.contracts.times import Hour
from yolo_assets_tests.support.s3_server import bucket

HOUR = Hour.from_key("20260102_03")
LIMIT = 250e6
RUNNER = """
import re, sys
from yolo_assets.cli.main import main
figure = sys.argv.pop()
try:
    main()
finally:
    open(figure, "w").write(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1])
"""


def make_hour(folder: Path, members: int, size: int) -> int:
    """Frames of random bytes, each of its own size around the mean; the bytes of all."""
    folder.mkdir(parents=True)
    chance = random.Random(1)
    written = 0
    for number in range(members):
        length = int(size / members * chance.uniform(0.5, 1.5))
        second, thousandth = divmod(number * 3_600_000 // members, 1000)
        name = f"20260102_03{second // 60:02d}{second % 60:02d}_{thousandth:03d}.jpg"
        (folder / name).write_bytes(os.urandom(length))
        written += length
    return written


def most_memory(spool: Path, archive: str, root: Path, env: dict[str, str]) -> tuple[float, float]:
    """Bytes that a run of the command held at most, and its seconds."""
    figure = root / "figure"
    arguments = ["archive", "run", "--grace", "0", "--keep-local", "--spool", str(spool), "--archive", archive]
    begun = time.monotonic()
    whole = [sys.executable, "-c", RUNNER, *arguments, str(figure)]
    subprocess.run(
        whole, env={**os.environ, **env, "YOLO_ASSETS_HOME": str(root / "home")}, check=True, stdout=subprocess.DEVNULL
    )
    return int(figure.read_text()) * 1024, time.monotonic() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--stores", nargs="+", choices=("folder", "s3"), default=["folder", "s3"])
    parser.add_argument("--s3-server", choices=("ceph", "environment"), default="ceph")
    options = parser.parse_args()
    size = int(options.gigabytes * 1e9)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2.5 * size:
        raise SystemExit(f"error: {free / 1e9:.1f} GB free in {tempfile.gettempdir()}, {2.5 * size / 1e9:.1f} needed")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        written = make_hour(root / "spool" / "cam1" / HOUR.key, options.members, size)
        print(f"{options.members} files, {written / 1e9:.2f} GB; a program that reads the hour first: as much memory")
        worst = 0.0
        for kind in options.stores:
            if kind == "folder":
                most, seconds = most_memory(root / "spool", (root / "archive").as_uri(), root, {})
                shutil.rmtree(root / "archive")
            else:
                with bucket(options.s3_server, room=2 * size) as there:
                    most, seconds = most_memory(root / "spool", there.url, root, there.env)
            worst = max(worst, most)
            print(
                f"  {kind:6} at most {most / 1e6:4.0f} MB resident (limit {LIMIT / 1e6:.0f}), "
                f"1/{written / most:.0f} of the hour; {written / seconds / 1e6:.0f} MB/s"
            )
    if worst > LIMIT:
        raise SystemExit("error: more than promised")


if __name__ == "__main__":
    main()
