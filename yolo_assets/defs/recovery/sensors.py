"""The recovery sensor: requests again what failed runs left undone, and reports what it gave up."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from yolo_assets.contracts.times import Hour, format_time, utc_now
from yolo_assets.defs.event_log import NO_PARTITION, EventLog
from yolo_assets.defs.lanes import HourRange, hours_request, is_live, pack, run_tags
from yolo_assets.defs.plant_sensor import plant_sensor
from yolo_assets.defs.recovery.runs import (
    FAILURES_TAG,
    RETRIED_TAG,
    WILL_RETRY_TAG,
    ended_runs,
    finished_run,
    is_hourly,
    retries_decided,
    runs_in_progress,
    targets_of,
)
from yolo_assets.defs.recovery.unfinished import (
    MOST_FAILURES,
    RecoveryCursor,
    Target,
    Unfinished,
    after_look,
    after_runs,
    due_targets,
    tries_left,
    without,
)
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

RUNS_A_TICK = 24
"""When a store comes back after a day, what was left undone is requested in a steady stream instead of a flood."""
_DAGSTER_DECIDES_WITHIN = timedelta(minutes=30)
"""A run whose process died is started again by Dagster's daemon. It notes which failures it has decided on, within
seconds; a daemon that notes nothing for so long is not waited for."""
RUN_TAG = "yolo_assets/requested_after"


@plant_sensor(
    target=dg.AssetSelection.all(),
    description=(
        "Requests again what failed runs left undone, when the cause may pass: an unreachable store, a process that "
        "died. The pauses grow from a minute to two hours; after two days it gives up and reports it. Hours are "
        "packed; while no such run completes anything there are at most two of them in an hour, or until an archive "
        "root that was away answers again."
    ),
)
def recovery_sensor(context: dg.SensorEvaluationContext, locations: Locations) -> dg.SensorResult:
    """Read the runs that ended since the last tick, then request what is due; ``unfinished`` decides what that is."""
    assert context.repository_def is not None, "Dagster gives every tick its repository"
    graph, instance, now = context.repository_def.asset_graph, context.instance, utc_now()
    cursor = RecoveryCursor.load(context.cursor)
    records, through = ended_runs(instance, cursor.through, now)
    runs = {run.run_id: run for run in _runs(instance, {record.run_id for record in records})}
    ends = [(runs[record.run_id], record) for record in records if record.run_id in runs]
    progress = after_runs(cursor, [finished_run(instance, graph, run, end) for run, end in ends], through)
    for target, work in progress.given_up.items():
        context.log.error(f"gave up {target} after {work.failures} failed runs, the last is {work.run}")

    cursor = without(progress.cursor, _gone(graph, progress.cursor.targets))
    due = due_targets(cursor, now)
    finished = _made_since(instance, due)
    cursor = without(cursor, finished)
    running = runs_in_progress(instance) if due else ()
    busy = targets_of(instance, running)
    ready = [(target, work) for target, work in due if target not in finished | busy]
    together = {(target.asset, work.run) for target, work in ready}
    ready = [(target, work) for target, work in ready if not _blocked(instance, graph, target, work, together)]
    held_back = cursor.targets and not tries_left(cursor, now, 0)
    cursor = after_look(cursor, answers=_root_answers(locations, now) if held_back else None)
    left = tries_left(cursor, now, sum(RUN_TAG in run.tags and is_hourly(run) for run in running))
    requests = _requests(instance, graph, ready, now, left)
    return dg.SensorResult(
        run_requests=requests,
        asset_events=[_observation(target, work) for target, work in progress.given_up.items()],
        skip_reason=None if requests else _state(cursor),
        cursor=cursor.dump(),
    )


def _root_answers(locations: Locations, now: datetime) -> bool:
    from yolo_assets.archive.listing import list_hour
    from yolo_assets.storage import StoreUnavailableError

    try:
        list_hour(locations.archive(), Hour.of(now))
    except StoreUnavailableError:
        return False
    return True


def _runs(instance: dg.DagsterInstance, run_ids: Collection[str]) -> Sequence[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))) if run_ids else ()


def _gone(graph: AssetGraph, names: Collection[str]) -> set[Target]:
    """Targets of assets that this code no longer has."""
    there = {key.to_user_string() for key in graph.executable_asset_keys}
    return {target for target in map(Target.parse, names) if target.asset not in there}


def _made_since(instance: dg.DagsterInstance, due: Sequence[tuple[Target, Unfinished]]) -> set[Target]:
    """What something made after its run failed: a report of a sensor, or a person in the UI."""
    log, by_asset = EventLog(instance), defaultdict(dict)
    for target, work in due:
        by_asset[target.asset][target.partition] = work.ended
    return {
        Target(asset, partition)
        for asset, ended in by_asset.items()
        for partition, event in log.made(dg.AssetKey.from_user_string(asset), ended).items()
        if event.at > ended[partition]
    }


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


@dataclass
class _Work:
    """What is requested in one run, or in several when its hours are no neighbours.

    Attributes:
        config: of the failed runs, all the same.
        hours: none for assets without partitions.
        left: the unfinished work by partition.
    """

    config: Mapping[str, Any]
    hours: list[Hour] = field(default_factory=list)
    left: dict[str, Unfinished] = field(default_factory=dict)


def _requests(
    instance: dg.DagsterInstance,
    graph: AssetGraph,
    ready: Sequence[tuple[Target, Unfinished]],
    now: datetime,
    hour_runs: int,
) -> list[dg.RunRequest]:
    """What failed runs left undone, with their configuration: neighbouring hours together, longest due first.

    Args:
        instance: of the failed runs.
        graph: of their assets.
        ready: what may be requested.
        now: aware.
        hour_runs: runs over hours at most.
    """
    failed = {run.run_id: run for run in _runs(instance, {work.run for _, work in ready})}
    together: dict[tuple[str, str], list[tuple[Target, Unfinished]]] = defaultdict(list)
    decided = retries_decided(instance) if ready else 0
    for target, work in ready:
        if not _is_dagsters(failed.get(work.run), work, decided, now):
            together[work.run, target.partition].append((target, work))
    packed: dict[str, tuple[tuple[str, ...], _Work]] = {}
    for (run_id, partition), items in together.items():
        assets = tuple(sorted({target.asset for target, _ in items}))
        config = _config(graph, assets, failed.get(run_id))
        hour = Hour.from_partition_key(partition) if partition else None
        alone = run_id if hour is None else is_live(hour, now)
        _, work = packed.setdefault(f"{assets} {config} {alone}", (assets, _Work(config)))
        work.hours += [hour] if hour is not None else []
        work.left[partition] = max((left for _, left in items), key=lambda left: left.failures)
    requests: list[dg.RunRequest] = []
    for assets, work in packed.values():
        if work.hours:
            ranges = pack(work.hours)[:hour_runs]
            hour_runs -= len(ranges)
            requests += [_request(assets, hours, work, now) for hours in ranges]
        else:
            requests.append(_request(assets, None, work, now))
    return requests[:RUNS_A_TICK]


def _is_dagsters(run: dg.DagsterRun | None, work: Unfinished, decided: int, now: datetime) -> bool:
    """Whether Dagster's daemon will start a run again, and has yet to do so.

    Args:
        run: that failed; None: it was deleted.
        work: what it left undone.
        decided: position in the event log up to which the daemon decided. A failure before it that has no new run is
            one that the daemon dropped: of a finished backfill, or of code that was not there at that moment.
        now: aware.
    """
    if run is None or run.tags.get(WILL_RETRY_TAG) != "true" or RETRIED_TAG in run.tags:
        return False
    undecided = work.position is None or work.position > decided
    return undecided and now - work.ended < _DAGSTER_DECIDES_WITHIN


def _request(assets: Sequence[str], hours: HourRange | None, work: _Work, now: datetime) -> dg.RunRequest:
    partitions = [hour.partition_key for hour in hours.hours] if hours is not None else [NO_PARTITION]
    left = [work.left[partition] for partition in partitions]
    failures = min(item.failures for item in left)  # of packed hours the fewest: each knows its own by the cursor
    why = f"attempt {failures + 1} of {MOST_FAILURES}: an earlier run failed"
    named = hashlib.sha256("\n".join([*partitions, *assets, *(item.run for item in left)]).encode()).hexdigest()[:12]
    key, tags = f"again-{left[0].run}-{named}", {FAILURES_TAG: str(failures), RUN_TAG: left[0].run}
    if hours is not None:
        return hours_request(assets, hours, now, why, run_key=key, run_config=work.config, tags=tags)
    return dg.RunRequest(
        run_key=key,
        asset_selection=[dg.AssetKey.from_user_string(asset) for asset in assets],
        run_config=dict(work.config),
        tags={**run_tags(assets, (), now, why), **tags},
    )


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
