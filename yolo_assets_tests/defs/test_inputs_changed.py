"""What asks for an asset is a new data version of an input that no attempt has seen: neither twice nor never."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.declarative_automation.automation_condition_evaluator import (
    AutomationConditionEvaluator,
)

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import in_lanes, on_change, on_hour
from yolo_assets.defs.partitions import hourly

HOURS = ["2026-03-01-02:00", "2026-03-01-03:00", "2026-03-01-04:00"]
NIGHT = HOURS[0]
RANGE = {"dagster/asset_partition_range_start": HOURS[0], "dagster/asset_partition_range_end": HOURS[-1]}
content = {"archive": "a", "health": "h"}
fails: set[str] = set()

raw = dg.AssetSpec("raw", partitions_def=hourly)
days = dg.BackfillPolicy.multi_run(24)


def made(name: str) -> dg.MaterializeResult:
    if name in fails:
        raise ConnectionError(name)
    return dg.MaterializeResult(data_version=dg.DataVersion(content.get(name, name)))


@dg.asset(deps=["raw"], partitions_def=hourly, backfill_policy=days, automation_condition=on_hour())
def archive() -> dg.MaterializeResult:
    return made("archive")


@dg.asset(deps=["archive"], partitions_def=hourly, backfill_policy=days, automation_condition=on_hour())
def health() -> dg.MaterializeResult:
    return made("health")


@dg.asset(deps=["health"], partitions_def=hourly, backfill_policy=days, automation_condition=on_hour())
def drift() -> dg.MaterializeResult:
    return made("drift")


@dg.asset(deps=["archive"], automation_condition=on_change())
def catalog() -> dg.MaterializeResult:
    return made("catalog")


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    DEFS = dg.Definitions(assets=[raw, archive, health, drift, catalog])


@dataclass
class Plant:
    instance: dg.DagsterInstance
    cursor: Any = None

    def __post_init__(self) -> None:
        self.job = DEFS.resolve_implicit_global_asset_job_def()

    def report(self, version: str, partition: str = NIGHT, asset: str = "raw") -> None:
        event = dg.AssetMaterialization(asset, partition=partition, tags={"dagster/data_version": version})
        self.instance.report_runless_asset_event(event)

    def tick(self) -> dict[str, set[str | None]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dg.evaluate_automation_conditions(DEFS, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        keys = ("archive", "health", "drift", "catalog")
        return {key: set(wanted) for key in keys if (wanted := found.get_requested_partitions(dg.AssetKey(key)))}

    def run(self, *assets: str, partition: str | None = NIGHT, tags: dict[str, str] | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.job.execute_in_process(
                instance=self.instance,
                partition_key=None if tags else partition,
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                tags=tags,
                raise_on_error=False,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )

    def create(self, asset: str) -> dg.DagsterRun:
        """A run that is there and has not done anything yet."""
        return self.instance.create_run_for_job(
            self.job,
            asset_selection=frozenset({dg.AssetKey(asset)}),
            tags={"dagster/partition": NIGHT},
            status=dg.DagsterRunStatus.STARTED,
        )

    def carry(self) -> list[dict[str, set[str | None]]]:
        """Ticks, and what they request, until nothing more is requested."""
        ticks = []
        while found := self.tick():
            ticks.append(found)
            hourly_assets = [asset for asset in found if asset != "catalog"]
            for partition in sorted({key for asset in hourly_assets for key in found[asset] if key}):
                self.run(*[asset for asset in hourly_assets if partition in found[asset]], partition=partition)
            if "catalog" in found:
                self.run("catalog", partition=None)
        return ticks


@pytest.fixture
def plant() -> Iterator[Plant]:
    content.update(archive="a", health="h")
    fails.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Plant(instance)


def test_an_hour_backfilled_with_equal_content_asks_for_nothing(plant: Plant) -> None:
    plant.tick()
    plant.report("v1")
    assert plant.carry(), "the first time everything follows"
    plant.run("archive")
    assert plant.tick() == {}
    content["archive"] = "other"
    plant.run("archive")
    assert set(plant.tick()) == {"health", "drift", "catalog"}, "other content does"


def test_a_run_over_hours_does_not_ask_again_for_what_it_made(plant: Plant) -> None:
    plant.tick()
    for partition in HOURS:
        plant.report("v1", partition)
    assert plant.tick()["archive"] == set(HOURS)
    plant.run("archive", "health", "drift", tags=RANGE)
    assert plant.tick() == {"catalog": {None}}
    plant.run("catalog", partition=None)
    assert plant.tick() == {}


def test_a_run_that_ends_while_the_tick_looks_is_not_repeated(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster reads what is missing at the beginning of a tick, and what is in progress later."""
    plant.tick()
    plant.report("v1")
    assert "health" in plant.tick() and plant.tick() == {}
    plant.run("archive")
    run = plant.create("health")
    real = AutomationConditionEvaluator.prefetch

    def prefetch(evaluator: AutomationConditionEvaluator) -> None:
        real(evaluator)
        plant.instance.report_run_canceled(run)

    monkeypatch.setattr(AutomationConditionEvaluator, "prefetch", prefetch)
    assert "health" not in plant.tick()


