"""``hourly_archives`` and ``reclaimed_spool``: from the spool into the archive, and the disk space freed again."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.checks import EVERY_CAMERA_ARCHIVED, EVERY_CAMERA_RECLAIMED
from yolo_assets.defs.archive.listing_diff import data_version
from yolo_assets.defs.archive.report import hour_metadata
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.freshness import EVERY_HOUR
from yolo_assets.defs.hours import Outcomes, closed_spool_hours, for_each, hours_of
from yolo_assets.defs.metadata import megabytes_per_second, table
from yolo_assets.defs.partitions import by_day, hourly
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.archive.archiving import ArchiveOutcome
    from yolo_assets.spool.hours import SpoolHour


@dg.asset(
    deps=["raw_frames"],
    partitions_def=hourly,
    backfill_policy=by_day,
    automation_condition=on_hour(),
    check_specs=[EVERY_CAMERA_ARCHIVED],
    freshness_policy=EVERY_HOUR,
    group_name="archive",
    kinds={"s3"},
    owners=["team:platform"],
    code_version="1",
    description=(
        "One tar.gz per camera and hour in the archive root, written once and verified; the signed receipt is the "
        "commit point. Late frames of an archived hour become part 2."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def hourly_archives(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Archive every closed camera-hour of the partition; what is archived already is only confirmed.

    What remote archivers archived of the hour is listed too, so that the newest materialization always shows the whole
    hour and the receipts sensor finds nothing to add.
    """
    from yolo_assets.archive.archiving import archive_hour

    traffic = locations.traffic(context.log.warning)
    archive, signer = locations.archive(traffic), locations.archiver()
    hours, options = hours_of(context), locations.archive_options()
    spooled = closed_spool_hours(locations.settings.spool, hours, locations.settings.grace_seconds)
    oldest = min((hour.hour.end for hour in spooled if _waits(hour)), default=None)
    work = [(hour.name, partial(archive_hour, hour, archive, signer, options)) for hour in spooled]
    with traffic:
        outcomes = for_each(context, [(name, partial(traffic.archiving, job)) for name, job in work])
        traffic.measure(locations.settings.spool, locations.settings.grace_seconds)
    limit = traffic.standing()
    versions = _describe(context, locations, hours, outcomes)
    done = outcomes.done.values()
    sent, seconds = sum(outcome.bytes for outcome in done), sum(outcome.seconds for outcome in done)
    remaining = [f"{problem.path}: {problem.reason}" for outcome in done for problem in outcome.left]
    return dg.MaterializeResult(
        metadata={
            "bytes_archived": sent,
            "seconds": seconds,
            "mb_per_s": megabytes_per_second(sent, seconds),
            "parts_sent": sum(outcome.sent_parts for outcome in done),
            "parts_resumed": sum(outcome.resumed_parts for outcome in done),
            "retries": sum(outcome.retries for outcome in done),
            "limit": limit["limit"] or "none",
            "limit_lifted": limit["lifted"],
            "limit_waited_s": limit["waited_seconds"],
            "disk_full_h": "does not fill" if limit["disk_full_hours"] is None else limit["disk_full_hours"],
            "verified_by": options.verify,
            "oldest_waited_h": round((utc_now() - oldest).total_seconds() / 3600, 2) if oldest else 0.0,
            "failed": table(
                [{"camera-hour": name, "reason": reason} for name, reason in sorted(outcomes.failed.items())],
                {"camera-hour": str, "reason": str},
            ),
            "remaining_in_spool": dg.MetadataValue.md("\n".join(f"- {line}" for line in remaining[:50]) or "nothing"),
        },
        data_version=dg.DataVersion(data_version(versions)),
        check_results=[outcomes.check(EVERY_CAMERA_ARCHIVED)],
    )


def _waits(hour: "SpoolHour") -> bool:
    """Whether files of an hour wait for the archive; also when it cannot be read, which archiving it reports."""
    try:
        return bool(hour.uncovered_members())
    except OSError:
        return True


def _describe(
    context: dg.AssetExecutionContext, locations: Locations, hours: Sequence[Hour], outcomes: "Outcomes[ArchiveOutcome]"
) -> dict[Hour, str]:
    """Add each hour's metadata and return its parts as a version; an hour that cannot be read has none."""
    from yolo_assets.archive.listing import list_hour, read_hours
    from yolo_assets.storage import StoreUnavailableError

    archive, names = locations.archive(), locations.archiver_names()
    versions: dict[Hour, str] = {}
    try:
        for read in read_hours(archive, [list_hour(archive, hour) for hour in hours]):
            mine = [outcome for outcome in outcomes.done.values() if outcome.hour == read.hour.key]
            context.add_asset_metadata(hour_metadata(read, names, mine), partition_key=read.hour.partition_key)
            versions[read.hour] = read.version
            for refused in read.untrusted:
                context.log.warning(f"untrusted: {refused.key}: {refused.reason}")
    except StoreUnavailableError as error:
        # What was archived is archived: the check fails, and the receipts sensor reports the hour once it can be read.
        outcomes.failed["the receipts of the hour"] = str(error)
    return versions


@dg.asset(
    deps=["hourly_archives"],
    partitions_def=hourly,
    backfill_policy=by_day,
    automation_condition=on_hour(),
    check_specs=[EVERY_CAMERA_RECLAIMED],
    group_name="archive",
    kinds={"file"},
    owners=["team:platform"],
    code_version="1",
    description=(
        "Disk space freed again: a local file is deleted when a verified receipt holds its name, size and SHA-256 and "
        "the hot retention time has passed. Everything else stays."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def reclaimed_spool(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Delete what is safely archived, file by file from the index."""
    from yolo_assets.archive.reclaim import reclaim_hour

    archive, now = locations.archive(), utc_now()
    spooled = closed_spool_hours(locations.settings.spool, hours_of(context), locations.settings.grace_seconds)
    work = [
        (hour.name, partial(reclaim_hour, hour, archive, hot_hours=locations.settings.hot_hours, now=now))
        for hour in spooled
    ]
    with locations.traffic(context.log.warning) as traffic:
        outcomes = for_each(context, [(name, partial(traffic.reclaiming, job)) for name, job in work])
    return dg.MaterializeResult(
        metadata={
            "reclaimed": table(
                [
                    {
                        "camera-hour": name,
                        "files": report.files,
                        "bytes": report.bytes,
                        "kept": report.kept,
                        "why kept": report.reason or "; ".join(problem.reason for problem in report.problems),
                    }
                    for name, report in sorted(outcomes.done.items())
                ],
                {"camera-hour": str, "files": int, "bytes": int, "kept": int, "why kept": str},
            ),
            "files": sum(report.files for report in outcomes.done.values()),
            "bytes": sum(report.bytes for report in outcomes.done.values()),
        },
        check_results=[outcomes.check(EVERY_CAMERA_RECLAIMED)],
    )
