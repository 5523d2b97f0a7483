"""Assets and their partitions: what was made, when something was made last, and what failed and was not made since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph


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
