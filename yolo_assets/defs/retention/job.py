"""``retention``: every night the instance forgets what is older than the settings say."""

from datetime import timedelta

import dagster as dg

from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.failures import by_kind
from yolo_assets.defs.resources import Locations

BUDGET = timedelta(minutes=20)
"""A first night over a year of runs takes several."""


@dg.op(
    pool="retention",
    out=dg.Out(dg.Nothing),
    description="Deletes old runs with their events and logs, evaluations and backfills; no hour turns missing by it.",
)
@by_kind
def forget_old_runs(context: dg.OpExecutionContext, locations: Locations) -> None:
    """Delete what is old, and report how much that was."""
    from yolo_assets.defs.retention.prune import Ages, prune

    settings = locations.settings
    ages = Ages(timedelta(days=settings.keep_runs_days), timedelta(days=settings.keep_failed_runs_days))
    done = prune(context.instance, ages, utc_now(), budget=BUDGET, log=context.log.info)
    for note in done.notes:
        context.log.warning(note)
    context.add_output_metadata(
        {
            "runs": done.runs,
            "events": done.events,
            "evaluations": done.evaluations,
            "checks": done.checks,
            "backfills": done.backfills,
            "MB before": round(done.bytes_before / 1e6, 1),
            "MB after": round(done.bytes_after / 1e6, 1),
            "finished": done.complete,
        }
    )


@dg.job(description="What Dagster remembers, kept to a size: YOLO_ASSETS_KEEP_RUNS_DAYS and _KEEP_FAILED_RUNS_DAYS.")
def retention() -> None:
    """The one op."""
    forget_old_runs()


retention_daily = dg.ScheduleDefinition(
    name="retention_daily",
    job=retention,
    cron_schedule="45 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night after the audit: old runs, their events, evaluations and backfills.",
)
