"""Retention: the instance forgets what is old, and no partition, check or failure changes its state by it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from yolo_assets.contracts.errors import UsageError, UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.definitions import defs
from yolo_assets.defs.retention.prune import Ages, Pruned, prune, stored_bytes
from yolo_assets_tests.support.plant_instance import plant_environment

HOURS = [f"2026-03-01-{hour:02}:00" for hour in range(6)]
hourly = dg.HourlyPartitionsDefinition(start_date=HOURS[0], end_date="2026-03-01-06:00", timezone="UTC")
AGES = Ages(timedelta(days=30), timedelta(days=90))
SIZE = 20_000
"""Bytes of metadata of each materialization, as tables of many cameras have."""


class HourConfig(dg.Config):
    number: int = 0
    fails: bool = False
    passes: bool = True


@dg.asset(partitions_def=hourly, check_specs=[dg.AssetCheckSpec("good", asset="archive", partitions_def=hourly)])
def archive(context: dg.AssetExecutionContext, config: HourConfig) -> dg.MaterializeResult:
    print(config.number)
    if config.fails:
        raise dg.Failure("the store is away", allow_retries=False)
    return dg.MaterializeResult(
        metadata={"number": config.number, "table": "x" * SIZE},
        data_version=dg.DataVersion(str(config.number)),
        check_results=[dg.AssetCheckResult(check_name="good", passed=config.passes)],
    )


@dg.asset(deps=[archive], check_specs=[dg.AssetCheckSpec("complete", asset="catalog")])
def catalog(config: HourConfig) -> dg.MaterializeResult:
    if config.fails:
        raise dg.Failure("the store is away", allow_retries=False)
    check = dg.AssetCheckResult(check_name="complete", passed=config.passes)
    return dg.MaterializeResult(metadata={"number": config.number}, check_results=[check])


JOB = dg.Definitions(assets=[archive, catalog]).resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """On SQLite, where the test does not say otherwise."""
    if getattr(request, "param", "sqlite") == "sqlite":
        environment = {"DAGSTER_HOME": str(tmp_path)}
        (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    else:
        environment = plant_environment(tmp_path, request.getfixturevalue("database"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as opened:
        yield opened


@dataclass
class Plant:
    """Random work on an instance. Each piece has a number, which its metadata shows."""

    instance: dg.DagsterInstance
    random: random.Random
    number: int = 0

    def work(self, pieces: int) -> None:
        """Runs of an hour that succeed, fail, or find something wrong; reports of sensors; runs of the catalog."""
        for _ in range(pieces):
            self.number += 1
            hour, kind = self.random.choice(HOURS), self.random.randrange(6)
            if kind == 0:
                self._report(hour)
            else:
                asset = "catalog" if kind == 1 else "archive"
                self.run(asset, hour if asset == "archive" else None, fails=kind == 2, passes=kind != 3)

    def run(self, asset: str, hour: str | None, **config: bool) -> dg.ExecuteInProcessResult:
        settings = {"ops": {asset: {"config": {"number": self.number, **config}}}}
        silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        return JOB.execute_in_process(
            instance=self.instance,
            partition_key=hour,
            asset_selection=[dg.AssetKey(asset)],
            run_config={**settings, **silent},
            raise_on_error=False,
        )

    def _report(self, hour: str) -> None:
        event = dg.AssetMaterialization(
            "archive", partition=hour, metadata={"number": self.number}, tags={"dagster/data_version": "reported"}
        )
        self.instance.report_runless_asset_event(event)
        self.instance.report_runless_asset_event(dg.AssetObservation("catalog", metadata={"number": self.number}))


def state(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the pages of the assets show, read afresh."""
    key, log = dg.AssetKey("archive"), instance.event_log_storage
    for name in ("archive", "catalog"):
        log.wipe_asset_cached_status(dg.AssetKey(name))
    cached = get_and_update_asset_status_cache_value(instance, key, hourly)
    assert cached is not None
    numbers: dict[str, Any] = {}
    for hour in HOURS:
        found = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key, asset_partitions=[hour]), limit=1)
        (made,) = [record.asset_materialization for record in found.records] or [None]
        numbers[hour] = None if made is None else (made.metadata["number"].value, dict(made.tags or {}))
    states = instance.get_status_by_partition(key, HOURS, hourly) or {}
    kind, tag = dg.DagsterEventType.ASSET_MATERIALIZATION, "dagster/data_version"
    good, hours = dg.AssetCheckKey(key, "good"), {hour: PartitionKeyFilter(key=hour) for hour in HOURS}
    checks = log.get_latest_asset_check_execution_by_key([good, dg.AssetCheckKey(dg.AssetKey("catalog"), "complete")])
    made = instance.get_latest_materialization_event(dg.AssetKey("catalog"))
    seen = instance.fetch_observations(dg.AssetKey("catalog"), limit=1).records
    return {
        "materialized": sorted(cached.deserialize_materialized_partition_subsets(hourly).get_partition_keys()),
        "failed": sorted(cached.deserialize_failed_partition_subsets(hourly).get_partition_keys()),
        "states": {hour: str(status) for hour, status in states.items()},
        "made": numbers,
        "versions": log.get_latest_tags_by_partition(key, kind, [tag]),
        "checks": {str(check): (record.id, record.status) for check, record in checks.items()},
        "hours checked": {
            hour: (record.status, record.evaluation)
            for hour in HOURS
            for record in log.get_asset_check_execution_history(good, limit=1, partition_filter=hours[hour])
        },
        "catalog": None if made is None or made.asset_materialization is None else made.asset_materialization.metadata,
        "observed": [record.asset_observation.metadata for record in seen if record.asset_observation],
    }


