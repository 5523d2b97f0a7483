"""Processor time per gigabyte of a small hour and of one beyond one upload part, whole: pack, send, verify, commit.

Into a folder and into S3, in this process; the server's time is not counted. Beside the total stands what each hash
alone costs here per gigabyte, so that a hash computed twice shows. The peer is the small hour: a big one must not cost
more per gigabyte.

Run: python benchmarks/hour_sizes.py [--megabytes 64 1024] [--rounds 3] [--stores folder s3] [--s3-server ceph]

The spool lies in memory, the folder store in ``--folder``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage import open_store
from yolo_assets_tests.support.s3_server import bucket

HOUR = Hour.from_key("20260102_03")
FRAME = 208_000
"""Bytes of a frame: 500 of them are an hour of 104 MB."""


def make_hour(spool: Path, size: int) -> SpoolHour:
    """An hour of frames of random bytes."""
    hour = SpoolHour.of(spool, "cam1", HOUR)
    hour.path.mkdir(parents=True)
    for number in range(max(1, size // FRAME)):
        second, thousandth = divmod(number, 10)
        name = f"20260102_03{second // 60:02d}{second % 60:02d}_{thousandth:03d}.jpg"
        (hour.path / name).write_bytes(os.urandom(FRAME))
    return hour


@contextmanager
def empty_root(store: str, folder: Path | None, server: str, room: int) -> Iterator[Callable[[int], str]]:
    """URLs of archive roots that hold nothing yet, one for each number."""
    if store == "folder":
        with tempfile.TemporaryDirectory(dir=folder) as root:

            def fresh(number: int) -> str:
                shutil.rmtree(Path(root) / str(number - 1), ignore_errors=True)
                (Path(root) / str(number)).mkdir()
                return (Path(root) / str(number)).as_uri()

            yield fresh
        return
    with bucket(server, room=room) as place:
        os.environ.update(place.env)
        yield lambda number: f"{place.url}/{number}"


def cost(hour: SpoolHour, url: str, signer: Signer, options: ArchiveOptions) -> float:
    """Processor seconds of archiving an hour that stays in its spool."""
    archive = Archive(open_store(url), TrustedKeys.of(signer))
    for note in hour.path.glob(".*"):
        note.unlink()
    begun = time.process_time()
    outcome = archive_hour(hour, archive, signer, options)
    spent = time.process_time() - begun
    if outcome.status != "archived":
        raise SystemExit(f"error: the hour was to be archived: {outcome.status}")
    return spent


def hash_costs() -> dict[str, float]:
    """Processor seconds per gigabyte of each hash alone."""
    data = os.urandom(64_000_000)
    found: dict[str, float] = {}
    for name in ("sha256", "md5"):
        begun = time.process_time()
        hashlib.new(name, data, usedforsecurity=False).digest()
        found[name] = (time.process_time() - begun) / len(data) * 1e9
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stores", nargs="+", choices=("folder", "s3"), default=["folder", "s3"])
    parser.add_argument("--s3-server", choices=("ceph", "environment"), default="ceph")
    parser.add_argument("--folder", type=Path, help="where the folder store lies; default: where temporary files do")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    found: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root, ExitStack() as stack:
        hours = {size: make_hour(Path(root) / str(size), size * 1_000_000) for size in options.megabytes}
        signer, how = Signer.load_or_create(Path(root) / "keys" / "archiver"), ArchiveOptions()
        room = 2 * (options.rounds + 1) * sum(hours) * 1_000_000
        roots = {
            store: stack.enter_context(empty_root(store, options.folder, options.s3_server, room))
            for store in options.stores
        }
        number = 0
        for _ in range(options.rounds):
            for store, fresh in roots.items():
                for size, hour in hours.items():
                    number += 1
                    found.setdefault((store, size), []).append(cost(hour, fresh(number), signer, how))
        sizes = {size: sum(path.stat().st_size for path in hour.path.glob("*.jpg")) for size, hour in hours.items()}
    print(f"{os.cpu_count()} cores, median of {options.rounds} interleaved rounds; CPU s/GB of a hash alone: ", end="")
    print(", ".join(f"{name} {spent:.2f}" for name, spent in hash_costs().items()))
    for store in options.stores:
        per = {size: statistics.median(found[store, size]) / sizes[size] * 1e9 for size in options.megabytes}
        figures = ", ".join(f"{size} MB {value:.2f} CPU s/GB" for size, value in per.items())
        print(f"  {store:7} {figures}; the largest / the smallest {per[max(per)] / per[min(per)]:.2f}")


if __name__ == "__main__":
    main()
