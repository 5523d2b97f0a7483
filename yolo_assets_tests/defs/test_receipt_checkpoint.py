"""The daily checkpoint in Dagster: what it signed, and a history that is broken shows in its check."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.lanes import HourRange
from yolo_assets.local.driver import Graph
from yolo_assets_tests.defs.hours_in_spool import write_hour

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))


def verdicts(graph: Graph) -> dict[str, dg.AssetCheckEvaluation]:
    """The newest of each check of the asset."""
    records = graph.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    found = [r.event_log_entry.dagster_event for r in reversed(records)]
    evaluations = [one.asset_check_evaluation_data for one in found if one is not None]
    return {one.check_name: one for one in evaluations if one.asset_key == dg.AssetKey("receipt_checkpoint")}


def test_a_checkpoint_is_made_and_a_dropped_hour_shows(home: Path, graph: Graph) -> None:
    assert graph.run(["receipt_checkpoint"])["receipt_checkpoint"]["summary"] == "there is no receipt yet"
    for camera in ("cam01", "cam02"):
        write_hour(home / "spool", camera, NIGHT)
    graph.run(["hourly_archives"], HourRange(NIGHT, NIGHT))
    graph.run(["archive_catalog"])
    made = graph.run(["receipt_checkpoint"])["receipt_checkpoint"]
    assert (made["checkpoint"], made["receipts"], made["added"]) == (1, 2, 2)
    assert {one.passed for one in verdicts(graph).values()} == {True}

    (home / "archive" / ArchiveName("cam02", NIGHT).receipt_key).unlink()
    graph.run(["archive_catalog"], config={"ops": {"archive_catalog": {"config": {"everything": True}}}})
    graph.run(["receipt_checkpoint"])
    broken = verdicts(graph)["history_unbroken"]
    assert (
        not broken.passed and "yolo_cam02" in (broken.description or "") and "it is gone" in (broken.description or "")
    )
    assert verdicts(graph)["checkpoint_vouched_for"].passed
