"""The hours of an hourly step: each is recorded by itself, and one that fails does not fail the others.

    every camera of the hour succeeded  ──► materialized: metadata, checks and data version are those of this hour
    a camera failed, its cause may pass ──► the step is tried again; what is done is only confirmed
    a camera failed for good            ──► the others are done and committed; the hour is observed, not materialized,
                                            its check is red, and the step fails at its end: the partition is Failed
    nothing is known of the hour        ──► not recorded: it stays missing

Dagster records a result once for each partition of the run, with the metadata and the data version of all of them, and
cannot leave one out. So ``each_hour`` records the hours itself, as soon as each is done, and returns outputs that
record nothing. Belongs here: the walk over hours and cameras. Does not belong here: what is done in an hour.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import dagster as dg
from dagster import DagsterEventType
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.failures import REQUESTED_AGAIN, RETRY_POLICY, several, to_failure
from yolo_assets.defs.partitions import hourly
from yolo_assets.defs.provenance import Provenance

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour

T = TypeVar("T")

CAMERAS_TAG = "yolo_assets/cameras"
"""Tag of a run: ids, separated by commas. Only these cameras' work is done; what the run says of an hour is of all."""
VERSION_TAG = "dagster/data_version"
"""Tag of an hour's materialization, and of the observation of one that is not complete: the version of its content."""
NO_VALUE: dg.DagsterType = dg.Nothing  # pyright: ignore[reportAssignmentType]
"""The ``dagster_type`` of an hourly asset: its output carries no value and needs no I/O manager."""
_RECORDED_ALREADY = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
"""Metadata of an output with which Dagster records no event of its own; assets downstream in the run go on after it."""

HourEvent = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation | dg.Output


def hourly_check(name: str, asset: str, description: str) -> dg.AssetCheckSpec:
    """A check with a verdict for each hour; that of the next hour does not replace it."""
    with warnings.catch_warnings():  # Dagster calls it a preview, at each load of each process
        warnings.simplefilter("ignore")
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=hourly)


@dataclass
class Outcomes(Generic[T]):
    """The result or the failure of each camera-hour.

    Attributes:
        done: results by camera-hour.
        failed: failures by camera-hour; the description is one line.
    """

    done: dict[str, T] = field(default_factory=dict)
    failed: dict[str, dg.Failure] = field(default_factory=dict)

    @property
    def reasons(self) -> dict[str, str]:
        """The one-line reason of each failure, by camera-hour."""
        return {name: failure.description or "" for name, failure in sorted(self.failed.items())}

    def check(self, spec: dg.AssetCheckSpec) -> dg.AssetCheckResult:
        """Passed when no camera failed; the reasons as metadata otherwise."""
        told = f"{len(self.failed)} camera-hour{'' if len(self.failed) == 1 else 's'} failed"
        return dg.AssetCheckResult(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=not self.failed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=told if self.failed else "every camera succeeded",
            metadata=self.reasons,
        )


@dataclass(frozen=True)
class HourResult:
    """What a step did in one hour.

    Attributes:
        assets: metadata of the hour by asset name.
        failed: failures by camera-hour; with one of them the hour is not materialized.
        checks: verdicts about the hour; each names its asset.
        versions: data version by asset name, where its content gives one.
    """

    assets: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, dg.Failure] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def chosen_cameras(context: dg.AssetExecutionContext) -> Callable[[str], bool]:
    """Whether a camera's work is to be done: of those that the run's tag names, else of all."""
    named = context.run.tags.get(CAMERAS_TAG)
    chosen = frozenset(named.split(",")) if named else None
    return lambda camera: chosen is None or camera in chosen


def each_hour(
    context: dg.AssetExecutionContext, work: Callable[[Hour, Provenance], HourResult | None]
) -> Iterator[HourEvent]:
    """Do each hour of the run and record it: one, or up to a day of them in a backfill.

    Args:
        context: of the step.
        work: does one hour; None when nothing is known of it. An error of it is a failure of that hour.

    Yields:
        The events of the hours, then an output for each asset and check of the step.

    Raises:
        dagster.Failure: hours failed; its one line names camera-hours and causes. The others are recorded.
    """
    provenance = Provenance(context)
    before = _made_before(context)
    failed: dict[Hour, HourResult] = {}
    never: list[Hour] = []
    for hour in map(Hour.from_partition_key, context.partition_keys):
        if hour in before:
            continue
        result, over = _attempt(context, hour, provenance, work)
        if result is None:
            never.append(hour)
        elif result.failed:
            failed[hour] = result
        else:
            yield from _materialized(context, hour, result, provenance)
        if over:
            break
    if never:
        keys = [hour.partition_key for hour in never]
        context.log.info(f"nothing is known of {len(keys)} hours, they stay missing: {keys[0]} to {keys[-1]}")
    if failed:
        failure = several({name: found for result in failed.values() for name, found in result.failed.items()})
        if not failure.allow_retries or context.retry_number >= RETRY_POLICY.max_retries:
            for hour, result in failed.items():
                yield from _observed(context, hour, result)
        raise failure
    for name in context.op_execution_context.selected_output_names:
        yield dg.Output(None, output_name=name, metadata=_RECORDED_ALREADY)


