"""Data versions: those that Dagster knows, so that nothing is reported twice, and those of results without a file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import dagster as dg
import orjson
from dagster import DagsterEventType

_TAG = "dagster/data_version"
_CHUNK = 500


def newest_versions(instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Sequence[str]) -> dict[str, str]:
    """The version in the newest event of each partition that has one; a few queries for many partitions.

    That is its materialization, or the observation of an hour of which only a part could be made.
    """
    known: dict[str, str] = {}
    for start in range(0, len(partitions), _CHUNK):
        chunk = partitions[start : start + _CHUNK]
        made = _versions(instance, DagsterEventType.ASSET_MATERIALIZATION, asset, chunk)
        seen = _versions(instance, DagsterEventType.ASSET_OBSERVATION, asset, chunk)
        known |= seen | made
        if both := set(made) & set(seen):
            newest = instance.event_log_storage.get_latest_storage_id_by_partition
            last_made = newest(asset, DagsterEventType.ASSET_MATERIALIZATION, both)
            last_seen = newest(asset, DagsterEventType.ASSET_OBSERVATION, both)
            known |= {key: seen[key] for key in both if last_seen[key] > last_made[key]}
    return known


def _versions(
    instance: dg.DagsterInstance, kind: DagsterEventType, asset: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, str]:
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        asset, kind, [_TAG], asset_partitions=list(partitions)
    )
    return {partition: found[_TAG] for partition, found in tags.items() if _TAG in found}


def content_version(*parts: object) -> str:
    """The data version of a result without a file of its own: equal results have equal ones.

    Args:
        parts: rows, sentences and figures, as JSON has them or with times.
    """
    return hashlib.sha256(orjson.dumps(parts, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()
