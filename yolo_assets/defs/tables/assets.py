"""``detections`` and ``frames``: Parquet per camera and hour, validated; what does not fit goes into quarantine."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.hours import closed_spool_hours, for_each, hours_of
from yolo_assets.defs.metadata import table
from yolo_assets.defs.partitions import by_day, hourly
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.tables.checks import (
    DETECTIONS,
    EVERY_CAMERA_TABLED,
    NO_ROW_IN_QUARANTINE,
    no_row_in_quarantine,
)

if TYPE_CHECKING:
    import polars as pl

    from yolo_assets.archive.archive import Archive
    from yolo_assets.storage import ObjectStore

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
    check_specs=[EVERY_CAMERA_TABLED, NO_ROW_IN_QUARANTINE],
    partitions_def=hourly,
    backfill_policy=by_day,
    retry_policy=RETRY_POLICY,
)
@by_kind
def detection_tables(
    context: dg.AssetExecutionContext, locations: Locations
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Validate the records of every camera of the hour and write its tables."""
    from yolo_assets.tables.build import build_hour

    archive, store = locations.archive(), locations.store()
    spool, work = locations.settings.spool, []
    for hour in hours_of(context):
        for camera, parts in _cameras(hour, locations, archive).items():
            build = partial(build_hour, camera, hour, spool=spool, archive=archive, store=store)
            work.append((f"{camera} {hour}", partial(build, archived=parts)))
    outcomes = for_each(context, work)
    done = outcomes.done
    columns = {"camera-hour": str, "source": str, "frames": int, "detections": int, "quarantined": int}
    summary = table(
        [
            {
                "camera-hour": name,
                "source": report.source,
                "frames": report.frames,
                "detections": report.detections,
                "quarantined": report.quarantined,
            }
            for name, report in sorted(done.items())
        ],
        columns,
    )
    quarantined = {name: report.quarantined for name, report in sorted(done.items()) if report.quarantined}
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
    yield outcomes.check(EVERY_CAMERA_TABLED)._replace(asset_key=DETECTIONS)
    yield no_row_in_quarantine(quarantined, _rejected(store, hours_of(context)) if quarantined else None)


def _rejected(store: "ObjectStore", hours: Sequence[Hour]) -> "pl.DataFrame":
    """The quarantined rows of these hours."""
    from yolo_assets.tables.scan import read_quarantine

    return read_quarantine(store, min(hours).start, max(hours).end)


def _cameras(hour: Hour, locations: Locations, archive: "Archive") -> dict[str, list[ArchiveName]]:
    """Cameras with a closed hour in the spool, or anything of it in the archive; and the parts in the archive."""
    from yolo_assets.tables.build import cameras_of_hour

    closed = closed_spool_hours(locations.settings.spool, [hour], locations.settings.grace_seconds)
    return cameras_of_hour(hour, closed, archive)