def _attempt(
    context: dg.AssetExecutionContext,
    hour: Hour,
    provenance: Provenance,
    work: Callable[[Hour, Provenance], HourResult | None],
) -> tuple[HourResult | None, bool]:
    """The result of an hour, and whether the next hours need not be tried: a store that is away is away for all."""
    try:
        return work(hour, provenance), False
    except (dg.Failure, dg.RetryRequested, dg.DagsterExecutionInterruptedError):
        raise
    except Exception as error:
        failure = to_failure(error)
        _log(context, str(hour), error, failure)
        nothing = {key.to_user_string(): {} for key in context.selected_asset_keys}
        return HourResult(nothing, {str(hour): failure}), bool(failure.metadata[REQUESTED_AGAIN].value)


def _made_before(context: dg.AssetExecutionContext) -> set[Hour]:
    """Hours that an earlier try of this step recorded."""
    if not context.retry_number:
        return set()
    entries = context.instance.all_logs(context.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    made = [entry.get_dagster_event().step_materialization_data.materialization for entry in entries]
    keys = context.selected_asset_keys
    return {Hour.from_partition_key(item.partition) for item in made if item.partition and item.asset_key in keys}


def _materialized(
    context: dg.AssetExecutionContext, hour: Hour, result: HourResult, provenance: Provenance
) -> Iterator[HourEvent]:
    for name, metadata in result.assets.items():
        key = dg.AssetKey.from_user_string(name)
        yield dg.AssetMaterialization(
            key,
            partition=hour.partition_key,
            metadata=metadata,
            tags=provenance.tags(key, hour, result.versions.get(name)),
        )
    yield from (_evaluation(check, hour) for check in result.checks)


def _observed(context: dg.AssetExecutionContext, hour: Hour, result: HourResult) -> Iterator[HourEvent]:
    """What was done in an hour that is not complete, and whether the rest is requested again."""
    again = any(failure.metadata[REQUESTED_AGAIN].value for failure in result.failed.values())
    told = several(result.failed).description
    for name, metadata in result.assets.items():
        yield dg.AssetObservation(
            name,
            partition=hour.partition_key,
            description=f"Not complete: {told}",
            metadata={**metadata, REQUESTED_AGAIN: again},
            tags={VERSION_TAG: result.versions[name]} if name in result.versions else None,
        )
    yield from (_evaluation(check, hour) for check in result.checks)


def _evaluation(result: dg.AssetCheckResult, hour: Hour) -> dg.AssetCheckEvaluation:
    assert result.asset_key is not None and result.check_name is not None, "HourResult.checks name their asset"
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=False,
        partition=hour.partition_key,
    )


def for_each(context: dg.AssetExecutionContext, items: Sequence[tuple[str, Callable[[], T]]]) -> Outcomes[T]:
    """Do every item; one that fails does not stop the others, also when it fails by a defect of the program.

    Args:
        context: of the step.
        items: name and work.
    """
    outcomes: Outcomes[T] = Outcomes()
    for name, work in items:
        try:
            outcomes.done[name] = work()
        except (dg.Failure, dg.RetryRequested, dg.DagsterExecutionInterruptedError):
            raise
        except Exception as error:
            outcomes.failed[name] = to_failure(error)
            _log(context, name, error, outcomes.failed[name])
    return outcomes


def _log(context: dg.AssetExecutionContext, name: str, error: Exception, failure: dg.Failure) -> None:
    defect = not isinstance(error, UserError | OSError)
    context.log.error(f"{name}: {failure.description}", exc_info=error if defect else None)


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


def holds_files(hour: SpoolHour) -> bool:
    """Whether an hour is more than an empty folder; also when it cannot be read, which working on it reports."""
    try:
        return bool(hour.members())
    except OSError:
        return True
