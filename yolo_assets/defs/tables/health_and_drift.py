"""``camera_health`` and ``drift_report``: an hour against the day before it."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.hours import NO_VALUE, HourEvent, HourResult, each_hour
from yolo_assets.defs.metadata import counted, listed, table
from yolo_assets.defs.partitions import by_day, hourly
from yolo_assets.defs.provenance import Provenance
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import content_version

DAY = timedelta(days=1)
_HEALTH = {"camera_id": str, "status": str, "frames": int, "longest_gap_s": float}
_LINEAGE = {
    "dagster/column_schema": table([], _HEALTH).schema,
    "dagster/column_lineage": dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep("frames", source) for source in sources]
            for column, sources in {
                "camera_id": ["camera_id"],
                "status": ["captured_at", "blur", "brightness"],
                "frames": ["image_path"],
                "longest_gap_s": ["captured_at"],
            }.items()
        }
    ),
}
"""The last hour of a run has it."""
_DRIFT = {
    "camera_id": str,
    "model_version": str,
    "verdict": str,
    "reason": str,
    "rate_before": float,
    "rate_now": float,
}


@dg.asset(
    deps=["frames"],
    partitions_def=hourly,
    backfill_policy=by_day,
    automation_condition=on_hour(),
    group_name="tables",
    kinds={"polars"},
    owners=["team:maintenance"],
    code_version=code_version("tables/health.py", "tables/scan.py"),
    description="Blur, brightness, frozen and missing frames, silent cameras: the hour against the day before it.",
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def camera_health(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Evaluate every camera of the hour."""
    from yolo_assets.tables.health import camera_health as evaluate
    from yolo_assets.tables.scan import read_frames

    store = locations.store()

    def health_of(hour: Hour, _: Provenance) -> HourResult | None:
        frames = read_frames(store, hour.start - DAY, hour.end)
        if frames.filter(frames["captured_at"] >= hour.start).is_empty():
            return None
        expected = frames["camera_id"].unique().to_list()
        health = evaluate(frames, start=hour.start - DAY, end=hour.end, expected=expected)
        rows = list(health.table.iter_rows(named=True))
        sentences = [finding.sentence for finding in health.findings]
        sick = sorted(row["camera_id"] for row in rows if row["status"] != "ok")
        return HourResult(
            {
                "camera_health": {
                    "summary": f"{len(rows) - len(sick)} of {counted(len(rows), 'camera')} are well",
                    "findings": listed(sentences, "every camera is well"),
                    "sick": len(sick),
                    "cameras": table(rows, _HEALTH),
                    **(_LINEAGE if hour.partition_key == context.partition_keys[-1] else {}),
                }
            },
            versions={"camera_health": content_version(rows, sentences)},
        )

    yield from each_hour(context, health_of)


@dg.asset(
    deps=["detections", "camera_health"],
    partitions_def=hourly,
    backfill_policy=by_day,
    automation_condition=on_hour(),
    group_name="tables",
    kinds={"polars"},
    owners=["team:data"],
    code_version=code_version("tables/drift.py", "tables/health.py", "tables/scan.py"),
    description=(
        "Detection rate, class mix and confidence of each camera and model version against the day before. "
        "A sick camera needs maintenance, not training."
    ),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def drift_report(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Compare the hour with the day before it, camera by camera."""
    from yolo_assets.tables.drift import Period
    from yolo_assets.tables.drift import drift_report as compare
    from yolo_assets.tables.health import camera_health as evaluate
    from yolo_assets.tables.scan import read_detections, read_frames

    store = locations.store()

    def drift_of(hour: Hour, _: Provenance) -> HourResult | None:
        before, end = hour.start - DAY, hour.end
        frames, detections = read_frames(store, before, end), read_detections(store, before, end)
        is_now = frames["captured_at"] >= hour.start
        found_now = detections["captured_at"] >= hour.start
        if not is_now.any():
            return None
        report = compare(
            Period(frames.filter(~is_now), detections.filter(~found_now)),
            Period(frames.filter(is_now), detections.filter(found_now)),
            sick=evaluate(frames, start=before, end=end).sick_cameras,
        )
        rows = list(report.iter_rows(named=True))
        verdicts = Counter(row["verdict"] for row in rows)
        moved = [row for row in rows if row["verdict"] in ("drifted", "sick camera")]
        metadata: dict[str, Any] = {
            "summary": ", ".join(f"{verdict}: {count}" for verdict, count in verdicts.most_common()),
            "drifted": verdicts["drifted"],
        }
        if moved:
            metadata["drift"] = table(moved, _DRIFT)
        return HourResult({"drift_report": metadata}, versions={"drift_report": content_version(rows)})

    yield from each_hour(context, drift_of)
