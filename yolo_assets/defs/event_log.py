"""The newest events of many partitions at once: what was made, and when a run for it was created.

Belongs here: questions to Dagster's event log, one for hundreds of partitions. Does not belong here: what follows from
the answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import dagster as dg
from dagster import DagsterEventType

from yolo_assets.defs.versions import newest_versions

NO_PARTITION = ""
"""The one partition of an asset without partitions."""
_CHUNK = 500
_VERSION = "dagster/data_version"
_Kind = Literal[
    DagsterEventType.ASSET_MATERIALIZATION,
    DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    DagsterEventType.ASSET_OBSERVATION,
]


@dataclass(frozen=True)
class Event:
    """What happened to one partition: it was made, or a run for it was created.

    Attributes:
        position: in the event log.
        run: id of its run; empty when a sensor or a person reported it.
        at: when.
    """

    position: int
    run: str
    at: datetime


@dataclass
class EventLog:
    """What the event log knows of assets by partition; an asset without partitions has one, the empty text."""

    instance: dg.DagsterInstance
    _selections: dict[str, Collection[dg.AssetKey]] = field(default_factory=dict)

    def made(self, asset: dg.AssetKey, partitions: Collection[str]) -> dict[str, Event]:
        """The newest materialization of each partition."""
        if NO_PARTITION in partitions:
            newest = self.instance.fetch_materializations(asset, limit=1).records
            if not newest:
                return {}
            at = datetime.fromtimestamp(newest[0].timestamp, UTC)
            return {NO_PARTITION: Event(newest[0].storage_id, newest[0].run_id or "", at)}
        return self._newest(asset, DagsterEventType.ASSET_MATERIALIZATION, partitions)

    def planned(self, asset: dg.AssetKey, partitions: Collection[str]) -> dict[str, Event]:
        """When the newest run of each partition was created, whatever became of it."""
        kind = DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        if NO_PARTITION not in partitions:
            return self._newest(asset, kind, partitions)
        info = self.instance.event_log_storage.get_latest_planned_materialization_info(asset)
        return self._events(asset, kind, {NO_PARTITION: info.storage_id}) if info is not None else {}

    def without_version(self, asset: dg.AssetKey, partitions: Collection[str]) -> set[str]:
        """Partitions that a person reported without a data version: their content is not known to be the same."""
        if NO_PARTITION in partitions:
            newest = self.instance.fetch_materializations(asset, limit=1).records
            made = newest[0].asset_materialization if newest else None
            return set() if made is None or (made.tags or {}).get(_VERSION) else {NO_PARTITION}
        return set(partitions) - set(newest_versions(self.instance, asset, sorted(partitions)))

    def incomplete(self, asset: dg.AssetKey, after: int) -> dict[str, int]:
        """Positions of hours in which a camera failed and others gave something new, after a position in the log.

        Such an hour is observed with the version of what is there of it. An attempt that added nothing is no change.
        """
        log, seen = self.instance.event_log_storage, DagsterEventType.ASSET_OBSERVATION
        newest = log.get_latest_tags_by_partition(asset, seen, [_VERSION], after_cursor=after)
        if not newest:
            return {}
        partitions = sorted(newest)
        for kind in (seen, DagsterEventType.ASSET_MATERIALIZATION):
            earlier = log.get_latest_tags_by_partition(
                asset, kind, [_VERSION], asset_partitions=partitions, before_cursor=after + 1
            )
            newest = {key: tags for key, tags in newest.items() if tags != earlier.get(key)}
        events = self._newest(asset, seen, sorted(newest)) if newest else {}
        return {partition: event.position for partition, event in events.items()}

    def makes(self, run: str, asset: dg.AssetKey) -> bool:
        """Whether a run was to make an asset as well."""
        if not run:
            return False
        if run not in self._selections:
            found = self.instance.get_run_by_id(run)
            self._selections[run] = (found.asset_selection if found is not None else None) or ()
        return asset in self._selections[run]

    def _newest(self, asset: dg.AssetKey, kind: _Kind, partitions: Collection[str]) -> dict[str, Event]:
        found: dict[str, Event] = {}
        for chunk in _chunks(partitions):
            storage = self.instance.event_log_storage
            found |= self._events(asset, kind, storage.get_latest_storage_id_by_partition(asset, kind, set(chunk)))
        return found

    def _events(self, asset: dg.AssetKey, kind: _Kind, positions: Mapping[str, int]) -> dict[str, Event]:
        rows = self.instance.get_asset_event_summary_records(
            kind, asset_key=asset, storage_ids=sorted(positions.values()), limit=len(positions) or 1
        )
        by_position = {row.storage_id: row for row in rows}
        return {
            partition: Event(position, row.run_id or "", datetime.fromtimestamp(row.timestamp, UTC))
            for partition, position in positions.items()
            if (row := by_position.get(position)) is not None
        }


def _chunks(partitions: Collection[str]) -> list[list[str]]:
    ordered = sorted(partitions)
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]
