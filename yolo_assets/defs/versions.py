"""The data versions that Dagster knows, so that what was reported by one way is not reported again by another."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster import DagsterEventType

_TAG = "dagster/data_version"
_CHUNK = 500


def newest_versions(instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Sequence[str]) -> dict[str, str]:
    """The version in the newest materialization of each partition that has one; one query for many partitions."""
    known: dict[str, str] = {}
    for start in range(0, len(partitions), _CHUNK):
        tags = instance.event_log_storage.get_latest_tags_by_partition(
            asset,
            DagsterEventType.ASSET_MATERIALIZATION,
            [_TAG],
            asset_partitions=list(partitions[start : start + _CHUNK]),
        )
        known |= {partition: found[_TAG] for partition, found in tags.items() if _TAG in found}
    return known
