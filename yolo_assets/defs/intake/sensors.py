"""The spool sensor: reports closed hours as ``raw_frames``, and requests again what stays unarchived.

    spool ──► folders (what changed is read) ──► spool_diff ──┬─► report
                                                              └─► overdue: unarchived, untried for hours ──► request

What a failed run left undone is ``recovery``'s: it tries with pauses of two hours at most. An hour is overdue here only
when nothing tried it for longer: recovery gave it up, or its run was cancelled.
"""

import hashlib
from datetime import datetime

import dagster as dg

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.event_log import EventLog
from yolo_assets.defs.intake.folders import Folders
from yolo_assets.defs.intake.memory import Memory
from yolo_assets.defs.intake.spool_diff import ChangedHour, SpoolDiff, find_changes
from yolo_assets.defs.lanes import HourRange, hours_request, is_live, pack
from yolo_assets.defs.partitions import FIRST_HOUR, early_hours
from yolo_assets.defs.plant_sensor import plant_sensor
from yolo_assets.defs.recovery.runs import runs_in_progress, targets_of
from yolo_assets.defs.recovery.unfinished import Target
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import newest_versions

RAW_FRAMES = dg.AssetKey("raw_frames")
HOURS_A_TICK = 24
"""A first start on a full spool reports a day of hours a tick: a steady stream instead of a flood of runs."""
MOST_OVERDUE = 2
"""Runs over overdue hours that are queued or running at once."""
OVERDUE_TAG = "yolo_assets/overdue"
ARCHIVES = dg.AssetKey("hourly_archives")


@plant_sensor(
    target=dg.AssetSelection.assets("hourly_archives"),
    description=(
        "Looks at the spool: reports closed hours to raw_frames, and requests again hours that stay unarchived though "
        "nothing has tried them for three hours; the pauses then double up to a day."
    ),
)
def spool_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult:
    """Look at the spool once a tick; ``spool_diff`` decides what to report."""
    from yolo_assets.spool.hours import scan

    now, settings = utc_now(), locations.settings
    spool = scan(settings.spool)
    for problem in spool.problems:
        context.log.warning(f"{problem.path}: {problem.reason}")
    if early := early_hours(settings, [hour.hour for hour in spool.hours], "camera-hours of the spool"):
        context.log.warning(early)
    over = [hour for hour in spool.hours if hour.hour >= FIRST_HOUR and hour.hour.end <= now]
    over.sort(key=lambda hour: (not is_live(hour.hour, now), hour.hour, hour.camera_id))
    cache = settings.home / "cache"
    look = Folders.of(cache / "spool-folders.json", settings.spool, settings.grace_seconds).look(over, now)
    for problem in look.problems:
        context.log.warning(problem)
    memory = Memory(cache / "spool-sensor")
    diff = find_changes(look.closed, memory.load(context.cursor), now, HOURS_A_TICK, look.unread)
    if diff.waiting or look.unread:
        context.log.info(f"{diff.waiting} more hours, and {len(look.unread)} not read yet, wait for the next tick")
    # What was announced is reported already, and what a lost cursor forgot: the graph knows both.
    known = newest_versions(context.instance, RAW_FRAMES, [hour.hour.partition_key for hour in diff.changed])
    fresh = [hour for hour in diff.changed if known.get(hour.hour.partition_key) != hour.data_version]
    tried, overdue = _overdue(context.instance, diff, now)
    asked = [hour for hours in overdue for hour in hours.hours]
    return dg.SensorResult(
        asset_events=[materialization(hour) for hour in fresh],
        run_requests=[_request(hours, now) for hours in overdue],
        cursor=memory.keep(diff.cursor.noting(tried, asked, now), context.cursor),
        skip_reason=None if overdue else _done(fresh),
    )


def _overdue(
    instance: dg.DagsterInstance, diff: SpoolDiff, now: datetime
) -> tuple[dict[Hour, datetime], list[HourRange]]:
    """Overdue hours of which a run was created lately, and when; and those that are requested now."""
    if not diff.overdue:
        return {}, []
    running = runs_in_progress(instance)
    places = MOST_OVERDUE - sum(OVERDUE_TAG in run.tags for run in running)
    if places <= 0:
        return {}, []
    busy = targets_of(instance, running)
    free = [hour for hour in diff.overdue if Target(ARCHIVES.to_user_string(), hour.partition_key) not in busy]
    runs = EventLog(instance).planned(ARCHIVES, [hour.partition_key for hour in free])
    known = diff.cursor.hours
    tried = {
        hour: runs[hour.partition_key].at
        for hour in free
        if hour.partition_key in runs and runs[hour.partition_key].at > known[hour.key].reported_at
    }
    due = [hour for hour in free if hour not in tried or now - tried[hour] >= known[hour.key].pause]
    return {hour: at for hour, at in tried.items() if hour not in due}, pack(due)[:places]


def _request(hours: HourRange, now: datetime) -> dg.RunRequest:
    named = hashlib.sha256(f"{hours.first.key} {hours.last.key} {now.isoformat()}".encode()).hexdigest()[:12]
    return hours_request(
        [ARCHIVES.to_user_string()],
        hours,
        now,
        "still not archived, and nothing has tried for hours",
        run_key=f"overdue-{hours.first.key}-{named}",
        tags={OVERDUE_TAG: "true"},
    )


def _done(reported: list[ChangedHour]) -> str:
    """Dagster calls every tick skipped that requests no run; the reason then says what the tick did."""
    if not reported:
        return "no closed hour is new"
    return f"reported {len(reported)} hours to raw_frames; what depends on them follows"


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
