"""Devices that archive by themselves: the centre sees them through their receipts, by ticks alone."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.read import query
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.sensors import receipts_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.local.driver import Graph
from yolo_assets.storage import open_store
from yolo_assets.tables.scan import read_detections, read_frames
from yolo_assets_tests.defs.hours_in_spool import write_hour, write_late
from yolo_assets_tests.support.one_round import run_archiver

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))
LAST = Hour.of(utc_now()).next(-1)  # recent: found by the look at today, not by the sweep
MONTHS_AGO = Hour(datetime(2026, 1, 15, 3, tzinfo=UTC))


class Box:
    """A machine elsewhere: its own spool and key, the centre's archive root."""

    def __init__(self, home: Path, name: str, *, known: bool = True) -> None:
        self.home, self.name = home, name
        self.spool = home / f"{name}-spool"
        self.signer = Signer.load_or_create(home / f"{name}-keys" / "archiver")
        self.archive_url = (home / "archive").as_uri()
        if known:
            self.introduce()

    def introduce(self) -> None:
        """The centre gets the box's public key."""
        folder = self.home / "keys" / "archivers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.pub").write_bytes(self.signer.public_pem())

    def archives(self) -> None:
        """What ``archive run`` does."""
        results = run_archiver(
            self.spool, Archive(open_store(self.archive_url), TrustedKeys.of(self.signer)), self.signer, grace_seconds=0
        )
        assert results and all(result.status == "archived" for result in results)


def events(graph: Graph, asset: str) -> list[dg.AssetMaterialization]:
    records = graph.instance.fetch_materializations(dg.AssetKey(asset), limit=100, ascending=True).records
    return [record.asset_materialization for record in records if record.asset_materialization is not None]


def rows(materialization: dg.AssetMaterialization, name: str) -> list[dict[str, Any]]:
    value = materialization.metadata[name]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(row.data) for row in value.records]


def tick(graph: Graph, cursor: str | None = None) -> dg.SensorResult:
    """One tick of the receipts sensor alone; what it reports is not stored."""
    with dg.build_sensor_context(
        instance=graph.instance, cursor=cursor, resources={"locations": Locations.from_env()}
    ) as context:
        found = receipts_sensor(context)
    assert isinstance(found, dg.SensorResult)
    return found


def reported(found: dg.SensorResult) -> set[tuple[str, str | None]]:
    return {
        (event.asset_key.to_user_string(), event.partition)
        for event in found.asset_events
        if isinstance(event, dg.AssetMaterialization)
    }


def believed(graph: Graph) -> list[bool]:
    found = graph.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    evaluations = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data
        for record in found
        if record.event_log_entry.dagster_event is not None
    ]
    return [one.passed for one in evaluations if one.check_name == "every_receipt_verified"]


def run_range(graph: Graph, asset: str, first: Hour, last: Hour) -> None:
    """Several hours in one run, as a backfill has it."""
    tags = {
        "dagster/asset_partition_range_start": first.partition_key,
        "dagster/asset_partition_range_end": last.partition_key,
    }
    job = graph._defs.resolve_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=graph.instance, asset_selection=[dg.AssetKey(asset)], tags=tags).success


