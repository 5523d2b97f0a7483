"""What is read of a plant: a real spool, receipts, tables and heartbeats in stores; and what cannot be read."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from yolo_assets.contracts.fleet import CameraHeartbeat, Heartbeat
from yolo_assets.contracts.names import ArchiveName, fleet_key, frame_name, frames_key
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.storage import StoreUnavailableError, open_store
from yolo_assets.storage.base import ObjectStore
from yolo_assets.today.reading import read_plant, read_spool
from yolo_assets.today.summary import PlantFacts, summarise

NOW = utc_now()
RUNNING = Hour.of(NOW)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("archive", "store"):
        open_store((tmp_path / name).as_uri())
    return tmp_path


def frames(spool: Path, camera: str, hour: Hour, count: int) -> datetime:
    """Empty files with the names of frames; returns the time of the last."""
    folder = spool / camera / hour.key
    folder.mkdir(parents=True)
    moments = [hour.start + timedelta(seconds=number) for number in range(count)]
    for moment in moments:
        (folder / frame_name(moment)).touch()
    (folder / "records.ndjson").touch()
    return moments[-1]


def store_of(root: Path, name: str) -> ObjectStore:
    return open_store((root / name).as_uri())


def read(root: Path) -> PlantFacts:
    return read_plant(root / "spool", lambda: store_of(root, "archive"), lambda: store_of(root, "store"), NOW)[0]


def test_frames_of_the_spool_are_counted_and_the_newest_gives_the_time(root: Path) -> None:
    last = frames(root / "spool", "cam1", RUNNING, 5)
    frames(root / "spool", "cam1", RUNNING.next(-1), 7)
    frames(root / "spool", "cam1", RUNNING.next(-100), 7)
    (root / "spool" / "cam1" / "not-an-hour").mkdir()
    (root / "spool" / "no camera").mkdir()
    (row,) = summarise(read(root)).cameras
    assert (row.camera_id, row.status, row.frames, row.last_at) == ("cam1", "good", 12, last)


def test_a_receipt_makes_an_hour_archived_before_any_catalog_knows_it(root: Path) -> None:
    for back in (5, 4):
        frames(root / "spool", "cam1", RUNNING.next(-back), 2)
    store_of(root, "archive").put(ArchiveName("cam1", RUNNING.next(-5)).receipt_key, b"{}")
    (row,) = summarise(read(root)).cameras
    assert (row.archived, row.late) == (1, (RUNNING.next(-4),))


def test_the_last_frame_of_a_device_far_away_comes_from_its_heartbeat(root: Path) -> None:
    at = NOW - timedelta(minutes=3)
    cameras = {"cam1": CameraHeartbeat(captured=9, processed=9, in_flight=0, last_result_at=at)}
    beat = Heartbeat(
        device_id="box1", at=at, started_at=at, agent_version="1", engine="e", model_version=None, cameras=cameras
    )
    store_of(root, "store").put(fleet_key("box1"), beat.to_json())
    (row,) = summarise(read(root)).cameras
    assert (row.camera_id, row.status, row.last_at) == ("cam1", "good", at)


def test_without_a_heartbeat_the_statistics_of_the_table_tell(root: Path) -> None:
    hour = RUNNING.next(-6)
    store_of(root, "archive").put(ArchiveName("cam1", hour).receipt_key, b"{}")
    (row,) = summarise(read(root)).cameras
    assert row.last_at == hour.end, "no more than the hour is known"
    moments = [hour.start + timedelta(seconds=17 * number) for number in range(50)]
    rows = pl.DataFrame({"captured_at": moments, "blur": [float(number) for number in range(50)]})
    path = root / "frames.parquet"
    rows.write_parquet(path)
    store_of(root, "store").put(frames_key(hour, "cam1"), path.read_bytes())
    (row,) = summarise(read(root)).cameras
    assert row.last_at == pl.read_parquet(path)["captured_at"].max() == moments[-1]
    store_of(root, "store").put(frames_key(hour, "cam1"), b"no table at all")
    assert summarise(read(root)).cameras[0].last_at == hour.end


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(root: Path) -> None:
    frames(root / "spool", "cam1", RUNNING, 3)

    tries: list[str] = []

    def away(name: str) -> ObjectStore:
        tries.append(name)
        raise StoreUnavailableError("the store at s3://plant cannot be reached; check the network")

    facts, fleet = read_plant(
        root / "spool", lambda: away("archive"), lambda: away("store"), NOW, expected=("cam1", "cam2")
    )
    assert sorted(tries) == ["archive", "store"], "each root once: a try takes seconds"
    of_store = {"the catalog", "the heartbeats", "the tables", "the verdicts on cameras"}
    assert set(facts.unread) == {"the archive", *of_store} and not fleet.heartbeats
    assert {row.camera_id: row.status for row in summarise(facts).cameras} == {"cam1": "good", "cam2": "unknown"}


def test_200_cameras_are_read_in_under_two_seconds(root: Path) -> None:
    store = store_of(root, "archive")
    for number in range(200):
        camera = f"cam{number:03d}"
        folder = root / "spool" / camera / RUNNING.key
        folder.mkdir(parents=True)
        for second in range(100):
            (folder / frame_name(RUNNING.start + timedelta(seconds=second))).touch()
    folder = root / "archive"
    for back in range(1, 25):
        for number in range(200):
            path = folder / ArchiveName(f"cam{number:03d}", RUNNING.next(-back)).receipt_key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert len(list(store.list("receipts/"))) == 4800
    started = time.process_time()
    today = summarise(read(root))
    assert time.process_time() - started < 2
    assert len(today.having("good")) == 200 and today.cameras[0].frames == 100


def test_a_spool_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert read_spool(tmp_path / "none", set(), NOW) == {}
