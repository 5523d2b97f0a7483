"""Runs as the instance stores them, read into ``FinishedRun``: which targets a run had, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterEventType, DagsterRun, EventLogRecord

from yolo_assets.defs.failures import REQUESTED_AGAIN
from yolo_assets.defs.lanes import RANGE_END_TAG, RANGE_START_TAG
from yolo_assets.defs.partitions import hourly
from yolo_assets.defs.recovery.unfinished import FinishedRun, Target

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

FAILURES_TAG = "yolo_assets/failures_before"
"""Tag of a run that the sensor requested: how many failures in a row came before it."""
WILL_RETRY_TAG = "dagster/will_retry"
"""Dagster's own tag of a failed run whose process died: the daemon starts it again by itself."""
RETRIED_TAG = "dagster/auto_retry_run_id"
"""Dagster's own tag of such a run once it was started again: the id of the new run."""
_DECIDED = f"EVENT_LOG_CONSUMER_CURSOR-{DagsterEventType.RUN_FAILURE.value}"
"""Under this name the daemon keeps the position of the newest failure that it decided on."""

UNFINISHED_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.MANAGED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ENDS = (DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED)
_AT_ONCE = 200
_FORGOTTEN_AFTER = timedelta(days=7)
_PARTITION = "dagster/partition"


def ended_runs(instance: dg.DagsterInstance, through: int | None, now: datetime) -> tuple[list[EventLogRecord], int]:
    """Ends of runs after a position in the event log, oldest first, a bounded number.

    Args:
        instance: whose runs.
        through: the position; None: the ends of the last days.
        now: aware.

    Returns:
        One record a run, and the position up to which the log was read.
    """
    records: list[EventLogRecord] = []
    complete: list[int] = []
    since = None if through is not None else (now - _FORGOTTEN_AFTER).timestamp()
    for kind in _ENDS:
        asked = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=through, after_timestamp=since)
        found = instance.fetch_run_status_changes(asked, limit=_AT_ONCE, ascending=True)
        records += found.records
        if found.has_more:
            complete.append(found.records[-1].storage_id)
    # Of a kind that has more only a part was read: the others are read no further than that.
    limit = min(complete, default=None)
    read = sorted((r for r in records if limit is None or r.storage_id <= limit), key=lambda r: r.storage_id)
    return read, read[-1].storage_id if read else through or 0


def retries_decided(instance: dg.DagsterInstance) -> int:
    """Position in the event log up to which Dagster's daemon has started again what it will start again."""
    cursor = instance.daemon_cursor_storage.get_cursor_values({_DECIDED}).get(_DECIDED, "")
    return int(cursor) if cursor.isdigit() else 0


def finished_run(instance: dg.DagsterInstance, graph: AssetGraph, run: DagsterRun, end: EventLogRecord) -> FinishedRun:
    """What became of the targets of a run that ended.

    A target that did not run because a step before it failed shares the fate of that step. An hour that is not complete
    tells by itself whether the rest of it may pass; its step failed for all of its hours together.
    """
    tag = run.tags.get(FAILURES_TAG, "")
    failures = int(tag) if tag.isdigit() else None
    targets = run_targets(instance, run)
    unfinished: set[Target] = set()
    if run.status is dg.DagsterRunStatus.FAILURE:
        made, for_good = _made(instance, run), _failed_for_good(instance, graph, run)
        hours = _incomplete_hours(instance, run)
        unfinished = {
            target for target in targets - made if hours.get(target, not _depends_on(graph, target, for_good, made))
        }
    moment = datetime.fromtimestamp(end.timestamp, UTC)
    done = frozenset(targets - unfinished)
    return FinishedRun(run.run_id, moment, failures, done, frozenset(unfinished), end.storage_id)


def runs_in_progress(instance: dg.DagsterInstance) -> Sequence[DagsterRun]:
    """Every run that is queued or runs."""
    return instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_STATUSES))


def targets_of(instance: dg.DagsterInstance, runs: Iterable[DagsterRun]) -> set[Target]:
    """Targets of several runs."""
    return {target for run in runs for target in run_targets(instance, run)}


def is_hourly(run: DagsterRun) -> bool:
    """Whether a run is over one hour or several."""
    return _PARTITION in run.tags or RANGE_START_TAG in run.tags


def run_targets(instance: dg.DagsterInstance, run: DagsterRun) -> set[Target]:
    """Every asset of a run, in each of the run's partitions."""
    if run.asset_selection is not None:
        assets = {key.to_user_string() for key in run.asset_selection}
    else:  # of a job whose assets the run does not name
        planned = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        keys = (entry.get_dagster_event().asset_key for entry in planned)
        assets = {key.to_user_string() for key in keys if key is not None}
    return {Target(asset, partition) for asset in assets for partition in _partitions(run)}


def _partitions(run: DagsterRun) -> Sequence[str]:
    start, end = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
    if start is not None and end is not None:
        return hourly.get_partition_keys_in_range(dg.PartitionKeyRange(start, end))
    return [run.tags.get(_PARTITION, "")]


def _made(instance: dg.DagsterInstance, run: DagsterRun) -> set[Target]:
    events = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    made = [entry.get_dagster_event().step_materialization_data.materialization for entry in events]
    return {Target(item.asset_key.to_user_string(), item.partition or "") for item in made}


def _incomplete_hours(instance: dg.DagsterInstance, run: DagsterRun) -> dict[Target, bool]:
    """Hours in which a camera failed, and whether its cause may pass."""
    events = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_OBSERVATION)
    seen = [entry.get_dagster_event().asset_observation_data.asset_observation for entry in events]
    return {
        Target(item.asset_key.to_user_string(), item.partition or ""): bool(item.metadata[REQUESTED_AGAIN].value)
        for item in seen
        if REQUESTED_AGAIN in item.metadata
    }


def _failed_for_good(instance: dg.DagsterInstance, graph: AssetGraph, run: DagsterRun) -> set[str]:
    """Assets whose step failed for a cause that will not pass."""
    failed: set[str] = set()
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        data = event.step_failure_data
        again = data.user_failure_data.metadata.get(REQUESTED_AGAIN) if data.user_failure_data is not None else None
        interrupted = data.error_source is not None and data.error_source.value == "INTERRUPT"  # the machine went down
        if not interrupted and (again is None or not again.value):
            failed |= {key.to_user_string() for key in _assets_of(graph, event.node_name)}
    return failed


def _assets_of(graph: AssetGraph, op: str) -> Iterable[dg.AssetKey]:
    return next((made.keys for made in graph.assets_defs if made.is_executable and made.node_def.name == op), ())


def _depends_on(graph: AssetGraph, target: Target, failed: set[str], made: set[Target]) -> bool:
    """Whether an asset is one that failed, or downstream of one that did not make this hour."""
    key = dg.AssetKey.from_user_string(target.asset)
    above = {ancestor.to_user_string() for ancestor in graph.get_ancestor_asset_keys(key)}
    return target.asset in failed or any(Target(name, target.partition) not in made for name in above & failed)
