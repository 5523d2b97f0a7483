"""Packing an hour with all its hashes, against the naive way and against the hashes alone.

The hour: photographs as 1080p JPEGs, as many as one of 200 cameras makes of 500 GB a day (104 MB); ``--megabytes`` for
another. Every frame is scaled, shifted and noisy in its own way, so that no two are alike.

Naive: ``tarfile`` in mode ``w:gz`` at its default level, then MD5 in a second pass of 4 KiB reads. The floor: exactly
the hashes that a receipt needs (archive SHA-256 and MD5, member SHA-256, CRC-32) over the same files with the same
functions, spread over threads.

Run: python benchmarks/pack_archive.py [--megabytes 104] [--rounds 7]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from isal import isal_zlib

from yolo_assets.archive.packing.pack import Packing, PartBuffers
from yolo_assets.archive.part_plan import part_size_for
from yolo_assets.contracts.spool import PlanMember
from yolo_assets.contracts.times import Hour


def make_hour(folder: Path, size: int) -> list[PlanMember]:
    """Write frames until they have ``size`` bytes and return them as a plan lists them."""
    package = find_spec("ultralytics")
    if package is None or package.origin is None:
        raise SystemExit("error: the photographs come with ultralytics: install yolo-assets[train]")
    paths = sorted((Path(package.origin).parent / "assets").glob("*.jpg"))
    photographs = [image for image in (cv2.imread(str(path)) for path in paths) if image is not None]
    chance = np.random.default_rng(1)
    number = written = 0
    while written < size:
        shift = [int(chance.integers(1, 200)), int(chance.integers(1, 200))]
        scene = cv2.resize(np.roll(photographs[number % len(photographs)], shift, (0, 1)), (1920, 1080))
        noise = chance.integers(0, 6, scene.shape, dtype=np.uint8)
        jpeg = cv2.imencode(".jpg", cv2.add(scene, noise), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        (folder / f"20260102_03{number // 60 % 60:02d}{number % 60:02d}_{number // 3600:03d}.jpg").write_bytes(jpeg)
        number, written = number + 1, written + len(jpeg)
    found = ((path.name, path.stat()) for path in sorted(folder.iterdir()))
    return [PlanMember(name=name, size=status.st_size, mtime_ns=status.st_mtime_ns) for name, status in found]


BUFFERS = PartBuffers()
"""Kept from hour to hour, as an archiver's round does."""


def ours(folder: Path, members: list[PlanMember], part_size: int) -> None:
    """One pass: archive, index and every hash."""
    for part in Packing(folder, "cam01", Hour.from_key("20260102_03"), members, part_size, BUFFERS).parts():
        part.release()


def hashes_alone(folder: Path, members: list[PlanMember], _: int) -> None:
    """The floor: what must be computed, whoever packs."""
    whole, md5 = hashlib.sha256(), hashlib.md5()
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        waiting = []
        for member in members:
            data = (folder / member.name).read_bytes()
            waiting.append([one.submit(whole.update, data), two.submit(md5.update, data)])
            hashlib.sha256(data).digest()
            isal_zlib.crc32(data)
            if len(waiting) > 50:
                for future in waiting.pop(0):
                    future.result()


def naive(folder: Path, members: list[PlanMember], part_size: int) -> None:
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


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=104)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    memory = Path("/dev/shm")  # the disk is not what is compared
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        folder = Path(root) / "hour"
        folder.mkdir()
        members = make_hour(folder, int(options.megabytes * 1e6))
        size = sum(member.size for member in members)
        part_size = part_size_for(size)
        contestants = {"ours": ours, "hashes alone": hashes_alone, "naive": naive}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
        for _ in range(options.rounds):
            for name, work in contestants.items():
                found[name].append(timed(lambda work=work: work(folder, members, part_size)))
    wall = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    cpu = {name: statistics.median(run[1] for run in runs) for name, runs in found.items()}
    print(
        f"{len(members)} frames, {size / 1e6:.0f} MB, upload parts of {part_size >> 20} MiB, {os.cpu_count()} cores, "
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
