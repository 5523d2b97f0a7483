"""What one hour of an asset was made of: the tags by which Dagster decides what is stale and what changed.

Dagster writes these tags itself when it records all partitions of a run with one result: one data version for all of
them, made from the inputs of all. Hours are recorded one by one, so that the version of an hour depends on that hour
alone, however many others its run had. Belongs here: reading the versions of the inputs, composing the tags. Does not
belong here: the content that an asset gives as its version.
"""

from __future__ import annotations

import dagster as dg
from dagster import DagsterEventType
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    compute_logical_data_version,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from yolo_assets.contracts.times import Hour


class Provenance:
    """Versions of the inputs of a step in each of its hours, read once when the step begins."""

    def __init__(self, context: dg.AssetExecutionContext) -> None:
        """Read them.

        Args:
            context: of a step whose inputs have the same partitions.
        """
        self._specs = context.assets_def.specs_by_key
        self._run_id, self._instance = context.run_id, context.instance
        self._versions: dict[dg.AssetKey, dict[str, str]] = {}
        self._events: dict[dg.AssetKey, dict[str, int]] = {}
        log, hours = context.instance.event_log_storage, set(context.partition_keys)
        made = DagsterEventType.ASSET_MATERIALIZATION
        for key in {dep.asset_key for spec in self._specs.values() for dep in spec.deps}:
            tags = log.get_latest_tags_by_partition(key, made, [DATA_VERSION_TAG], list(hours))
            self._versions[key] = {hour: found[DATA_VERSION_TAG] for hour, found in tags.items()}
            self._events[key] = dict(log.get_latest_storage_id_by_partition(key, made, hours))

    def has_input(self, hour: Hour) -> bool:
        """Whether any input of this hour was made."""
        return any(hour.partition_key in events for events in self._events.values())

    def is_current(self, key: dg.AssetKey, hour: Hour) -> bool:
        """Whether the newest materialization of an hour was made from the inputs as they are now."""
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[hour.partition_key])
        found = self._instance.fetch_materializations(wanted, limit=1).records
        made = found[0].asset_materialization if found else None
        inputs = [dep.asset_key for dep in self._specs[key].deps]
        return made is not None and all(
            (made.tags or {}).get(get_input_event_pointer_tag(dep)) == self._pointer(dep, hour) for dep in inputs
        )

    def _pointer(self, key: dg.AssetKey, hour: Hour) -> str:
        event = self._events.get(key, {}).get(hour.partition_key)
        return str(event) if event else NULL_EVENT_POINTER

    def tags(self, key: dg.AssetKey, hour: Hour, version: str | None) -> dict[str, str]:
        """The tags of the materialization of an hour.

        Args:
            key: the asset.
            hour: its hour.
            version: of its content; None: it follows from the code and the inputs.
        """
        spec = self._specs[key]
        code = spec.code_version or self._run_id
        inputs = {
            dep.asset_key: self._versions.get(dep.asset_key, {}).get(hour.partition_key, DEFAULT_DATA_VERSION.value)
            for dep in spec.deps
        }
        tags = {CODE_VERSION_TAG: code}
        for dep, found in inputs.items():
            tags[get_input_data_version_tag(dep)] = found
            tags[get_input_event_pointer_tag(dep)] = self._pointer(dep, hour)
        if version is not None:
            return {**tags, DATA_VERSION_TAG: version, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
        versions = {dep: dg.DataVersion(found) for dep, found in inputs.items()}
        return {**tags, DATA_VERSION_TAG: compute_logical_data_version(code, versions).value}
