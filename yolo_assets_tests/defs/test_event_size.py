"""What Dagster keeps of a day in one run: each event speaks of its own hour, and grows with that hour's cameras."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster_shared.serdes import serialize_value

from yolo_assets.contracts.times import Hour
from yolo_assets.local.driver import QUIET, Graph
from yolo_assets_tests.defs.hours_in_spool import write_hour

FIRST = Hour(datetime(2026, 3, 1, 0, tzinfo=UTC))
HOURS = [FIRST.next(number) for number in range(24)]
CAMERAS = {hour: [f"cam{number}" for number in range(8 if hour == FIRST else 2)] for hour in HOURS}
ASSETS = ["frames", "detections", "hourly_archives"]
BYTES = 2000
"""Of an hour of ten cameras, for each of them."""


def hour_of(entry: dg.EventLogEntry) -> Hour | None:
    """The hour that an event is about."""
    event = entry.get_dagster_event()
    verdict = event.event_type_value == dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
    partition = event.asset_check_evaluation_data.partition if verdict else event.partition
    return Hour.from_partition_key(partition) if partition else None


def test_a_day_in_one_run_is_small_and_each_event_speaks_of_its_hour(home: Path, graph: Graph) -> None:
    for hour in HOURS:
        for camera in CAMERAS[hour]:
            write_hour(home / "spool", camera, hour, frames=1)
    result = graph._job.execute_in_process(
        instance=graph.instance,
        asset_selection=[dg.AssetKey(asset) for asset in ASSETS],
        run_config=QUIET,
        tags={
            "dagster/asset_partition_range_start": HOURS[0].partition_key,
            "dagster/asset_partition_range_end": HOURS[-1].partition_key,
        },
    )
    assert result.success
    stored = [entry for entry in graph.instance.all_logs(result.run_id) if entry.dagster_event is not None]
    size: Counter[Hour | None] = Counter()
    for entry in stored:
        size[hour_of(entry)] += len(serialize_value(entry))
    a_camera = (size[FIRST] - size[HOURS[1]]) / (len(CAMERAS[FIRST]) - len(CAMERAS[HOURS[1]]))
    none = size[HOURS[1]] - a_camera * len(CAMERAS[HOURS[1]])
    assert none + 10 * a_camera < 10 * BYTES, f"{none:.0f} bytes an hour and {a_camera:.0f} for each camera"
    assert size[None] < BYTES * len(HOURS), f"{size[None]} bytes that belong to no hour"
    for entry in stored:
        hour = hour_of(entry)
        if hour is None:
            continue
        text = serialize_value(entry)
        others = [other for other in HOURS if other != hour and (other.partition_key in text or other.key in text)]
        assert not others, f"{hour} mentions {others}"
