"""``archive_copy``: every hour the second place of the archive is brought up to date, where the settings name one."""

import dagster as dg
from pydantic import Field
from rich.filesize import decimal

from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.defs.archive.checks import COPY_UP_TO_DATE, copy_up_to_date
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.metadata import counted, table
from yolo_assets.defs.resources import Locations


class CopyConfig(dg.Config):
    """How long a run may copy."""

    seconds: float = Field(default=3000, gt=0, description="nothing is begun after this; the next run goes on")


@dg.asset(
    deps=["archive_catalog"],
    check_specs=[COPY_UP_TO_DATE],
    pool="archive_copy",
    group_name="archive",
    kinds={"s3"},
    owners=["team:platform"],
    code_version=code_version("replication"),
    description=(
        "The second place of the archive (YOLO_ASSETS_ARCHIVE_COPY): archives, receipts, audits, checkpoints, keys and "
        "the catalog, copied and verified. Without that setting there is nothing to do."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def archive_copy(context: dg.AssetExecutionContext, config: CopyConfig, locations: Locations) -> dg.MaterializeResult:
    """Copy what is new; what could not be copied is told, and tried again by the next run."""
    from yolo_assets.archive.bandwidth.limiter import Limiter
    from yolo_assets.replication.lag import copy_lag, late_archives, open_copier
    from yolo_assets.replication.replicate import Replication

    settings = locations.settings
    if settings.archive_copy_url is None:
        return dg.MaterializeResult(
            metadata={"summary": "no second place is set"}, check_results=[copy_up_to_date(None, utc_now())]
        )
    limiter, sent = Limiter.of(settings, context.log.warning), 0

    def pace(count: int) -> None:
        nonlocal sent
        if limiter is not None:
            limiter.take(count)
        sent += count

    root, signer = locations.store(), locations.archiver()
    copier = open_copier(settings, settings.archive_copy_url, settings.archiver_public_keys(), pace=pace, verify="head")
    late = late_archives(root, settings.home / "cache" / "catalog")
    done = Replication(copier, root, signer, late=late, seconds=config.seconds).run()
    lag = copy_lag(root, settings)
    failed = [{"object": one.name, "reason": one.reason} for one in done.failed]
    for row in failed:
        context.log.error(f"not copied: {row['object']}: {row['reason']}")
    counts = done.counts
    return dg.MaterializeResult(
        metadata={
            "summary": f"{counted(counts.archives, 'archive')} copied, {decimal(counts.archive_bytes)}; "
            f"{done.failed_count} could not be",
            "copy": done.copy,
            "archives": counts.archives,
            "bytes": counts.archive_bytes,
            "other_objects": counts.objects,
            "sent_bytes": sent,
            "resumed_parts": counts.parts_resumed,
            "complete": done.complete,
            "newest_hour": done.newest_hour or "none",
            "behind_archives": 0 if lag is None else lag.archives,
            "behind_bytes": 0 if lag is None else lag.bytes,
            "behind_since": "nothing waits" if lag is None or lag.oldest is None else format_time(lag.oldest),
            "without_lock": counts.without_lock,
            "failed": table(failed, {"object": str, "reason": str}),
            "statements": dg.MetadataValue.md("\n".join(f"- {key}" for key in done.statements) or "none"),
            "seconds": round(done.seconds, 3),
        },
        check_results=[copy_up_to_date(lag, utc_now())],
    )


@dg.schedule(
    name="copy_hourly",
    target=dg.AssetSelection.assets("archive_copy"),
    tags=run_tags(["archive_copy"], (), utc_now(), "the hourly copy"),
    cron_schedule="35 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="The second place of the archive every hour, where the settings name one.",
)
def copy_hourly(locations: Locations) -> dg.RunRequest | dg.SkipReason:
    """A run, where there is a second place."""
    if locations.settings.archive_copy_url is None:
        return dg.SkipReason("no second place is set; see YOLO_ASSETS_ARCHIVE_COPY")
    return dg.RunRequest()
