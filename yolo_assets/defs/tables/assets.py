"""``detections`` and ``frames``: Parquet per camera and hour, validated; what does not fit goes into quarantine."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.hours import (
    HourEvent,
    HourResult,
    Outcomes,
    chosen_cameras,
    closed_spool_hours,
    each_hour,
    for_each,
    holds_files,
    hourly_check,
)
from yolo_assets.defs.metadata import column_schema, counted, table
from yolo_assets.defs.partitions import hourly, packed
from yolo_assets.defs.provenance import Provenance
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    import polars as pl

    from yolo_assets.contracts.names import ArchiveName
    from yolo_assets.storage import ObjectStore
    from yolo_assets.tables.build import HourReport

_REASONS = 20
DETECTIONS = dg.AssetKey("detections")
EVERY_CAMERA_TABLED = hourly_check(
    "every_camera_tabled",
    asset="detections",
    description="Every camera of the hour has its tables.",
)
NO_ROW_IN_QUARANTINE = hourly_check(
    "no_row_in_quarantine",
    asset="detections",
    description="Every record followed its contract; otherwise the number of rejected rows by camera.",
)

_COUNTS = {"source": str, "frames": int, "detections": int}
_COMMON = {
    "group_name": "tables",
    "kinds": {"parquet", "polars"},
    "owners": ["team:data"],
    "code_version": code_version(
        "tables/build.py", "tables/objects.py", "tables/rows.py", "tables/schema.py", "spool/records.py"
    ),
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "frames",
            deps=["raw_frames"],
            automation_condition=on_hour(),
            description="One row per processed frame: model, device, batch, latency, picture quality.",
            **_COMMON,
        ),
        dg.AssetSpec(
            "detections",
            deps=["raw_frames"],
            automation_condition=on_hour(),
            description="One row per detection, pixels in the frame. Built from the spool, else from the archive.",
            **_COMMON,
        ),
    ],
    check_specs=[EVERY_CAMERA_TABLED, NO_ROW_IN_QUARANTINE],
    partitions_def=hourly,
    backfill_policy=packed,
    retry_policy=RETRY_POLICY,
)
@by_kind
def detection_tables(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Validate the records of every camera of the hour and write its tables.

    In a run that is limited to some cameras the tables of the others stay as they are, where they are there and nothing
    has come since.
    """
    from yolo_assets.tables.build import build_hour, cameras_of_hour, report_of

    archive, store, settings, links = locations.archive(), locations.store(), locations.settings, locations.links()
    hours = [Hour.from_partition_key(key) for key in context.partition_keys]
    closed = [item for item in closed_spool_hours(settings.spool, hours, settings.grace_seconds) if holds_files(item)]

    is_chosen = chosen_cameras(context)

    def tables_of(hour: Hour, provenance: Provenance) -> HourResult | None:
        cameras = cameras_of_hour(hour, [item for item in closed if item.hour == hour], archive)
        if not cameras:
            return None
        build = partial(build_hour, hour=hour, spool=settings.spool, archive=archive, store=store)
        limited = any(not is_chosen(camera) for camera in cameras) and provenance.is_current(DETECTIONS, hour)

        def tabled(camera: str, parts: "Sequence[ArchiveName]") -> "HourReport":
            kept = report_of(camera, hour, store) if limited and not is_chosen(camera) else None
            return kept or build(camera, archived=parts)

        work = [(f"{camera} {hour}", partial(tabled, camera, parts)) for camera, parts in cameras.items()]
        result = _result(for_each(context, work), store, hour)
        result = replace(
            result, assets={name: {**found, **links.samples(hour)} for name, found in result.assets.items()}
        )
        return _with_columns(result) if hour == hours[-1] else result

    yield from each_hour(context, tables_of)


def _result(outcomes: "Outcomes[HourReport]", store: "ObjectStore", hour: Hour) -> HourResult:
    """The tables of an hour, as its two assets and their checks show them."""
    reports = sorted(outcomes.done.items())
    rows = [{"camera": name, "source": f"FAILED: {reason}"} for name, reason in outcomes.reasons.items()]
    rows += [{"camera": report.camera_id, **{key: getattr(report, key) for key in _COUNTS}} for _, report in reports]
    rejected = {name: report.quarantined for name, report in reports if report.quarantined}
    frames = sum(report.frames for _, report in reports)
    boxes = sum(report.detections for _, report in reports)
    told = f"{counted(len(reports), 'camera')}, {counted(frames, 'frame')}, {counted(boxes, 'detection')}"
    failed = f"; FAILED: {', '.join(outcomes.reasons)}" if outcomes.failed else ""
    version = hashlib.sha256("\n".join(f"{name} {report.sha256}" for name, report in reports).encode()).hexdigest()
    return HourResult(
        assets={
            "frames": {"summary": told + failed, "dagster/row_count": frames},
            "detections": {
                "summary": told + failed,
                "cameras": table(rows, {"camera": str, **_COUNTS}),
                "dagster/row_count": boxes,
                **({"quarantined": sum(rejected.values())} if rejected else {}),
            },
        },
        failed=outcomes.failed,
        checks=[
            outcomes.check(EVERY_CAMERA_TABLED),
            no_row_in_quarantine(rejected, _rejected(store, hour) if rejected else None),
        ],
        versions={"frames": version, "detections": version} if reports else {},
    )


def no_row_in_quarantine(quarantined: Mapping[str, int], rows: "pl.DataFrame | None" = None) -> dg.AssetCheckResult:
    """A warning when records were rejected.

    Args:
        quarantined: rejected rows by camera-hour, without those that have none.
        rows: the rejected rows; the most frequent reasons are shown.
    """
    reasons = [] if rows is None else rows["reason"].value_counts(sort=True).head(_REASONS).rows(named=True)
    return dg.AssetCheckResult(
        asset_key=DETECTIONS,
        check_name=NO_ROW_IN_QUARANTINE.name,
        passed=not quarantined,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{name}: {count} rows" for name, count in quarantined.items()) or "no row",
        metadata={"reasons": table(reasons, {"reason": str, "count": int})} if reasons else {},
    )


def _with_columns(result: HourResult) -> HourResult:
    """With the columns of both tables: 4 KB each, so only the last hour of a run has them, and the UI reads the newest.

    They are not in the definition of the assets: each process that loads it would import pandera.
    """
    from yolo_assets.tables.schema import DetectionsTable, FramesTable

    columns = {"frames": column_schema(FramesTable), "detections": column_schema(DetectionsTable)}
    assets = {name: {**found, "dagster/column_schema": columns[name]} for name, found in result.assets.items()}
    return replace(result, assets=assets)


def _rejected(store: "ObjectStore", hour: Hour) -> "pl.DataFrame":
    """The quarantined rows of an hour."""
    from yolo_assets.tables.scan import read_quarantine

    return read_quarantine(store, hour.start, hour.end)
