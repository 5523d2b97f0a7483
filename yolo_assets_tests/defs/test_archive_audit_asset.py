"""The daily audit in Dagster: it shows what it covered, and a difference fails the run."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.lanes import HourRange
from yolo_assets.local.driver import Graph
from yolo_assets_tests.defs.hours_in_spool import write_hour

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))
FULL = {"ops": {"archive_audit": {"config": {"share": "1/1", "how": "full"}}}}


def verdicts(graph: Graph) -> list[dg.AssetCheckEvaluation]:
    records = graph.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    found = [r.event_log_entry.dagster_event for r in records]
    evaluations = [one.asset_check_evaluation_data for one in found if one is not None]
    return [one for one in evaluations if one.check_name == "archives_verified"]


def test_an_audit_reports_coverage_and_fails_on_a_difference(home: Path, graph: Graph) -> None:
    for camera in ("cam01", "cam02"):
        write_hour(home / "spool", camera, NIGHT)
    graph.run(["hourly_archives"], HourRange(NIGHT, NIGHT))
    made = graph.run(["archive_audit"], config=FULL)["archive_audit"]
    assert (made["due"], made["good_full"], made["stopped"]) == (2, 2, "no")
    assert "2 of 2 archives" in made["coverage"]
    assert verdicts(graph)[0].passed

    archive = home / "archive" / ArchiveName("cam02", NIGHT).archive_key
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.chmod(0o644)
    archive.write_bytes(data)
    with pytest.raises(UserError, match="archive_audit failed"):
        graph.run(["archive_audit"], config=FULL)
    verdict = verdicts(graph)[0]
    assert not verdict.passed and "1 archives differ" in (verdict.description or "")
    assert graph.latest("archive_audit")["good_full"] == 1, "what was found is kept with the failed run"
