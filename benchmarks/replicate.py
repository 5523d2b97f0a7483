"""Replication of 10 GB, killed ten times: how much is sent twice, and whether both places verify at the end.

An archive of incompressible hours is made in a folder. The installed command ``yolo-assets archive replicate`` copies
it to another folder, or to Ceph, and is ended by SIGKILL at random moments; then it runs to its end. What travelled is
counted outside the command: to a folder by the kernel (all that the process wrote, with its notes:
``/proc/<pid>/io``), to Ceph by a proxy before it. Then the first place is moved away, and a frame is read.

Run: python benchmarks/replicate.py [--gigabytes 10] [--kills 10] [--to folder|ceph]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.writer import SpoolWriter
from yolo_assets.storage import open_store
from yolo_assets_tests.support.fault_proxy import FaultProxy
from yolo_assets_tests.support.one_round import run_archiver
from yolo_assets_tests.support.records import frame_record
from yolo_assets_tests.support.s3_server import bucket

FIRST = Hour.from_key("20260102_00")
FRAME = 1 << 20
HOUR_BYTES = 500_000_000
"""An hour of a fast camera: a multipart upload of sixty parts."""
COMMAND = [sys.executable, "-m", "yolo_assets.cli.main"]


def make_archive(root: Path, size: int) -> int:
    """Archive hours of random bytes until the archive has ``size``; its bytes."""
    signer = Signer.load_or_create(root / "home" / "keys" / "archiver")
    archive = Archive(open_store((root / "archive").as_uri()), TrustedKeys.of(signer))
    chance, made, number = random.Random(7), 0, 0
    while made < size:
        hour = Hour(FIRST.start + timedelta(hours=number))
        with SpoolWriter(root / "spool", "cam1", "box1") as writer:
            record = frame_record({"detections": [], "model_version": "line/1", "device_id": "box1"})
            for frame in range(min(HOUR_BYTES, size - made) // FRAME + 1):
                writer.write(hour.start + timedelta(seconds=frame), record, chance.randbytes(FRAME))
            writer.seal(hour)
        (result,) = run_archiver(root / "spool", archive, signer, options=ArchiveOptions(), grace_seconds=0)
        assert result.outcome is not None and result.outcome.receipt is not None, result.reason
        made, number = made + result.outcome.receipt.archive_size, number + 1
    return made


def written(pid: int) -> int:
    """Bytes that a process caused to be written so far; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def copy(env: dict[str, str], to: str, enough: Callable[[int], bool]) -> tuple[int | None, int]:
    """Run the command; killed when ``enough`` says so of its pid. Its exit code, None: killed; and bytes it wrote."""
    process = subprocess.Popen([*COMMAND, "archive", "replicate", "--to", to], env=env, stdout=subprocess.DEVNULL)
    most = 0
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT  # what has ended is kept until its figures are read
    while os.waitid(os.P_PID, process.pid, ended) is None:
        most = max(most, written(process.pid))
        if enough(most):
            process.send_signal(signal.SIGSTOP)
            most = max(most, written(process.pid))
            process.kill()
            process.wait()
            return None, most
        time.sleep(0.01)
    most = max(most, written(process.pid))
    return process.wait(), most


def measure(root: Path, size: int, kills: int, to: str, env: dict[str, str], counter: Callable[[], int] | None) -> None:
    """Kill, finish, verify, read."""
    made = make_archive(root, size)
    env = {**os.environ, **env, "YOLO_ASSETS_HOME": str(root / "home"), "YOLO_ASSETS_ARCHIVE_COPY": to}
    env |= {"YOLO_ASSETS_ARCHIVE": (root / "archive").as_uri(), "YOLO_ASSETS_STORE": (root / "store").as_uri()}
    (root / "store").mkdir()
    print(f"{made / 1e9:.2f} GB in {-(-made // HOUR_BYTES)} archives, to {to.split(':')[0]}", flush=True)
    chance, total, killed, begun = random.Random(11), 0, 0, time.monotonic()
    while killed < kills:
        # Moments are drawn by bytes: each kill falls somewhere in the next eleventh or so of the way.
        limit = int(chance.uniform(0.2, 1.4) * made / (kills + 1))
        code, sent = copy(env, to, lambda count, limit=limit: count >= limit)
        total += sent
        if code is not None:
            raise SystemExit(f"error: run {killed + 1} ended with {code} before it was killed")
        killed += 1
        print(f"  kill {killed}: after {sent / 1e6:.0f} MB", flush=True)
    code, sent = copy(env, to, lambda _: False)
    total += sent
    if code:
        raise SystemExit(f"error: the last run failed with {code}")
    if counter is not None:
        total = counter()
    print(
        f"sent {total / 1e9:.3f} GB for {made / 1e9:.3f} GB: {(total - made) / made:.2%} again, in "
        f"{time.monotonic() - begun:.0f} s with {killed} kills",
        flush=True,
    )
    done = subprocess.run([*COMMAND, "archive", "verify", "--both", "--deep", "--json"], env=env, capture_output=True)
    found = json.loads(done.stdout)
    print(
        f"verify --both --deep: exit {done.returncode}, {found['same']} objects alike, {found['bytes_read']} bytes read"
    )
    there = {**env, "YOLO_ASSETS_ARCHIVE": to, "YOLO_ASSETS_ARCHIVE_COPY": ""}
    for name, at in (("first", env), ("second", there)):
        done = subprocess.run([*COMMAND, "archive", "verify", "--verify", "full"], env=at, stdout=subprocess.DEVNULL)
        print(f"archive verify --verify full of the {name} place: exit {done.returncode}")
    (root / "archive").rename(root / "away")
    command = [
        *COMMAND,
        "archive",
        "cat",
        "--camera",
        "cam1",
        "--at",
        "2026-01-02T00:00:03Z",
        "-o",
        str(root / "frame"),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    print(f"archive cat with the first place away: exit {done.returncode}, {(root / 'frame').stat().st_size} bytes")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--to", choices=("folder", "ceph"), default="folder")
    parser.add_argument("--folder", type=Path, help="where to work; default: the folder for temporary files")
    options = parser.parse_args()
    size = int(options.gigabytes * 1e9)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        if options.to == "folder":
            measure(root, size, options.kills, (root / "second").as_uri(), {}, None)
            return
        place = stack.enter_context(bucket("ceph", room=2 * size))
        proxy = stack.enter_context(FaultProxy(place.endpoint))
        env = {**place.env, "AWS_ENDPOINT_URL_S3": proxy.url}
        measure(root, size, options.kills, place.url, env, lambda: proxy.sent("UploadPart") + proxy.sent("PutObject"))


if __name__ == "__main__":
    main()
