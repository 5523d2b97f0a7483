"""A plant of 200 cameras and six months: what the graph's own work costs, each figure against its bound.

Everything is the product's own: the sensors' functions, the conditions, a code server and a UI as processes, and for
the growth of the event log one hour of all cameras that is really archived and tabled. The history is synthetic: an
event for each hour of ``raw_frames`` and ``hourly_archives``, with tables as wide as the plant. Processor time, but for
the asset page, which a person waits for.

Run: python benchmarks/plant_scale.py [--cameras 200] [--hours 4320] [--files 1008000] [--only NAME…]
"""

from __future__ import annotations

import argparse
import contextlib
import json
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

SPOOL_HOURS = 168
"""A week: many folders cost a tick more than many files in few."""
REPORTED_HOURS = 24
GROWTH_HOURS = 3
LINKS = 60_000
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
    """Ticks over a spool of a week in which nothing is new, after those that reported it."""
    a_folder = max(plant.files // (plant.cameras * SPOOL_HOURS), 1)
    now, past = Hour.of(utc_now()), time.time() - 7200
    links = Links(plant.home / "frame.jpg", b"x")
    for camera in plant.names():
        for back in range(1, SPOOL_HOURS + 1):
            folder = plant.home / "spool" / camera / Hour.of(now.start - timedelta(hours=back)).key
            folder.mkdir(parents=True)
            for number in range(a_folder):
                links.make(folder / f"{number:06}.jpg")
            os.utime(folder, (past, past))
    ticks, quiet, spent = Ticks("spool_sensor"), 0, 0.0
    while quiet < 3:
        spent = ticks.next()
        quiet = 0 if ticks.reported else quiet + 1
    yield Figure(f"spool tick, {a_folder * plant.cameras * SPOOL_HOURS:,} files, nothing new", spent, "CPU s", 1)
    yield Figure("spool sensor's cursor", len(ticks.cursor or "") / 1000, "KB", 100)


def receipts_tick(plant: Plant) -> Iterator[Figure]:
    """Ticks over the receipts of the whole time: one that reports a day of hours, then those that find nothing new.

    The receipts of earlier days are names alone, because a tick reads no receipt that the graph knows.
    """
    import dagster as dg

    from yolo_assets.archive.listing import list_hour
    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.contracts.settings import Settings
    from yolo_assets.contracts.signing import Signer
    from yolo_assets.defs.archive.listing_diff import data_version
    from yolo_assets.defs.resources import Locations
    from yolo_assets.storage import open_store
    from yolo_assets_tests.catalog.receipt_factory import put_receipt

    settings = Settings.from_env()
    store, signer = open_store(settings.archive_url), Signer.load_or_create(settings.archiver_key)
    hours = plant.all_hours()
    for hour in hours[-REPORTED_HOURS:]:
        for camera in plant.names():
            put_receipt(store, signer, ArchiveName(camera, hour, 1))
    links, root = Links(plant.home / "receipt.json", b"{}"), plant.home / "archive"
    archive = Locations.from_env().archive()
    with dg.DagsterInstance.get() as instance:
        for hour in hours[:-REPORTED_HOURS]:
            for camera in plant.names():
                links.make(root / ArchiveName(camera, hour, 1).receipt_key)
            version = data_version({hour: list_hour(archive, hour).version})
            for name in HOURLY:
                known = dg.AssetMaterialization(
                    name, partition=hour.partition_key, tags={"dagster/data_version": version}
                )
                instance.report_runless_asset_event(known)
    ticks = Ticks("receipts_sensor")
    spent = [ticks.next()]
    assert ticks.reported == 2 * REPORTED_HOURS, ticks.reported
    yield Figure(f"receipts tick, {REPORTED_HOURS} h reported", spent[0], "CPU s", 5)
    while json.loads(ticks.cursor or "{}").get("position"):
        spent.append(ticks.next())
    what = f"receipts tick, {plant.cameras * plant.hours:,} receipts, nothing new"
    yield Figure(what, max(spent[1:] or spent), "CPU s", 5)
    yield Figure("ticks until all receipts were listed", len(spent), "ticks", 60)
    yield Figure("receipts sensor's cursor", len(ticks.cursor or "") / 1000, "KB", 100)


class Links:
    """Many files that are one on disk, as often as a file system allows one to have a name."""

    def __init__(self, first: Path, content: bytes) -> None:
        self._first, self._content, self._names = first, content, 0

    def make(self, path: Path) -> None:
        """One more name for it."""
        if self._names % LINKS == 0:
            self._first.unlink(missing_ok=True)
            self._first.write_bytes(self._content)
        self._names += 1
        try:
            os.link(self._first, path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True)
            os.link(self._first, path)


class Ticks:
    """Ticks of one sensor on the instance, with their cursor; what they report is stored.

    Attributes:
        cursor: of the newest tick.
        reported: events of the newest tick.
    """

    def __init__(self, name: str) -> None:
        from yolo_assets.definitions import defs

        self._defs = defs()
        (self._sensor,) = [sensor for sensor in self._defs.sensors or [] if sensor.name == name]
        self.cursor: str | None = None
        self.reported = 0

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
            self.cursor, self.reported = data.cursor, len(data.asset_events)
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
    """Hours of all cameras, one after the other, archived and tabled by the graph as the daemon would.

    The first is not counted: with it the tables of the database are made.
    """
    from yolo_assets.defs.retention.prune import Ages, prune, stored_bytes
    from yolo_assets.local.driver import Graph
    from yolo_assets_tests.defs.hours_in_spool import write_hour

    now, sizes, none = utc_now(), [], timedelta()
    where = "PostgreSQL" if "DAGSTER_POSTGRES_HOST" in os.environ else "SQLite"
    with Graph() as graph:
        for back in range(2 + GROWTH_HOURS, 1, -1):
            hour = Hour.of(now - timedelta(hours=back))
            for camera in plant.names():
                write_hour(plant.home / "spool", camera, hour, frames=1)
            graph.look()
            done = graph.carry()
            graph.look()
            assert any(name.startswith("hourly_archives") for name in done), done
            sizes.append(stored_bytes(graph.instance))
        grown = (sizes[-1] - sizes[0]) / GROWTH_HOURS
        prune(graph.instance, Ages(none, none, none), utc_now(), budget=timedelta(hours=1), log=lambda _: None)
        kept = stored_bytes(graph.instance) / (1 + GROWTH_HOURS)
    yield Figure(f"event log and runs of an hour, {where}", grown / plant.cameras / 1000, "KB a camera-hour", 2)
    yield Figure(f"the same in a day, {where}", grown * 24 / 1e6, "MB", plant.cameras * 24 * 2 / 1000)
    if where == "SQLite":  # PostgreSQL keeps the pages that became free
        yield Figure("all that is left when runs are forgotten", kept / plant.cameras / 1000, "KB a camera-hour", 2)


PARTS: dict[str, Callable[[Plant], Iterator[Figure]]] = {
    "load": location_load,
    "spool": spool_tick,
    "receipts": receipts_tick,
    "history": history,
    "growth": growth,
    "growth-postgres": growth,
}


def main() -> None:
    """Measures each part in an installation of its own, prints, and exits 1 when a figure is above its bound."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--hours", type=int, default=4320)
    parser.add_argument("--files", type=int, default=1_008_000)
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
    from yolo_assets_tests.support import postgres_server
    from yolo_assets_tests.support.plant_instance import plant_environment

    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plant-scale-")))
        if part.endswith("postgres"):
            server = stack.enter_context(postgres_server.running())
            dagster = plant_environment(home, server.new_database())
        else:
            dagster = {"DAGSTER_HOME": str(prepare_dagster_home(home))}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("YOLO_ASSETS_", "DAGSTER_"))},
            "YOLO_ASSETS_HOME": str(home),
            "YOLO_ASSETS_GRACE_SECONDS": "0",
            "YOLO_ASSETS_FIRST_HOUR": Hour.of(utc_now() - timedelta(hours=hours)).partition_key,
            **dagster,
        }
        return subprocess.run(
            [sys.executable, __file__, "--part", part, *size], env=environment, check=False
        ).returncode


if __name__ == "__main__":
    main()
