"""Each hour of a run is recorded by itself: real runs over several hours of an ephemeral instance, with toy work."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_change, on_hour
from yolo_assets.defs.failures import RETRY_POLICY, by_kind
from yolo_assets.defs.hours import NO_VALUE, HourEvent, HourResult, each_hour, for_each, hourly_check
from yolo_assets.defs.partitions import hourly, packed
from yolo_assets.defs.provenance import Provenance
from yolo_assets.storage import StoreUnavailableError

HOURS = [f"2026-03-01-0{number}:00" for number in range(4)]
CAMERAS = ("cam01", "cam02")
errors: dict[tuple[str, str], list[Exception]] = {}
"""What a camera raises in an hour, once each."""
absent: set[str] = set()
worked: list[tuple[str, str]] = []
CHECK = hourly_check("every_camera", "archives", "Every camera of the hour.")

raw = dg.AssetSpec("raw", partitions_def=hourly)


@dg.asset(
    deps=["raw"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    check_specs=[CHECK],
    code_version="1",
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def archives(context: dg.AssetExecutionContext) -> Iterator[HourEvent]:
    def work(hour: Hour, _: Provenance) -> HourResult | None:
        if hour.partition_key in absent:
            return None

        def one(camera: str) -> str:
            worked.append((camera, hour.partition_key))
            if left := errors.get((camera, hour.partition_key)):
                raise left.pop(0)
            return camera

        outcomes = for_each(context, [(f"{camera} {hour}", lambda name=camera: one(name)) for camera in CAMERAS])
        metadata = {"hour": str(hour), "cameras": sorted(outcomes.done.values())}
        versions = {"archives": " ".join(sorted(outcomes.done))} if outcomes.failed and outcomes.done else {}
        return HourResult({"archives": metadata}, outcomes.failed, [outcomes.check(CHECK)], versions)

    yield from each_hour(context, work)


@dg.asset(
    deps=["archives"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def reclaimed(context: dg.AssetExecutionContext) -> Iterator[HourEvent]:
    yield from each_hour(
        context, lambda hour, inputs: HourResult({"reclaimed": {}}) if inputs.has_input(hour) else None
    )


@dg.asset(deps=["archives"], automation_condition=on_change())
def catalog() -> None: ...


DEFS = dg.Definitions(assets=[raw, archives, reclaimed, catalog])


@dataclass
class Plant:
    """The three assets over one instance."""

    instance: dg.DagsterInstance
    job: dg.JobDefinition = field(default_factory=DEFS.resolve_implicit_global_asset_job_def)
    cursor: Any = None

    def run(self, *assets: str, hours: list[str] = HOURS) -> dg.ExecuteInProcessResult:
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            tags={ASSET_PARTITION_RANGE_START_TAG: hours[0], ASSET_PARTITION_RANGE_END_TAG: hours[-1]},
            raise_on_error=False,
        )

    def states(self, asset: str) -> list[str]:
        found = self.instance.get_status_by_partition(dg.AssetKey(asset), HOURS, hourly) or {}
        return [state.value if (state := found.get(hour)) is not None else "MISSING" for hour in HOURS]

    def made(self, asset: str) -> dict[str, dg.AssetMaterialization]:
        records = self.instance.fetch_materializations(dg.AssetKey(asset), limit=100, ascending=True).records
        events = [record.asset_materialization for record in records if record.asset_materialization is not None]
        assert len({event.partition for event in events}) == len(events), "an hour is recorded once"
        return {event.partition or "": event for event in events}

    def verdicts(self) -> dict[str, bool]:
        found = self.instance.get_event_records(dg.EventRecordsFilter(DagsterEventType.ASSET_CHECK_EVALUATION))
        events = [record.event_log_entry.get_dagster_event().asset_check_evaluation_data for record in found]
        return {event.partition or "": event.passed for event in events}

    def tick(self) -> dict[str, set[str | None]]:
        found = dg.evaluate_automation_conditions(DEFS, self.instance, cursor=self.cursor)
        self.cursor = found.cursor
        names = ("archives", "reclaimed", "catalog")
        return {name: wanted for name in names if (wanted := set(found.get_requested_partitions(dg.AssetKey(name))))}


@pytest.fixture
def plant() -> Iterator[Plant]:
    errors.clear()
    absent.clear()
    worked.clear()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Plant(instance)


def test_an_hour_with_a_failed_camera_is_failed_and_the_others_are_made(plant: Plant) -> None:
    errors["cam02", HOURS[1]] = [IntegrityError("sha256 differs")]
    result = plant.run("archives")
    assert not result.success
    assert plant.states("archives") == ["MATERIALIZED", "FAILED", "MATERIALIZED", "MATERIALIZED"]
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.user_failure_data is not None
    assert failed.step_failure_data.user_failure_data.description == "cam02 20260301_01: sha256 differs"
    assert plant.verdicts() == {hour: hour != HOURS[1] for hour in HOURS}, "a verdict for each hour"


def test_what_was_done_of_a_failed_hour_is_observed(plant: Plant) -> None:
    errors["cam02", HOURS[1]] = [IntegrityError("sha256 differs")]
    plant.run("archives")
    (record,) = plant.instance.fetch_observations(dg.AssetKey("archives"), limit=9).records
    assert record.asset_observation is not None and record.partition_key == HOURS[1]
    assert record.asset_observation.metadata["cameras"].value == ["cam01"]
    assert record.asset_observation.description == "Not complete: cam02 20260301_01: sha256 differs"


def test_each_event_holds_its_own_hour(plant: Plant) -> None:
    assert plant.run("archives").success
    assert {hour: event.metadata["hour"].value for hour, event in plant.made("archives").items()} == {
        hour: str(Hour.from_partition_key(hour)) for hour in HOURS
    }


def test_an_hour_that_never_was_stays_missing(plant: Plant) -> None:
    absent.update(HOURS[1:3])
    result = plant.run("archives", "reclaimed")
    assert result.success, "nothing failed"
    assert plant.states("archives") == ["MATERIALIZED", "MISSING", "MISSING", "MATERIALIZED"]
    assert plant.states("reclaimed") == ["MATERIALIZED", "MISSING", "MISSING", "MATERIALIZED"]
    assert set(plant.verdicts()) == {HOURS[0], HOURS[3]}
    lines = [entry.user_message for entry in plant.instance.all_logs(result.run_id)]
    assert sum("nothing is known of 2 hours" in line for line in lines) == 2, "one line a step"


def test_a_retried_step_does_the_failed_hours_only(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    errors["cam02", HOURS[1]] = [StoreUnavailableError("503")]
    assert plant.run("archives").success
    assert set(plant.made("archives")) == set(HOURS)
    assert worked.count(("cam01", HOURS[0])) == 1 and worked.count(("cam01", HOURS[1])) == 2
    assert not plant.instance.fetch_observations(dg.AssetKey("archives"), limit=9).records, "it passed"


def test_an_hour_has_the_same_version_alone_and_among_others(plant: Plant) -> None:
    for hour in HOURS:
        plant.instance.report_runless_asset_event(
            dg.AssetMaterialization("raw", partition=hour, tags={"dagster/data_version": f"frames of {hour}"})
        )
    plant.run("archives")
    among = {hour: event.tags or {} for hour, event in plant.made("archives").items()}
    with dg.DagsterInstance.ephemeral() as other:
        alone = Plant(other)
        for hour in HOURS:
            alone.instance.report_runless_asset_event(
                dg.AssetMaterialization("raw", partition=hour, tags={"dagster/data_version": f"frames of {hour}"})
            )
            alone.run("archives", hours=[hour])
        tags = {hour: event.tags or {} for hour, event in alone.made("archives").items()}
    version = "dagster/data_version"
    assert {hour: tags[hour][version] for hour in HOURS} == {hour: among[hour][version] for hour in HOURS}
    assert len({among[hour][version] for hour in HOURS}) == len(HOURS)
    assert [among[hour]["dagster/input_data_version/raw"] for hour in HOURS] == [f"frames of {h}" for h in HOURS]


def test_downstream_of_a_failed_hour_does_not_wait(plant: Plant) -> None:
    plant.tick()
    for hour in HOURS[:2]:
        plant.instance.report_runless_asset_event(dg.AssetMaterialization("raw", partition=hour))
    assert plant.tick() == {"archives": set(HOURS[:2]), "reclaimed": set(HOURS[:2])}
    errors["cam02", HOURS[1]] = [IntegrityError("sha256 differs")]
    plant.run("archives", "reclaimed", hours=HOURS[:2])
    wanted = plant.tick()
    assert wanted == {"reclaimed": {HOURS[1]}, "catalog": {None}}, "and the failed hour is left to recovery"
    assert plant.tick() == {}, "once"


def test_an_attempt_that_adds_nothing_starts_nothing(plant: Plant) -> None:
    plant.tick()
    night = HOURS[0]
    fails: list[Exception] = [IntegrityError("sha256 differs")]
    for first, second, wanted in (
        (fails, fails, {}),
        ([], fails, {"reclaimed": {night}, "catalog": {None}}),
        ([], fails, {}),
    ):
        errors["cam01", night], errors["cam02", night] = list(first), list(second)
        plant.run("archives", hours=[night])
        assert plant.tick() == wanted
        plant.run("reclaimed", hours=[night])
        plant.tick()
