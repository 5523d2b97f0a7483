"""Dagster's instance: what waits and runs, what ended and how, whether daemons and sensors are alive, and the assets.

Of the assets and their partitions: what was made, when something was made last, what failed and was not made since.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.event_api import RunStatusChangeEventType
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

_UNFINISHED = {
    "queued": DagsterRunStatus.QUEUED,
    "starting": DagsterRunStatus.STARTING,
    "running": DagsterRunStatus.STARTED,
    "canceling": DagsterRunStatus.CANCELING,
}
_ENDS: dict[str, RunStatusChangeEventType] = {
    "success": DagsterEventType.RUN_SUCCESS,
    "failure": DagsterEventType.RUN_FAILURE,
    "canceled": DagsterEventType.RUN_CANCELED,
}
_AT_ONCE = 1000


class Runs:
    """The runs of an instance. Ends are counted from the moment on at which this object was made."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance
        newest = instance.event_log_storage.get_maximum_record_id() or 0
        self._through = dict.fromkeys(_ENDS, newest)
        self._ended: Counter[str] = Counter()

    def families(self) -> Iterator[Metric]:
        """Queue, results, daemons, sensors."""
        now = time.time()
        waiting = GaugeMetricFamily("yolo_platform_runs", "Runs that did not end yet, by state.", labels=("state",))
        for state, status in _UNFINISHED.items():
            waiting.add_metric((state,), self._instance.get_runs_count(dg.RunsFilter(statuses=[status])))
        yield waiting
        yield GaugeMetricFamily(
            "yolo_platform_queue_oldest_seconds",
            "Time since the oldest run in the queue was requested; 0: none waits.",
            value=self._age(DagsterRunStatus.QUEUED, now),
        )
        yield GaugeMetricFamily(
            "yolo_platform_run_longest_seconds",
            "Time since the run that runs longest was requested; 0: none runs.",
            value=self._age(DagsterRunStatus.STARTED, now),
        )
        self._count_ends()
        ended = CounterMetricFamily(
            "yolo_platform_runs_ended", "Runs that ended since the exporter started, by result.", labels=("result",)
        )
        for result in _ENDS:
            ended.add_metric((result,), self._ended[result])
        yield ended
        beats = GaugeMetricFamily(
            "yolo_platform_daemon_heartbeat_timestamp_seconds",
            "When a daemon of Dagster last gave a sign of life.",
            labels=("daemon",),
        )
        needed = set(self._instance.get_required_daemon_types())
        for daemon, beat in sorted(self._instance.get_daemon_heartbeats().items()):
            if daemon not in needed:
                continue  # one that an earlier configuration ran
            beats.add_metric((daemon,), beat.timestamp)
        yield beats
        yield self._ticks()

    def _age(self, status: DagsterRunStatus, now: float) -> float:
        """Seconds since the oldest run of a state was requested."""
        found = self._instance.get_run_records(dg.RunsFilter(statuses=[status]), limit=1, ascending=True)
        return max(0.0, now - found[0].create_timestamp.timestamp()) if found else 0.0

    def _count_ends(self) -> None:
        for result, kind in _ENDS.items():
            while True:
                asked = dg.RunStatusChangeRecordsFilter(kind, after_storage_id=self._through[result])
                found = self._instance.fetch_run_status_changes(asked, limit=_AT_ONCE, ascending=True)
                if found.records:
                    self._through[result] = found.records[-1].storage_id
                    self._ended[result] += len(found.records)
                if not found.has_more:
                    break

    def _ticks(self) -> Metric:
        failed = GaugeMetricFamily(
            "yolo_platform_tick_failed", "1: the last tick of a sensor or schedule failed.", labels=("name",)
        )
        for state in self._instance.all_instigator_state():
            ticks = self._instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            if ticks:
                failed.add_metric((state.instigator_name,), ticks[0].status is TickStatus.FAILURE)
        return failed


def partition_families(instance: dg.DagsterInstance, graph: AssetGraph) -> Iterator[Metric]:
    """Every asset that runs here. An asset without partitions counts as one."""
    failed = GaugeMetricFamily(
        "yolo_platform_failed_partitions",
        "Partitions whose last run failed, and that were not made since.",
        labels=("asset",),
    )
    made = GaugeMetricFamily(
        "yolo_platform_materialized_partitions", "Partitions that were made at least once.", labels=("asset",)
    )
    newest = GaugeMetricFamily(
        "yolo_platform_materialized_timestamp_seconds",
        "When anything of an asset was made, or reported, last.",
        labels=("asset",),
    )
    keys = sorted(graph.materializable_asset_keys | graph.external_asset_keys)
    entries = {record.asset_entry.asset_key: record.asset_entry for record in instance.get_asset_records(keys)}
    for key in keys:
        name = key.to_user_string()
        latest = entries[key].last_materialization_record if key in entries else None
        if latest is not None:
            newest.add_metric((name,), latest.timestamp)
        partitions = graph.get(key).partitions_def
        if partitions is not None:
            status = get_and_update_asset_status_cache_value(instance, key, partitions)
            made_here = len(status.deserialize_materialized_partition_subsets(partitions)) if status else 0
            failed_here = len(status.deserialize_failed_partition_subsets(partitions)) if status else 0
        else:
            made_here = int(latest is not None)
            failed_here = int(_failed_last(instance, key, latest.storage_id if latest is not None else 0))
        made.add_metric((name,), made_here)
        if key in graph.materializable_asset_keys:
            failed.add_metric((name,), failed_here)
    yield failed
    yield made
    yield newest


def _failed_last(instance: dg.DagsterInstance, key: dg.AssetKey, made_at: int) -> bool:
    """Whether the newest run of an asset without partitions failed, and nothing made it since."""
    planned = instance.event_log_storage.get_latest_planned_materialization_info(key)
    if planned is None or planned.storage_id < made_at:
        return False
    run = instance.get_run_by_id(planned.run_id)
    return run is not None and run.status is dg.DagsterRunStatus.FAILURE
