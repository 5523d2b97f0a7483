"""Checks of the archive stage: their specs, and how each is decided from what the asset found.

Belongs here: names, descriptions, passed or failed. Does not belong here: reading stores; an asset hands over what it
has read already.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.defs.hours import hourly_check
from yolo_assets.defs.metadata import table

if TYPE_CHECKING:
    import polars as pl

    from yolo_assets.archive.audit.audit import AuditReport
    from yolo_assets.catalog.publish import CatalogVersion
    from yolo_assets.catalog.read import SealFigures
    from yolo_assets.contracts.copies import CopyLag
    from yolo_assets.transparency.verification import HistoryFinding

SEAL_DAYS = 31
"""For so long a broken seal stands in its check; the catalog keeps it for ever."""

EVERY_CAMERA_ARCHIVED = hourly_check(
    "every_camera_archived",
    asset="hourly_archives",
    description="Every closed camera-hour of the spool is packed, uploaded, verified and has its receipt.",
)
EVERY_CAMERA_RECLAIMED = hourly_check(
    "every_camera_reclaimed",
    asset="reclaimed_spool",
    description="Before local files were deleted, spool, index and receipt agreed on every one of them.",
)
EVERY_RECEIPT_VERIFIED = dg.AssetCheckSpec(
    "every_receipt_verified",
    asset="archive_catalog",
    description="Every receipt is complete, and its signature was verified with a trusted key.",
)
NO_GAPS = dg.AssetCheckSpec(
    "no_gaps", asset="archive_catalog", description="Every camera-hour that has detections is archived."
)
AS_SEALED = dg.AssetCheckSpec(
    "as_sealed",
    asset="archive_catalog",
    description="What devices signed when they sealed their hours is what was archived, and their keys are enrolled.",
)
ARCHIVES_VERIFIED = dg.AssetCheckSpec(
    "archives_verified",
    asset="archive_audit",
    blocking=True,
    description="Every archive that was due was examined and is what its receipt states; reports how much was covered.",
)

HISTORY_UNBROKEN = dg.AssetCheckSpec(
    "history_unbroken",
    asset="receipt_checkpoint",
    description="Every receipt is what the log of checkpoints has: none was rewritten, removed or put in later.",
)
CHECKPOINT_VOUCHED_FOR = dg.AssetCheckSpec(
    "checkpoint_vouched_for",
    asset="receipt_checkpoint",
    description="The time-stamp authority and the witness of the settings did their part, where there are some.",
)
COPY_UP_TO_DATE = dg.AssetCheckSpec(
    "copy_up_to_date",
    asset="archive_copy",
    description="What was archived lies in the second place within a day.",
)
COPY_WITHIN = timedelta(hours=24)
"""So long an archive may lie in one place alone."""


def every_receipt_verified(published: CatalogVersion) -> dg.AssetCheckResult:
    """Failed when the published catalog had to leave receipts out; the reasons as metadata."""
    return dg.AssetCheckResult(
        check_name=EVERY_RECEIPT_VERIFIED.name,
        passed=not published.pointer.problems,
        description=f"{published.pointer.problems} receipts are untrusted",
        metadata={problem.key: problem.problem for problem in published.problems[:50]},
    )


def no_gaps(missing: pl.DataFrame) -> dg.AssetCheckResult:
    """A warning when camera-hours have detections and no archive.

    Args:
        missing: columns ``camera_id`` and ``hour``.
    """
    return dg.AssetCheckResult(
        check_name=NO_GAPS.name,
        passed=missing.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{missing.height} camera-hours have detections and no archive",
        metadata={"gaps": table(list(missing.iter_rows(named=True)), {"camera_id": str, "hour": str})},
    )


def as_sealed(found: SealFigures) -> dg.AssetCheckResult:
    """A warning when archives of the last month are not what a device sealed, or its key does not count."""
    columns = {"camera_id": str, "hour": str, "part": int, "state": str, "why": str}
    told = ", ".join(f"{count} {state}" for state, count in sorted(found.counts.items())) or "none"
    return dg.AssetCheckResult(
        check_name=AS_SEALED.name,
        passed=found.wrong.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found.wrong.height} seals of the last {SEAL_DAYS} days do not hold; all: {told}",
        metadata={"archives": table(list(found.wrong.head(50).iter_rows(named=True)), columns)},
    )


def history_unbroken(findings: Sequence[HistoryFinding]) -> dg.AssetCheckResult:
    """Failed when the history of the archive is not what was signed.

    Args:
        findings: of ``transparency.verification``.
    """
    rows = [{"kind": one.kind, "finding": one.text, "receipts": len(one.receipts)} for one in findings]
    return dg.AssetCheckResult(
        check_name=HISTORY_UNBROKEN.name,
        passed=not findings,
        description=findings[0].text if findings else "as it was signed",
        metadata={"findings": table(rows[:100], {"kind": str, "finding": str, "receipts": int})},
    )


def checkpoint_vouched_for(trouble: Sequence[str]) -> dg.AssetCheckResult:
    """A warning when a time stamp or co-signatures were not to be had.

    Args:
        trouble: a line each.
    """
    return dg.AssetCheckResult(
        check_name=CHECKPOINT_VOUCHED_FOR.name,
        passed=not trouble,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(trouble) or "nothing was refused",
    )


def copy_up_to_date(lag: CopyLag | None, now: datetime) -> dg.AssetCheckResult:
    """A warning when an archive has been in one place alone for too long, or cannot be copied.

    Args:
        lag: how far the copy is behind; None: there is to be none.
        now: aware.
    """
    if lag is None:
        return dg.AssetCheckResult(
            check_name=COPY_UP_TO_DATE.name, passed=True, description="no second place is set: YOLO_ASSETS_ARCHIVE_COPY"
        )
    age = lag.age_seconds(now)
    return dg.AssetCheckResult(
        check_name=COPY_UP_TO_DATE.name,
        passed=not lag.failed and age <= COPY_WITHIN.total_seconds(),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{lag.archives} archives wait, the oldest for {age / 3600:.1f} h; {lag.failed} cannot be copied",
        metadata={
            "behind_archives": lag.archives,
            "behind_bytes": lag.bytes,
            "behind_hours": round(age / 3600, 2),
            "newest_hour": lag.newest_hour or "none",
            "failed": lag.failed,
        },
    )


def archives_verified(report: AuditReport, differing: list[dict[str, str]]) -> dg.AssetCheckResult:
    """Failed when an archive differs, could not be examined, or the audit ended early.

    Args:
        report: of the audit.
        differing: ``archive`` and ``difference`` of each archive that is not as promised.
    """
    covered = next(iter(report.coverage.lines()))
    reasons = [f"{len(report.problems)} archives differ"] if report.problems else []
    reasons += [f"{len(report.unchecked)} could not be examined"] if report.unchecked else []
    reasons += [f"it ended early: {report.stopped}"] if report.stopped else []
    return dg.AssetCheckResult(
        check_name=ARCHIVES_VERIFIED.name,
        passed=report.ok,
        description=f"{'; '.join(reasons)}. {covered}" if reasons else covered,
        metadata={
            "archives": report.coverage.archives,
            "covered_full": report.coverage.full,
            "covered": report.coverage.head,
            "within_days": report.coverage.days,
            "differences": table(differing[:100], {"archive": str, "difference": str}),
        },
    )
