"""Which hours of which assets a backfill requests: those that are missing or failed, or all that hold anything.

An hour that holds nothing, neither in the spool nor in the archive, is not requested: a run over it would make nothing.
What another run or backfill has at work is left to it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.times import Hour, hours_between, utc_now
from yolo_assets.defs.partitions import FIRST_HOUR, SETTING, hourly

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

    from yolo_assets.archive.archive import Archive

RAW = dg.AssetKey("raw_frames")
_SERVED_BY = {
    "archive_catalog": "yolo-assets catalog rebuild",
    "archive_audit": "yolo-assets archive verify",
    "archive_copy": "yolo-assets archive replicate",
    "receipt_checkpoint": "yolo-assets archive checkpoint",
    "training_dataset": "yolo-assets datasets build",
}


@dataclass(frozen=True)
class AssetPlan:
    """One asset's part.

    Attributes:
        key: of the asset.
        requested: the hours to build, in order.
        there: hours that are built already and stay as they are.
        under_way: hours that another run or backfill has at work.
        without_input: hours in which an asset that it is made from is missing, and not requested along with it.
        inputs: names of such assets.
    """

    key: dg.AssetKey
    requested: tuple[Hour, ...]
    there: int
    under_way: int
    without_input: int
    inputs: tuple[str, ...]

    @property
    def name(self) -> str:
        """As Dagster shows it."""
        return self.key.to_user_string()


@dataclass(frozen=True)
class BackfillPlan:
    """What a request is about.

    Attributes:
        first: hour of the range.
        last: hour of the range, included.
        assets: in flow order; also those that one function makes together with a requested one.
        added: names of the latter.
        cameras: only these are built; None: all.
        empty: hours of the range that hold nothing.
        runs: how many runs the daemon makes of it, each of up to ``HOURS_A_RUN`` hours.
        outside: a sentence about the part of the range that has no partitions; empty when there is none.
    """

    first: Hour
    last: Hour
    assets: tuple[AssetPlan, ...]
    added: tuple[str, ...]
    cameras: tuple[str, ...] | None
    empty: int
    runs: int
    outside: str

    @property
    def asset_hours(self) -> int:
        """Hours to build, those of every asset together."""
        return sum(len(asset.requested) for asset in self.assets)


def chosen_assets(graph: AssetGraph, names: Sequence[str]) -> tuple[list[dg.AssetKey], tuple[str, ...]]:
    """The assets of these names and those that the same functions make, in flow order; and which were added.

    Raises:
        UsageError: no such asset, one that nothing here makes, or one without hours.
    """
    hourly_keys = {key for key in graph.executable_asset_keys if graph.get(key).partitions_def == hourly}
    chosen: set[dg.AssetKey] = set()
    for name in names:
        key = dg.AssetKey.from_user_string(name)
        if key not in graph.get_all_asset_keys():
            known = sorted(key.to_user_string() for key in hourly_keys)
            near = get_close_matches(name, known, 1, 0.5)
            raise UsageError(f"there is no asset {name}; " + (f"try {near[0]}" if near else f"use {', '.join(known)}"))
        if key not in graph.executable_asset_keys:
            raise UsageError(f"{name} is made outside Dagster and only reported to it; name an asset that follows it")
        if key not in hourly_keys:
            command = _SERVED_BY.get(name, f"dagster asset materialize -m yolo_assets.definitions --select {name}")
            raise UsageError(f"{name} has no hours, there is one of it; run: {command}")
        chosen |= {key, *graph.get(key).execution_set_asset_keys}
    ordered = [key for key in graph.toposorted_asset_keys if key in chosen]
    added = {key.to_user_string() for key in chosen} - {*names}
    return ordered, tuple(sorted(added))


@dataclass(frozen=True)
class WantedHours:
    """What somebody asks for.

    Attributes:
        names: of assets.
        first: hour of the range.
        last: hour of the range, included.
        cameras: only what these recorded counts.
        force: also what is built, and what is at work.
    """

    names: Sequence[str]
    first: Hour
    last: Hour
    cameras: Sequence[str] | None = None
    force: bool = False


def plan_backfill(
    graph: AssetGraph, instance: dg.DagsterInstance, wanted: WantedHours, *, spool: Path, archive: Archive
) -> BackfillPlan:
    """Compare the range with what is built, what is at work, and what there is to build from.

    An hour that the graph never heard of costs a listing of its day in the archive; with ``cameras`` every day does.

    Args:
        graph: of the code location.
        instance: of Dagster.
        wanted: names, range, and what of it counts.
        spool: where frames wait.
        archive: only listed.

    Raises:
        UsageError: an asset that cannot be backfilled, or a range without an hour that is over.
        UserError: none of the cameras recorded anything in the range; or the archive cannot be listed.
    """
    first, last, cameras = wanted.first, wanted.last, wanted.cameras
    keys, added = chosen_assets(graph, wanted.names)
    if last < first:
        raise UsageError(f"--to {last} lies before --from {first}")
    hours, outside = _with_partitions(first, last)
    full = _hours_with_frames(instance, hours, spool, archive, cameras)
    if cameras is not None and not full:
        raise UserError(f"{', '.join(cameras)} recorded nothing from {first} to {last}; correct --camera or the range")
    assets = _compare(graph, instance, keys, hours, full, wanted.force)
    targets = {AssetKeyPartitionKey(a.key, hour.partition_key) for a in assets for hour in a.requested}
    runs = build_run_requests_with_backfill_policies(targets, graph, instance) if targets else ()
    empty = len(hours) - len(full)
    return BackfillPlan(
        first, last, assets, added, tuple(cameras) if cameras is not None else None, empty, len(runs), outside
    )


def _with_partitions(first: Hour, last: Hour) -> tuple[list[Hour], str]:
    """The hours of the range that are partitions, and a sentence about the others."""
    now = utc_now()
    hours = list(hours_between(first.start, last.end))
    inside = [hour for hour in hours if hour >= FIRST_HOUR and hour.end <= now]
    early, late = sum(hour < FIRST_HOUR for hour in hours), sum(hour.end > now for hour in hours)
    told = [f"{early} hours lie before the first partition {FIRST_HOUR} ({SETTING} moves it)"] if early else []
    told += [f"{late} hours are not over"] if late else []
    if not inside:
        raise UsageError(f"no hour from {first} to {last} can be built: {' and '.join(told)}")
    return inside, f"{' and '.join(told)}, and are left out" if told else ""


def _hours_with_frames(
    instance: dg.DagsterInstance,
    hours: Sequence[Hour],
    spool: Path,
    archive: Archive,
    cameras: Sequence[str] | None,
) -> set[Hour]:
    """Those of the hours in which anything was recorded, by all or by some cameras."""
    from yolo_assets.archive.listing import archives_between, list_day
    from yolo_assets.spool.hours import list_hours

    known: set[Hour] = set()
    if cameras is None:
        reported = instance.get_materialized_partitions(RAW)
        known = {hour for hour in hours if hour.partition_key in reported}
    unknown = {hour for hour in hours if hour not in known}
    if not unknown:
        return known
    known |= {
        found.hour
        for found in list_hours(spool)
        if found.hour in unknown and (cameras is None or found.camera_id in cameras)
    }
    for camera in cameras or ():
        listed = archives_between(archive, min(unknown).start, max(unknown).end, camera_id=camera)
        known |= {name.hour for name in listed if name.hour in unknown}
    if cameras is None:
        for day in sorted({hour.date for hour in unknown - known}):
            known |= {listed.hour for listed in list_day(archive, day) if listed.hour in unknown}
    return known


def _compare(
    graph: AssetGraph,
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetKey],
    hours: Sequence[Hour],
    full: Collection[Hour],
    force: bool,
) -> tuple[AssetPlan, ...]:
    """Each asset's part, in flow order: what is requested of an input counts as there for what follows it."""
    plans: dict[dg.AssetKey, AssetPlan] = {}
    for key in keys:
        built = _built(instance, key)
        busy = set() if force else _at_work(graph, instance, key)
        wanted = [hour for hour in hours if hour in full and (force or hour.partition_key not in built | busy)]
        lacking: dict[dg.AssetKey, set[Hour]] = {}
        for parent in sorted(graph.get(key).parent_keys & graph.executable_asset_keys):
            will_be = {hour.partition_key for hour in plans[parent].requested} if parent in plans else set()
            ready = _built(instance, parent, also_failed=True) | will_be
            if without := {hour for hour in wanted if hour.partition_key not in ready}:
                lacking[parent] = without
        without = set().union(*lacking.values())
        plans[key] = AssetPlan(
            key,
            requested=tuple(hour for hour in wanted if hour not in without),
            there=0 if force else sum(hour.partition_key in built for hour in hours),
            under_way=sum(hour.partition_key in busy - built for hour in hours),
            without_input=len(without),
            inputs=tuple(parent.to_user_string() for parent in lacking),
        )
    return tuple(plans.values())


def _built(instance: dg.DagsterInstance, key: dg.AssetKey, *, also_failed: bool = False) -> set[str]:
    """Partitions that are materialized, as the UI counts them: without those whose newest run failed, or with them."""
    status = get_and_update_asset_status_cache_value(instance, key, hourly)
    if status is None:
        return set()
    made = status.deserialize_materialized_partition_subsets(hourly)
    failed = hourly.empty_subset() if also_failed else status.deserialize_failed_partition_subsets(hourly)
    return set((made - failed).get_partition_keys())


def _at_work(graph: AssetGraph, instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """Partitions of runs that are queued or running, and of backfills that have not asked for them yet."""
    status = get_and_update_asset_status_cache_value(instance, key, hourly)
    busy = set(status.deserialize_in_progress_partition_subsets(hourly).get_partition_keys()) if status else set()
    requested = BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
    for backfill in instance.get_backfills(filters=requested):
        if not backfill.is_asset_backfill:
            continue
        data = backfill.get_asset_backfill_data(graph)
        if key in data.target_subset.partitions_subsets_by_asset_key:
            ended = data.materialized_subset | data.failed_and_downstream_subset
            busy |= set((data.target_subset - ended).get_partitions_subset(key).get_partition_keys())
    return busy
