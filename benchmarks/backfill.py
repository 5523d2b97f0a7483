"""A month of ten cameras built again through Dagster's real daemon, against the same functions called directly.

The hours lie in the archive alone, as a month that was archived long ago does: small frames of the simulator, the truth
as records. The direct form calls what the step calls, hour by hour, in as many processes as the instance runs backfill
runs at a time. The daemon's form is one ``yolo-assets backfill detections --force --wait`` beside a running daemon with
its code server. Sensors and automation are left out of the code location on both sides: they would ask for the same
hours by themselves.

Printed: failed runs (none may fail), seconds of the steps, seconds from the command's start to its end, and the bytes
of all events of the backfill's runs for each camera-hour.

Run: python benchmarks/backfill.py [--days 30] [--cameras 10] [--frames 10] [--workers 2] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import yaml

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.services import LocalService, free_port
from yolo_assets.simulator.simulation import simulate
from yolo_assets.spool.hours import list_hours
from yolo_assets.storage.open import open_store
from yolo_assets.tables.build import build_hour, cameras_of_hour

FIRST = Hour.from_key("20260301_00")
LOCATION = '''
"""The assets of this project, without what would request them by itself."""
import dagster as dg
from yolo_assets.definitions import defs as all_definitions

found = all_definitions()
parts = {"assets": found.assets, "asset_checks": found.asset_checks, "resources": found.resources}
defs = dg.Definitions(**parts, executor=found.executor)
'''
STEP_LIMIT, WHOLE_LIMIT, EVENT_LIMIT = 1.15, 1.40, 2_000


def main() -> None:
    """Measures, prints, and exits 1 when a run failed or a figure is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--cameras", type=int, default=10)
    parser.add_argument("--frames", type=int, default=10, help="of each camera in each hour")
    parser.add_argument("--workers", type=int, default=2, help="runs at a time, and processes of the direct form")
    parser.add_argument("--folder", type=Path, help="kept afterwards; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (options.folder or Path(temporary)).absolute()
        os.environ.update(plant(home))
        started = time.monotonic()
        fps = options.frames / 3600
        simulate(home / "simulated", cameras=options.cameras, hours=24, fps=fps, start=FIRST, truth_records=True)
        with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(partial(record_day, home), range(options.days)))
        print(
            f"{options.days} days of {options.cameras} cameras, archived in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        direct_whole, direct_steps = build_directly(home, options.days, options.workers)
        figures = through_the_daemon(home, options.days, options.workers)
    camera_hours = options.days * 24 * options.cameras
    step, whole = figures["steps"] / direct_steps, figures["whole"] / direct_whole
    events, disk = figures["event_bytes"] / camera_hours, figures["disk_bytes"] / camera_hours
    print(f"{camera_hours} camera-hours with {options.frames} frames each, {options.workers} at a time")
    print(f"{figures['runs']:.0f} runs, {figures['failed']:.0f} failed, {figures['hours']:.0f} hours built")
    for name, direct, here, ratio, limit in (
        ("steps", direct_steps, figures["steps"], step, STEP_LIMIT),
        ("end to end", direct_whole, figures["whole"], whole, WHOLE_LIMIT),
    ):
        print(f"{name:12} direct {direct:7.1f} s   daemon {here:7.1f} s   {ratio:.2f} (limit {limit})")
    print(f"events       {events:.0f} bytes a camera-hour (limit {EVENT_LIMIT}); {disk:.0f} on disk")
    built = figures["hours"] == options.days * 24 and not figures["failed"]
    sys.exit(not (built and step <= STEP_LIMIT and whole <= WHOLE_LIMIT and events < EVENT_LIMIT))


def plant(home: Path) -> dict[str, str]:
    """The environment of an installation in a folder."""
    home.mkdir(parents=True, exist_ok=True)
    for name in list(os.environ):
        if name.startswith(("YOLO_ASSETS_", "DAGSTER_")):
            del os.environ[name]
    return {
        "YOLO_ASSETS_HOME": str(home),
        "YOLO_ASSETS_GRACE_SECONDS": "0",
        "YOLO_ASSETS_FIRST_HOUR": FIRST.partition_key,
        "DAGSTER_HOME": str(home / "dagster"),
    }


def archive_of(home: Path) -> tuple[Archive, Signer]:
    """The archive root in a folder, and its archiver's key."""
    signer = Signer.load_or_create(home / "keys" / "archiver")
    return Archive(open_store((home / "archive").as_uri()), TrustedKeys.of(signer)), signer


def record_day(home: Path, day: int) -> None:
    """A day of every camera: the simulated day under another date, archived, and gone from the spool."""
    spool, date = home / "spools" / str(day), FIRST.next(24 * day).start.date()
    first = FIRST.start.date()
    dates = {f"{first:%Y%m%d}": f"{date:%Y%m%d}", f"{first:%Y-%m-%d}": f"{date:%Y-%m-%d}"}
    for source in sorted((home / "simulated").rglob("*")):
        if source.suffix not in (".jpg", ".ndjson"):
            continue
        target = spool / source.relative_to(home / "simulated").as_posix().replace(*next(iter(dates.items())))
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".jpg":
            target.hardlink_to(source)
            continue
        text = source.read_text()
        for written, shown in dates.items():
            text = text.replace(written, shown)
        target.write_text(text)
    archive, signer = archive_of(home)
    for hour in list_hours(spool):
        archive_hour(hour, archive, signer, ArchiveOptions())
    shutil.rmtree(spool)


def build_directly(home: Path, days: int, workers: int) -> tuple[float, float]:
    """What the step does, without Dagster. Returns seconds from start to end, and those of all days together."""
    started = time.monotonic()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        steps = list(pool.map(partial(build_day, home), range(days)))
    return time.monotonic() - started, sum(steps)


def build_day(home: Path, day: int) -> float:
    """The tables of a day. Returns seconds."""
    started = time.monotonic()
    archive, store = archive_of(home)[0], open_store((home / "direct").as_uri())
    for hour in (FIRST.next(24 * day + number) for number in range(24)):
        for camera, parts in cameras_of_hour(hour, [], archive).items():
            build_hour(camera, hour, home / "spool", archive, store, archived=parts)
    return time.monotonic() - started


def through_the_daemon(home: Path, days: int, workers: int) -> dict[str, float]:
    """One command beside a running daemon. Returns the figures."""
    prepare_dagster_home(home)
    configure(home / "dagster" / "dagster.yaml", workers)
    with daemon(home):
        started = time.monotonic()
        last = FIRST.next(24 * days - 1)
        command = [sys.executable, "-m", "yolo_assets.cli.main", "backfill", "detections"]
        command += ["--from", FIRST.key, "--to", last.key, "--force", "--wait", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        whole = time.monotonic() - started
        if done.returncode:
            print(done.stderr, file=sys.stderr)
        answer = json.loads(done.stdout)
    return {"whole": whole, "hours": answer["made"] / 2, **read_instance(home / "dagster")}


def configure(file: Path, workers: int) -> None:
    """As shipped, and so many runs of backfills at a time."""
    settings = yaml.safe_load(file.read_text())
    runs = settings["concurrency"]["runs"]
    runs["max_concurrent_runs"] = max(workers, runs["max_concurrent_runs"])
    for limit in runs.get("tag_concurrency_limits", []):
        if limit["key"] == "dagster/backfill" or limit.get("value") == "history":
            limit["limit"] = workers
    file.write_text(yaml.safe_dump(settings))


@contextmanager
def daemon(home: Path) -> Iterator[None]:
    """A standing code server and the daemon, as the plant's units start them; ready when the daemon is alive."""
    module, port = home / "bench_location.py", free_port(0)
    module.write_text(LOCATION)
    workspace = home / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": port}}]}))
    listen = ["-h", "127.0.0.1", "-p", str(port)]
    code = [sys.executable, "-m", "dagster", "api", "grpc", "-f", str(module), "-a", "defs", *listen]
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(workspace)]
    with LocalService("the code server", code, home / "code.log") as server:
        wait_for_port(server, port)
        with LocalService("the daemon", command, home / "daemon.log", stop_seconds=30) as service:
            wait_for_heartbeat(service, home / "dagster")
            yield


def wait_for_port(service: LocalService, port: int, seconds: float = 180) -> None:
    """Until the code server listens."""
    deadline = time.monotonic() + seconds
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        service.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"{service.name} did not start in {seconds:.0f} s; see {service.log}")
        time.sleep(0.5)


