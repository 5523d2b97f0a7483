"""One frame out of an archive of 20,000 on S3: requests and bytes, counted by a proxy before the server.

``yolo-assets archive cat --frame`` in a process of its own, for frames all over the hour, and ``--at`` for the same by
the moment of their capture. Counted are all bytes that came back, headers too. The peer is downloading the
archive and looking into it.

Run: python benchmarks/one_frame.py [--members 20000] [--kilobytes 20] [--s3-server ceph|environment]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.fault_proxy import FaultProxy
from yolo_assets_tests.support.s3_server import Bucket, bucket

HOUR = Hour.from_key("20260102_03")
REQUESTS = {"--frame": 3, "--at": 3}
OVERHEAD = 64 << 10


def make_spool(spool: Path, members: int, size: int) -> dict[str, bytes]:
    """An hour of frames of random bytes, as the agent leaves it; some of them, by name."""
    chance = random.Random(1)
    record = DetectionRecord(image_path="-", detections=(), model_version="line/1", device_id="box1")
    step = timedelta(hours=1) / members
    kept = {}
    with SpoolWriter(spool, "cam1", "box1") as writer:
        for number in range(members):
            data = chance.randbytes(size)
            path = writer.write(HOUR.start + number * step, record, data).image_path
            if number % (members // 5) == members // 7 or number in (0, members - 1):
                kept[path.rsplit("/", 1)[-1]] = data
        writer.seal(HOUR)
    return kept


def measure(root: Path, place: Bucket, members: int, size: int) -> None:
    """Archive, then read single frames, then the whole."""
    frames = make_spool(root / "spool", members, size)
    env = {**os.environ, **place.env, "YOLO_ASSETS_HOME": str(root / "home")}
    command = [sys.executable, "-m", "yolo_assets.cli.main", "archive"]
    spool = ["--spool", str(root / "spool"), "--archive", place.url, "--grace", "0"]
    subprocess.run([*command, "run", *spool], env=env, check=True, stdout=subprocess.DEVNULL)
    os.environ.update(place.env)
    [archive] = list(open_store(place.url).list("archives/"))
    print(f"{members} frames of {size / 1e3:.0f} KB, archive {archive.size / 1e6:.0f} MB")
    most = dict.fromkeys(REQUESTS, 0)
    extra = 0
    seconds = []
    with FaultProxy(place.endpoint) as proxy:
        env["AWS_ENDPOINT_URL_S3"] = proxy.url
        for name, data in frames.items():
            moment = f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}.{name[16:19]}Z"
            for how in (["--frame", name], ["--at", moment]):
                proxy.begin(None)
                cat = [*command, "cat", "--archive", place.url, "--camera", "cam1", *how]
                begun = time.monotonic()
                got = subprocess.run(cat, env=env, check=True, capture_output=True).stdout
                seconds.append(time.monotonic() - begun)
                if got != data:
                    raise SystemExit(f"error: {how} gave another frame")
                beyond = proxy.received() - len(data)
                print(f"  {' '.join(how):36} {proxy.count()} requests, its size + {beyond / 1024:5.1f} KiB")
                most[how[0]] = max(most[how[0]], proxy.count())
                extra = max(extra, beyond)
        proxy.begin(None)
        os.environ["AWS_ENDPOINT_URL_S3"] = proxy.url
        file = root / "whole.tar.gz"
        begun = time.monotonic()
        with file.open("wb") as out:
            out.writelines(open_store(place.url).stream(archive.key))
        name, data = next(iter(frames.items()))
        with tarfile.open(file) as whole:
            stream = whole.extractfile(f"cam1/{HOUR}/{name}")
            if stream is None or stream.read() != data:
                raise SystemExit("error: the archive holds another frame")
        peer = time.monotonic() - begun
        print(f"  the whole archive, then tarfile      {proxy.received() / 1e6:.1f} MB, {peer:.1f} s")
        print(
            f"at most {most['--frame']} requests by name (limit {REQUESTS['--frame']}), {most['--at']} by time, "
            f"{extra / 1024:.1f} KiB beyond the frame (limit {OVERHEAD >> 10}); "
            f"1/{proxy.received() / (extra + size):.0f} of the bytes; "
            f"{sorted(seconds)[len(seconds) // 2]:.1f} s with the start of Python"
        )
    if extra > OVERHEAD or any(most[how] > REQUESTS[how] for how in REQUESTS):
        raise SystemExit("error: more than promised")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=float, default=20)
    parser.add_argument("--s3-server", choices=("ceph", "environment"), default="ceph")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, bucket(options.s3_server) as place:
        measure(Path(root), place, options.members, int(options.kilobytes * 1000))


if __name__ == "__main__":
    main()
