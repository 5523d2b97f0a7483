"""One camera of five whose archive cannot be written, for the hours of a day: a plant's real daemon, code server, UI.

Once by a cause that a person has to remove: nothing is tried again. Once by one that may pass, like a network: it is
tried again, at most twice an hour however many hours it leaves behind. Both tell people once.

The day is compressed: its 24 hours are over when they are fed, one every ``FEED_SECONDS``. The daemon's clock is the
real one, and so are the pauses between attempts: that the attempts stay few for a whole day of clock time is shown by
``defs/test_retries_of_hours.py`` with a simulated clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.partitions import hourly
from yolo_assets.defs.recovery.sensors import RUN_TAG
from yolo_assets.defs.recovery.unfinished import TRIES
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.faulty_stores import FaultOrder, faulty_environment
from yolo_assets_tests.support.listeners import web
from yolo_assets_tests.support.plant_instance import archived_hours, enter, plant_environment
from yolo_assets_tests.support.plant_services import PlantServices
from yolo_assets_tests.support.postgres_server import running

FEED_SECONDS = 5.0
WATCHED_SECONDS = 180.0
"""After the last hour: for messages and attempts that should not come."""
GOOD, BAD = ("cam01", "cam02", "cam04", "cam05"), "cam03"
ARCHIVES = dg.AssetKey("hourly_archives")
PLANT = "alerts: {failure_minutes: 2, receivers: {office: {url_variable: OFFICE}}}\n"


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(2)


def in_the_way(home: Path, environment: dict[str, str]) -> dict[str, str]:
    """What no retry cures: a person has to remove it."""
    blocked = home / "archive" / "archives" / f"camera={BAD}"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder must be")
    return environment


def unreachable(home: Path, environment: dict[str, str]) -> dict[str, str]:
    """What may pass: whatever is asked of the archives of this camera, the store is away."""
    for_ever = (0, time.time() + 86_400)
    return faulty_environment(home / "hook", FaultOrder(outage=for_ever, key=f"camera={BAD}"), environment)


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("spoiled", "least", "most"), [(in_the_way, 0, 0), (unreachable, 1, TRIES)])
def test_a_bad_camera_harms_nobody_for_a_day(
    spoiled: Callable[[Path, dict[str, str]], dict[str, str]],
    least: int,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "plant.yaml").write_text(PLANT)
    with running() as server, web() as receiver:
        environment = plant_environment(tmp_path, server.new_database()) | {
            "YOLO_ASSETS_HOME": str(tmp_path),
            "YOLO_ASSETS_GRACE_SECONDS": "1",
            "OFFICE": f"json://127.0.0.1:{receiver.port}/",
        }
        enter(environment, monkeypatch)
        environment = spoiled(tmp_path, environment)
        with PlantServices(tmp_path, environment, ("code", "daemon", "ui")), dg.DagsterInstance.get() as instance:
            fed = feed(tmp_path / "spool")
            ended = time.monotonic()
            hours = [hour.partition_key for hour in fed]

            def failed() -> bool:
                found = instance.get_status_by_partition(ARCHIVES, hours, hourly) or {}
                return all(found.get(hour) is AssetPartitionStatus.FAILED for hour in hours)

            wait_for(lambda: archived_hours(tmp_path) == {(camera, hour) for camera in GOOD for hour in fed}, 900)
            print(f"the good cameras' last archive is there {time.monotonic() - ended:.0f} s after the last hour")
            wait_for(failed, 900)
            wait_for(lambda: bool(receiver.requests), 600)
            time.sleep(WATCHED_SECONDS)
            wait_for(failed, 300)  # an attempt may be on its way: nothing has turned green
            again = [run for run in instance.get_runs() if RUN_TAG in run.tags]
            minutes = (time.monotonic() - ended) / 60 + len(fed) * FEED_SECONDS / 60
            titles = [document["title"] for document in receiver.taken()]
            assert archived_hours(tmp_path) == {(camera, hour) for camera in GOOD for hour in fed}
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
