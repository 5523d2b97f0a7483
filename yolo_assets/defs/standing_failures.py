"""Work that failed and was not done since, as Dagster's instance knows it: by asset, hour and camera.

Read from what the instance holds now, without a cursor: it cannot fall behind, and a failure that somebody mended by
hand is gone by itself. A run that is the next attempt of a failed one does not make it well before it succeeds.

Belongs here: reading failed runs for people (``today``, ``alerts``). Does not belong here: requesting the work again
(``defs.recovery``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import check_id
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.failures import REQUESTED_AGAIN
from yolo_assets.defs.recovery.runs import UNFINISHED_STATUSES
from yolo_assets.defs.recovery.sensors import RUN_TAG
from yolo_assets.today.summary import Failure

MOST_RUNS = 500
"""Failed runs that are read, the newest."""
_KEPT = 2000
_READ_BEFORE: dict[str, _FailedRun] = {}
"""Failed runs that were read: a run that ended does not change."""


@dataclass(frozen=True)
class _Attempt:
    """The newest attempt to make an asset, in one partition or without any; it did not succeed."""

    key: dg.AssetKey
    partition: str
    run_id: str


@dataclass(frozen=True)
class _FailedRun:
    """What a failed run says.

    Attributes:
        ended: when.
        reasons: one line by asset whose step failed.
        again: whether it is requested again by itself, by asset.
        cameras: one line by asset, hour and camera.
        reason: of the run as a whole, for assets without a step that failed.
    """

    ended: datetime
    reason: str
    reasons: Mapping[dg.AssetKey, str] = field(default_factory=dict)
    again: Mapping[dg.AssetKey, bool] = field(default_factory=dict)
    cameras: Mapping[tuple[dg.AssetKey, Hour], Mapping[str, str]] = field(default_factory=dict)


def standing_failures(instance: dg.DagsterInstance) -> list[Failure]:
    """Every failure that stands in an instance, those of one camera by camera; in no particular order."""
    attempts = [attempt for key in instance.get_asset_keys() for attempt in _not_done(instance, key)]
    runs = {
        record.dagster_run.run_id: record for record in _records(instance, {attempt.run_id for attempt in attempts})
    }
    failed: list[_Attempt] = []
    for attempt in attempts:
        run = runs[attempt.run_id].dagster_run if attempt.run_id in runs else None
        if run is None:
            continue  # deleted
        if run.status in UNFINISHED_STATUSES:  # the next attempt: until it succeeds, the failed one counts
            before = run.tags.get(RUN_TAG) or run.parent_run_id
            failed += [_Attempt(attempt.key, attempt.partition, before)] if before else []
        elif run.status is dg.DagsterRunStatus.FAILURE:
            failed.append(attempt)
    missing = {attempt.run_id for attempt in failed} - runs.keys()
    runs |= {record.dagster_run.run_id: record for record in _records(instance, missing)}
    found: list[Failure] = []
    for run_id, group in _by_run(failed).items():
        if run_id in runs and runs[run_id].dagster_run.status is dg.DagsterRunStatus.FAILURE:
            found += _failures(run_id, _read(instance, runs[run_id]), group)
    return found


def _records(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> Sequence[dg.RunRecord]:
    wanted = list(run_ids)
    if not wanted:
        return ()
    return instance.get_run_records(dg.RunsFilter(run_ids=wanted), limit=MOST_RUNS)


def _not_done(instance: dg.DagsterInstance, key: dg.AssetKey) -> Iterator[_Attempt]:
    """What was planned of an asset after it was made last."""
    log, made = instance.event_log_storage, DagsterEventType.ASSET_MATERIALIZATION
    asked = dg.EventRecordsFilter(DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset_key=key)
    for planned in instance.get_event_records(asked, limit=1):
        if planned.partition_key is None:
            newest = instance.fetch_materializations(key, limit=1).records
            if not (newest and newest[0].storage_id > planned.storage_id):
                yield _Attempt(key, "", planned.run_id)
            return
        attempts = log.get_latest_asset_partition_materialization_attempts_without_materializations(key)
        done = log.get_latest_storage_id_by_partition(key, made, set(attempts)) if attempts else {}
        for partition, (run_id, storage_id) in attempts.items():
            if done.get(partition, -1) < storage_id:
                yield _Attempt(key, partition, run_id)


def _by_run(attempts: Iterable[_Attempt]) -> dict[str, list[_Attempt]]:
    groups: dict[str, list[_Attempt]] = {}
    for attempt in attempts:
        groups.setdefault(attempt.run_id, []).append(attempt)
    return groups


def _failures(run_id: str, run: _FailedRun, attempts: Sequence[_Attempt]) -> Iterator[Failure]:
    """The failures of one run; what did not run because a step before it failed is none of its own."""
    named = min(attempt.key.to_user_string() for attempt in attempts)
    for attempt in attempts:
        hour = Hour.from_partition_key(attempt.partition) if attempt.partition else None
        what = attempt.key.to_user_string()
        cameras = run.cameras.get((attempt.key, hour), {}) if hour is not None else {}
        again = run.again.get(attempt.key, False)
        for camera, reason in cameras.items():
            yield Failure(what, reason, run_id, run.ended, camera, hour, again)
        if cameras:
            continue
        if attempt.key in run.reasons:
            yield Failure(what, run.reasons[attempt.key], run_id, run.ended, None, hour, again)
        elif not run.reasons and what == named:  # the process died: one of its assets stands for all
            yield Failure(what, run.reason, run_id, run.ended, None, hour, again=True)


def _read(instance: dg.DagsterInstance, record: dg.RunRecord) -> _FailedRun:
    run_id = record.dagster_run.run_id
    if run_id not in _READ_BEFORE:
        if len(_READ_BEFORE) >= _KEPT:
            _READ_BEFORE.clear()
        _READ_BEFORE[run_id] = _read_now(instance, record)
    return _READ_BEFORE[run_id]


def _read_now(instance: dg.DagsterInstance, record: dg.RunRecord) -> _FailedRun:
    run_id = record.dagster_run.run_id
    steps: dict[str, list[dg.AssetKey]] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
        event = entry.get_dagster_event()
        if event.asset_key is not None:
            steps.setdefault(event.step_key or "", []).append(event.asset_key)
    reasons: dict[dg.AssetKey, str] = {}
    again: dict[dg.AssetKey, bool] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        data = event.step_failure_data
        told = data.user_failure_data
        requested = told.metadata.get(REQUESTED_AGAIN) if told is not None else None
        message = data.error.message if data.error is not None else "it ended without a word"
        line = " ".join(((told.description if told is not None else None) or message).split())
        for key in steps.get(event.step_key or "", ()):
            reasons[key] = line
            again[key] = requested is not None and bool(requested.value)
    ended = record.end_time or record.update_timestamp.replace(tzinfo=UTC).timestamp()
    return _FailedRun(
        ended=datetime.fromtimestamp(ended, UTC),
        reason=_reason(instance, run_id),
        reasons=reasons,
        again=again,
        cameras=_cameras(instance, run_id),
    )


def _cameras(instance: dg.DagsterInstance, run_id: str) -> dict[tuple[dg.AssetKey, Hour], dict[str, str]]:
    """The cameras that failed checks name, with their causes, by asset and hour."""
    cameras: dict[tuple[dg.AssetKey, Hour], dict[str, str]] = {}
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION):
        check = entry.get_dagster_event().asset_check_evaluation_data
        for name, value in check.metadata.items() if not check.passed else ():
            camera_hour = _camera_hour(name)
            if camera_hour is not None:
                camera, hour = camera_hour
                cameras.setdefault((check.asset_key, hour), {})[camera] = str(value.value)
    return cameras


def _camera_hour(name: str) -> tuple[str, Hour] | None:
    """Camera and hour of a failed check's metadata, ``<camera> <hour>``; None for anything else."""
    camera, _, hour = name.rpartition(" ")
    try:
        return check_id(camera), Hour.from_key(hour)
    except BadInputError:
        return None


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """What Dagster says of a run as a whole."""
    for entry in instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE):
        line = " ".join((entry.get_dagster_event().message or "").split())
        if line:
            return line
    return "its process died"
