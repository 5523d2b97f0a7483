"""``hourly_archives`` and ``reclaimed_spool``: from the spool into the archive, and the disk space freed again."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from rich.filesize import decimal

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.checks import EVERY_CAMERA_ARCHIVED, EVERY_CAMERA_RECLAIMED
from yolo_assets.defs.archive.columns import receipt_columns
from yolo_assets.defs.archive.listing_diff import data_version
from yolo_assets.defs.archive.report import hour_metadata
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.freshness import EVERY_HOUR
from yolo_assets.defs.hours import (
    NO_VALUE,
    HourEvent,
    HourResult,
    chosen_cameras,
    closed_spool_hours,
    each_hour,
    for_each,
)
from yolo_assets.defs.metadata import counted, table
from yolo_assets.defs.partitions import hourly, packed
from yolo_assets.defs.provenance import Provenance
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour


@dg.asset(
    deps=["raw_frames"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    check_specs=[EVERY_CAMERA_ARCHIVED],
    freshness_policy=EVERY_HOUR,
    group_name="archive",
    kinds={"s3"},
    owners=["team:platform"],
    metadata={"dagster/column_schema": receipt_columns()},
    code_version=code_version("archive/packing", "archive/archiving.py", "archive/commit.py"),
    description=(
        "One tar.gz per camera and hour in the archive root, written once and verified; the signed receipt is the "
        "commit point. Late frames of an archived hour become part 2."
    ),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def hourly_archives(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Archive every closed camera-hour of the partition; what is archived already is only confirmed.

    In a run that is limited to some cameras only theirs is confirmed; what waits of the others is archived.

    What remote archivers archived of the hour is listed too, so that the newest materialization always shows the whole
    hour and the receipts sensor finds nothing to add. Brokers of plant.yaml are told each hour as by a remote archiver:
    who listens need not know where an hour was archived.
    """
    from yolo_assets.archive.archiving import archive_hour
    from yolo_assets.archive.listing import list_hour, read_hours
    from yolo_assets.contracts.announcements import hour_archived
    from yolo_assets.events.announcer import announcer_of, source_here

    traffic = locations.traffic(context.log.warning)
    archive, signer, settings = locations.archive(traffic), locations.archiver(), locations.settings
    names, options = locations.archiver_names(), locations.archive_options()
    hours = [Hour.from_partition_key(key) for key in context.partition_keys]
    spooled = closed_spool_hours(settings.spool, hours, settings.grace_seconds)
    is_chosen = chosen_cameras(context)

    def archives_of(hour: Hour, _: Provenance) -> HourResult | None:
        mine = [item for item in spooled if item.hour == hour]
        waiting = {item.name for item in mine if _waits(item)}
        mine = [item for item in mine if is_chosen(item.camera_id) or item.name in waiting]
        work = [(item.name, partial(archive_hour, item, archive, signer, options)) for item in mine]
        outcomes = for_each(context, [(name, partial(traffic.archiving, job)) for name, job in work])
        for outcome in outcomes.done.values():
            if outcome.status == "archived":
                announcer.announce(hour_archived(source_here(), outcome.camera_id, hour))
        (read,) = read_hours(archive, [list_hour(archive, hour)])
        for refused in read.untrusted:
            context.log.warning(f"untrusted: {refused.key}: {refused.reason}")
        if not (read.receipts or read.untrusted or outcomes.failed):
            return None
        metadata = hour_metadata(read, names, locations.links(), list(outcomes.done.values()), outcomes.reasons)
        if waiting:
            metadata["waited_h"] = round((utc_now() - hour.end).total_seconds() / 3600, 2)
        return HourResult(
            assets={"hourly_archives": {**metadata, "verified_by": options.verify}},
            failed=outcomes.failed,
            checks=[outcomes.check(EVERY_CAMERA_ARCHIVED)],
            versions={"hourly_archives": data_version({hour: read.version})}
            if read.receipts or not outcomes.failed
            else {},
        )

    with traffic, announcer_of(settings, context.log.warning) as announcer:
        try:
            yield from each_hour(context, archives_of)
        finally:
            traffic.measure(settings.spool, settings.grace_seconds)
            context.log.info(_standing(traffic.standing()))


def _standing(limit: Mapping[str, Any]) -> str:
    """The bandwidth limit and the disk, as they stand after the uploads."""
    lifted = ", lifted because the disk fills" if limit["lifted"] else ""
    rate = f"{limit['limit']}{lifted}; uploads waited {limit['waited_seconds']} s for it" if limit["limit"] else "none"
    full = "does not fill" if limit["disk_full_hours"] is None else f"is full in {limit['disk_full_hours']} h"
    return f"bandwidth limit: {rate}. The spool's disk {full}"


def _waits(hour: "SpoolHour") -> bool:
    """Whether files of an hour wait for the archive; also when it cannot be read, which archiving it reports."""
    try:
        return bool(hour.uncovered_members())
    except OSError:
        return True


@dg.asset(
    deps=["hourly_archives"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    check_specs=[EVERY_CAMERA_RECLAIMED],
    group_name="archive",
    kinds={"file"},
    owners=["team:platform"],
    code_version=code_version("archive/reclaim.py"),
    description=(
        "Disk space freed again: a local file is deleted when a verified receipt holds its name, size and SHA-256 and "
        "the hot retention time has passed. Everything else stays."
    ),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def reclaimed_spool(context: dg.AssetExecutionContext, locations: Locations) -> Iterator[HourEvent]:
    """Delete what is safely archived, file by file from the index; in a limited run, of its cameras."""
    from yolo_assets.archive.reclaim import reclaim_hour

    archive, settings, now = locations.archive(), locations.settings, utc_now()
    hours = [Hour.from_partition_key(key) for key in context.partition_keys]
    spooled = closed_spool_hours(settings.spool, hours, settings.grace_seconds)
    is_chosen = chosen_cameras(context)

    def reclaimed_of(hour: Hour, provenance: Provenance) -> HourResult | None:
        mine = [item for item in spooled if item.hour == hour]
        if not mine and not provenance.has_input(hour):
            return None
        reclaim = partial(reclaim_hour, archive=archive, hot_hours=settings.hot_hours, now=now)
        work = [(item.name, partial(reclaim, item)) for item in mine if is_chosen(item.camera_id)]
        outcomes = for_each(context, [(name, partial(traffic.reclaiming, job)) for name, job in work])
        done = sorted(outcomes.done.values(), key=lambda report: report.camera_id)
        files, size = sum(report.files for report in done), sum(report.bytes for report in done)
        kept = [
            {
                "camera": report.camera_id,
                "kept": report.kept,
                "why": report.reason or "; ".join(problem.reason for problem in report.problems),
            }
            for report in done
            if report.kept
        ]
        kept += [_left(item) for item in mine if not is_chosen(item.camera_id)]
        metadata: dict[str, Any] = {"summary": f"{decimal(size)} freed, {counted(files, 'file')}", "bytes": size}
        if kept:
            metadata["kept"] = table(kept, {"camera": str, "kept": int, "why": str})
        checks = [outcomes.check(EVERY_CAMERA_RECLAIMED)]
        return HourResult({"reclaimed_spool": metadata}, outcomes.failed, checks)

    with locations.traffic(context.log.warning) as traffic:
        yield from each_hour(context, reclaimed_of)


def _left(hour: "SpoolHour") -> dict[str, Any]:
    """The row of a camera that a limited run does not touch."""
    try:
        kept = len(hour.members())
    except OSError:
        kept = 0
    return {"camera": hour.camera_id, "kept": kept, "why": "the run was for other cameras"}
