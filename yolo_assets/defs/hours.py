"""The camera-hours of an hourly run; one that fails does not fail the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import dagster as dg

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import Hour

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour

T = TypeVar("T")
RETRIES = 2
RETRY_SECONDS = 5.0


def hours_of(context: dg.AssetExecutionContext) -> list[Hour]:
    """The hours of this run: one, or up to a day of them in a backfill."""
    return [Hour.from_partition_key(key) for key in context.partition_keys]


@dataclass
class Outcomes(Generic[T]):
    """The result or the error of each camera-hour of a run.

    Attributes:
        done: results by camera-hour.
        failed: the one-line reason by camera-hour.
    """

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def check(self, spec: dg.AssetCheckSpec) -> dg.AssetCheckResult:
        """Passed when no camera failed; the reasons as metadata otherwise."""
        return dg.AssetCheckResult(
            check_name=spec.name,
            passed=not self.failed,
            severity=dg.AssetCheckSeverity.ERROR,
            description="every camera succeeded" if not self.failed else f"{len(self.failed)} camera-hours failed",
            metadata=dict(sorted(self.failed.items())),
        )


def for_each(
    context: dg.AssetExecutionContext, items: Sequence[tuple[str, Callable[[], T]]], *, retries: int = RETRIES
) -> Outcomes[T]:
    """Do every item; one that fails does not stop the others.

    While tries are left a failure asks for a retry of the step (what is done already is found done then); after the
    last one it is reported, for the check to fail and the next sensor tick to ask again.

    Raises:
        dagster.RetryRequested: something failed and there are tries left.
    """
    outcomes: Outcomes[T] = Outcomes()
    for name, work in items:
        try:
            outcomes.done[name] = work()
        except (UserError, OSError) as error:
            outcomes.failed[name] = str(error)
            context.log.error(f"{name}: {error}")
    if outcomes.failed and context.retry_number < retries:
        raise dg.RetryRequested(max_retries=retries, seconds_to_wait=RETRY_SECONDS)
    return outcomes


def closed_spool_hours(spool: Path, hours: Sequence[Hour], grace_seconds: float) -> list[SpoolHour]:
    """The closed camera-hours of these hours that are in the spool, by hour and camera."""
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.spool.hours import list_hours

    selected, now = set(hours), utc_now()
    closed = [hour for hour in list_hours(spool) if hour.hour in selected and hour.is_closed(now, grace_seconds)]
    return sorted(closed, key=lambda hour: (hour.hour, hour.camera_id))