def test_a_device_that_archives_itself_reaches_tables_and_catalog(home: Path, graph: Graph) -> None:
    box = Box(home, "box07")
    for camera in ("cam01", "cam02"):
        write_hour(box.spool, camera, NIGHT)
    write_hour(box.spool, "cam01", LAST)
    box.archives()
    assert graph.look() == 4, "raw_frames and hourly_archives of two hours"
    ran = set(graph.carry())
    for hour in (NIGHT, LAST):
        for asset in ("detections", "frames", "camera_health", "drift_report"):
            assert f"{asset}[{hour.partition_key}]" in ran
        assert f"hourly_archives[{hour.partition_key}]" not in ran, "reported, not run"
    assert "archive_catalog[]" in ran
    store = open_store((home / "store").as_uri())
    assert query(store, "SELECT camera_id, frame_count FROM archives ORDER BY hour, camera_id").rows() == [
        ("cam01", 3),
        ("cam02", 3),
        ("cam01", 3),
    ]
    assert read_detections(store, NIGHT.start, NIGHT.end).height == 6
    assert read_frames(store, LAST.start, LAST.end).height == 3

    night, last = events(graph, "hourly_archives")[::-1]
    assert (night.partition, last.partition) == (NIGHT.partition_key, LAST.partition_key)
    assert [row["archiver"] for row in rows(night, "archivers")] == ["box07"]
    assert rows(night, "archivers")[0]["signing key"] == box.signer.key_id
    assert [(row["frames"], row["devices"]) for row in rows(night, "archives")] == [(3, "box01"), (3, "box01")]
    assert {row["camera"] for row in rows(events(graph, "raw_frames")[1], "cameras")} == {"cam01", "cam02"}
    assert graph.look() == 0 and graph.carry() == [], "what is known is not reported again"
    assert reported(tick(graph)) == set(), "nor after the cursor was lost"

    write_late(box.spool, "cam02", NIGHT)
    box.archives()
    assert graph.look() == 2
    graph.carry()
    assert read_detections(store, NIGHT.start, NIGHT.end).height == 7
    assert query(store, "SELECT sum(frame_count)::INT FROM archives").item() == 10
    looked = events(graph, "archive_catalog")[-1].metadata["inspected"].value
    assert looked == f"1 day: {NIGHT.date}", "only the day that was touched"
    again = graph.run(["archive_catalog"])["archive_catalog"]
    assert (again["added"], again["removed"], again["dagster/row_count"]) == (0, 0, 4), "nothing was touched since"
    whole = graph.run(["archive_catalog"], config={"ops": {"archive_catalog": {"config": {"everything": True}}}})
    assert whole["archive_catalog"]["inspected"] == "all receipts: requested"


def test_own_archives_are_not_reported_and_mixed_hours_show_all(home: Path, graph: Graph) -> None:
    box = Box(home, "box07")
    hours = [NIGHT, NIGHT.next()]
    for hour in hours:
        write_hour(home / "spool", "ours", hour)
    graph.look()
    graph.carry()
    assert reported(tick(graph)) == set()
    run_range(graph, "hourly_archives", *hours)
    graph.carry()
    assert reported(tick(graph)) == set(), "a backfill of several hours in one run says the same of each"

    # A box adds a camera to an hour of which late frames wait here: the hour is run, not called archived.
    write_late(home / "spool", "ours", NIGHT)
    write_hour(box.spool, "theirs", NIGHT)
    box.archives()
    assert reported(tick(graph)) == {("raw_frames", NIGHT.partition_key)}
    graph.look()
    assert f"hourly_archives[{NIGHT.partition_key}]" in graph.carry()
    newest = [one for one in events(graph, "hourly_archives") if one.partition == NIGHT.partition_key][-1]
    assert [(row["camera"], row["archiver"], row["result"]) for row in rows(newest, "archives")] == [
        ("ours", "this machine", "archived elsewhere or before"),
        ("ours part 2", "this machine", "archived"),
        ("theirs", "box07", "archived elsewhere or before"),
    ]
    assert graph.look() == 0 and graph.carry() == []
    store = open_store((home / "store").as_uri())
    assert read_frames(store, NIGHT.start, NIGHT.end).height == 7
    assert not list((home / "spool" / "ours" / NIGHT.key).glob("*.jpg")), "archived here, and reclaimed"

    # Nothing waits here of the other hour: the newcomer is reported, what is ours stays in the picture.
    write_hour(box.spool, "theirs", NIGHT.next())
    box.archives()
    graph.look()
    assert "hourly_archives" not in " ".join(graph.carry())
    newest = events(graph, "hourly_archives")[-1]
    assert [row["archiver"] for row in rows(newest, "archives")] == ["this machine", "box07"]


