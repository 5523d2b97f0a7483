"""The named conditions on real ticks of an ephemeral instance, with assets that only take part in the graph."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from yolo_assets.defs.automation import on_change, on_good_change, on_hour
from yolo_assets.defs.partitions import hourly

NIGHT, LATER = "2026-03-01-02:00", "2026-03-01-05:00"
verdict = {"passes": True}

raw = dg.AssetSpec("raw", partitions_def=hourly)


@dg.asset(deps=["raw"], partitions_def=hourly, automation_condition=on_hour())
def archive() -> None: ...


@dg.asset(deps=["archive"], automation_condition=on_change())
def catalog() -> None: ...


@dg.asset(check_specs=[dg.AssetCheckSpec("good", asset="weights", blocking=True)])
def weights() -> dg.MaterializeResult:
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="good", passed=verdict["passes"])])


@dg.asset(deps=["weights"], automation_condition=on_good_change())
def promoted() -> None: ...


DEFS = dg.Definitions(assets=[raw, archive, catalog, weights, promoted])


@dataclass
class Ticks:
    """The automation sensor's memory over one instance."""

    instance: dg.DagsterInstance
    cursor: Any = None
    job: dg.JobDefinition = field(default_factory=DEFS.resolve_implicit_global_asset_job_def)

    def report(self, partition: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization("raw", partition=partition))

    def tick(self) -> dict[str, set[str | None]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dg.evaluate_automation_conditions(DEFS, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        keys = ("archive", "catalog", "promoted")
        return {key: wanted for key in keys if (wanted := set(found.get_requested_partitions(dg.AssetKey(key))))}

    def run(self, asset: str, partition: str | None = None) -> None:
        self.job.execute_in_process(
            instance=self.instance, partition_key=partition, asset_selection=[dg.AssetKey(asset)], raise_on_error=False
        )


@pytest.fixture
def ticks() -> Iterator[Ticks]:
    verdict["passes"] = True
    with dg.DagsterInstance.ephemeral() as instance:
        yield Ticks(instance)


def test_hours_that_were_reported_before_the_first_tick_are_not_forgotten(ticks: Ticks) -> None:
    ticks.report(NIGHT)
    ticks.report(LATER)
    assert ticks.tick()["archive"] == {NIGHT, LATER}
    assert "archive" not in ticks.tick(), "what was asked for is not asked for again"


def test_an_hour_of_months_ago_is_taken_like_the_newest(ticks: Ticks) -> None:
    ticks.tick()
    ticks.report("2026-01-15-03:00")
    assert ticks.tick()["archive"] == {"2026-01-15-03:00"}


def test_an_hour_that_gets_late_frames_is_taken_again(ticks: Ticks) -> None:
    ticks.report(NIGHT)
    ticks.tick()
    ticks.run("archive", NIGHT)
    assert "archive" not in ticks.tick()
    ticks.report(NIGHT)
    assert ticks.tick()["archive"] == {NIGHT}


def test_the_catalog_follows_although_most_hours_are_missing(ticks: Ticks) -> None:
    ticks.report(NIGHT)
    ticks.tick()
    ticks.run("archive", NIGHT)
    assert ticks.tick() == {"catalog": {None}}
    ticks.run("catalog")
    assert ticks.tick() == {}


def test_what_was_archived_before_the_first_tick_is_catalogued_too(ticks: Ticks) -> None:
    for asset in ("raw", "archive"):
        ticks.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=NIGHT))
    assert ticks.tick() == {"catalog": {None}}, "and an hour whose archive was reported is not archived again"
    assert ticks.tick() == {}


def test_nothing_continues_after_a_failed_blocking_check(ticks: Ticks) -> None:
    verdict["passes"] = False
    ticks.tick()
    ticks.run("weights")
    assert "promoted" not in ticks.tick() and "promoted" not in ticks.tick()
    verdict["passes"] = True
    ticks.run("weights")
    assert ticks.tick() == {"promoted": {None}}
