"""From which size which form: what 10, 200 and 2,000 cameras bring and cost, computed from few measured figures.

Prints the tables of docs/scale.md; a test compares them. Everything is arithmetic on the figures below: those that were
measured say where, the others are assumptions about a plant and have names that a reader can change. ``--measure``
measures what this file itself contributes: processor time of the detection tables and of a question to Parquet, in
processor seconds, which do not depend on what else the machine does.

Run: python benchmarks/plant_sizes.py [--measure]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

SIZES = (10, 200, 2000)

# A plant, as assumed.
FRAMES_A_SECOND = 1.0
BOXES_A_FRAME = 1.0
KEPT_GB_A_DAY = 2.5
"""Of a camera: 200 of them keep 500 GB a day, as in the README."""
PICTURE_KB = 100.0
EVENT_KB = 2.0
"""Of Dagster's event log for a camera-hour: the bound that the benchmark of backfills is held to."""

# Measured: README.md, two cores without a GPU.
ARCHIVED_MB_A_SECOND = 67.1
CATALOG_BYTES_A_RECEIPT = 222.0
REBUILD_SECONDS_A_MILLION = 574.0

# Measured: this file with --measure.
TABLE_CPU_SECONDS = 0.24
"""Of a camera-hour of 3,600 records with a box each, from the spool to Parquet."""
TABLE_KB = 174.0
"""Parquet of the same, detections and frames."""
QUESTION_CPU_SECONDS = 1.2
"""Of counting classes over 100 million rows of detections in Parquet."""

HOURS_A_DAY, DAYS_A_YEAR = 24, 365.25
HALF_YEAR = 183


def text(value: float) -> str:
    """A figure with three digits at most."""
    for limit, unit in ((1e9, " billion"), (1e6, " million")):
        if value >= limit:
            return f"{value / limit:,.3g}{unit}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[float]]]) -> list[str]:
    """A table in Markdown, a column for each size."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {name} | {' | '.join(text(value) for value in values)} |" for name, values in rows)]


def brings(cameras: int) -> dict[str, float]:
    """What comes in a day."""
    gigabytes = cameras * KEPT_GB_A_DAY
    return {
        "frames inferred": cameras * FRAMES_A_SECOND * 86_400,
        "pictures kept": gigabytes * 1e6 / PICTURE_KB,
        "GB to the archive": gigabytes,
        "Mbit/s, on average": gigabytes * 8e3 / 86_400,
        "camera-hours, each an archive, an index and a receipt": cameras * HOURS_A_DAY,
        "TB in the archive after six months": gigabytes * HALF_YEAR / 1e3,
    }


def costs(cameras: int) -> dict[str, float]:
    """What it costs."""
    hours = cameras * HOURS_A_DAY
    receipts = hours * DAYS_A_YEAR
    seconds = brings(cameras)["GB to the archive"] * 1e3 / ARCHIVED_MB_A_SECOND
    return {
        "hours of archiving a day, on two cores": seconds / 3600,
        "archivers of two cores, so that an hour is archived within half an hour": max(1.0, -(-seconds // 43_200)),
        "processor hours a day for detection tables": hours * TABLE_CPU_SECONDS / 3600,
        "GB of tables a year": receipts * TABLE_KB / 1e6,
        "rows of detections a year": receipts * 3600 * BOXES_A_FRAME * FRAMES_A_SECOND,
        "processor minutes for a question about all rows of a year": receipts
        * 3600
        * BOXES_A_FRAME
        * FRAMES_A_SECOND
        / 1e8
        * QUESTION_CPU_SECONDS
        / 60,
        "rows of the catalog after a year": receipts,
        "MB of the catalog after a year": receipts * CATALOG_BYTES_A_RECEIPT / 1e6,
        "GB of catalog versions written a day, after a year": receipts * CATALOG_BYTES_A_RECEIPT * HOURS_A_DAY / 1e9,
        "minutes to rebuild the catalog of a year": receipts / 1e6 * REBUILD_SECONDS_A_MILLION / 60,
        "MB of Dagster's event log a day": hours * EVENT_KB / 1e3,
        "processor minutes for the tables of one hour of all cameras": cameras * TABLE_CPU_SECONDS / 60,
        "processor hours to build a month's tables again": hours * 30 * TABLE_CPU_SECONDS / 3600,
    }


def tables() -> str:
    """Both tables, as they stand in docs/scale.md."""
    head = ("", *(f"{size:,} cameras" for size in SIZES))
    parts: list[str] = []
    for title, figures in (("What a day brings", brings), ("What it costs", costs)):
        found = [figures(size) for size in SIZES]
        rows = [(name, [each[name] for each in found]) for name in found[0]]
        parts += [f"### {title}", "", *table(head, rows), ""]
    return "\n".join(parts).rstrip() + "\n"


def measure() -> None:
    """Measure what this file contributes, and print it."""
    import duckdb

    from yolo_assets.contracts.times import Hour, format_time
    from yolo_assets.spool.writer import SpoolWriter
    from yolo_assets.storage import open_store
    from yolo_assets.tables.build import build_hour
    from yolo_assets_tests.support.records import frame_record

    hour, chance = Hour.from_key("20260301_02"), random.Random(7)

    def record(at: datetime) -> dict[str, object]:
        x, y = chance.uniform(0, 1500), chance.uniform(0, 900)
        box = [x, y, x + chance.uniform(10, 300), y + chance.uniform(10, 150)]
        kind = chance.choice(("crack", "dent", "pore"))
        found = {"bbox": box, "class": kind, "confidence": chance.random(), "timestamp": format_time(at)}
        return {"detections": [found], "model_version": "line/v1", "device_id": "box", "width": 1920, "height": 1080}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for camera in ("cam0", "cam1", "cam2", "cam3"):
            with SpoolWriter(folder / "spool", camera, "box") as writer:
                for second in range(3600):
                    at = hour.start + timedelta(seconds=second)
                    writer.write(at, frame_record(record(at)), None)
                writer.seal(hour)
        store = open_store((folder / "store").as_uri())
        build_hour("cam0", hour, folder / "spool", None, store)  # what is imported and compiled once
        started = time.process_time()
        for camera in ("cam1", "cam2", "cam3"):
            report = build_hour(camera, hour, folder / "spool", None, store)
        seconds = (time.process_time() - started) / 3
        size = sum(len(store.get(key)) for key in report.keys)
        print(f"tables of a camera-hour: {seconds:.2f} processor seconds, {size / 1e3:.0f} KB, {report.frames} frames")
        parquet = folder / "many.parquet"
        duckdb.sql("SET threads = 2")
        duckdb.sql(
            "COPY (SELECT 'cam' || (i % 200) AS camera_id, ['crack', 'dent', 'pore'][1 + i % 3] AS class, "
            "random()::FLOAT AS confidence, TIMESTAMP '2026-03-01' + INTERVAL (i // 200) SECOND AS captured_at "
            f"FROM range(20_000_000) t(i)) TO '{parquet}' (FORMAT parquet)"
        )
        started = time.process_time()
        duckdb.sql(
            f"SELECT class, count(*), avg(confidence) FROM '{parquet}' WHERE confidence > 0.8 GROUP BY class"
        ).fetchall()
        seconds = (time.process_time() - started) * 5
        print(f"a question about 100 million rows: {seconds:.2f} processor seconds (measured on 20 million)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure, instead of printing the tables")
    if parser.parse_args().measure:
        measure()
    else:
        print(tables(), end="")
