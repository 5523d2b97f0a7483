"""An upload of a gigabyte, killed at 90 %, run again: how much travels twice, and what it costs in disk.

A real ``yolo-assets archive run`` sends an hour to a real S3 server through a counting proxy, which kills it (SIGKILL)
when nine tenths of the parts began to travel. It is run again. What travelled twice is what both runs sent beyond the
size of the archive. Meanwhile the spool, the temporary folder and the process's open files are watched for a second
copy.

The peer is a script with boto3: it packs the same files with ``tar`` into a file and calls ``upload_file``, which is
killed at the same place and begins again.

Run: python benchmarks/resume_upload.py [--gigabytes 1.1] [--s3-server ceph|environment]
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from yolo_assets.archive.part_plan import PART_SIZE
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.fault_plan import Fault, Plan, Request
from yolo_assets_tests.support.fault_proxy import FaultProxy
from yolo_assets_tests.support.s3_server import Bucket, bucket

HOUR = Hour.from_key("20260102_03")
FRAME = 1 << 20
PEER = """
import sys, boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
file, name, part = sys.argv[1:]
config = Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"})
client = boto3.client("s3", config=config)
client.upload_file(file, name, "peer.tar", Config=TransferConfig(multipart_threshold=int(part),
                   multipart_chunksize=int(part), max_concurrency=3))
"""


def make_spool(spool: Path, size: int) -> None:
    """An hour of frames of random bytes, sealed."""
    chance = random.Random(1)
    record = DetectionRecord(image_path="-", detections=(), model_version="line/1", device_id="box1")
    with SpoolWriter(spool, "cam1", "box1") as writer:
        for number in range(math.ceil(size / FRAME)):
            writer.write(HOUR.start + timedelta(seconds=number * 3), record, chance.randbytes(FRAME))
        writer.seal(HOUR)


def kill_at(parts: int) -> Plan:
    """Kill in the middle of the request that starts as number ``parts``."""
    begun = 0
    lock = threading.Lock()

    def plan(request: Request) -> Fault | None:
        nonlocal begun
        if request.operation != "UploadPart":
            return None
        with lock:
            begun += 1
            return Fault("kill", 0.5) if begun == parts else None

    return plan


class Disk:
    """Watches for bytes on disk that were not there before: in folders, and in open files without a name."""

    def __init__(self, folders: list[Path]) -> None:
        """Remember what is there."""
        self._folders = folders
        self._before = self._used()
        self.most = 0

    def look(self, pid: int) -> None:
        """Measure once."""
        extra = self._used() - self._before + self._nameless(pid)
        self.most = max(self.most, extra)

    def _used(self) -> int:
        total = 0
        for folder in self._folders:
            for where, _, names in os.walk(folder):
                for name in names:
                    with suppress(FileNotFoundError):
                        total += os.lstat(Path(where) / name).st_blocks * 512
        return total

    def _nameless(self, pid: int) -> int:
        total = 0
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if str(entry.readlink()).endswith(" (deleted)"):
                        total += entry.stat().st_blocks * 512
        return total


def run(command: list[str], env: dict[str, str], proxy: FaultProxy, disk: Disk) -> tuple[int, int]:
    """Run a command with the proxy's kill aimed at it; its exit status and the bytes of parts that travelled."""
    before = proxy.sent("UploadPart")
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    proxy.kill = process.kill
    while process.poll() is None:
        disk.look(process.pid)
        time.sleep(0.05)
    time.sleep(0.5)  # bytes that are still on their way through the proxy
    return process.returncode, proxy.sent("UploadPart") - before


def twice(command: list[str], env: dict[str, str], proxy: FaultProxy, disk: Disk, parts: int) -> tuple[int, int]:
    """Killed at 90 %, then to the end; the bytes that travelled in each run."""
    proxy.begin(kill_at(math.ceil(parts * 0.9)))
    code, first = run(command, env, proxy, disk)
    if code != -9:
        raise SystemExit(f"error: it was to be killed and ended with {code}")
    proxy.plan = None
    code, second = run(command, env, proxy, disk)
    if code:
        raise SystemExit(f"error: the second run failed with {code}")
    return first, second


def told(name: str, first: int, second: int, total: int, disk: Disk) -> float:
    """Print one contestant; the share that travelled again."""
    again = (first + second - total) / total
    print(
        f"  {name:28} killed at {first / total:5.1%}, then {second / 1e6:7.1f} MB; travelled again {again:6.1%}; "
        f"extra disk at most {disk.most / 1e6:7.1f} MB"
    )
    return again


def compare(root: Path, place: Bucket, size: int) -> None:
    """Both contestants, on the same files."""
    temporary = root / "tmp"
    temporary.mkdir()
    make_spool(root / "spool", size)
    parts = size // PART_SIZE
    with FaultProxy(place.endpoint) as proxy:
        ours = {"YOLO_ASSETS_HOME": str(root / "home"), "TMPDIR": str(temporary), "AWS_ENDPOINT_URL_S3": proxy.url}
        env = {**os.environ, **place.env, **ours}
        print(f"{size / 1e9:.2f} GB in {parts} parts or more of {PART_SIZE >> 20} MiB")

        tar = root / "peer" / "peer.tar"
        tar.parent.mkdir()
        disk = Disk([temporary, tar.parent])
        subprocess.run(["tar", "cf", tar, "-C", root, "spool"], check=True)
        command = [sys.executable, "-c", PEER, str(tar), place.name, str(PART_SIZE)]
        first, second = twice(command, env, proxy, disk, tar.stat().st_size // PART_SIZE)
        peer = told("tar and boto3 upload_file", first, second, tar.stat().st_size, disk)

        disk = Disk([root / "spool", root / "home", temporary])
        command = [sys.executable, "-m", "yolo_assets.cli.main", "archive", "run", "--grace", "0", "--keep-local"]
        command += ["--spool", str(root / "spool"), "--archive", place.url]
        first, second = twice(command, env, proxy, disk, parts)
        again = told("yolo-assets archive run", first, second, archive_size(place), disk)
        print(f"ours / peer: {again / peer:.3f} of the bytes travelled again")


def archive_size(place: Bucket) -> int:
    """What a run without a kill would send."""
    os.environ.update(place.env)
    return sum(info.size for info in open_store(place.url).list("archives/"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.1)
    parser.add_argument("--s3-server", choices=("ceph", "environment"), default="ceph")
    options = parser.parse_args()
    size = int(options.gigabytes * 1e9)
    with tempfile.TemporaryDirectory() as root, bucket(options.s3_server, room=6 * size) as place:
        compare(Path(root), place, size)


if __name__ == "__main__":
    main()
