"""``archive_audit``: every day a share of the archives is verified again, so that each is verified within a month."""

import time

import dagster as dg
from pydantic import Field

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.archive.checks import ARCHIVES_VERIFIED, archives_verified
from yolo_assets.defs.code_versions import code_version
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.metadata import megabytes_per_second, table
from yolo_assets.defs.resources import Locations


class AuditConfig(dg.Config):
    """How much of the archive is verified, and how thoroughly."""

    share: str = Field(default="1/30", description="of the archives, those not verified for the longest time first")
    how: str = Field(default="head", description="head: receipt, index, size and ETag; full: every byte is read")


@dg.asset(
    deps=["archive_catalog"],
    check_specs=[ARCHIVES_VERIFIED],
    pool="archive_audit",
    group_name="archive",
    kinds={"s3"},
    owners=["team:quality"],
    code_version=code_version("archive/audit"),
    description=(
        "A rotating audit: a share of the archives against their receipts, recorded and signed under audit/. Any "
        "difference fails the run."
    ),
    retry_policy=RETRY_POLICY,
)
@by_kind
def archive_audit(context: dg.AssetExecutionContext, config: AuditConfig, locations: Locations) -> dg.MaterializeResult:
    """Verify what is due; after a kill the next audit continues with the rest."""
    from yolo_assets.archive.audit.audit import audit, parse_share
    from yolo_assets.contracts.errors import UsageError

    if config.how != "head" and config.how != "full":
        raise UsageError(f"how={config.how!r} is not known; use head or full")
    started = time.monotonic()
    report = audit(
        locations.archive(),
        locations.archiver(),
        parse_share(config.share),
        config.how,
        begin=lambda due: context.log.info(f"{due} archives are due"),
    )
    seconds = time.monotonic() - started
    wrong = {name: "; ".join(lines) for name, lines in report.problems.items()}
    differing = [{"archive": name, "difference": text} for name, text in sorted({**report.unchecked, **wrong}.items())]
    for row in differing[:100]:
        context.log.error(f"{row['archive']}: {row['difference']}")
    return dg.MaterializeResult(
        metadata={
            "share": config.share,
            "how": config.how,
            "due": report.chosen,
            "good_full": report.full,
            "good_head": report.head,
            "cold": report.cold,
            "unfinished": report.unfinished,
            "bytes_read": report.bytes_read,
            "seconds": round(seconds, 3),
            "mb_per_s": megabytes_per_second(report.bytes_read, seconds),
            "stopped": report.stopped or "no",
            "coverage": dg.MetadataValue.md("\n".join(f"- {line}" for line in report.coverage.lines())),
            "differences": table(differing[:1000], {"archive": str, "difference": str}),
            "records": dg.MetadataValue.md("\n".join(f"- {key}" for key in report.records) or "none"),
        },
        check_results=[archives_verified(report, differing)],
    )


audit_daily = dg.ScheduleDefinition(
    name="audit_daily",
    target=dg.AssetSelection.assets("archive_audit"),
    tags=run_tags(["archive_audit"], (), utc_now(), "the nightly audit"),
    cron_schedule="15 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A thirtieth of the archives every night: each of them once a month.",
)
