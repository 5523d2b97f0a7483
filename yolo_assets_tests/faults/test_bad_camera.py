"""One camera of five whose archive cannot be written, for the hours of a day: a plant's real daemon, code server, UI.

The day is compressed: its 24 hours are over when they are fed, one every ``FEED_SECONDS``. The daemon's clock is the
real one, and so are the pauses between attempts: that the attempts stay few for a whole day of clock time is shown by
``defs/test_retries_of_hours.py`` with a simulated clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.partitions import hourly
from yolo_assets.defs.recovery.sensors import RUN_TAG
from yolo_assets.storage import open_store
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.listeners import web
from yolo_assets_tests.support.plant_instance import plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import running

FEED_SECONDS = 8.0
WATCHED_SECONDS = 300.0
"""After the last hour: for messages and attempts that should not come."""
GOOD, BAD = ("cam01", "cam02", "cam04", "cam05"), "cam03"
ARCHIVES = dg.AssetKey("hourly_archives")
PLANT = "alerts: {receivers: {office: {url_variable: OFFICE}}}\n"


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(2)


def in_the_way(path: Path) -> None:
    """What no retry cures: a person has to remove it."""
    path.write_text("a file where a folder must be")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("spoil", "least", "most"), [(in_the_way, 0, 0)])
def test_a_bad_camera_harms_nobody_for_a_day(
    spoil: Callable[[Path], None], least: int, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plant.yaml").write_text(PLANT)
    blocked = tmp_path / "archive" / "archives" / f"camera={BAD}"
    blocked.parent.mkdir(parents=True)
    spoil(blocked)
    with running() as server, web() as receiver:
        environment = plant_environment(tmp_path, server.new_database()) | {
            "YOLO_ASSETS_HOME": str(tmp_path),
            "YOLO_ASSETS_GRACE_SECONDS": "1",
            "OFFICE": f"json://127.0.0.1:{receiver.port}/",
        }
        for name in [name for name in os.environ if name.startswith(("YOLO_ASSETS_", "DAGSTER_"))]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with PlantServices(tmp_path, environment, ("code", "daemon", "ui")), dg.DagsterInstance.get() as instance:
            fed = feed(tmp_path / "spool")
            ended = time.monotonic()
            hours = [hour.partition_key for hour in fed]

            def failed() -> bool:
                found = instance.get_status_by_partition(ARCHIVES, hours, hourly) or {}
                return all(found.get(hour) is AssetPartitionStatus.FAILED for hour in hours)

            wait_for(lambda: archived(tmp_path) == {(camera, hour) for camera in GOOD for hour in fed}, 900)
            print(f"the good cameras' last archive is there {time.monotonic() - ended:.0f} s after the last hour")
            wait_for(failed, 900)
            wait_for(lambda: bool(receiver.requests), 600)
            time.sleep(WATCHED_SECONDS)
            assert failed(), "nothing has turned green"
            again = [run for run in instance.get_runs() if RUN_TAG in run.tags]
            minutes = (time.monotonic() - ended) / 60 + len(fed) * FEED_SECONDS / 60
            titles = [document["title"] for document in receiver.taken()]
            print(f"{len(again)} runs requested again in {minutes:.0f} minutes; messages: {titles}")
            assert minutes < 60 and least <= len(again) <= most
            assert titles == [f"{BAD} failed"]


def feed(spool: Path) -> list[Hour]:
    """The last 24 hours, of all cameras, one after the other; the cameras go on sending meanwhile."""
    first, fed = Hour.of(utc_now()).next(-24), list[Hour]()
    for number in range(24):
        for camera in (*GOOD, BAD):
            write_hour(spool, camera, first.next(number))
        fed.append(first.next(number))
        time.sleep(FEED_SECONDS)
    return fed


def archived(home: Path) -> set[tuple[str, Hour]]:
    """Camera-hours with an archive."""
    key = home / "keys" / "archiver"
    if not key.exists():
        return set()
    archive = Archive(open_store((home / "archive").as_uri()), TrustedKeys.of(Signer.load(key)))
    return {(name.camera_id, name.hour) for name in archive.names()}
