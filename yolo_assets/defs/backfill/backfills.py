"""The backfills of an instance: planned, requested, watched, and what failed in them.

A request is the object that the UI and GraphQL make (``launchPartitionBackfill``), stored in the instance; the daemon
does the rest, and goes on with it after a restart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterEventType
from dagster._core.definitions.selector import PartitionRangeSelector, PartitionsByAssetSelector, PartitionsSelector
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.utils import make_new_backfill_id
from dagster._time import get_current_timestamp

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.backfill.plan import BackfillPlan, WantedHours, plan_backfill
from yolo_assets.defs.hours import CAMERAS_TAG
from yolo_assets.defs.lanes import run_tags
from yolo_assets.defs.recovery.runs import run_targets
from yolo_assets.defs.recovery.unfinished import Target

if TYPE_CHECKING:
    from yolo_assets.archive.archive import Archive

_DAEMON = "BACKFILL"
_TITLE = 100


@dataclass(frozen=True)
class BackfillState:
    """How far a backfill is.

    Attributes:
        status: Dagster's word for it, in lower case.
        total: asset-hours it is about.
        made: those that are built.
        failed: those that failed, and those that wait for one that failed.
        ended: whether nothing of it runs any more.
        error: why the daemon gave it up; empty when it did not.
    """

    status: str
    total: int
    made: int
    failed: int
    ended: bool
    error: str

    @property
    def succeeded(self) -> bool:
        """Whether it ended and everything was built."""
        return self.ended and self.status == BulkActionStatus.COMPLETED_SUCCESS.value.lower()


@dataclass(frozen=True)
class FailedHours:
    """Hours of one asset that were not built, for one cause."""

    asset: str
    hours: tuple[Hour, ...]
    cause: str


class Backfills:
    """Those of one instance and of this code location's assets. Use as a context manager."""

    def __init__(self, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        """Of an instance that is open; leaving the context closes it."""
        self._instance = instance
        self._graph = definitions.resolve_asset_graph()

    @classmethod
    def of(cls, dagster_home: Path, definitions: dg.Definitions) -> Backfills:
        """Of the instance in a folder with a ``dagster.yaml``."""
        return cls(dg.DagsterInstance.from_config(str(dagster_home)), definitions)

    def __enter__(self) -> Backfills:
        return self

    def __exit__(self, *_: object) -> None:
        self._instance.dispose()

    def plan(self, wanted: WantedHours, *, spool: Path, archive: Archive) -> BackfillPlan:
        """See ``plan_backfill``."""
        return plan_backfill(self._graph, self._instance, wanted, spool=spool, archive=archive)

    def request(self, plan: BackfillPlan) -> str:
        """Store a request for the daemon, and return its id.

        Args:
            plan: with something to request.
        """
        wanted = [asset for asset in plan.assets if asset.requested]
        names = ", ".join(asset.name for asset in wanted)
        cameras = ", ".join(plan.cameras or ())
        hours = sorted({hour for asset in wanted for hour in asset.requested})
        tags = run_tags([asset.name for asset in wanted], hours, utc_now(), "yolo-assets backfill")
        backfill = PartitionBackfill.from_partitions_by_assets(
            backfill_id=make_new_backfill_id(),
            asset_graph=self._graph,
            backfill_timestamp=get_current_timestamp(),
            tags=tags | ({CAMERAS_TAG: ",".join(plan.cameras)} if plan.cameras is not None else {}),
            dynamic_partitions_store=self._instance,
            partitions_by_assets=[
                PartitionsByAssetSelector(asset_key=asset.key, partitions=_stretches(asset.requested))
                for asset in wanted
            ],
            title=f"{plan.first} to {plan.last}: {names}"[:_TITLE],
            description=f"yolo-assets backfill {names}" + (f", only {cameras}" if cameras else ""),
            run_config=None,
        )
        self._instance.add_backfill(backfill)
        return backfill.backfill_id

    def daemon_is_running(self) -> bool:
        """Whether a daemon that runs backfills gave a sign of life a short while ago."""
        return self._instance.get_daemon_statuses([_DAEMON])[_DAEMON].healthy is not False

    def state(self, backfill_id: str) -> BackfillState:
        """What the daemon has noted so far; it notes every few seconds.

        Raises:
            UserError: there is no such backfill.
        """
        backfill = self._stored(backfill_id)
        data = backfill.get_asset_backfill_data(self._graph)
        return BackfillState(
            status=backfill.status.value.lower(),
            total=data.target_subset.num_partitions_and_non_partitioned_assets,
            made=data.materialized_subset.num_partitions_and_non_partitioned_assets,
            failed=data.failed_and_downstream_subset.num_partitions_and_non_partitioned_assets,
            ended=backfill.status in BULK_ACTION_TERMINAL_STATUSES,
            error=" ".join(backfill.error.message.split()) if backfill.error is not None else "",
        )

    def failed_hours(self, backfill_id: str) -> list[FailedHours]:
        """What a backfill that ended did not build, and why, by asset and cause."""
        data = self._stored(backfill_id).get_asset_backfill_data(self._graph)
        not_made = {
            Target(item.asset_key.to_user_string(), item.partition_key or "")
            for item in (data.target_subset - data.materialized_subset).iterate_asset_partitions()
        }
        causes: dict[Target, str] = {}
        runs = self._instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}))
        for run in sorted(runs, key=lambda run: run.is_failure):  # a failed run says why, others only that they ended
            if lacking := run_targets(self._instance, run) & not_made:
                causes |= dict.fromkeys(lacking, _cause(self._instance, run)) | _causes_by_hour(self._instance, run)
        together: dict[tuple[str, str], list[Hour]] = defaultdict(list)
        for target in sorted(not_made):
            cause = causes.get(target, "never started: an asset that it is made from failed, or the backfill was ended")
            together[target.asset, cause].append(Hour.from_partition_key(target.partition))
        return [FailedHours(asset, tuple(hours), cause) for (asset, cause), hours in together.items()]

    def _stored(self, backfill_id: str) -> PartitionBackfill:
        backfill = self._instance.get_backfill(backfill_id)
        if backfill is None:
            raise UserError(f"there is no backfill {backfill_id} any more; it was deleted")
        return backfill


def _stretches(hours: Sequence[Hour]) -> PartitionsSelector:
    """Hours as the stretches without a gap that they make."""
    ranges: list[PartitionRangeSelector] = []
    start = hours[0]
    for hour, following in zip(hours, [*hours[1:], None], strict=True):
        if following is None or following.start != hour.end:
            ranges.append(PartitionRangeSelector(start=start.partition_key, end=hour.partition_key))
            start = following or hour
    return PartitionsSelector(ranges=ranges)


def _causes_by_hour(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[Target, str]:
    """What the run itself says of hours that are not complete."""
    entries = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_OBSERVATION)
    seen = [entry.get_dagster_event().asset_observation_data.asset_observation for entry in entries]
    return {
        Target(item.asset_key.to_user_string(), item.partition or ""): item.description
        for item in seen
        if item.description
    }


def _cause(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """What the first failed step says, or how the run ended."""
    entries = instance.all_logs(run.run_id, of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE})
    for entry in entries:
        event = entry.get_dagster_event()
        if event.event_type is DagsterEventType.STEP_FAILURE:
            told = event.step_failure_data.user_failure_data
            if told is not None and told.description:
                return told.description
            error = event.step_failure_data.error
            if error is not None:
                return " ".join(error.message.split())
        elif event.message:
            return " ".join(event.message.split())
    if run.is_success:
        return "nothing is known of it: neither the spool nor the archive, nor what it is made from, holds anything"
    return f"its run ended {run.status.value.lower()}"
