"""The receipts sensor: hours that remote archivers archived are reported, not run.

    receipts/ ──► recent days, every tick ─┐
              └─► older ones, a part a tick ─┴─► not what hourly_archives knows? ──► read, verify ──► report

The data version of ``hourly_archives`` alone shows what was reported or run; the cursor only saves listings.
"""

import hashlib
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.listing_diff import ReceiptsCursor, find_changes, known_version, position_after
from yolo_assets.defs.archive.report import archives_report, frames_report
from yolo_assets.defs.hours import closed_spool_hours
from yolo_assets.defs.intake.folders import describe_all
from yolo_assets.defs.intake.spool_diff import ClosedHour
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.partitions import FIRST_HOUR, early_hours, hourly
from yolo_assets.defs.plant_sensor import plant_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.defs.versions import newest_versions

if TYPE_CHECKING:
    from yolo_assets.archive.listing import HourReceipts, ListedHour, RefusedReceipt

HOURS_A_TICK = 24
"""A centre that is started on a full archive reports a day of hours a tick."""
RECENT_DAYS = 2
SWEEP_SECONDS = 2.0
READ_SECONDS = 15.0
SWEEP_REST = timedelta(minutes=15)
"""A part added to an old hour is seen after this at the latest; sooner with a short grace period."""
SETTLE = timedelta(seconds=60)
MOST_QUEUED = 24
"""While so many runs are queued, older receipts are not scanned: today's come first."""

ARCHIVES = dg.AssetKey("hourly_archives")
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]


@plant_sensor(
    target=dg.AssetSelection.assets("hourly_archives", "archive_catalog"),
    description=(
        "Lists the receipts in the archive root: reports hours that remote archivers archived to raw_frames and "
        "hourly_archives. Untrusted receipts are logged as warnings and shown by the check of archive_catalog."
    ),
)
def receipts_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult:
    """List the receipts once a tick; ``listing_diff`` decides what to report."""
    from yolo_assets.archive.listing import list_day, list_hour, read_hours, sweep

    now, archive = utc_now(), locations.archive()
    cursor = ReceiptsCursor.load(context.cursor).trusting(archive.trusted.keys)
    days = [(now - timedelta(days=back)).date().isoformat() for back in reversed(range(RECENT_DAYS))]
    recent = _partitions(context, locations, [hour for day in days for hour in list_day(archive, day)], now)
    grace = timedelta(seconds=locations.settings.grace_seconds)
    swept = None
    if not cursor.resting(now, min(SWEEP_REST, 3 * grace)) and _few_queued(context.instance):
        before = Hour.from_key(f"{days[0].replace('-', '')}_00")
        swept = sweep(archive, cursor.position, before, SWEEP_SECONDS)
    older = _partitions(context, locations, swept.hours if swept else (), now)
    known = known_versions(context.instance, [item.hour for item in (*recent, *older)])
    changed, cursor = find_changes(recent, older, known, cursor, now, min(SETTLE, grace))
    # Listed again: a run that ended after the listing and before its version was read must not be undone.
    ready = [list_hour(archive, item.hour) for item in not_running(context.instance, changed[:HOURS_A_TICK])]
    ready = [item for item in ready if item.version != known.get(item.hour)]

    read: list[HourReceipts] = []
    started = time.monotonic()
    for hour in read_hours(archive, ready):
        read.append(hour)
        if time.monotonic() - started > READ_SECONDS:
            break
    listed = {item.hour: item.version for item in ready}
    remaining = {item.hour for item in (*changed[HOURS_A_TICK:], *ready[len(read) :])}
    if remaining:
        context.log.info(f"{len(remaining)} more hours wait for the next tick")
    fresh = [hour for hour in read if hour.receipts and hour.version != known.get(hour.hour)]
    here = _in_spool(context, locations, [hour.hour for hour in fresh], now)
    refused = {hour.hour: listed[hour.hour] for hour in read if hour.untrusted}
    requests = _show_refused(context, [receipt for hour in read for receipt in hour.untrusted], refused)
    outcome = f"reported {len(fresh)} hours" if fresh else "no receipt is new"
    return dg.SensorResult(
        asset_events=reports(fresh, locations, here),
        run_requests=requests,
        # Dagster calls every tick skipped that requests no run; the reason then says what the tick did.
        skip_reason=None if requests else f"{outcome}; {len(recent)} recent and {len(older)} older hours were listed",
        cursor=cursor.noting(
            asked=[hour.hour for hour in fresh],
            refused=refused,
            position=position_after(swept.hours, swept.position, remaining) if swept else None,
            now=now,
        ).dump(),
    )


