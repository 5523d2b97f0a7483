"""The hourly copy in Dagster: it copies what is new, tells the lag, and does nothing where no second place is set."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.archive.copy import copy_hourly
from yolo_assets.defs.lanes import HourRange
from yolo_assets.defs.resources import Locations
from yolo_assets.local.driver import Graph
from yolo_assets_tests.defs.hours_in_spool import write_hour

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))


def asked() -> dg.RunRequest | dg.SkipReason:
    with dg.build_schedule_context(resources={"locations": Locations.from_env()}) as context:
        return copy_hourly(context)  # type: ignore[return-value]


def verdicts(graph: Graph) -> list[dg.AssetCheckEvaluation]:
    records = graph.instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    found = [r.event_log_entry.dagster_event for r in records]
    evaluations = [one.asset_check_evaluation_data for one in found if one is not None]
    return [one for one in evaluations if one.check_name == "copy_up_to_date"]


def test_without_a_second_place_there_is_nothing_to_do(home: Path) -> None:
    assert isinstance(asked(), dg.SkipReason)


def test_the_copy_is_brought_up_to_date(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_ASSETS_ARCHIVE_COPY", str(home / "second"))
    assert isinstance(asked(), dg.RunRequest)
    with Graph() as graph:
        write_hour(home / "spool", "cam01", NIGHT)
        graph.run(["hourly_archives"], HourRange(NIGHT, NIGHT))
        graph.run(["archive_catalog"])
        made = graph.run(["archive_copy"])["archive_copy"]
        assert (made["archives"], made["behind_archives"], made["complete"]) == (1, 0, True)
        assert made["newest_hour"] == NIGHT.key and made["sent_bytes"] > made["bytes"] > 0
        assert verdicts(graph)[0].passed
        assert [path.name for path in (home / "second" / "catalog").iterdir()]
        made = graph.run(["archive_copy"])["archive_copy"]
        assert (made["archives"], made["resumed_parts"]) == (0, 0)
