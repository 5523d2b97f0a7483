"""Deleting what an instance need not remember any more, from SQLite and from PostgreSQL.

    finished runs that are old ──► their events, but for the newest of each partition ──► their logs ──► the runs
    reports and kept events that were superseded since, evaluations, checks, backfills ──► deleted by age
    pages that became free ──► given back

Dagster's own deletion of a run takes its materializations with it: an hour that was archived a month ago would be
missing. So events are deleted here by SQL over Dagster's own tables, which are the same in both databases; everything
that has an API is deleted by it. Interrupted at any point it leaves nothing wrong: the next call does the rest.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from dagster import DagsterEventType

from yolo_assets.contracts.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_RUNS_AT_ONCE = 20
_ROWS_AT_ONCE = 500
_FREE_SHARE = 0.2
"""A SQLite file is rewritten when so much of it is free."""
_LARGEST_VACUUM = 500_000_000
"""Bytes that remain: while a file is rewritten its writers wait, and after 30 s (about 3 GB) they would fail."""
_PLANNED = (DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value)
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class Ages:
    """How long what is remembered.

    Attributes:
        runs: successful and cancelled runs, their events, and what was superseded.
        failed: failed runs.
        evaluations: of automation conditions, about 65 KB each.
    """

    runs: timedelta
    failed: timedelta
    evaluations: timedelta = timedelta(days=2)


@dataclass
class Pruned:
    """What was deleted.

    Attributes:
        runs: with their logs.
        events: of the event log.
        evaluations: of automation conditions.
        checks: results of asset checks.
        backfills: finished ones.
        bytes_before: of the instance's storage.
        bytes_after: likewise; PostgreSQL keeps free pages for itself.
        complete: whether nothing is left for the next call.
        notes: lines for a person.
    """

    runs: int = 0
    events: int = 0
    evaluations: int = 0
    checks: int = 0
    backfills: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    complete: bool = True
    notes: list[str] = field(default_factory=list)


def prune(
    instance: dg.DagsterInstance, ages: Ages, now: datetime, *, budget: timedelta, log: Callable[[str], None]
) -> Pruned:
    """Delete what is older than ``ages``; keep what the state of an asset depends on.

    Kept whatever its age: the newest event of each kind of each partition, the newest result of each check of each
    partition, failed runs that a partition or a check is still failed by, and everything that is not finished.

    Args:
        instance: with SQL storage.
        ages: how long what is remembered.
        now: aware.
        budget: no more runs are deleted after this time.
        log: takes a line.

    Raises:
        UserError: the instance has another storage.
    """
    deadline = time.monotonic() + budget.total_seconds()
    done = Pruned(bytes_before=stored_bytes(instance))
    done.evaluations = _prune_evaluations(instance, now - ages.evaluations)
    old = _old_runs(instance, ages, now)
    log(f"{len(old)} runs are old enough")
    kept = _events_to_keep(instance)
    for runs in _chunks(old, _RUNS_AT_ONCE):
        if time.monotonic() > deadline:
            done.complete = False
            done.notes.append(f"{len(old) - done.runs} more runs wait for the next time")
            break
        done.events += _prune_events_of_runs(instance, runs, kept)
        _delete_logs(instance, runs, done)
        _delete_runs(instance, runs)
        done.runs += len(runs)
    there = set(instance.get_run_ids())
    done.checks = _prune_checks(instance, now - ages.runs, there)
    done.events += _prune_superseded(instance, now - ages.runs, kept, there)
    done.backfills = _prune_backfills(instance, now - ages.runs)
    _give_space_back(instance, done)
    done.bytes_after = stored_bytes(instance)
    return done


def _events(instance: dg.DagsterInstance) -> Any:
    """The event log's storage.

    Typed ``Any``: the two implementations share their connections by name, not by a public class.
    """
    storage: Any = instance.event_log_storage
    if not hasattr(storage, "index_connection"):
        raise UserError(
            f"{type(storage).__name__} is no SQL storage, of which the job retention could delete anything; stop the "
            "schedule retention_daily and use what that storage offers"
        )
    return storage


def _old_runs(instance: dg.DagsterInstance, ages: Ages, now: datetime) -> list[str]:
    """Ids of the runs that may go, oldest first."""
    ended = dg.RunsFilter(statuses=list(_ENDED), updated_before=now - ages.runs)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_before=now - ages.failed)
    old = [*instance.get_run_ids(ended), *instance.get_run_ids(failed)]
    needed = _runs_to_keep(instance) if old else set()
    return [run_id for run_id in reversed(old) if run_id not in needed]


def _runs_to_keep(instance: dg.DagsterInstance) -> set[str]:
    """Failed runs that the state of a partition or of a check comes from, and origins of runs that are not finished."""
    storage = instance.event_log_storage
    keep = _runs_of_planned_checks(instance)
    for record in instance.get_asset_records():
        asset = record.asset_entry
        attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(asset.asset_key)
        keep |= {run_id for run_id, _ in attempts.values()}
        keep |= {asset.last_run_id} if asset.last_run_id else set()
    keep -= set(instance.get_run_ids(dg.RunsFilter(statuses=list(_ENDED))))
    unfinished = [status for status in dg.DagsterRunStatus if status not in (*_ENDED, dg.DagsterRunStatus.FAILURE)]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        keep |= {origin for origin in (run.root_run_id, run.parent_run_id) if origin}
    return keep


def _runs_of_planned_checks(instance: dg.DagsterInstance) -> set[str]:
    """Runs that planned a check and never decided it, where that is the newest word on it."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks

    newest = db.select(db.func.max(Checks.c.id)).group_by(Checks.c.asset_key, Checks.c.check_name, Checks.c.partition)
    planned = db.select(Checks.c.run_id).where(Checks.c.id.in_(newest), Checks.c.execution_status == "PLANNED")
    with _events(instance).index_connection() as connection:
        return {row[0] for row in connection.execute(planned)}


