"""Which run goes first: live hours before history, the archive before training.

Every request of a sensor or of the automation gets its tags here. ``dagster/priority`` orders Dagster's queue;
the lane is limited in ``dagster.yaml``, so that old hours and training never hold every place;
``dagster/max_runtime`` ends a run that hangs. Dagster reads all three from the run alone: the same tags on an asset or
its op do nothing.

Belongs here: tags of runs, and how hours are packed into runs. Does not belong here: when a run is requested.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from yolo_assets.contracts.times import Hour

LIVE = timedelta(hours=6)
"""An hour is live for so long after its end; then it is history."""
LANE_TAG = "yolo_assets/lane"
WHY_TAG = "yolo_assets/why"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
_PRIORITIES = {"live": 20, "index": 10, "learning": 0, "training": -5, "history": -10}
OVERDUE_A_RUN = 24
"""Overdue hours that a sensor packs into one run: what lies in the spool is archived in pieces of a day."""
_LONGEST = {"live": timedelta(hours=4), "training": timedelta(hours=6)}
"""Other runs have the limit of ``dagster.yaml``."""


@dataclass(frozen=True)
class HourRange:
    """Consecutive hours that are worked on in one run.

    Attributes:
        first: the first hour.
        last: the last hour, included.
    """

    first: Hour
    last: Hour

    @property
    def hours(self) -> list[Hour]:
        """Every hour of it."""
        count = round((self.last.start - self.first.start) / timedelta(hours=1)) + 1
        return [self.first.next(offset) for offset in range(count)]

    def __str__(self) -> str:
        first, last = self.first.partition_key, self.last.partition_key
        return first if first == last else f"{first} to {last}"


def is_live(hour: Hour, now: datetime) -> bool:
    """Whether an hour ended a short while ago, or is not over yet."""
    return now - hour.end < LIVE


def pack(hours: Iterable[Hour], most: int = OVERDUE_A_RUN) -> list[HourRange]:
    """Neighbouring hours in one run, at most ``most`` of them.

    Args:
        hours: in any order.
        most: hours in one run.
    """
    ranges: list[HourRange] = []
    length = 0
    for hour in sorted(set(hours)):
        if ranges and length < most and hour.start - ranges[-1].last.start == timedelta(hours=1):
            ranges[-1], length = HourRange(ranges[-1].first, hour), length + 1
        else:
            ranges.append(HourRange(hour, hour))
            length = 1
    return ranges


def lane_of(assets: Collection[str], hours: Sequence[Hour], now: datetime) -> str:
    """The lane of a run: ``live``, ``history``, ``index``, ``learning`` or ``training``.

    Args:
        assets: of the run.
        hours: of the run; empty without partitions.
        now: aware.
    """
    if hours:
        return "live" if all(is_live(hour, now) for hour in hours) else "history"
    if "trained_weights" in assets:
        return "training"
    return "index" if "archive_catalog" in assets else "learning"


def run_tags(assets: Collection[str], hours: Sequence[Hour], now: datetime, why: str) -> dict[str, str]:
    """The tags of a run by its lane.

    Args:
        assets: of the run.
        hours: of the run; empty without partitions.
        now: aware.
        why: it is requested, in plain words.
    """
    lane = lane_of(assets, hours, now)
    tags = {LANE_TAG: lane, "dagster/priority": str(_PRIORITIES[lane]), WHY_TAG: why}
    if lane in _LONGEST:
        tags["dagster/max_runtime"] = str(round(_LONGEST[lane].total_seconds()))
    return tags


def hours_request(
    assets: Sequence[str],
    hours: HourRange,
    now: datetime,
    why: str,
    *,
    run_key: str | None = None,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.RunRequest:
    """A request of one run over neighbouring hours.

    Dagster's own requests take one partition; a run over several says so in its tags, as those of a backfill do.

    Args:
        assets: their keys as Dagster shows them.
        hours: of the run.
        now: aware.
        why: it is requested, in plain words.
        run_key: a key that is used once.
        run_config: of the run.
        tags: other tags.
    """
    one = hours.first == hours.last
    span = {} if one else {RANGE_START_TAG: hours.first.partition_key, RANGE_END_TAG: hours.last.partition_key}
    return dg.RunRequest(
        run_key=run_key,
        partition_key=hours.first.partition_key if one else None,
        asset_selection=[dg.AssetKey.from_user_string(asset) for asset in assets],
        run_config=dict(run_config or {}),
        tags={**run_tags(assets, hours.hours, now, why), **span, **(tags or {})},
    )
