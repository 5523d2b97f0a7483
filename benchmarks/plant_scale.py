"""A plant of 200 cameras and six months: what the graph's own work costs, each figure against its bound.

Everything is the product's own: the sensors' functions, the conditions, a code server and a UI as processes, and for
the growth of the event log one hour of all cameras that is really archived and tabled. The history is synthetic: an
event for each hour of ``raw_frames`` and ``hourly_archives``, with tables as wide as the plant. Processor time, but for
the asset page, which a person waits for.

Run: python benchmarks/plant_scale.py [--cameras 200] [--hours 4320] [--files 100000] [--only NAME…]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from yolo_assets.contracts.times import Hour, utc_now

RECEIPT_HOURS = 72
"""Two days that every tick lists, and one of the older ones."""
HOURLY = ("raw_frames", "hourly_archives")
PAGE = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numPartitions numFailed }
  assetPartitionStatuses { ... on TimePartitionStatuses { ranges { status startTime endTime } } } } } }"""


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    name: str
    value: float
    unit: str
    bound: float

    @property
    def good(self) -> bool:
        """Whether it keeps its bound."""
        return self.value < self.bound

    def __str__(self) -> str:
        kept = "ok" if self.good else "ABOVE"
        return f"{self.name:44} {self.value:10.2f} {self.unit:22} bound {self.bound:g}  {kept}"


@dataclass(frozen=True)
class Plant:
    """Size and place of the measured plant."""

    home: Path
    cameras: int
    hours: int
    files: int

    @property
    def first(self) -> Hour:
        """The oldest hour."""
        return Hour.of(utc_now() - timedelta(hours=self.hours))

    def all_hours(self) -> list[Hour]:
        """Every hour that is over, oldest first."""
        return [Hour.of(self.first.start + timedelta(hours=back)) for back in range(self.hours)]

    def names(self) -> list[str]:
        """Of the cameras."""
        return [f"cam{number:04}" for number in range(self.cameras)]


def location_load(plant: Plant) -> Iterator[Figure]:
    """A fresh interpreter loads the definitions."""
    code = "import time; from yolo_assets.definitions import defs; defs().resolve_all_asset_specs(); "
    code += "print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    yield Figure("code location load", float(done.stdout.split()[-1]), "CPU s", 5)


