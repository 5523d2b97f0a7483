"""The recovery sensor: requests again what failed runs left undone, and reports what it gave up."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.contracts.times import format_time, utc_now
from yolo_assets.defs.recovery.runs import (
    FAILURES_TAG,
    WILL_RETRY_TAG,
    ended_runs,
    finished_run,
    targets_in_progress,
)
from yolo_assets.defs.recovery.unfinished import (
    MOST_FAILURES,
    RecoveryCursor,
    Target,
    Unfinished,
    after_runs,
    due_targets,
    without,
)

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

RUNS_A_TICK = 24
"""When a store comes back after a day, what was left undone is requested in a steady stream instead of a flood."""
_DAGSTER_RETRIES_WITHIN = timedelta(minutes=30)
"""A run whose process died is started again by Dagster's daemon; after this time it evidently was not."""
RUN_TAG = "yolo_assets/requested_after"


@dg.sensor(
    target=dg.AssetSelection.all(),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Requests again what failed runs left undone, when the cause may pass: an unreachable store, a process that "
        "died. The pauses grow from a minute to two hours; after two days it gives up and reports it."
    ),
)
def recovery_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Read the runs that ended since the last tick, then request what is due; ``unfinished`` decides what that is."""
    assert context.repository_def is not None, "Dagster gives every tick its repository"
    graph, instance, now = context.repository_def.asset_graph, context.instance, utc_now()
    cursor = RecoveryCursor.load(context.cursor)
    records, through = ended_runs(instance, cursor.through, now)
    runs = {run.run_id: run for run in _runs(instance, {record.run_id for record in records})}
    ends = [(runs[record.run_id], record.timestamp) for record in records if record.run_id in runs]
    progress = after_runs(cursor, [finished_run(instance, graph, run, at) for run, at in ends], through)
    for target, work in progress.given_up.items():
        context.log.error(f"gave up {target} after {work.failures} failed runs, the last is {work.run}")

    cursor = without(progress.cursor, _gone(graph, progress.cursor.targets))
    due = due_targets(cursor, now)
    finished = {target for target, work in due if _made_since(instance, target, work)}
    cursor = without(cursor, finished)
    busy = targets_in_progress(instance) if due else set()
    ready = [(target, work) for target, work in due if target not in finished | busy]
    together = {(target.asset, work.run) for target, work in ready}
    ready = [(target, work) for target, work in ready if not _blocked(instance, graph, target, work, together)]
    return dg.SensorResult(
        run_requests=_requests(instance, graph, ready, now),
        asset_events=[_observation(target, work) for target, work in progress.given_up.items()],
        skip_reason=None if ready else _state(cursor),
        cursor=cursor.model_dump_json(),
    )


def _runs(instance: dg.DagsterInstance, run_ids: Collection[str]) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else ()


def _gone(graph: AssetGraph, names: Collection[str]) -> set[Target]:
    """Targets of assets that this code no longer has."""
    there = {key.to_user_string() for key in graph.executable_asset_keys}
    return {target for target in map(Target.parse, names) if target.asset not in there}


def _made_since(instance: dg.DagsterInstance, target: Target, work: Unfinished) -> bool:
    """Whether something made it after its run failed: a report of a sensor, or a person in the UI."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey.from_user_string(target.asset),
            asset_partitions=[target.partition] if target.partition else None,
            after_timestamp=work.ended.timestamp(),
        ),
        limit=1,
    )
    return bool(found.records)


def _blocked(
    instance: dg.DagsterInstance,
    graph: AssetGraph,
    target: Target,
    work: Unfinished,
    together: Collection[tuple[str, str]],
) -> bool:
    """Whether a blocking check of an input failed: then only a corrected input starts it, as in ``on_good_change``.

    An input that is requested in the same run is checked there.
    """
    parents = graph.get(dg.AssetKey.from_user_string(target.asset)).parent_keys
    parents = [parent for parent in parents if (parent.to_user_string(), work.run) not in together]
    blocking = [key for parent in parents for key in graph.get(parent).check_keys if graph.get(key).blocking]
    if not blocking:
        return False
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(blocking)
    return any(record.status.value != "SUCCEEDED" for record in latest.values())


def _requests(
    instance: dg.DagsterInstance, graph: AssetGraph, ready: Sequence[tuple[Target, Unfinished]], now: datetime
) -> list[dg.RunRequest]:
    """One request for what one run left undone in one partition, with that run's configuration."""
    together: dict[tuple[str, str], list[tuple[Target, Unfinished]]] = defaultdict(list)
    for target, work in ready:
        together[work.run, target.partition].append((target, work))
    failed = {run.run_id: run for run in _runs(instance, {run_id for run_id, _ in together})}
    requests: list[dg.RunRequest] = []
    for (run_id, partition), items in together.items():
        run = failed.get(run_id)
        retried = run is not None and run.tags.get(WILL_RETRY_TAG) == "true"
        if retried and now - items[0][1].ended < _DAGSTER_RETRIES_WITHIN:
            continue
        assets = sorted({target.asset for target, _ in items})
        failures = max(work.failures for _, work in items)
        named = hashlib.sha256("\n".join([partition, *assets]).encode()).hexdigest()[:12]
        requests.append(
            dg.RunRequest(
                run_key=f"again-{run_id}-{named}",
                partition_key=partition or None,
                asset_selection=[dg.AssetKey.from_user_string(asset) for asset in assets],
                run_config=_config(graph, assets, run),
                tags={
                    FAILURES_TAG: str(failures),
                    RUN_TAG: run_id,
                    "yolo_assets/why": f"attempt {failures + 1} of {MOST_FAILURES}: an earlier run failed",
                },
            )
        )
    return requests[:RUNS_A_TICK]


def _config(graph: AssetGraph, assets: Sequence[str], run: dg.DagsterRun | None) -> Mapping[str, Any]:
    """The part of the failed run's configuration that is about these assets."""
    wanted = {graph.get(dg.AssetKey.from_user_string(asset)).assets_def.node_def.name for asset in assets}
    ops = run.run_config.get("ops") if run is not None else None
    kept = {name: config for name, config in ops.items() if name in wanted} if isinstance(ops, Mapping) else {}
    return {"ops": kept} if kept else {}


def _observation(target: Target, work: Unfinished) -> dg.AssetObservation:
    return dg.AssetObservation(
        target.asset,
        partition=target.partition or None,
        description=f"Given up after {work.failures} failed runs in a row; correct the cause and run it by hand.",
        metadata={"given_up": True, "failed_runs": work.failures, "last_run": dg.MetadataValue.dagster_run(work.run)},
    )


def _state(cursor: RecoveryCursor) -> str:
    """What waits, in one line: the reason of a tick that requests nothing."""
    waiting = sorted(work.due for work in cursor.targets.values() if not work.given_up)
    given_up = sorted(name for name, work in cursor.targets.items() if work.given_up)
    parts: list[str] = []
    if waiting:
        parts.append(f"{len(waiting)} failed steps wait for their next attempt, the first at {format_time(waiting[0])}")
    if given_up:
        more = f" and {len(given_up) - 5} more" if len(given_up) > 5 else ""
        parts.append(f"given up: {', '.join(given_up[:5])}{more}; correct the cause and run them by hand")
    return "; ".join(parts) or "no failed run left anything undone"