def _few_queued(instance: dg.DagsterInstance) -> bool:
    return instance.get_runs_count(dg.RunsFilter(statuses=_WAITING)) < MOST_QUEUED


def _partitions(
    context: dg.SensorEvaluationContext, locations: Locations, hours: Sequence["ListedHour"], now: datetime
) -> list["ListedHour"]:
    """Hours that are a partition: not before the first one, and over."""
    if early := early_hours(locations.settings, [item.hour for item in hours], "archived hours"):
        context.log.warning(early)
    return [item for item in hours if item.hour >= FIRST_HOUR and item.hour.end <= now]


def known_versions(instance: dg.DagsterInstance, hours: Sequence[Hour]) -> dict[Hour, str]:
    """The version in the newest event of each hour.

    An hour in which a camera failed is observed instead of materialized. As long as it is as listed, there is nothing
    to report: a report would show the hour as complete.
    """
    versions = newest_versions(instance, ARCHIVES, [hour.partition_key for hour in hours])
    found = {hour: known_version(versions.get(hour.partition_key), hour) for hour in hours}
    return {hour: version for hour, version in found.items() if version is not None}


def not_running(instance: dg.DagsterInstance, hours: Sequence["ListedHour"]) -> list["ListedHour"]:
    """Hours that no run is working on: a run lists all receipts at its end, those of remote archivers too."""
    if not hours:
        return []
    keys = [item.hour.partition_key for item in hours]
    states = instance.get_status_by_partition(ARCHIVES, keys, hourly) or {}
    return [item for item in hours if getattr(states.get(item.hour.partition_key), "value", "") != "IN_PROGRESS"]


def _in_spool(
    context: dg.SensorEvaluationContext, locations: Locations, hours: Sequence[Hour], now: datetime
) -> dict[Hour, list[ClosedHour]]:
    """The closed camera-hours of these hours in the spool here."""
    here: dict[Hour, list[ClosedHour]] = {}
    if hours:
        grace = locations.settings.grace_seconds
        closed = closed_spool_hours(locations.settings.spool, hours, grace)
        described, problems = describe_all(closed, now, grace)
        for problem in problems:
            context.log.warning(problem)
        for item in described:
            here.setdefault(item.hour, []).append(item)
    return here


def reports(
    hours: Sequence["HourReceipts"], locations: Locations, here: dict[Hour, list[ClosedHour]]
) -> list[dg.AssetMaterialization]:
    """``raw_frames`` first: conditions evaluated between the two would request a run that finds nothing to do.

    An hour with files waiting in the spool here is not reported as archived: only its frames are reported. That
    requests a run of ``hourly_archives``, which archives the files here and lists what remote archivers did.
    """
    events: list[dg.AssetMaterialization] = []
    names, links = locations.archiver_names(), locations.links()
    for hour in hours:
        spooled = here.get(hour.hour, [])
        events.append(frames_report(hour, names, spooled))
        if not any(item.uncovered for item in spooled):
            events.append(archives_report(hour, names, links))
    return events


def _show_refused(
    context: dg.SensorEvaluationContext, refused: Sequence["RefusedReceipt"], hours: dict[Hour, str]
) -> list[dg.RunRequest]:
    """Warn, and request the catalog for their days: its check ``every_receipt_verified`` names each of them."""
    for receipt in refused[:50]:
        context.log.warning(f"untrusted: {receipt.key}: {receipt.reason}")
    if not refused:
        return []
    text = "\n".join(sorted(f"{hour.key} {version}" for hour, version in hours.items()))
    return [
        dg.RunRequest(
            run_key=f"refused-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            asset_selection=[dg.AssetKey("archive_catalog")],
            run_config={"ops": {"archive_catalog": {"config": {"dates": sorted({hour.date for hour in hours})}}}},
            tags=run_tags(["archive_catalog"], (), utc_now(), "untrusted receipts"),
        )
    ]
