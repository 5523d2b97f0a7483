"""The camera-hours of an hourly run; one that fails does not fail the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import dagster as dg

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.failures import RETRY_POLICY, may_pass, note_incomplete, to_failure

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour

T = TypeVar("T")

CAMERAS_TAG = "yolo_assets/cameras"
"""Tag of a run: ids, separated by commas. Only these cameras' work is done; what the run says of an hour is of all."""


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


def for_each(context: dg.AssetExecutionContext, items: Sequence[tuple[str, Callable[[], T]]]) -> Outcomes[T]:
    """Do every item; one that fails does not stop the others, also when it fails by a defect of the program.

    While the asset's policy has tries left, a failure that may pass fails the step, which is then retried; finished
    items only confirm what they did. After the last try, and for failures that will not pass, the failed items are
    returned, for the check to name them; the run is marked when a later run may complete it.

    Args:
        context: of the step.
        items: name and work.

    Raises:
        dagster.Failure: something failed that may pass soon, and there are tries left.
    """
    outcomes: Outcomes[T] = Outcomes()
    passing: list[Exception] = []
    for name, work in items:
        try:
            outcomes.done[name] = work()
        except (dg.Failure, dg.RetryRequested, dg.DagsterExecutionInterruptedError):
            raise
        except Exception as error:
            failure = to_failure(error)
            outcomes.failed[name] = failure.description or type(error).__name__
            defect = not isinstance(error, UserError | OSError)
            context.log.error(f"{name}: {failure.description}", exc_info=error if defect else None)
            if may_pass(error):
                passing.append(error)
    soon = [failure for failure in map(to_failure, passing) if failure.allow_retries]
    if soon and context.retry_number < RETRY_POLICY.max_retries:
        raise soon[0] from passing[0]
    if passing:
        note_incomplete(context)
    return outcomes


def closed_spool_hours(spool: Path, hours: Sequence[Hour], grace_seconds: float) -> list[SpoolHour]:
    """The closed camera-hours of these hours that are in the spool, by hour and camera.

    One that cannot be read is among them: working on it says why, and fails that camera alone.
    """
    from yolo_assets.contracts.times import utc_now
    from yolo_assets.spool.hours import list_hours

    selected, now = set(hours), utc_now()

    def is_closed(hour: SpoolHour) -> bool:
        try:
            return hour.is_closed(now, grace_seconds)
        except OSError:
            return True

    closed = [hour for hour in list_hours(spool) if hour.hour in selected and is_closed(hour)]
    return sorted(closed, key=lambda hour: (hour.hour, hour.camera_id))