def _events_to_keep(instance: dg.DagsterInstance) -> frozenset[int]:
    """Ids of the newest event of each kind of each partition, and of those that the newest check results name."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Log

    of_assets = Log.c.asset_key.is_not(None)
    newest = (
        db.select(db.func.max(Log.c.id))
        .where(of_assets, Log.c.dagster_event_type.not_in(_PLANNED))
        .group_by(Log.c.asset_key, Log.c.partition, Log.c.dagster_event_type)
    )
    planned = (
        db.select(db.func.max(Log.c.id))
        .where(of_assets, Log.c.dagster_event_type.in_(_PLANNED))
        .group_by(Log.c.asset_key, Log.c.dagster_event_type)
    )
    with _events(instance).index_connection() as connection:
        kept = {row[0] for query in (newest, planned) for row in connection.execute(query)}
        checks = _checks_to_keep(connection)
        named = db.select(Checks.c.id, Checks.c.evaluation_event_storage_id)
        kept |= {event for check, event in connection.execute(named) if check in checks and event is not None}
    return frozenset(kept)


def _checks_to_keep(connection: Connection) -> set[int]:
    """Ids of the newest result, and of the newest decided one, of each check of each partition."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks

    newest = db.select(db.func.max(Checks.c.id)).group_by(Checks.c.asset_key, Checks.c.check_name, Checks.c.partition)
    decided = newest.where(Checks.c.execution_status != "PLANNED")
    return {row[0] for query in (newest, decided) for row in connection.execute(query)}