def spool_tick(plant: Plant) -> Iterator[Figure]:
    """Ticks over a spool in which nothing is new."""
    hours = 12
    a_folder = max(plant.files // (plant.cameras * hours), 1)
    now = Hour.of(utc_now())
    for camera in plant.names():
        for back in range(1, hours + 1):
            folder = plant.home / "spool" / camera / Hour.of(now.start - timedelta(hours=back)).key
            folder.mkdir(parents=True)
            for number in range(a_folder):
                (folder / f"{number:06}.jpg").write_bytes(b"x")
            os.utime(folder, (time.time() - 7200, time.time() - 7200))
    ticks = Ticks("spool_sensor")
    for _ in range(3):
        ticks.next()
    seconds = ticks.next()
    yield Figure(f"spool tick, {a_folder * plant.cameras * hours:,} files, nothing new", seconds, "CPU s", 1)
    yield Figure("spool sensor's cursor", len(ticks.cursor or "") / 1000, "KB", 100)


def receipts_tick(plant: Plant) -> Iterator[Figure]:
    """Ticks over receipts of three days: the first reports a day of hours, then nothing is new."""
    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.storage import open_store
    from yolo_assets_tests.catalog.receipt_factory import put_receipt

    settings = Settings.from_env()
    store, signer = open_store(settings.archive_url), Signer.load_or_create(settings.archiver_key)
    for hour in plant.all_hours()[-RECEIPT_HOURS:]:
        for camera in plant.names():
            put_receipt(store, signer, ArchiveName(camera, hour, 1))
    ticks = Ticks("receipts_sensor")
    yield Figure(f"receipts tick, {RECEIPT_HOURS} h listed", max(ticks.next() for _ in range(4)), "CPU s", 5)
    yield Figure("receipts sensor's cursor", len(ticks.cursor or "") / 1000, "KB", 100)


class Ticks:
    """Ticks of one sensor on the instance, with their cursor; what they report is stored."""

    def __init__(self, name: str) -> None:
        from yolo_assets.definitions import defs

        self._defs = defs()
        (self._sensor,) = [sensor for sensor in self._defs.sensors or [] if sensor.name == name]
        self.cursor: str | None = None

    def next(self) -> float:
        """One tick; returns its processor time."""
        import dagster as dg

        with dg.DagsterInstance.get() as instance:
            started = time.process_time()
            with dg.build_sensor_context(
                instance=instance,
                cursor=self.cursor,
                repository_def=self._defs.get_repository_def(),
                resources=dict(self._defs.resources or {}),
            ) as context:
                data = self._sensor.evaluate_tick(context)
            seconds = time.process_time() - started
            self.cursor = data.cursor
            for event in data.asset_events:
                instance.report_runless_asset_event(event)  # pyright: ignore[reportArgumentType]
        return seconds


def history(plant: Plant) -> Iterator[Figure]:
    """Six months of events; then a tick of the conditions, and the pages of the assets."""
    import dagster as dg

    from yolo_assets.definitions import defs
    from yolo_assets.defs.intake.sensors import materialization
    from yolo_assets.defs.intake.spool_diff import ChangedHour, ClosedHour
    from yolo_assets.defs.retention.prune import stored_bytes

    with dg.DagsterInstance.get() as instance:
        before, started = stored_bytes(instance), time.process_time()
        for hour in plant.all_hours():
            closed = [ClosedHour(camera, hour, "f" * 64, "u" * 64, 3600, 360_000_000) for camera in plant.names()]
            frames = materialization(ChangedHour(hour, tuple(closed)))
            instance.report_runless_asset_event(frames)
            archived = dg.AssetMaterialization(
                "hourly_archives", partition=hour.partition_key, metadata=frames.metadata
            )
            instance.report_runless_asset_event(archived)
        reported = time.process_time() - started
        per_hour = (stored_bytes(instance) - before) / plant.hours / plant.cameras / 2
        yield Figure("report of one hour", reported / plant.hours / 2 * 1000, "CPU ms", 100)
        yield Figure("report in the event log", per_hour / 1000, "KB a camera-hour", 2)
        definitions, cursor = defs(), None
        spent: list[float] = []
        for _ in range(3):
            started = time.process_time()
            found = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
            spent.append(time.process_time() - started)
            cursor = found.cursor
        yield Figure("automation tick, the first", spent[0], "CPU s", 5)
        yield Figure("automation tick, nothing new", spent[-1], "CPU s", 5)
        for name in HOURLY:
            yield _partition_status(instance, definitions, name)
    yield from _asset_page(plant)


def _partition_status(instance: Any, definitions: Any, name: str) -> Figure:
    import dagster as dg
    from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

    key = dg.AssetKey(name)
    partitions = definitions.resolve_asset_graph().get(key).partitions_def
    instance.event_log_storage.wipe_asset_cached_status(key)
    started = time.process_time()
    get_and_update_asset_status_cache_value(instance, key, partitions)
    return Figure(f"partition status of {name}, without cache", time.process_time() - started, "CPU s", 2)


def _asset_page(plant: Plant) -> Iterator[Figure]:
    """What the page of an asset asks the UI for, which asks the code server."""
    import urllib3

    from yolo_assets_tests.support.plant_services import PlantServices

    environment = {name: value for name, value in os.environ.items() if name.startswith(("YOLO_ASSETS_", "DAGSTER_"))}
    with PlantServices(plant.home, environment, ("code", "ui")) as services:
        for name in HOURLY:
            spent: list[float] = []
            for _ in range(2):
                body = {"query": PAGE, "variables": {"key": {"path": [name]}}}
                started = time.monotonic()
                answer = urllib3.request("POST", f"{services.ui}/graphql", json=body, timeout=120, retries=False).json()
                spent.append(time.monotonic() - started)
                stats = answer["data"]["assetNodeOrError"]["partitionStats"]
                assert stats["numMaterialized"] >= plant.hours, answer
            yield Figure(f"asset page of {name}, the second time", spent[-1], "s on the clock", 2)


def growth(plant: Plant) -> Iterator[Figure]:
    """One hour of all cameras, archived and tabled by the graph as the daemon would."""
    from yolo_assets.defs.retention.prune import Ages, prune, stored_bytes
    from yolo_assets.local.driver import Graph
    from yolo_assets_tests.defs.hours_in_spool import write_hour

    hour = Hour.of(utc_now() - timedelta(hours=2))
    for camera in plant.names():
        write_hour(plant.home / "spool", camera, hour, frames=1)
    with Graph() as graph:
        before = stored_bytes(graph.instance)
        graph.look()
        done = graph.carry()
        graph.look()
        assert any(name.startswith("hourly_archives") for name in done), done
        grown = stored_bytes(graph.instance) - before
        none = timedelta()
        prune(graph.instance, Ages(none, none, none), utc_now(), budget=timedelta(hours=1), log=lambda _: None)
        kept = stored_bytes(graph.instance) - before
    yield Figure("event log and runs, all assets of an hour", grown / plant.cameras / 1000, "KB a camera-hour", 2)
    yield Figure("the same once its runs are forgotten", kept / plant.cameras / 1000, "KB a camera-hour", 2)
    yield Figure("the first in a day", grown * 24 / 1e6, "MB", plant.cameras * 24 * 2 / 1000)


PARTS: dict[str, Callable[[Plant], Iterator[Figure]]] = {
    "load": location_load,
    "spool": spool_tick,
    "receipts": receipts_tick,
    "history": history,
    "growth": growth,
}


def main() -> None:
    """Measures each part in an installation of its own, prints, and exits 1 when a figure is above its bound."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--hours", type=int, default=4320)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", choices=list(PARTS))
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = ["--cameras", str(options.cameras), "--hours", str(options.hours), "--files", str(options.files)]
    if options.part is None:
        chosen = options.only or list(PARTS)
        codes = [_in_its_own_home(part, size, options.hours) for part in chosen]
        sys.exit(max(codes))
    plant = Plant(Path(os.environ["YOLO_ASSETS_HOME"]), options.cameras, options.hours, options.files)
    good = True
    for figure in PARTS[options.part](plant):
        print(figure, flush=True)
        good = good and figure.good
    sys.exit(not good)


def _in_its_own_home(part: str, size: list[str], hours: int) -> int:
    """The definitions read the environment when they are loaded: each part is a process of its own."""
    from yolo_assets.local.dagster_home import prepare_dagster_home

    with tempfile.TemporaryDirectory(prefix="plant-scale-") as folder:
        home = Path(folder)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("YOLO_ASSETS_", "DAGSTER_"))},
            "YOLO_ASSETS_HOME": folder,
            "YOLO_ASSETS_GRACE_SECONDS": "0",
            "YOLO_ASSETS_FIRST_HOUR": Hour.of(utc_now() - timedelta(hours=hours)).partition_key,
            "DAGSTER_HOME": str(prepare_dagster_home(home)),
        }
        return subprocess.run(
            [sys.executable, __file__, "--part", part, *size], env=environment, check=False
        ).returncode


if __name__ == "__main__":
    main()