def test_a_change_that_comes_after_the_run_was_created_is_not_lost(plant: Plant) -> None:
    plant.tick()
    plant.report("one camera")
    assert "archive" in plant.tick()
    run = plant.create("archive")
    plant.report("two cameras")
    assert "archive" not in plant.tick(), "the hour is in progress"
    plant.instance.report_run_canceled(run)
    assert plant.tick()["archive"] == {NIGHT}, "the run may not have seen the second camera"


def test_a_change_before_the_run_was_created_asks_once(plant: Plant) -> None:
    plant.tick()
    plant.report("one camera")
    assert "archive" in plant.tick()
    plant.report("two cameras")
    plant.run("archive", "health", "drift")
    assert plant.tick() == {"catalog": {None}}


def test_a_change_in_the_tick_of_the_asset_itself_is_not_lost(plant: Plant) -> None:
    plant.tick()
    plant.report("v1")
    plant.carry()
    plant.run("archive")
    plant.report("v2")
    assert plant.tick()["archive"] == {NIGHT}


def test_a_change_during_a_run_of_the_catalog_asks_for_another(plant: Plant) -> None:
    plant.tick()
    plant.report("v1")
    plant.carry()
    running = plant.instance.create_run_for_job(
        plant.job, asset_selection=frozenset({dg.AssetKey("catalog")}), status=dg.DagsterRunStatus.STARTED
    )
    content["archive"] = "other"
    plant.run("archive", "health", "drift")
    assert plant.tick() == {}, "one catalog at a time"
    plant.instance.report_run_failed(running)
    assert plant.tick() == {"catalog": {None}}


def test_an_attempt_that_failed_is_left_to_recovery(plant: Plant) -> None:
    plant.tick()
    fails.add("archive")
    plant.report("v1")
    assert plant.carry() != []
    assert [plant.tick() for _ in range(3)] == [{}] * 3


def test_what_is_reported_after_its_input_is_not_run(plant: Plant) -> None:
    """A remote archiver's hour: its frames and its archive are reported one after the other."""
    plant.tick()
    plant.report("v1")
    plant.report("v1", asset="archive")
    assert "archive" not in plant.tick()


def test_requests_are_packed_and_live_hours_go_first() -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    old = [Hour(datetime(2026, 2, 1, tzinfo=UTC)).next(n) for n in range(60)]
    live = [Hour(now - timedelta(hours=2))]
    asked = [
        dg.RunRequest(partition_key=hour.partition_key, asset_selection=[dg.AssetKey("archive")])
        for hour in [*old, *live]
    ]
    asked += [dg.RunRequest(asset_selection=[dg.AssetKey(name)]) for name in ("archive_catalog", "trained_weights")]
    made = in_lanes(asked, now)
    lanes = [request.tags["yolo_assets/lane"] for request in made]
    assert sorted(lanes) == ["history", "history", "history", "index", "live", "training"]
    order = sorted(made, key=lambda request: -int(request.tags["dagster/priority"]))
    assert [request.tags["yolo_assets/lane"] for request in order][:3] == ["live", "index", "training"]
    (recent,) = [request for request in made if request.partition_key]
    assert recent.partition_key == live[0].partition_key
    first = next(request for request in made if request.tags["yolo_assets/lane"] == "history")
    assert first.tags["dagster/asset_partition_range_start"] == old[0].partition_key
    assert first.tags["dagster/asset_partition_range_end"] == old[23].partition_key
    assert all(request.tags["yolo_assets/why"] for request in made)
    (training,) = [request for request in made if request.tags["yolo_assets/lane"] == "training"]
    assert training.tags["dagster/max_runtime"] == "21600", "Dagster reads it from the run alone"