def _prune_events_of_runs(instance: dg.DagsterInstance, runs: Sequence[str], kept: Collection[int]) -> int:
    """Delete the events of runs but for those to keep."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Log

    storage = _events(instance)
    with storage.index_connection() as connection:
        found = connection.execute(db.select(Log.c.id, Log.c.asset_key).where(Log.c.run_id.in_(runs))).fetchall()
        count = _delete_events(connection, [row.id for row in found if row.id not in kept])
    if hasattr(storage, "path_for_shard"):  # SQLite: a file a run, and in the index what concerns assets
        for run_id in runs:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{storage.path_for_shard(run_id)}{suffix}").unlink(missing_ok=True)
    return count


def _delete_events(connection: Connection, ids: Sequence[int]) -> int:
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetEventTagsTable as Tags
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Log

    count = 0
    for chunk in _chunks(ids, _ROWS_AT_ONCE):
        connection.execute(db.delete(Tags).where(Tags.c.event_id.in_(chunk)))
        count += connection.execute(db.delete(Log).where(Log.c.id.in_(chunk))).rowcount
    return count


def _delete_logs(instance: dg.DagsterInstance, runs: Sequence[str], done: Pruned) -> None:
    """Delete what the steps printed; where a bucket does not allow that, its own rules have to."""
    for run_id in runs:
        try:
            instance.compute_log_manager.delete_logs(prefix=[run_id])
        except Exception as error:  # of whatever library the log manager uses
            if not done.notes:
                done.notes.append(f"logs of runs could not be deleted: {' '.join(str(error).split())[:300]}")


def _delete_runs(instance: dg.DagsterInstance, runs: Sequence[str]) -> None:
    import sqlalchemy as db
    from dagster._core.storage.runs.schema import RunTagsTable

    storage: Any = instance.run_storage
    with storage.connect() as connection:  # SQLite does not follow the foreign key
        connection.execute(db.delete(RunTagsTable).where(RunTagsTable.c.run_id.in_(runs)))
    for run_id in runs:
        storage.delete_run(run_id)


def _prune_superseded(
    instance: dg.DagsterInstance, before: datetime, kept: Collection[int], there: Collection[str]
) -> int:
    """Delete old events of assets whose run is gone, or that no run made, once a newer one took their place."""
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Log

    storage, moment = _events(instance), _column_time(before)
    query = db.select(Log.c.id, Log.c.run_id).where(Log.c.asset_key.is_not(None), Log.c.timestamp < moment)
    with storage.index_connection() as connection:
        found = connection.execute(query).fetchall()
        count = _delete_events(connection, [row.id for row in found if row.run_id not in there and row.id not in kept])
    if hasattr(storage, "path_for_shard"):
        with storage.run_connection("") as connection:  # a second copy of what no run made
            connection.execute(db.delete(Log).where(Log.c.timestamp < moment))
    return count


def _prune_checks(instance: dg.DagsterInstance, before: datetime, there: Collection[str]) -> int:
    import sqlalchemy as db
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Checks

    query = db.select(Checks.c.id, Checks.c.run_id).where(Checks.c.create_timestamp < _column_time(before))
    count = 0
    with _events(instance).index_connection() as connection:
        keep = _checks_to_keep(connection)
        old = [row.id for row in connection.execute(query) if row.id not in keep and row.run_id not in there]
        for chunk in _chunks(old, _ROWS_AT_ONCE):
            count += connection.execute(db.delete(Checks).where(Checks.c.id.in_(chunk))).rowcount
    return count


def _prune_evaluations(instance: dg.DagsterInstance, before: datetime) -> int:
    import sqlalchemy as db
    from dagster._core.storage.schedules.schema import AssetDaemonAssetEvaluationsTable as Evaluations

    storage: Any = instance.schedule_storage
    count = db.select(db.func.count()).select_from(Evaluations)

    def rows() -> int:
        with storage.connect() as connection:
            return connection.execute(count).scalar_one()

    there = rows()
    storage.purge_asset_evaluations(before.timestamp())
    return max(there - rows(), 0)


def _prune_backfills(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete finished backfills; the automation makes one of every request for several hours."""
    import sqlalchemy as db
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
    from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable

    table = BulkActionsTable
    query = db.select(table.c.key).where(
        table.c.status.in_([status.value for status in BULK_ACTION_TERMINAL_STATUSES]),
        table.c.timestamp < _column_time(before),
    )
    storage: Any = instance.run_storage
    with storage.connect() as connection:
        old = [row[0] for row in connection.execute(query)]
        for chunk in _chunks(old, _ROWS_AT_ONCE):
            connection.execute(db.delete(BackfillTagsTable).where(BackfillTagsTable.c.backfill_id.in_(chunk)))
            connection.execute(db.delete(table).where(table.c.key.in_(chunk)))
    return len(old)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _column_time(moment: datetime) -> datetime:
    """As Dagster's columns hold times: UTC, without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def _databases(instance: dg.DagsterInstance) -> set[Path]:
    """The SQLite files that grow; the small one of each run is deleted as a whole."""
    events: Any = _events(instance)
    runs: Any = instance.run_storage
    schedules: Any = instance.schedule_storage
    files: set[Path] = set()
    for connect in (events.index_connection, runs.connect, schedules.connect):
        with connect() as connection:
            if connection.dialect.name == "sqlite" and connection.engine.url.database:
                files.add(Path(connection.engine.url.database))
    if hasattr(events, "path_for_shard"):
        files.add(Path(events.path_for_shard("")))
    return {path for path in files if path.exists()}


def stored_bytes(instance: dg.DagsterInstance) -> int:
    """Size of the instance's storage: the SQLite files, those of single runs included, or the PostgreSQL database."""
    import sqlalchemy as db

    with _events(instance).index_connection() as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.execute(db.text("SELECT pg_database_size(current_database())")).scalar_one())
    folders = {path.parent for path in _databases(instance)}
    return sum(path.stat().st_size for folder in folders for path in folder.glob("*.db*"))


def _give_space_back(instance: dg.DagsterInstance, done: Pruned) -> None:
    """SQLite: rewrite files of which much is free. PostgreSQL: let the next rows take the place of the deleted ones."""
    import sqlalchemy as db

    with _events(instance).index_connection() as connection:
        if connection.dialect.name == "postgresql":
            for table in ("event_logs", "asset_event_tags", "asset_check_executions", "runs", "run_tags", "job_ticks"):
                connection.execute(db.text(f"VACUUM (ANALYZE) {table}"))
            connection.execute(db.text("VACUUM (ANALYZE) asset_daemon_asset_evaluations"))
            return
    for path in sorted(_databases(instance)):
        try:
            with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
                pages, free, size = (
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
                if free < _FREE_SHARE * pages:
                    continue
                if (pages - free) * size > _LARGEST_VACUUM:
                    done.notes.append(f"{path.name} is too large to be rewritten now; its free pages are used")
                    continue
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.OperationalError as error:  # somebody is writing: the free pages are used meanwhile
            done.notes.append(f"{path.name} was not rewritten: {error}")
