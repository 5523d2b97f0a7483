"""``camera_health`` and ``drift_report``: an hour against the day before it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.hours import NO_VALUE, HourEvent, HourResult, each_hour
from yolo_assets.defs.metadata import counted, listed, table
from yolo_assets.defs.partitions import hourly, packed
from yolo_assets.defs.provenance import Provenance
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import content_version

DAY = timedelta(days=1)
HEALTH = {"camera_id": str, "status": str, "frames": int, "longest_gap_s": float}
DRIFT = {
    "camera_id": str,
    "model_version": str,
    "verdict": str,
    "reason": str,
    "rate_before": float,
    "rate_now": float,
}


def _columns(shown: Mapping[str, type], sources: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, Any]:
    """Columns of a report and what each is made of. The last hour of a run has them.

    Args:
        shown: the columns, by name.
        sources: for each of them the columns it is made of, by asset.
    """
    deps = {
        column: [dg.TableColumnDep(asset, name) for asset, names in found.items() for name in names]
        for column, found in sources.items()
    }
    return {"dagster/column_schema": table([], shown).schema, "dagster/column_lineage": dg.TableColumnLineage(deps)}


def health_columns() -> dict[str, Any]:
    """Of ``camera_health``."""
    return _columns(
        HEALTH,
        {
            "camera_id": {"frames": ["camera_id"]},
            "status": {"frames": ["captured_at", "blur", "brightness"]},
            "frames": {"frames": ["image_path"]},
            "longest_gap_s": {"frames": ["captured_at"]},
        },
    )


def drift_columns() -> dict[str, Any]:
    """Of ``drift_report``: a sick camera is called so by ``camera_health``, the rest is of the tables."""
    rate = {"frames": ["image_path", "captured_at"], "detections": ["image_path", "captured_at"]}
    compared = {"frames": ["captured_at"], "detections": ["captured_at", "class", "confidence"]}
    return _columns(
        DRIFT,
        {
            "camera_id": {"frames": ["camera_id"]},
            "model_version": {"frames": ["model_version"]},
            "verdict": {**compared, "camera_health": ["status"]},
            "reason": compared,
            "rate_before": rate,
            "rate_now": rate,
        },
    )


@dg.asset(
    deps=["frames"],
    partitions_def=hourly,
    backfill_policy=packed,
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
                    "cameras": table(rows, HEALTH),
                    **(health_columns() if hour.partition_key == context.partition_keys[-1] else {}),
                }
            },
            versions={"camera_health": content_version(rows, sentences)},
        )

    yield from each_hour(context, health_of)


@dg.asset(
    deps=["detections", "camera_health"],
    partitions_def=hourly,
    backfill_policy=packed,
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
            metadata["drift"] = table(moved, DRIFT)
            metadata["findings"] = listed(
                [f"{row['camera_id']}: {row['verdict']}, {row['reason']}" for row in moved], ""
            )
        if hour.partition_key == context.partition_keys[-1]:
            metadata |= drift_columns()
        return HourResult({"drift_report": metadata}, versions={"drift_report": content_version(rows)})

    yield from each_hour(context, drift_of)
