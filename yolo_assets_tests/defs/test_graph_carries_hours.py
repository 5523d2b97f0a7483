"""A new hour goes through the real graph by itself: sensors report, conditions request, assets run. Ticks are ours."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import orjson
import pytest

from yolo_assets.catalog.read import query
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import ArchiveName, frame_name, spool_hour
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.lanes import HourRange
from yolo_assets.defs.partitions import hourly
from yolo_assets.local.driver import Graph
from yolo_assets.spool.hours import list_hours
from yolo_assets.storage import open_store
from yolo_assets.tables.scan import read_detections, read_quarantine
from yolo_assets_tests.defs.hours_in_spool import JPEG, record, write_hour, write_late

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))
HOURLY = {"hourly_archives", "reclaimed_spool", "detections", "frames", "camera_health", "drift_report"}


def checks(graph: Graph) -> dict[str, bool]:
    found = {}
    for event in graph.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)):
        entry = event.event_log_entry.dagster_event
        assert entry is not None
        found.setdefault(entry.asset_check_evaluation_data.check_name, entry.asset_check_evaluation_data.passed)
    return found


def states(graph: Graph) -> dict[str, str]:
    """What the UI shows for the hour of some assets."""
    found = {}
    for asset in ("hourly_archives", "reclaimed_spool", "frames"):
        by_key = graph.instance.get_status_by_partition(dg.AssetKey(asset), [NIGHT.partition_key], hourly) or {}
        status = by_key.get(NIGHT.partition_key)
        found[asset] = status.value if status is not None else ""
    return found


def test_an_hour_goes_from_spool_to_catalog_by_itself(home: Path, graph: Graph) -> None:
    for camera in ("cam01", "cam02"):
        write_hour(home / "spool", camera, NIGHT)
    assert graph.look() == 1
    ran = graph.carry()
    assert {f"{asset}[{NIGHT.partition_key}]" for asset in HOURLY} | {"archive_catalog[]"} == set(ran)
    store = open_store((home / "store").as_uri())
    archived = query(store, "SELECT camera_id, frame_count FROM archives ORDER BY camera_id").rows()
    assert archived == [("cam01", 3), ("cam02", 3)]
    assert read_detections(store, NIGHT.start, NIGHT.end).height == 6
    assert all(not hour.frames() for hour in list_hours(home / "spool"))
    found = checks(graph)
    assert found.pop("every_camera_healthy") is False, "no frame came in the last 58 minutes"
    assert all(found.values())
    assert graph.look() == 0 and graph.carry() == [], "what is done is not done again"


def test_late_frames_of_an_archived_hour_become_part_two(home: Path, graph: Graph) -> None:
    write_hour(home / "spool", "cam01", NIGHT)
    graph.look()
    graph.carry()
    write_late(home / "spool", "cam01", NIGHT)
    assert graph.look() == 1
    assert f"hourly_archives[{NIGHT.partition_key}]" in graph.carry()
    archive = open_store((home / "archive").as_uri())
    assert archive.head(ArchiveName("cam01", NIGHT, 2).archive_key) is not None
    store = open_store((home / "store").as_uri())
    assert query(store, "SELECT sum(frame_count)::INT FROM archives").item() == 4
    assert read_detections(store, NIGHT.start, NIGHT.end).height == 4


def test_one_failing_camera_does_not_stop_the_others_and_is_done_later(home: Path, graph: Graph) -> None:
    for camera in ("cam01", "cam02"):
        write_hour(home / "spool", camera, NIGHT)
    blocked = home / "archive" / "archives" / "camera=cam01"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder must be")
    graph.look()
    with pytest.raises(UserError, match=rf"cam01 {NIGHT}: .*is in the way") as caught:
        graph.carry()
    assert "cam02" not in str(caught.value) and "\n" not in str(caught.value)
    store = open_store((home / "store").as_uri())
    assert query(store, "SELECT camera_id FROM archives").rows() == [("cam02",)]
    assert checks(graph)["every_camera_archived"] is False
    assert states(graph) == {"hourly_archives": "FAILED", "reclaimed_spool": "MATERIALIZED", "frames": "MATERIALIZED"}
    assert not list_hours(home / "spool", "cam02")[0].frames(), "the other camera's disk space is free on time"
    graph.look()
    assert states(graph)["hourly_archives"] == "FAILED", "no sensor reports it as archived"
    assert len(list_hours(home / "spool", "cam01")[0].frames()) == 3, "what is not archived stays"

    blocked.unlink()
    graph.run(["hourly_archives"], HourRange(NIGHT, NIGHT))
    graph.carry()
    assert query(store, "SELECT camera_id FROM archives ORDER BY 1").rows() == [("cam01",), ("cam02",)]
    assert states(graph)["hourly_archives"] == "MATERIALIZED"


def test_bad_records_are_archived_quarantined_and_reported(home: Path, graph: Graph) -> None:
    hour = spool_hour(home / "spool", "foreign", NIGHT)
    hour.mkdir(parents=True)
    good, bad = frame_name(NIGHT.start), frame_name(NIGHT.start + timedelta(seconds=1))
    for name in (good, bad):
        (hour / name).write_bytes(JPEG)
    path = f"foreign/{NIGHT}/{good}"
    (hour / f"{good.removesuffix('.jpg')}.json").write_bytes(orjson.dumps({"image_path": path, **record(NIGHT.start)}))
    (hour / f"{bad.removesuffix('.jpg')}.json").write_bytes(b"{not json")
    graph.look()
    graph.carry()
    store = open_store((home / "store").as_uri())
    assert read_detections(store, NIGHT.start, NIGHT.end).height == 1
    assert read_quarantine(store, NIGHT.start, NIGHT.end).height == 1
    assert query(store, "SELECT frame_count, bad_records FROM archives").rows() == [(2, 1)]
    assert checks(graph)["no_row_in_quarantine"] is False and checks(graph)["every_camera_archived"] is True


def test_a_backfill_of_tables_reads_the_archive_without_a_spool(home: Path, graph: Graph) -> None:
    write_hour(home / "spool", "cam01", NIGHT)
    graph.look()
    graph.carry()
    store = open_store((home / "store").as_uri())
    before = read_detections(store, NIGHT.start, NIGHT.end)
    for info in list(store.list("detections/")):
        store.delete(info.key)
    made = graph.run(["detections", "frames"], HourRange(NIGHT, NIGHT))
    assert made["detections"]["dagster/row_count"] == 3
    assert read_detections(store, NIGHT.start, NIGHT.end).equals(before)
