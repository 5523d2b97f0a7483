"""The catalog of a plant of years: merging, looking up and rebuilding a million receipts.

The receipts are synthetic, and signed for real: 200 cameras, every hour, as many days as it takes. They lie as files in
a folder archive root, written without fsync; the merges and the rebuild go through the same store, signature check and
publication as in a plant. A bucket answers slower than a folder whose files are in the page cache: there the rebuild
waits for the network.

The peer keeps no catalog: for each question it lists the receipts of the days in question and parses them (it does not
check signatures). Its answer for March is measured on ``--naive-days`` days and scaled to 31, which is said.

Run: python benchmarks/catalog_million.py [--receipts 1000000] [--folder DIR] [--keep]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.publish import publish
from yolo_assets.catalog.read import find_archives, find_hours, open_catalog, stats
from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.names import ArchiveName, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import Signer, TrustedKeys, unverified_content
from yolo_assets.contracts.times import Hour, format_time
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.open import open_store

CAMERAS = [f"line{chr(65 + n // 20)}_cam{n % 20:02d}" for n in range(200)]
FIRST = Hour.from_key("20260101_00")
MARCH = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
CLASSES = ("crack", "dent", "scratch")


def document(name: ArchiveName) -> dict[str, Any]:
    """A receipt of an hour as an archiver would write it, without its signature."""
    seed = hashlib.sha256(name.stem.encode())
    chance, digest = random.Random(seed.digest()), seed.hexdigest()
    frames = chance.randrange(500, 3600)
    found = [kind for kind in CLASSES if chance.random() < 0.6]
    return Receipt(
        archive_key=name.archive_key,
        camera_id=name.camera_id,
        hour=name.hour.key,
        part=name.part,
        start_time=name.hour.start + timedelta(milliseconds=chance.randrange(1000)),
        end_time=name.hour.end - timedelta(milliseconds=chance.randrange(1, 1000)),
        file_count=frames + 2,
        frame_count=frames,
        total_size=frames * 29_000,
        archive_size=frames * 29_100 + chance.randrange(1000),
        md5_checksum=digest[:32],
        sha256=digest,
        crc32=digest[:8],
        index_key=name.index_key,
        index_sha256=digest[::-1],
        index_size=frames * 48,
        index_footer_size=4_000 + frames // 1_024 * 900,
        index_footer_sha256=digest[32:] + digest[:32],
        model_versions=(f"line/v{name.hour.start.month}",),
        device_ids=(f"edge-{name.camera_id[:5]}",),
        batch_ids=(f"B{name.hour.date.replace('-', '')}{chance.randrange(4)}",),
        classes={
            kind: {"count": chance.randrange(1, 400), "max_confidence": round(0.3 + 0.7 * chance.random() ** 2, 4)}
            for kind in found
        },  # pyright: ignore[reportArgumentType] - pydantic makes summaries of them
        verified_at=name.hour.end + timedelta(seconds=chance.randrange(60, 900)),
        verified_how="head",
        etag=f"{digest[8:40]}-{frames // 250 + 1}",
        writer_version="0.1.0",
    ).model_dump(mode="json", exclude={"signature"})


def write_hours(root: Path, key: Path, hours: range) -> int:
    """Write the receipts of every camera for these hours; runs in its own process."""
    signer = Signer.load(key)
    for number in hours:
        hour = FIRST.next(number)
        (root / receipts_prefix(hour)).mkdir(parents=True, exist_ok=True)
        for camera in CAMERAS:
            name = ArchiveName(camera, hour)
            (root / name.receipt_key).write_bytes(signer.seal(canonical_json(document(name)), "receipt").to_json())
    return len(hours) * len(CAMERAS)


def generate(root: Path, key: Path, hours: int) -> None:
    """Write ``hours`` hours of receipts with both processors, and say how far it is."""
    done, started = 0, time.perf_counter()
    chunks = [range(first, min(first + 24, hours)) for first in range(0, hours, 24)]
    with ProcessPoolExecutor(2) as pool:
        for count in pool.map(partial(write_hours, root, key), chunks):
            done += count
            if sys.stderr.isatty():
                print(f"\r{done:,} synthetic receipts", end="", file=sys.stderr)
    seconds = time.perf_counter() - started
    print(f"generated: {done:,} SYNTHETIC receipts, signed for real, in {seconds:.0f} s, in {root}")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def spread(seconds: list[float]) -> str:
    """Median and 95th percentile."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return f"median {statistics.median(ordered) * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms, {len(ordered)} times"


def camera_and_day(connection: duckdb.DuckDBPyConnection, camera: str, date: str) -> pl.DataFrame:
    """Archives of one camera on one day, as an evidence pack asks for those of its range."""
    start = Hour.from_key(f"{date.replace('-', '')}_00").start
    return find_archives(connection, start, start + timedelta(days=1), camera_id=camera)


def _receipt(data: bytes) -> Receipt:
    return unverified_content(data, "a receipt").record(Receipt, "a receipt")


def naive_day(archive: ObjectStore, camera: str, date: str) -> list[Receipt]:
    """Camera and day without a catalog: list the day, read what is the camera's."""
    keys = [info.key for info in archive.list(receipts_prefix(date=date))]
    return [_receipt(archive.get(key)) for key in keys if ArchiveName.parse(key).camera_id == camera]


def naive_cracks(archive: ObjectStore, dates: list[str]) -> list[Receipt]:
    """Cracks over 0.8 without a catalog: list and parse every receipt of the days."""
    receipts = (_receipt(archive.get(info.key)) for d in dates for info in archive.list(receipts_prefix(date=d)))
    return [r for r in receipts if (found := r.classes.get("crack")) and found.max_confidence >= 0.8]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--receipts", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to; a temporary folder without")
    parser.add_argument("--keep", action="store_true", help="leave the receipts there, and use those that are there")
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--naive-days", type=int, default=3)
    options = parser.parse_args()
    hours = -(-options.receipts // len(CAMERAS))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="catalog-million-"))
    root, key = folder / "archive", folder / "keys" / "archiver"
    root.mkdir(parents=True, exist_ok=True)
    signer = Signer.load_or_create(key)
    if not (root / "receipts").is_dir():
        generate(root, key, hours)
    try:
        measure(folder, root, key, TrustedKeys.of(signer), hours, options)
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, root: Path, key: Path, trusted: TrustedKeys, hours: int, options: argparse.Namespace) -> None:
    """Everything but the generation."""
    shutil.rmtree(folder / "store", ignore_errors=True)
    for number in range(hours, hours + 15):  # what an earlier run merged
        shutil.rmtree(root / receipts_prefix(FIRST.next(number)), ignore_errors=True)
    store, archive = open_store((folder / "store").as_uri()), Archive(open_store(root.as_uri()), trusted)
    seconds, made = timed(lambda: publish(store, archive, from_receipts=True, readers=options.readers))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = made.pointer.size
    print(f"rebuild: {made.archives:,} receipts listed, read, verified in {seconds:.0f} s = "
          f"{made.archives / seconds:,.0f} receipts/s ({options.readers} threads); catalog of {size / 1e6:.0f} MB, "
          f"{size / made.archives:.0f} bytes a receipt; resident memory at most {memory:.0f} MB")  # fmt: skip

    merges, days_listed = [], 0
    for _ in range(3):
        write_hours(root, key, range(hours, hours + 5))
        dates = sorted({FIRST.next(number).date for number in range(hours, hours + 5)})
        hours += 5
        seconds, merged = timed(lambda dates=dates: publish(store, archive, dates=dates))
        assert merged.added == 5 * len(CAMERAS)
        merges.append(seconds)
        days_listed = len(dates)
    print(f"merge of 1,000 new receipts (list {days_listed} day(s), read, verify, copy, publish): "
          f"{statistics.median(merges):.2f} s, slowest {max(merges):.2f} s [bar: 10 s]")  # fmt: skip
    seconds, again = timed(lambda: publish(store, archive))
    assert not again.changed
    print(f"a look at all receipts that finds nothing new (list {again.archives:,} names): {seconds:.1f} s")

    chance = random.Random(1)
    wanted = [(chance.choice(CAMERAS), FIRST.next(chance.randrange(hours - 24)).date) for _ in range(200)]
    opened = [timed(lambda one=one: _opened(store, one))[0] for one in wanted[:50]]
    with open_catalog(store) as connection:
        camera_and_day(connection, *wanted[0])
        warm = [timed(lambda one=one: camera_and_day(connection, *one))[0] for one in wanted]
        assert camera_and_day(connection, *wanted[0]).height == 24
        march = [timed(lambda: find_hours(connection, "crack", 0.8, *MARCH)) for _ in range(7)]
        seconds_stats, _ = timed(lambda: stats(connection, datetime.now(UTC)))
    print(f"camera and day, connection open: {spread(warm)} [bar: 20 ms]")
    print(f"camera and day, with opening the catalog: {spread(opened)} [bar: 20 ms]")
    found = march[0][1].height
    print(f"cracks over 0.8 in March, {found:,} hours: {spread([one for one, _ in march])} [bar: 1 s]")
    print(f"stats by camera and tier: {seconds_stats:.2f} s")

    naive = statistics.median(timed(lambda one=one: naive_day(archive.store, *one))[0] for one in wanted[:5])
    ratios = naive / statistics.median(warm), naive / statistics.median(opened)
    print(f"without a catalog, camera and day: {naive * 1e3:.0f} ms = "
          f"{ratios[0]:,.0f} x ours (with opening {ratios[1]:,.0f} x)")  # fmt: skip
    days = [format_time(MARCH[0] + timedelta(days=n))[:10] for n in range(options.naive_days)]
    seconds, _ = timed(lambda: naive_cracks(archive.store, days))
    scaled = seconds * 31 / len(days)
    print(f"without a catalog, cracks in March: {scaled:.0f} s (measured {seconds:.1f} s on {len(days)} days, "
          f"scaled to 31) = {scaled / statistics.median([one for one, _ in march]):,.0f} x ours")  # fmt: skip


def _opened(store: ObjectStore, wanted: tuple[str, str]) -> None:
    with open_catalog(store) as connection:
        camera_and_day(connection, *wanted)


if __name__ == "__main__":
    main()
