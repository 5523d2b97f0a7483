"""A plant on PostgreSQL whose processes are killed at random while hours are fed: all of them arrive, each once.

Code server, daemon, UI, run workers and the steps below them, and the database are ended by SIGKILL and started again,
as systemd would; the archive root is unmounted for as long as ten minutes are of a feed of 24 hours. A person requests
a backfill in the middle of it. Afterwards nobody starts anything by hand: what was fed is archived and catalogued once,
every asset has every hour, the backfill ended, no run is left, no slot is held, no process has survived.

The seed is printed; ``YOLO_ASSETS_SEED`` plays it again, as far as the machine's own timing allows.
``YOLO_ASSETS_SOAK_HOURS`` feeds another number of hours.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from sqlalchemy.exc import SQLAlchemyError

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.read import query
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.recovery.runs import UNFINISHED_STATUSES
from yolo_assets.storage import open_store
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.plant_instance import enter, plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import PostgresServer, running

SEED = int(os.environ.get("YOLO_ASSETS_SEED") or random.SystemRandom().randrange(2**32))
HOURS = int(os.environ.get("YOLO_ASSETS_SOAK_HOURS") or 24)
FEED_SECONDS = 20.0
AWAY_SECONDS = 600.0 * HOURS / 24
PAUSES = (6.0, 16.0)
"""Seconds between two kills."""
ALL_ARRIVED_WITHIN = 1800.0
CAMERAS = ("cam01", "cam02")
ASSETS = ("hourly_archives", "reclaimed_spool", "frames", "detections", "camera_health", "drift_report")


@dataclass
class KilledPlant:
    """Running services and what is done to them.

    Attributes:
        fed: hours that lie in the spool, or did.
        killed: how often each kind of process was.
    """

    home: Path
    server: PostgresServer
    services: PlantServices
    dice: random.Random
    fed: list[Hour] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    def kill(self) -> None:
        """One process of a kind that the dice choose, and what systemd does about it."""
        workers = self.run_workers()
        kind = self.dice.choice(["code", "daemon", "ui", "postgres"] + ["run worker"] * (4 if workers else 0))
        if kind == "postgres":
            self.server.kill()
            self.server.start()
        elif kind == "run worker":
            with contextlib.suppress(psutil.NoSuchProcess):
                self.dice.choice(workers).kill()
        else:
            self.services.kill(kind)
            self.services.restart(kind)
        print(f"{time.strftime('%H:%M:%S')} killed: {kind}", flush=True)
        self.killed[kind] += 1

    def run_workers(self) -> list[psutil.Process]:
        """Processes in which runs execute, and those below them, whoever their parent is by now."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("DAGSTER_HOME") == self.services.environment["DAGSTER_HOME"]:
                    found += [process] if "spawn_main" in " ".join(process.cmdline()) else []
        return found

    def unmount(self) -> None:
        """The archive root is away."""
        (self.home / "archive").rename(self.home / "archive.away")

    def mount(self) -> None:
        """It is there again."""
        with contextlib.suppress(OSError):
            (self.home / "archive").rmdir()
        (self.home / "archive.away").rename(self.home / "archive")

    def request(self) -> str | None:
        """A person requests the tables of everything that was fed. Returns the id, if it was acknowledged."""
        words = ["backfill", "detections", "--from", self.fed[0].key, "--to", self.fed[-1].key, "--force", "--json"]
        command = [sys.executable, "-m", "yolo_assets.cli.main", *words]
        done = subprocess.run(command, env=self.services.environment, capture_output=True, text=True, timeout=120)
        print(f"a request: exit {done.returncode} {done.stderr.strip()[-200:]}")
        return json.loads(done.stdout)["backfill"] if done.returncode == 0 else None


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KilledPlant]:
    with running() as server:
        environment = plant_environment(tmp_path, server.new_database()) | {
            "YOLO_ASSETS_HOME": str(tmp_path),
            "YOLO_ASSETS_GRACE_SECONDS": "1",
            "YOLO_ASSETS_CLASSES": "crack",
        }
        enter(environment, monkeypatch)
        with PlantServices(tmp_path, environment, ("code", "daemon", "ui")) as services:
            yield KilledPlant(tmp_path, server, services, random.Random(SEED))


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_whatever_is_killed_each_hour_arrives_once(plant: KilledPlant) -> None:
    print(f"\nplay it again with YOLO_ASSETS_SEED={SEED}; {HOURS} hours, the archive is away for {AWAY_SECONDS:.0f} s")
    with dg.DagsterInstance.get() as instance:
        acknowledged = torment(plant)
        print(f"fed {len(plant.fed)} hours; killed {dict(plant.killed)}")
        began = time.monotonic()
        lacking = wait_until(lambda: what_is_missing(plant, instance, acknowledged))
        assert not lacking, f"YOLO_ASSETS_SEED={SEED}: {lacking}"
        print(f"everything arrived {time.monotonic() - began:.0f} s after the last kill")
        for key in instance.event_log_storage.get_concurrency_keys():
            info = instance.event_log_storage.get_concurrency_info(key)
            assert not info.claimed_slots and not info.pending_steps, f"YOLO_ASSETS_SEED={SEED}: {info}"
    assert_archived_once(plant)
    workers = plant.run_workers()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive, f"YOLO_ASSETS_SEED={SEED}: survived: {[process.cmdline() for process in alive]}"


