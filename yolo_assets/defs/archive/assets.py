"""``hourly_archives``, ``reclaimed_spool``, ``archive_catalog``."""

from functools import partial

import dagster as dg

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.automation import on_change, on_hour
from yolo_assets.defs.hours import closed_spool_hours, for_each, hours_of
from yolo_assets.defs.locations import Locations
from yolo_assets.defs.metadata import megabytes_per_second, table
from yolo_assets.defs.partitions import by_day, hourly

ARCHIVED = "every_camera_archived"
RECLAIMED = "every_camera_reclaimed"
BELIEVED = "every_receipt_believed"
NO_GAPS = "no_gaps"


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
    """Archive every closed camera-hour of the partition; what is archived already is only confirmed."""
    from yolo_assets.archive.hour import archive_hour

    archive, signer = locations.archive(), locations.archiver()
    spooled = closed_spool_hours(locations.settings.spool, hours_of(context), locations.grace_seconds)
    outcomes = for_each(context, [(hour.name, partial(archive_hour, hour, archive, signer)) for hour in spooled])
    done = outcomes.done
    receipts = {who: outcome.receipt for who, outcome in done.items() if outcome.receipt is not None}
    sent = sum(outcome.bytes for outcome in done.values())
    seconds = sum(outcome.seconds for outcome in done.values())
    return dg.MaterializeResult(
        metadata={
            "archives": table(
                [
                    {
                        "camera-hour": who,
                        "result": done[who].status,
                        "frames": receipt.frame_count,
                        "bytes in": receipt.total_size,
                        "archive bytes": receipt.archive_size,
                        "key": receipt.archive_key,
                        "sha256": receipt.sha256,
                    }
                    for who, receipt in sorted(receipts.items())
                ],
                {
                    "camera-hour": str,
                    "result": str,
                    "frames": int,
                    "bytes in": int,
                    "archive bytes": int,
                    "key": str,
                    "sha256": str,
                },
            ),
            "frames": sum(receipt.frame_count for receipt in receipts.values()),
            "bytes_archived": sent,
            "seconds": seconds,
            "mb_per_s": megabytes_per_second(sent, seconds),
            "failed": len(outcomes.failed),
        },
        check_results=[outcomes.check(ARCHIVED)],
    )


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
    from yolo_assets.archive.reclaim import reclaim_hour

    archive, trusted, now = locations.archive(), locations.trusted_archivers(), utc_now()
    spooled = closed_spool_hours(locations.settings.spool, hours_of(context), locations.grace_seconds)
    outcomes = for_each(
        context,
        [
            (hour.name, partial(reclaim_hour, hour, archive, trusted, hot_hours=locations.hot_hours, now=now))
            for hour in spooled
        ],
    )
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


@dg.asset(
    deps=["hourly_archives"],
    automation_condition=on_change(),
    check_specs=[
        dg.AssetCheckSpec(BELIEVED, asset="archive_catalog", description="Every receipt is signed and whole."),
        dg.AssetCheckSpec(NO_GAPS, asset="archive_catalog", description="Every hour with detections is archived."),
    ],
    pool="archive_catalog",
    group_name="archive",
    kinds={"duckdb"},
    owners=["team:platform"],
    code_version="1",
    description=(
        "DuckDB index of all receipts, published as an immutable file with a pointer. It can be lost: "
        "`yolo-assets catalog rebuild` makes it again from the receipts."
    ),
)
def archive_catalog(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
    """Merge new receipts into a copy of the newest catalog and move the pointer."""
    from yolo_assets.catalog.publish import publish
    from yolo_assets.catalog.read import gaps, open_catalog, stats

    store = locations.store()
    published = publish(store, locations.archive(), trusted=locations.trusted_archivers())
    with open_catalog(store) as connection:
        found, missing = stats(connection, utc_now()), gaps(connection)
    return dg.MaterializeResult(
        metadata={
            "version": published.pointer.version,
            "dagster/row_count": published.pointer.archives,
            "added": published.added,
            "removed": published.removed,
            "cameras": table(
                list(found.cameras.iter_rows(named=True)),
                {
                    "camera_id": str,
                    "archives": int,
                    "frames": int,
                    "bytes": int,
                    "first_hour": str,
                    "last_hour": str,
                },
            ),
        },
        data_version=dg.DataVersion(published.pointer.sha256),
        check_results=[
            dg.AssetCheckResult(
                check_name=BELIEVED,
                passed=not published.problems,
                description=f"{len(published.problems)} receipts are not believed",
                metadata={problem.key: problem.problem for problem in published.problems[:50]},
            ),
            dg.AssetCheckResult(
                check_name=NO_GAPS,
                passed=missing.is_empty(),
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{missing.height} camera-hours have detections and no archive",
                metadata={"gaps": table(list(missing.iter_rows(named=True)), {"camera_id": str, "hour": str})},
            ),
        ],
    )
