"""The spool sensor: reports closed hours as ``raw_frames``, and requests again what stays unarchived."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.intake.spool_diff import (
    RETRY_AFTER,
    ChangedHour,
    ClosedHour,
    SpoolCursor,
    find_changes,
)
from yolo_assets.defs.partitions import FIRST_HOUR, early_hours
from yolo_assets.defs.recovery.runs import targets_in_progress
from yolo_assets.defs.recovery.unfinished import Target
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import newest_versions

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour

RAW_FRAMES = dg.AssetKey("raw_frames")
HOURS_A_TICK = 24
"""A first start on a full spool reports a day of hours a tick: a steady stream instead of a flood of runs."""


@dg.sensor(
    target=dg.AssetSelection.assets("hourly_archives"),
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Scans the spool: reports closed hours to raw_frames, requests again hours that stay unarchived.",
)
def spool_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult:
    """Scan the spool once a tick; ``spool_diff`` decides what to report."""
    from yolo_assets.spool.hours import scan

    now = utc_now()
    spool = scan(locations.settings.spool)
    for problem in spool.problems:
        context.log.warning(f"{problem.path}: {problem.reason}")
    if early := early_hours(locations.settings, [hour.hour for hour in spool.hours], "camera-hours of the spool"):
        context.log.warning(early)
    over = [hour for hour in spool.hours if hour.hour >= FIRST_HOUR and hour.hour.end <= now]
    closed = describe_all(context, over, now, locations.settings.grace_seconds)
    diff = find_changes(closed, SpoolCursor.load(context.cursor), now, HOURS_A_TICK)
    if diff.waiting:
        context.log.info(f"{diff.waiting} more hours wait for the next tick")
    # What was announced is reported already, and what a lost cursor forgot: the graph knows both.
    known = newest_versions(context.instance, RAW_FRAMES, [hour.hour.partition_key for hour in diff.changed])
    fresh = [hour for hour in diff.changed if known.get(hour.hour.partition_key) != hour.data_version]
    running = targets_in_progress(context.instance) if diff.overdue else set()
    overdue = [hour for hour in diff.overdue if Target("hourly_archives", hour.partition_key) not in running]
    slot = int(now.timestamp() // RETRY_AFTER.total_seconds())
    return dg.SensorResult(
        asset_events=[materialization(hour) for hour in fresh],
        run_requests=[
            dg.RunRequest(
                run_key=f"overdue-{hour.key}-{slot}",
                partition_key=hour.partition_key,
                asset_selection=[dg.AssetKey("hourly_archives")],
                tags={"yolo_assets/why": "still not archived"},
            )
            for hour in overdue
        ],
        cursor=diff.cursor.model_dump_json(),
        skip_reason=None if overdue else _done(fresh),
    )


def _done(reported: list[ChangedHour]) -> str:
    """Dagster calls every tick skipped that requests no run; the reason then says what the tick did."""
    if not reported:
        return "no closed hour is new"
    return f"reported {len(reported)} hours to raw_frames; what depends on them follows"


def describe_all(
    context: dg.SensorEvaluationContext, hours: Iterable["SpoolHour"], now: datetime, grace_seconds: float
) -> list[ClosedHour]:
    """Those of the hours that are closed and hold files; one that cannot be read is named and passed over."""
    described: list[ClosedHour] = []
    for hour in hours:
        try:
            found = describe(hour, now, grace_seconds)
        except Exception as error:  # the next hour is another camera's
            context.log.warning(f"{hour.path}: {getattr(error, 'strerror', None) or error}; make it readable")
            continue
        if found is not None:
            described.append(found)
    return described


def describe(hour: "SpoolHour", now: datetime, grace_seconds: float) -> ClosedHour | None:
    """What the sensor compares of an hour; None when it is still open or holds no file."""
    import hashlib

    members = hour.members()
    if not members or not hour.is_closed(now, grace_seconds):
        return None
    uncovered = hour.uncovered_members()
    listing = "\0".join(f"{member.name!r} {member.size} {member.mtime_ns}" for member in uncovered)
    return ClosedHour(
        camera_id=hour.camera_id,
        hour=hour.hour,
        fingerprint=hour.fingerprint(),
        uncovered=hashlib.sha256(listing.encode()).hexdigest() if uncovered else "",
        frames=len(hour.frames()),
        size=sum(member.size for member in members),
    )


def materialization(changed: ChangedHour) -> dg.AssetMaterialization:
    """The report of one hour, with its cameras as a table."""
    return dg.AssetMaterialization(
        asset_key=RAW_FRAMES,
        partition=changed.hour.partition_key,
        metadata={
            "cameras": dg.MetadataValue.table(
                [
                    dg.TableRecord({"camera": item.camera_id, "frames": item.frames, "bytes": item.size})
                    for item in changed.cameras
                ],
                schema=dg.TableSchema(
                    [
                        dg.TableColumn("camera", "string"),
                        dg.TableColumn("frames", "int"),
                        dg.TableColumn("bytes", "int"),
                    ]
                ),
            ),
            "dagster/row_count": sum(item.frames for item in changed.cameras),
            "bytes": sum(item.size for item in changed.cameras),
        },
        tags={"dagster/data_version": changed.data_version},
    )