def torment(plant: KilledPlant) -> str | None:
    """Feed the hours and kill meanwhile. Returns the id of the person's backfill, once one is acknowledged."""
    first = Hour.of(utc_now()).next(-HOURS)
    start = time.monotonic()
    away = start + plant.dice.uniform(0.1, 0.5) * HOURS * FEED_SECONDS
    next_kill, asks, back = start + FEED_SECONDS, start + HOURS * FEED_SECONDS / 2, 0.0
    acknowledged: str | None = None
    gone = returned = False
    while len(plant.fed) < HOURS or not returned:
        now = time.monotonic()
        if len(plant.fed) < HOURS and now >= start + len(plant.fed) * FEED_SECONDS:
            hour = first.next(len(plant.fed))
            for camera in CAMERAS:
                write_hour(plant.home / "spool", camera, hour)
            plant.fed.append(hour)
        if not gone and now >= away and (plant.home / "archive").is_dir():
            plant.unmount()
            gone, back = True, now + AWAY_SECONDS
        if gone and not returned and now >= back:
            plant.mount()
            returned = True
        if acknowledged is None and now >= asks:
            acknowledged, asks = plant.request(), now + FEED_SECONDS
        if len(plant.fed) < HOURS and now >= next_kill:
            plant.kill()
            next_kill = time.monotonic() + plant.dice.uniform(*PAUSES)
        time.sleep(0.2)
    return acknowledged


def wait_until(lacking: Callable[[], list[str]]) -> list[str]:
    """Until nothing is lacking, for as long as that may take. Returns what is."""
    began = time.monotonic()
    deadline = began + ALL_ARRIVED_WITHIN
    while True:
        found = lacking()
        if not found or time.monotonic() > deadline:
            return found
        print(f"{time.monotonic() - began:.0f} s: {'; '.join(found)[:300]}", flush=True)
        time.sleep(10)


def what_is_missing(plant: KilledPlant, instance: dg.DagsterInstance, acknowledged: str | None) -> list[str]:
    """Hours without an asset, runs and backfills that have not ended, archives that the catalog has not."""
    try:
        wanted = {hour.partition_key for hour in plant.fed}
        missing = [
            f"{asset} {sorted(lacking)}"
            for asset in ASSETS
            if (lacking := wanted - instance.get_materialized_partitions(dg.AssetKey(asset)))
        ]
        unfinished = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES))
        missing += [f"run {run.run_id} is {run.status.value}" for run in unfinished]
        for backfill in instance.get_backfills():
            if backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
                missing.append(f"backfill {backfill.backfill_id} is {backfill.status.value}")
        if acknowledged is not None and instance.get_backfill(acknowledged) is None:
            missing.append(f"the backfill {acknowledged} is lost")
        rows = query(open_store((plant.home / "store").as_uri()), "SELECT count(*) FROM archives").rows()[0][0]
    except (UserError, SQLAlchemyError) as error:  # there is no catalog yet, or the database has just come back
        return [f"{type(error).__name__}: {error}"]
    if rows != len(plant.fed) * len(CAMERAS):
        missing.append(f"the catalog has {rows} archives")
    return missing


def assert_archived_once(plant: KilledPlant) -> None:
    """One archive of each camera-hour, with all of its frames, once in the catalog."""
    signer = Signer.load(plant.home / "keys" / "archiver")
    archive = Archive(open_store((plant.home / "archive").as_uri()), TrustedKeys.of(signer))
    names = list(archive.names())
    fed = {(camera, hour) for camera in CAMERAS for hour in plant.fed}
    assert Counter((name.camera_id, name.hour) for name in names) == Counter(dict.fromkeys(fed, 1))
    assert {archive.receipt(name).frame_count for name in names} == {3}
    twice = "SELECT camera_id, hour, part FROM archives GROUP BY ALL HAVING count(*) > 1"
    assert query(open_store((plant.home / "store").as_uri()), twice).rows() == []
