"""``hourly_archives`` and ``reclaimed_spool``: out of the spool into the archive, and the disk made free again."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.news import data_version
from yolo_assets.defs.archive.report import hour_metadata
from yolo_assets.defs.automation import on_hour
from yolo_assets.defs.hours import Outcomes, closed_spool_hours, for_each, hours_of
from yolo_assets.defs.locations import Locations
from yolo_assets.defs.metadata import megabytes_per_second, table
from yolo_assets.defs.partitions import by_day, hourly

if TYPE_CHECKING:
    from yolo_assets.archive.archiving import ArchiveOutcome

ARCHIVED = "every_camera_archived"
RECLAIMED = "every_camera_reclaimed"


@dg.asset(
    deps=["raw_frames"],
    partitions_def=hourly,
    backfill_policy=by_day,
    automation_condition=on_hour(),
    check_specs=[
        dg.AssetCheckSpec(
            ARCHIVED,
            asset="hourly_archives",
            description="Every closed camera-hour of the spool is packed, uploaded, verified and has its receipt.",
        )
    ],
    group_name="archive",
    kinds={"s3"},
    owners=["team:platform"],
    code_version="1",
    description=(
        "One tar.gz per camera and hour in the archive root, written once and verified; the signed receipt is the "
        "commit point. Late frames of an archived hour become part 2."
    ),
)
def hourly_archives(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Archive every closed camera-hour of the partition; what is archived already is only confirmed.

    What boxes outside archived of the hour is listed too, so that the newest materialization always shows the whole
    hour and the receipts sensor finds nothing to add.
    """
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.archiving import archive_hour

    traffic = locations.traffic(context.log.warning)
    archive, signer = Archive(locations.archive(traffic), locations.trusted_archivers()), locations.archiver()
    hours, options = hours_of(context), locations.archive_options()
    spooled = closed_spool_hours(locations.settings.spool, hours, locations.grace_seconds)
    oldest = min((hour.hour.end for hour in spooled if hour.uncovered_members()), default=None)
    work = [(hour.name, partial(archive_hour, hour, archive, signer, options)) for hour in spooled]
    with traffic:
        outcomes = for_each(context, [(who, partial(traffic.archiving, one)) for who, one in work])
        traffic.measure(locations.settings.spool, locations.grace_seconds)
    limit = traffic.standing()
    versions = _describe(context, locations, hours, outcomes)
    done = outcomes.done.values()
    sent, seconds = sum(outcome.bytes for outcome in done), sum(outcome.seconds for outcome in done)
    left = [f"{problem.path}: {problem.reason}" for outcome in done for problem in outcome.left]
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
                [{"camera-hour": who, "reason": reason} for who, reason in sorted(outcomes.failed.items())],
                {"camera-hour": str, "reason": str},
            ),
            "left_in_spool": dg.MetadataValue.md("\n".join(f"- {one}" for one in left[:50]) or "nothing"),
        },
        data_version=dg.DataVersion(data_version(versions)),
        check_results=[outcomes.check(ARCHIVED)],
    )


def _describe(
    context: dg.AssetExecutionContext, locations: Locations, hours: Sequence[Hour], outcomes: "Outcomes[ArchiveOutcome]"
) -> dict[Hour, str]:
    """Give each hour its tables, and return which parts it has; no version for an hour that cannot be looked at."""
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.listing import list_hour, read_hours
    from yolo_assets.storage import StoreUnavailableError

    archive, names = Archive(locations.archive(), locations.trusted_archivers()), locations.archiver_names()
    versions: dict[Hour, str] = {}
    try:
        for found in read_hours(archive, [list_hour(archive, hour) for hour in hours]):
            mine = [outcome for outcome in outcomes.done.values() if outcome.hour == found.hour.key]
            metadata = hour_metadata(found, names, mine)
            context.add_asset_metadata(metadata, partition_key=found.hour.partition_key)
            versions[found.hour] = found.version
            for one in found.untrusted:
                context.log.warning(f"not believed: {one.key}: {one.reason}")
    except StoreUnavailableError as error:
        # What was archived is archived: the check tells, and the receipts sensor reports the hour once it can be read.
        outcomes.failed["the receipts of the hour"] = str(error)
    return versions


@dg.asset(
    deps=["hourly_archives"],
    partitions_def=hourly,
    backfill_policy=by_day,
    automation_condition=on_hour(),
    check_specs=[
        dg.AssetCheckSpec(
            RECLAIMED,
            asset="reclaimed_spool",
            description="Deleting local files met no difference between spool, index and receipt.",
        )
    ],
    group_name="archive",
    kinds={"file"},
    owners=["team:platform"],
    code_version="1",
    description=(
        "Disk made free again: a local file goes when a verified receipt has its name, size and SHA-256 and the "
        "hot time has passed. Everything else stays."
    ),
)
def reclaimed_spool(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Delete what is safely archived, file by file from the index."""
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.reclaim import reclaim_hour

    archive, now = Archive(locations.archive(), locations.trusted_archivers()), utc_now()
    spooled = closed_spool_hours(locations.settings.spool, hours_of(context), locations.grace_seconds)
    work = [
        (hour.name, partial(reclaim_hour, hour, archive, hot_hours=locations.hot_hours, now=now)) for hour in spooled
    ]
    with locations.traffic(context.log.warning) as traffic:
        outcomes = for_each(context, [(who, partial(traffic.reclaiming, one)) for who, one in work])
    return dg.MaterializeResult(
        metadata={
            "reclaimed": table(
                [
                    {
                        "camera-hour": who,
                        "files": report.files,
                        "bytes": report.bytes,
                        "kept": report.kept,
                        "why kept": report.reason or "; ".join(problem.reason for problem in report.problems),
                    }
                    for who, report in sorted(outcomes.done.items())
                ],
                {"camera-hour": str, "files": int, "bytes": int, "kept": int, "why kept": str},
            ),
            "files": sum(report.files for report in outcomes.done.values()),
            "bytes": sum(report.bytes for report in outcomes.done.values()),
        },
        check_results=[outcomes.check(RECLAIMED)],
    )
