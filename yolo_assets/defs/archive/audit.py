"""``archive_audit``: every day a share of the archives is verified again, so that in a month all of them were."""

import time

import dagster as dg
from pydantic import Field

from yolo_assets.defs.locations import Locations
from yolo_assets.defs.metadata import megabytes_per_second, table

VERIFIED = "archives_verified"


class AuditConfig(dg.Config):
    """How much of the archive, and how closely."""

    share: str = Field(default="1/30", description="of the archives, those not looked at for the longest time first")
    how: str = Field(default="head", description="head: receipt, index, size and ETag; full: every byte is read")


@dg.asset(
    deps=["archive_catalog"],
    check_specs=[
        dg.AssetCheckSpec(
            VERIFIED,
            asset="archive_audit",
            blocking=True,
            description="All that was due was looked at and is what its receipt promised; says how much was covered.",
        )
    ],
    pool="archive_audit",
    group_name="archive",
    kinds={"s3"},
    owners=["team:quality"],
    code_version="1",
    description=(
        "A rotating audit: a share of the archives against their receipts, recorded and signed under audit/. Any "
        "difference fails the run."
    ),
)
def archive_audit(context: dg.AssetExecutionContext, config: AuditConfig, locations: Locations) -> dg.MaterializeResult:
    """Verify what is due; killed, the next audit goes on with the rest."""
    from yolo_assets.archive.archive import Archive
    from yolo_assets.archive.audit.audit import audit, parse_share
    from yolo_assets.contracts.errors import UsageError

    if config.how != "head" and config.how != "full":
        raise UsageError(f"how={config.how!r} is not known; use head or full")
    started = time.monotonic()
    report = audit(
        Archive(locations.archive(), locations.trusted_archivers()),
        locations.archiver(),
        parse_share(config.share),
        config.how,
        begin=lambda due: context.log.info(f"{due} archives are due"),
    )
    seconds = time.monotonic() - started
    wrong = {name: "; ".join(lines) for name, lines in report.problems.items()}
    differing = [{"archive": name, "what": what} for name, what in sorted({**report.unchecked, **wrong}.items())]
    covered = list(report.coverage.lines())
    for row in differing[:100]:
        context.log.error(f"{row['archive']}: {row['what']}")
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
            "coverage": dg.MetadataValue.md("\n".join(f"- {line}" for line in covered)),
            "differences": table(differing[:1000], {"archive": str, "what": str}),
            "records": dg.MetadataValue.md("\n".join(f"- {key}" for key in report.records) or "none"),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=VERIFIED,
                passed=report.ok,
                description=_verdict(len(wrong), len(report.unchecked), report.stopped, covered[0]),
                metadata={
                    "archives": report.coverage.archives,
                    "covered_full": report.coverage.full,
                    "covered": report.coverage.head,
                    "within_days": report.coverage.days,
                    "differences": table(differing[:100], {"archive": str, "what": str}),
                },
            )
        ],
    )


def _verdict(wrong: int, unchecked: int, stopped: str | None, covered: str) -> str:
    found = [f"{wrong} archives differ"] if wrong else []
    found += [f"{unchecked} could not be looked at"] if unchecked else []
    found += [f"it ended early: {stopped}"] if stopped else []
    return f"{'; '.join(found)}. {covered}" if found else covered


audit_daily = dg.ScheduleDefinition(
    name="audit_daily",
    target=dg.AssetSelection.assets("archive_audit"),
    cron_schedule="15 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A thirtieth of the archives every night: all of them in a month.",
)
