"""One frame out of an archive of 20,000 on S3, against ratarmount; and a training epoch read in place.

First ``yolo-assets archive cat --frame`` in a process of its own, for frames all over the hour, and ``--at`` for the
same by the moment of their capture. Then the first frame and the thousandth of one process: our file system, and
ratarmount on the same archive, which it makes an index of first, in a local file as it does by default, with either of
its readers for gzip. Requests and bytes, headers too, are counted by a proxy before the server. Last an epoch of
PyTorch's loader over JPEGs in random order, through our file system and over the same hour restored into a folder,
straight to the server.

Run: python benchmarks/one_frame.py [--members 20000] [--kilobytes 20] [--epoch 4000] [--patience 60]
[--s3-server ceph|environment]. A reader that fetches megabytes for each frame does not come to the thousandth in a
minute; give it ten.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import cv2
import numpy as np
from ratarmountcore.mountsource.factory import open_mount_source

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.times import Hour
from yolo_assets.filesystem.archive_files import ArchiveFileSystem
from yolo_assets.filesystem.frames import ArchivedFrames
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.fault_proxy import FaultProxy
from yolo_assets_tests.support.s3_server import Bucket, bucket

HOUR = Hour.from_key("20260102_03")
FOLDER = f"cam1/{HOUR}"
REQUESTS = 3
OVERHEAD = 64 << 10
ACCESSES = 1000
WORKERS = 2
BATCH = 64


@dataclass(frozen=True)
class Plant:
    """What is measured: an archived hour in a bucket.

    Attributes:
        place: the bucket.
        root: a folder of our own, with the spool and the home.
        key: of the archive.
        size: bytes of the archive.
        frames: bytes of all frames, by name.
    """

    place: Bucket
    root: Path
    key: str
    size: int
    frames: dict[str, bytes]

    def command(self, *arguments: str) -> list[str]:
        """``yolo-assets`` with these arguments."""
        return [sys.executable, "-m", "yolo_assets.cli.main", *arguments, "--archive", self.place.url]

    def env(self) -> dict[str, str]:
        """Its environment."""
        return {**os.environ, **self.place.env, "YOLO_ASSETS_HOME": str(self.root / "home")}


def pictures(size: int, count: int) -> list[bytes]:
    """JPEGs of about ``size`` bytes."""
    chance = np.random.default_rng(1)
    made: list[bytes] = []
    for _ in range(count):
        blobs = chance.integers(0, 255, (18, 32, 3), np.uint8)
        picture = cv2.resize(blobs, (640, 360), interpolation=cv2.INTER_CUBIC)
        picture = cv2.add(picture, chance.integers(0, 12, picture.shape, np.uint8))
        tries = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for quality in (40, 60, 80, 90)]
        best = min(tries, key=lambda jpeg: abs(jpeg.size - size))
        made.append(best.tobytes())
    return made


def archived_hour(root: Path, place: Bucket, members: int, size: int) -> Plant:
    """An hour of JPEGs, each with bytes of its own, as the agent leaves it; archived by the command."""
    chance = random.Random(1)
    some = pictures(size, 40)
    record = DetectionRecord(image_path="-", detections=(), model_version="line/1", device_id="box1")
    step = timedelta(hours=1) / members
    frames: dict[str, bytes] = {}
    with SpoolWriter(root / "spool", "cam1", "box1") as writer:
        for number in range(members):
            data = some[number % len(some)] + chance.randbytes(64)  # behind the picture's end, where decoders stop
            path = writer.write(HOUR.start + number * step, record, data).image_path
            frames[path.rsplit("/", 1)[-1]] = data
        writer.seal(HOUR)
    os.environ.update(place.env)
    plant = Plant(place, root, "", 0, frames)
    spool = ["--spool", str(root / "spool"), "--grace", "0"]
    subprocess.run(plant.command("archive", "run", *spool), env=plant.env(), check=True, stdout=subprocess.DEVNULL)
    [archive] = list(open_store(place.url).list("archives/"))
    return Plant(place, root, archive.key, archive.size, frames)


def count_cat(plant: Plant, proxy: FaultProxy) -> bool:
    """``archive cat`` by name and by time, each in a new process; whether it keeps what is promised."""
    names = list(plant.frames)
    chosen = [names[0], *(names[len(names) // 7 + number * (len(names) // 5)] for number in range(4)), names[-1]]
    env = {**plant.env(), "AWS_ENDPOINT_URL_S3": proxy.url}
    most: dict[str, int] = {}
    extra = 0
    seconds: list[float] = []
    for name in chosen:
        moment = f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}.{name[16:19]}Z"
        for how in (["--frame", name], ["--at", moment]):
            proxy.begin(None)
            begun = time.monotonic()
            cat = plant.command("archive", "cat", "--camera", "cam1", *how)
            got = subprocess.run(cat, env=env, check=True, capture_output=True).stdout
            seconds.append(time.monotonic() - begun)
            if got != plant.frames[name]:
                raise SystemExit(f"error: {how} gave another frame")
            most[how[0]] = max(most.get(how[0], 0), proxy.count())
            extra = max(extra, proxy.received() - len(got))
    print(
        f"archive cat: at most {most['--frame']} requests by name and {most['--at']} by the moment of capture "
        f"(limit {REQUESTS}), its size + {extra / 1024:.1f} KiB (limit {OVERHEAD >> 10}); "
        f"{sorted(seconds)[len(seconds) // 2]:.1f} s with the start of Python"
    )
    return max(most.values()) <= REQUESTS and extra <= OVERHEAD


def count_accesses(
    label: str, plant: Plant, proxy: FaultProxy, opened: Callable[[], Callable[[str], bytes]], patience: float
) -> None:
    """The first frame and the thousandth of one process, at random places; the one reached in ``patience`` seconds."""
    names = random.Random(2).sample(list(plant.frames), min(ACCESSES, len(plant.frames)))
    proxy.begin(None)
    begun = time.monotonic()
    read = opened()
    said: list[str] = []
    requests = received = 0
    number = 0
    for number, name in enumerate(names, 1):
        last = number == len(names) or time.monotonic() - begun > patience
        before = (proxy.count(), proxy.received(), time.monotonic())
        if read(name) != plant.frames[name]:
            raise SystemExit(f"error: {label} gave another frame")
        if number == 1:
            before = (0, 0, begun)
        requests, received = proxy.count(), proxy.received()
        if number == 1 or last:
            got = f"{(received - before[1]) / 1e6:.3f} MB for {len(plant.frames[name]) / 1e6:.3f}"
            seconds = time.monotonic() - before[2]
            said.append(f"frame {number}: {requests - before[0]} requests, {got}, {seconds:.2f} s")
        if last:
            break
    together = f"together {requests} requests and {received / 1e6:.1f} MB for {number} frames"
    print(f"{label}: {'; '.join(said)}; {together}", flush=True)


def our_files(plant: Plant) -> Callable[[str], bytes]:
    """Reads a frame by its name through the file system."""
    key = str(plant.root / "home" / "keys" / "archiver.pub")
    files = ArchiveFileSystem(archive=plant.place.url, key=key, skip_instance_cache=True)
    return lambda name: files.cat_file(f"{FOLDER}/{name}")


def ratarmount(plant: Plant, url: str, backend: str) -> Callable[[str], bytes]:
    """The same with ratarmount, over HTTP: its S3 backend needs another botocore than the archiver."""
    where = f"{url}/{plant.place.name}/root/{plant.key}"
    index = str(plant.root / f"{backend}.sqlite")
    mounted: Any = open_mount_source(where, indexFilePath=index, writeIndex=True, prioritizedBackends=[backend])

    def read(name: str) -> bytes:
        with mounted.open(mounted.lookup(f"/{FOLDER}/{name}")) as file:
            return file.read()

    return read


def decoded(path: str, data: bytes) -> Any:
    """Pixels, as a training reads them."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


