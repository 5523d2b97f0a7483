"""The condition that an input of an asset has a new data version which no attempt of the asset has seen.

Dagster's own ``any_deps_updated().since(newly_requested | newly_updated)`` compares ticks. A change between two ticks
in which the asset was also requested, or made, is forgotten; and of a run over several hours it takes some for changes
that the run itself made. Here the positions in the event log decide:

    version of an input changes ─────► pending ──────────────────────────────► requested, when nothing holds it back
                                          └─ an attempt began after the change, or the run that made it also makes the
                                             asset: no longer pending

An attempt counts when its run was created, whatever became of it: ``recovery`` requests what failed. Belongs here: the
condition. Does not belong here: what else an asset waits for (``automation``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from yolo_assets.defs.event_log import NO_PARTITION, EventLog

if TYPE_CHECKING:
    from dagster._core.asset_graph_view.entity_subset import EntitySubset
    from dagster._core.definitions.declarative_automation.automation_context import AutomationContext

_Condition = dg.AutomationCondition


class InputsChanged(dg.AutomationCondition):
    """True for partitions with an input that changed after their newest attempt began.

    An equal data version is no change: after a backfill of unchanged hours nothing downstream runs. An hour in which a
    camera failed counts when its other cameras gave something new, also when its run was to make this asset as well:
    a step is not reached behind one that failed.
    """

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return "inputs_changed"

    @property
    def description(self) -> str:
        """As the UI shows it."""
        return "An input has a new data version that no run has seen"

    async def evaluate(self, context: AutomationContext) -> dg.AutomationResult:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Changes since the last tick join those that wait; those that an attempt has seen leave."""
        before, now = context.previous_temporal_context, context.max_storage_id
        if before is None or before.last_event_id is None:
            return dg.AutomationResult(context, context.get_empty_subset())
        view, key, log = context.asset_graph_view, context.key, EventLog(context.asset_graph_view.instance)
        waiting = context.previous_true_subset or context.get_empty_subset()
        requested = context.get_previous_requested_subset(key)
        if requested is not None:
            waiting = waiting.compute_difference(requested)
        since = dict.fromkeys(_keys(waiting), before.last_event_id)
        for number, parent in enumerate(sorted(context.asset_graph.get(key).parent_keys)):
            newer, changed = [
                (
                    await context.for_child_condition(
                        child_condition=condition,
                        child_indices=[2 * number + index],
                        candidate_subset=view.get_full_subset(key=parent),
                    ).evaluate_async()
                ).true_subset
                for index, condition in enumerate((_Condition.newly_updated(), _Condition.data_version_changed()))
            ]
            equal = _keys(newer.compute_difference(changed))
            partitions = {*_keys(changed), *(log.without_version(parent, equal) if equal else ())}
            incomplete = log.incomplete(parent, before.last_event_id)
            for changes in (_changes(context, log, parent, partitions, now), _of_asset(context, incomplete, now)):
                for partition, position in changes.items():
                    since[partition] = max(position, since.get(partition, 0))
        return dg.AutomationResult(context, _subset(context, _unseen(log, key, since)))


class NeverTried(dg.AutomationCondition):
    """True for partitions for which no run was ever created.

    ``missing`` and ``in_progress`` are read at different moments of a tick: of a run that ends between them the one is
    still true and the other no longer.
    """

    @property
    def name(self) -> str:
        """As the UI shows it."""
        return "never_tried"

    @property
    def description(self) -> str:
        """As the UI shows it."""
        return "No run was ever created for it"

    @property
    def requires_cursor(self) -> bool:
        """It remembers nothing."""
        return False

    def evaluate(self, context: AutomationContext) -> dg.AutomationResult:
        """One question about what is left of the conditions before it."""
        asked = _keys(context.candidate_subset)
        log = EventLog(context.asset_graph_view.instance)
        tried = log.planned(context.key, asked) if asked else {}
        return dg.AutomationResult(context, _subset(context, [key for key in asked if key not in tried]))


def _of_asset(context: AutomationContext, positions: Mapping[str, int], now: int | None) -> dict[str, int]:
    """Positions up to this tick, by partition of the asset: all count for one without partitions."""
    found = {partition: position for partition, position in positions.items() if now is None or position <= now}
    if context.partitions_def is None:
        return {NO_PARTITION: max(found.values())} if found else {}
    return found


def _changes(
    context: AutomationContext, log: EventLog, parent: dg.AssetKey, changed: Collection[str], now: int | None
) -> dict[str, int]:
    """The position of the newest change of an input, by partition of the asset.

    What was stored after this tick began is left to the next one, which sees it again. What a run changed that also
    makes the asset is of no concern: it makes the asset afterwards, or fails, and ``recovery`` requests both.
    """
    if not changed:
        return {}
    made = log.made(parent, changed)
    events = {partition: event.position for partition, event in made.items() if not log.makes(event.run, context.key)}
    return _of_asset(context, events, now)


def _unseen(log: EventLog, key: dg.AssetKey, since: Mapping[str, int]) -> list[str]:
    """Partitions of which no attempt began after a position: no run was created and nothing was reported."""
    planned = log.planned(key, since) if since else {}
    seen = {partition for partition, event in planned.items() if event.position > since[partition]}
    open_ = set(since) - seen
    made = log.made(key, open_) if open_ else {}
    reported = {partition for partition, event in made.items() if not event.run and event.position > since[partition]}
    return sorted(open_ - reported)


def _keys(subset: EntitySubset) -> list[str]:
    if subset.is_empty:
        return []
    return sorted(subset.expensively_compute_partition_keys()) if subset.is_partitioned else [NO_PARTITION]


def _subset(context: AutomationContext, partitions: Collection[str]) -> EntitySubset:
    view = context.asset_graph_view
    if context.partitions_def is None:
        return view.get_full_subset(key=context.key) if partitions else context.get_empty_subset()
    return view.get_subset_from_partition_keys(context.key, context.partitions_def, set(partitions))