def test_receipts_of_an_unknown_key_are_shown_and_never_reported(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, stranger = Box(home, "box07"), Box(home, "box66", known=False)
    write_hour(stranger.spool, "odd", LAST)
    stranger.archives()
    found = tick(graph)
    assert reported(found) == set()
    (request,) = found.run_requests or []
    assert request.asset_selection == [dg.AssetKey("archive_catalog")]
    assert tick(graph, found.cursor).run_requests == [], "told once"
    graph.run(["archive_catalog"], config=dict(request.run_config))
    assert believed(graph) == [False]

    # Another box in the same hour is believed all the same.
    write_hour(box.spool, "good", LAST)
    box.archives()
    graph.look()
    with pytest.raises(UserError, match=f"odd {LAST}: .*not trusted here"):
        graph.carry()
    (event,) = events(graph, "hourly_archives")
    assert [row["camera"] for row in rows(event, "archives")] == ["good"]
    assert "odd" in str(event.metadata["untrusted"].value)
    assert graph.look() == 0

    stranger.introduce()
    assert graph.look() == 2, "with its key here it is reported"
    graph.carry()
    assert believed(graph)[0] is True
    store = open_store((home / "store").as_uri())
    assert read_frames(store, LAST.start, LAST.end)["camera_id"].unique().sort().to_list() == ["good", "odd"]


def test_a_full_archive_is_read_in_portions_and_a_crash_repeats_one(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.defs.archive.sensors.HOURS_A_TICK", 2)
    box = Box(home, "box07")
    hours = [NIGHT.next(number) for number in range(5)]
    for hour in hours:
        write_hour(box.spool, "cam01", hour, frames=1)
    box.archives()
    cursor, seen = None, []
    for _ in range(4):
        found = tick(graph, cursor)
        portion = sorted({partition for _, partition in reported(found)}, key=str)
        assert len(portion) <= 2
        seen += portion
        half = (len(seen) // 2) % 2  # killed between the two events of an hour, every other time
        for event in found.asset_events[: len(found.asset_events) - half]:
            graph.instance.report_runless_asset_event(event)
        cursor = None if half else found.cursor
    while events_left := tick(graph, cursor).asset_events:
        for event in events_left:
            graph.instance.report_runless_asset_event(event)
    wanted = {hour.partition_key for hour in hours}
    for asset in ("raw_frames", "hourly_archives"):
        assert graph.instance.get_materialized_partitions(dg.AssetKey(asset)) == wanted
    assert len(events(graph, "hourly_archives")) == 5, "none twice"


def test_an_hour_that_keeps_changing_waits_until_it_is_quiet(
    home: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_ASSETS_GRACE_SECONDS", "300")
    box, clock = Box(home, "box07"), utc_now()
    cursor, late = None, LAST
    for camera in ("cam01", "cam02"):
        write_hour(box.spool, camera, late, frames=1)
        box.archives()
        monkeypatch.setattr("yolo_assets.defs.archive.sensors.utc_now", lambda clock=clock: clock)
        found = tick(graph, cursor)
        assert reported(found) == set()
        cursor, clock = found.cursor, clock + timedelta(seconds=40)
    monkeypatch.setattr("yolo_assets.defs.archive.sensors.utc_now", lambda: clock + timedelta(seconds=30))
    assert {asset for asset, _ in reported(tick(graph, cursor))} == {"raw_frames", "hourly_archives"}


def test_tables_of_months_ago_are_made_from_the_archive_by_dagsters_own_command(home: Path) -> None:
    box = Box(home, "box07")
    write_hour(box.spool, "cam01", MONTHS_AGO)
    box.archives()
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "yolo_assets.definitions"]
    command += ["--select", "detections,frames", "--partition", MONTHS_AGO.partition_key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-2000:]
    store = open_store((home / "store").as_uri())
    assert read_detections(store, MONTHS_AGO.start, MONTHS_AGO.end).height == 3
