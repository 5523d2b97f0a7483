"""What one camera has that nobody can read or calculate with stops neither sensors nor the other cameras."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import orjson
import pytest

import yolo_assets.tables.build as build
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import frame_name, spool_hour
from yolo_assets.contracts.times import Hour
from yolo_assets.local.driver import Graph
from yolo_assets.spool.hours import SpoolHour, SpoolMember
from yolo_assets.storage import open_store
from yolo_assets.tables.scan import read_frames, read_quarantine
from yolo_assets_tests.defs.hours_in_spool import JPEG, record, write_hour
from yolo_assets_tests.defs.test_graph_carries_hours import checks

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))
ZERO = "0001-01-01T00:00:00+08:00"
"""The zero time of Go and .NET, with a local offset."""


def poison(spool: Path, camera: str) -> None:
    folder = spool_hour(spool, camera, NIGHT)
    folder.mkdir(parents=True)
    good = frame_name(NIGHT.start)
    for name, more in ((good, {}), ("odd.jpg", {"captured_at": ZERO})):
        (folder / name).write_bytes(JPEG)
        document = {"image_path": name, **record(NIGHT.start, **more)}
        (folder / name).with_suffix(".json").write_bytes(orjson.dumps(document))


def test_a_poisoned_time_and_hours_of_no_calendar_stop_nobody(home: Path, graph: Graph) -> None:
    spool = home / "spool"
    for camera in ("good1", "zgood2"):
        write_hour(spool, camera, NIGHT)
    poison(spool, "poison")
    for key in ("99991231_23", "19691231_23", "00010101_00"):
        (spool / "cam03" / key).mkdir(parents=True)
        (spool / "cam03" / key / "a.jpg").write_bytes(JPEG)
    assert graph.look() == 1
    graph.carry()
    store = open_store((home / "store").as_uri())
    counts = read_frames(store, NIGHT.start, NIGHT.end).group_by("camera_id").len().sort("camera_id").rows()
    assert counts == [("good1", 3), ("poison", 1), ("zgood2", 3)]
    (refused,) = read_quarantine(store, NIGHT.start, NIGHT.end).iter_rows(named=True)
    assert refused["source"] == f"poison/{NIGHT}/odd.json" and ZERO in refused["reason"]
    assert (spool / "cam03" / "99991231_23" / "a.jpg").exists()
    assert checks(graph)["every_camera_tabled"] is True and checks(graph)["no_row_in_quarantine"] is False


def test_a_defect_in_one_camera_is_red_for_that_camera_alone(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    for camera in ("cam01", "cam02", "cam03"):
        write_hour(home / "spool", camera, NIGHT)
    real = build.build_hour

    def broken(camera_id: str, *arguments: object, **more: object) -> object:
        if camera_id == "cam02":
            raise OverflowError("date value out of range")
        return real(camera_id, *arguments, **more)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(build, "build_hour", broken)
    graph.look()
    with pytest.raises(UserError, match=f"cam02 {NIGHT}: OverflowError"):
        graph.carry()
    store = open_store((home / "store").as_uri())
    assert set(read_frames(store, NIGHT.start, NIGHT.end)["camera_id"]) == {"cam01", "cam03"}
    assert checks(graph)["every_camera_tabled"] is False
    found = graph.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    said = " ".join(str(entry.event_log_entry.dagster_event) for entry in found)
    assert f"cam02 {NIGHT}" in said and "OverflowError: date value out of range" in said


def test_an_hour_that_cannot_be_listed_is_red_alone(home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    for camera in ("cam01", "cam02", "cam03"):
        write_hour(home / "spool", camera, NIGHT)
    real = SpoolHour.members

    def members(hour: SpoolHour) -> list[SpoolMember]:
        if hour.camera_id == "cam02":
            raise PermissionError(13, "Permission denied", str(hour.path))
        return real(hour)

    monkeypatch.setattr(SpoolHour, "members", members)
    assert graph.look() == 1
    with pytest.raises(UserError, match=f"cam02 {NIGHT}: "):
        graph.carry()
    store = open_store((home / "store").as_uri())
    assert set(read_frames(store, NIGHT.start, NIGHT.end)["camera_id"]) == {"cam01", "cam03"}
    found = checks(graph)
    assert (found["every_camera_tabled"], found["every_camera_archived"]) == (False, False)
