"""The spool sensor: reports closed hours as ``raw_frames``, and asks again for hours that stay unarchived."""

from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.intake.reporting import RETRY_AFTER, ClosedHour, Cursor, Findings, HourNews, find_news
from yolo_assets.defs.locations import Locations
from yolo_assets.defs.partitions import FIRST_HOUR

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour

HOURS_A_TICK = 24
"""A first start on a full spool reports a day of hours a tick: a steady stream instead of a flood of runs."""


@dg.sensor(
    target=dg.AssetSelection.assets("hourly_archives"),
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at the spool: reports closed hours to raw_frames, asks again for hours that stay unarchived.",
)
def spool_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult:
    """One look at the spool a tick; what to report is decided in ``reporting``."""
    from yolo_assets.spool.hours import scan

    now = utc_now()
    found = scan(locations.settings.spool)
    for problem in found.problems:
        context.log.warning(f"{problem.path}: {problem.reason}")
    first = Hour.from_partition_key(FIRST_HOUR)
    early = [hour for hour in found.hours if hour.hour < first]
    if early:
        context.log.warning(
            f"{len(early)} camera-hours before {FIRST_HOUR} are no partition; set YOLO_ASSETS_FIRST_HOUR earlier"
        )
    closed = [
        described
        for hour in found.hours
        if hour.hour >= first and hour.hour.end <= now and (described := describe(hour, now, locations.grace_seconds))
    ]
    findings = find_news(closed, Cursor.load(context.cursor), now, HOURS_A_TICK)
    if findings.waiting:
        context.log.info(f"{findings.waiting} more hours wait for the next tick")
    slot = int(now.timestamp() // RETRY_AFTER.total_seconds())
    return dg.SensorResult(
        asset_events=[materialization(news) for news in findings.news],
        run_requests=[
            dg.RunRequest(
                run_key=f"overdue-{hour.key}-{slot}",
                partition_key=hour.partition_key,
                asset_selection=[dg.AssetKey("hourly_archives")],
                tags={"yolo_assets/why": "still not archived"},
            )
            for hour in findings.overdue
        ],
        cursor=findings.cursor.model_dump_json(),
        skip_reason=None if findings.overdue else _done(findings),
    )


def _done(findings: Findings) -> str:
    """Dagster calls every tick skipped that starts no run by itself; then it should say what it did."""
    if not findings.news:
        return "no closed hour is new"
    return f"reported {len(findings.news)} hours to raw_frames; what depends on them follows"


def describe(hour: "SpoolHour", now: datetime, grace_seconds: float) -> ClosedHour | None:
    """What the sensor needs to know of an hour; None when it is still open or holds no file."""
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


def materialization(news: HourNews) -> dg.AssetMaterialization:
    """The report of one hour, with its cameras as a table."""
    return dg.AssetMaterialization(
        asset_key="raw_frames",
        partition=news.hour.partition_key,
        metadata={
            "cameras": dg.MetadataValue.table(
                [
                    dg.TableRecord({"camera": item.camera_id, "frames": item.frames, "bytes": item.size})
                    for item in news.cameras
                ],
                schema=dg.TableSchema(
                    [
                        dg.TableColumn("camera", "string"),
                        dg.TableColumn("frames", "int"),
                        dg.TableColumn("bytes", "int"),
                    ]
                ),
            ),
            "dagster/row_count": sum(item.frames for item in news.cameras),
            "bytes": sum(item.size for item in news.cameras),
        },
        tags={"dagster/data_version": news.data_version},
    )