def wait_for_heartbeat(service: LocalService, dagster_home: Path, seconds: float = 180) -> None:
    """Until the part of the daemon that runs backfills is up."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        deadline = time.monotonic() + seconds
        while instance.get_daemon_statuses(["BACKFILL"])["BACKFILL"].healthy is False:
            service.check()
            if time.monotonic() > deadline:
                raise SystemExit(f"{service.name} did not start in {seconds:.0f} s; see {service.log}")
            time.sleep(0.5)


def read_instance(dagster_home: Path) -> dict[str, float]:
    """Runs, seconds of their steps, and bytes of their events."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        runs = instance.get_runs()
        steps = 0.0
        for run in runs:
            for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS):
                steps += entry.get_dagster_event().step_success_data.duration_ms / 1000
        failed = sum(not run.is_success for run in runs)
    size = 0
    for file in (dagster_home / "history" / "runs").glob("*.db"):
        with closing(sqlite3.connect(file)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "event_logs" in tables and file.name != "index.db":
                size += connection.execute("SELECT coalesce(sum(length(event)), 0) FROM event_logs").fetchone()[0]
    disk_bytes = sum(path.stat().st_size for path in (dagster_home / "history").rglob("*.db"))
    return {"runs": len(runs), "failed": failed, "steps": steps, "event_bytes": size, "disk_bytes": disk_bytes}


if __name__ == "__main__":
    main()
