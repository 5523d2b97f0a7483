"""``detections`` and ``frames``: Parquet per camera and hour, validated; what does not fit is in quarantine."""

from collections.abc import Iterator
from functools import partial

import dagster as dg

from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.hours import closed_spool_hours, for_each, hours_of
from yolo_assets.defs.locations import Locations
from yolo_assets.defs.metadata import table
from yolo_assets.defs.partitions import by_day, hourly

TABLED = "every_camera_tabled"
NO_QUARANTINE = "no_row_in_quarantine"
_COMMON = {"group_name": "tables", "kinds": {"parquet", "polars"}, "owners": ["team:data"], "code_version": "1"}


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
    check_specs=[
        dg.AssetCheckSpec(TABLED, asset="detections", description="Every camera of the hour has its tables."),
        dg.AssetCheckSpec(
            NO_QUARANTINE, asset="detections", description="Every record followed its contract; the reasons otherwise."
        ),
    ],
    partitions_def=hourly,
    backfill_policy=by_day,
)
def detection_tables(
    context: dg.AssetExecutionContext, locations: Locations
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Validate the records of every camera of the hour and write its tables."""
    from yolo_assets.tables.build import build_hour

    archive, store, trusted = locations.archive(), locations.store(), locations.trusted_archivers()
    spool, work = locations.settings.spool, []
    for hour in hours_of(context):
        for camera, parts in _cameras(hour, locations).items():
            build = partial(build_hour, camera, hour, spool=spool, archive=archive, store=store, trusted=trusted)
            work.append((f"{camera} {hour}", partial(build, archived=parts)))
    outcomes = for_each(context, work)
    done = outcomes.done
    columns = {"camera-hour": str, "source": str, "frames": int, "detections": int, "quarantined": int}
    summary = table(
        [
            {
                "camera-hour": who,
                "source": report.source,
                "frames": report.frames,
                "detections": report.detections,
                "quarantined": report.quarantined,
            }
            for who, report in sorted(done.items())
        ],
        columns,
    )
    quarantined = {who: report.quarantined for who, report in sorted(done.items()) if report.quarantined}
    yield dg.MaterializeResult(
        asset_key="frames",
        metadata={"cameras": summary, "dagster/row_count": sum(report.frames for report in done.values())},
    )
    yield dg.MaterializeResult(
        asset_key="detections",
        metadata={
            "cameras": summary,
            "dagster/row_count": sum(report.detections for report in done.values()),
            "quarantined": sum(quarantined.values()),
        },
    )
    check = outcomes.check(TABLED)
    yield check._replace(asset_key=dg.AssetKey("detections"))
    yield dg.AssetCheckResult(
        asset_key="detections",
        check_name=NO_QUARANTINE,
        passed=not quarantined,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{who}: {count} rows" for who, count in quarantined.items()) or "no row",
    )


def _cameras(hour: Hour, locations: Locations) -> dict[str, list[ArchiveName]]:
    """Cameras with anything of this hour in the spool or in the archive, and the parts that are in the archive."""
    from yolo_assets.archive.archive import Archive

    closed = closed_spool_hours(locations.settings.spool, [hour], locations.grace_seconds)
    cameras: dict[str, list[ArchiveName]] = {found.camera_id: [] for found in closed}
    archive = Archive(locations.archive(), locations.trusted_archivers())
    for name in archive.names(hour=hour):
        cameras.setdefault(name.camera_id, []).append(name)
    return dict(sorted(cameras.items()))
