"""Packing an hour with all its hashes, against the naive way and against the hashes alone.

The naive way: ``tarfile`` in mode ``w:gz`` at its default level, then MD5 in a second pass of 4 KiB reads. The floor:
computing exactly the hashes a receipt needs (archive SHA-256 and MD5, member SHA-256, part MD5, CRC) over the files.
The files are random bytes of the size of 1080p JPEGs: incompressible, as those are.

Run: python benchmarks/pack_archive.py [--frames 600] [--rounds 5]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from yolo_assets.archive.pack import Packing
from yolo_assets.contracts.spool import PlanMember
from yolo_assets.contracts.times import Hour

FRAME_BYTES = 300_000
PART = 16 << 20


def make_hour(folder: Path, frames: int) -> list[PlanMember]:
    """Write the frames and return them as a plan lists them."""
    for number in range(frames):
        (folder / f"20260102_03{number // 60:02d}{number % 60:02d}_000.jpg").write_bytes(os.urandom(FRAME_BYTES))
    found = ((path.name, path.stat()) for path in sorted(folder.iterdir()))
    return [PlanMember(name=name, size=status.st_size, mtime_ns=status.st_mtime_ns) for name, status in found]


def ours(folder: Path, members: list[PlanMember]) -> None:
    """One pass: archive, index and every hash."""
    for _ in Packing(folder, "cam01", Hour.from_key("20260102_03"), members, PART).parts():
        pass


def hashes_alone(folder: Path, members: list[PlanMember]) -> None:
    """The floor: what must be computed, whoever packs; three threads, as much as hashing can be spread."""
    whole, md5, part = hashlib.sha256(), hashlib.md5(), hashlib.md5()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two, ThreadPoolExecutor(1) as three:
        waiting = []
        for member in members:
            data = (folder / member.name).read_bytes()
            waiting.append(
                [one.submit(whole.update, data), two.submit(md5.update, data), three.submit(part.update, data)]
            )
            hashlib.sha256(data).digest()
            zlib.crc32(data)
            if len(waiting) > 50:
                for future in waiting.pop(0):
                    future.result()


def naive(folder: Path, members: list[PlanMember]) -> None:
    """What a script would do."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        out = Path(scratch) / "naive.tar.gz"
        with tarfile.open(out, "w:gz") as archive:
            for member in members:
                archive.add(folder / member.name, member.name)
        digest = hashlib.md5()
        with out.open("rb") as file:
            while block := file.read(4096):
                digest.update(block)


def timed(
    work: Callable[[Path, list[PlanMember]], None], folder: Path, members: list[PlanMember]
) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(folder, members)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    memory = Path("/dev/shm")  # the disk is not what is compared
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        folder = Path(root) / "hour"
        folder.mkdir()
        members = make_hour(folder, options.frames)
        size = sum(member.size for member in members)
        contestants = {"ours": ours, "hashes alone": hashes_alone, "naive": naive}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for _ in range(options.rounds):
            for name, work in contestants.items():
                found[name].append(timed(work, folder, members))
    wall = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    cpu = {name: statistics.median(run[1] for run in runs) for name, runs in found.items()}
    print(
        f"{options.frames} files, {size / 1e6:.0f} MB, {os.cpu_count()} cores, "
        f"median of {options.rounds} interleaved rounds"
    )
    for name in contestants:
        print(f"  {name:13} {size / wall[name] / 1e6:6.0f} MB/s   {cpu[name] / size * 1e9:5.2f} CPU s/GB")
    print(
        f"ours / naive: {wall['naive'] / wall['ours']:.1f} times as fast, 1/{cpu['naive'] / cpu['ours']:.1f} of the CPU"
    )
    print(f"ours / hashes alone: {wall['ours'] / wall['hashes alone']:.2f} of the time")


if __name__ == "__main__":
    main()