class RestoredFrames:
    """The peer of ``ArchivedFrames``: the same frames in a folder."""

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self.files = [folder / path for path in paths]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return decoded("", self.files[index].read_bytes())


def epoch(dataset: Any) -> float:
    """Seconds of one epoch in random order."""
    import torch
    from torch.utils.data import DataLoader

    order = torch.Generator().manual_seed(3)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS, generator=order)
    begun = time.monotonic()
    count = sum(len(batch) for batch in loader)
    seconds = time.monotonic() - begun
    if count != len(dataset):
        raise SystemExit(f"error: {count} frames of {len(dataset)}")
    return seconds


def compare_epochs(plant: Plant, frames: int) -> None:
    """Epochs through the file system, and over a restored folder, one after the other, three times."""
    out = plant.root / "restored"
    begun = time.monotonic()
    hour = ["--camera", "cam1", "--from", HOUR.start.isoformat(), "--to", HOUR.end.isoformat(), "--out", str(out)]
    subprocess.run(plant.command("restore", *hour), env=plant.env(), check=True, capture_output=True)
    restored = time.monotonic() - begun
    paths = [f"{FOLDER}/{name}" for name in sorted(plant.frames)[:frames]]
    key = str(plant.root / "home" / "keys" / "archiver.pub")
    files = ArchiveFileSystem(archive=plant.place.url, key=key, skip_instance_cache=True)
    ours, folder = ArchivedFrames(files, paths, decoded), RestoredFrames(out, paths)
    pairs = [(epoch(ours), epoch(folder)) for _ in range(3)]
    mine, theirs = sorted(pairs, key=lambda pair: pair[0] / pair[1])[1]
    print(
        f"an epoch of {len(paths)} frames in random order, {WORKERS} workers: {mine:.1f} s in place, {theirs:.1f} s "
        f"from the restored folder ({mine / theirs:.2f} ×)"
    )
    print(f"restoring the hour took {restored:.1f} s and {plant.size / 1e6:.0f} MB of disk")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=float, default=20)
    parser.add_argument("--epoch", type=int, default=4_000)
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds for the accesses of one reader (default 60)"
    )
    parser.add_argument("--s3-server", choices=("ceph", "environment"), default="ceph")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, bucket(options.s3_server) as place:
        plant = archived_hour(Path(root), place, options.members, int(options.kilobytes * 1000))
        what = f"{options.members} frames of {options.kilobytes:g} KB, archive {plant.size / 1e6:.0f} MB"
        print(f"{what}; load {os.getloadavg()[0]:.1f}", flush=True)
        with FaultProxy(place.endpoint) as proxy:
            kept = count_cat(plant, proxy)
            os.environ["AWS_ENDPOINT_URL_S3"] = proxy.url
            count_accesses("in place", plant, proxy, partial(our_files, plant), options.patience)
            boto3.client("s3").put_object_acl(Bucket=place.name, Key=f"root/{plant.key}", ACL="public-read")
            for backend in ("rapidgzip", "indexed_gzip"):
                peer = partial(ratarmount, plant, proxy.url, backend)
                count_accesses(f"ratarmount with {backend}, no index yet", plant, proxy, peer, options.patience)
                count_accesses(
                    f"ratarmount with {backend}, opened again with its index", plant, proxy, peer, options.patience
                )
        os.environ["AWS_ENDPOINT_URL_S3"] = place.endpoint
        compare_epochs(plant, options.epoch)
    if not kept:
        raise SystemExit("error: more than promised")


if __name__ == "__main__":
    main()