def after(days: float, instance: dg.DagsterInstance) -> Pruned:
    return prune(instance, AGES, utc_now() + timedelta(days=days), budget=timedelta(minutes=1), log=lambda _: None)


def runs(instance: dg.DagsterInstance, *statuses: dg.DagsterRunStatus) -> int:
    return instance.get_runs_count(dg.RunsFilter(statuses=list(statuses)) if statuses else None)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 12))])
@pytest.mark.parametrize("instance", ["sqlite", "postgres"], indirect=True)
def test_no_state_changes_by_forgetting_and_little_remains(instance: dg.DagsterInstance, seed: int) -> None:
    plant = Plant(instance, random.Random(seed))
    plant.work(8)
    plant.run("archive", HOURS[5], fails=True)
    before, size = state(instance), runs(instance)
    assert HOURS[5] in before["failed"] and before["materialized"]
    young = after(20, instance)
    assert (young.runs, young.events, state(instance)) == (0, 0, before)
    done = after(40, instance)
    assert done.runs and done.complete and state(instance) == before
    failed = runs(instance, dg.DagsterRunStatus.FAILURE)
    assert runs(instance) == failed and done.runs == size - failed
    late = after(100, instance)
    assert state(instance) == before
    assert runs(instance) == failed - late.runs <= len(before["failed"]) + 1, (
        "each is why an hour or the catalog failed"
    )
    assert (after(100, instance).runs, after(100, instance).events) == (0, 0)


def test_what_was_kept_goes_once_it_is_superseded(instance: dg.DagsterInstance) -> None:
    plant = Plant(instance, random.Random(0))
    plant.run("archive", HOURS[0], fails=True)
    first = plant.run("archive", HOURS[1])
    after(100, instance)
    assert instance.get_run_by_id(first.run_id) is None and runs(instance) == 1
    plant.run("archive", HOURS[0])
    plant.run("archive", HOURS[1])
    after(100, instance)
    assert runs(instance) == 0
    assert state(instance)["failed"] == [] and state(instance)["materialized"] == HOURS[:2]
    made = instance.fetch_materializations(dg.AssetKey("archive"), limit=99).records
    assert sorted(str(record.partition_key) for record in made) == HOURS[:2], "one each"


def test_delete_run_of_dagster_makes_the_hour_missing(instance: dg.DagsterInstance) -> None:
    """Why retention does not call it; it can be called once this fails."""
    run = Plant(instance, random.Random(0)).run("archive", HOURS[0])
    instance.delete_run(run.run_id)
    assert state(instance)["made"][HOURS[0]] is None


def test_space_is_given_back_and_what_runs_is_left_alone(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    plant = Plant(instance, random.Random(0))
    for _ in range(5):
        plant.run("archive", HOURS[0])
    waiting = instance.create_run_for_job(JOB, status=dg.DagsterRunStatus.STARTED)
    grown = stored_bytes(instance)
    printed = list(tmp_path.rglob("*.out"))
    done = after(100, instance)
    assert instance.get_run_by_id(waiting.run_id) is not None and runs(instance) == 1
    assert done.bytes_before >= grown
    assert done.bytes_after < grown / 2, done
    assert printed and not list(tmp_path.rglob("*.out")), "what the steps printed goes with their runs"


def test_the_job_tells_what_it_forgot(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        result = defs().resolve_job_def("retention").execute_in_process(instance=instance)
        (told,) = [event.step_output_data.metadata for event in result.all_node_events if event.is_successful_output]
        assert (told["runs"].value, told["finished"].value) == (0, True)
        assert isinstance(told["MB after"].value, float) and told["MB after"].value > 0


def test_a_run_is_not_forgotten_before_recovery_looked_at_it() -> None:
    with pytest.raises(UsageError, match="YOLO_ASSETS_KEEP_RUNS_DAYS='7' is too short; give at least 8 days"):
        Settings.from_env({"YOLO_ASSETS_KEEP_RUNS_DAYS": "7"})


def test_another_storage_is_refused_in_one_sentence() -> None:
    class Instance:
        event_log_storage = object()

    instance: Any = Instance()
    with pytest.raises(UserError, match=r"object is no SQL storage.*stop the schedule retention_daily"):
        stored_bytes(instance)
