"""Work that failed and was not done since: real runs of an ephemeral instance; the assets only fail or not."""

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterEvent
from dagster._core.events import AssetMaterializationPlannedData

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.failures import by_kind
from yolo_assets.defs.partitions import hourly
from yolo_assets.defs.recovery.sensors import RUN_TAG
from yolo_assets.defs.standing_failures import standing_failures
from yolo_assets.storage import StoreUnavailableError
from yolo_assets.today.summary import Failure

NIGHT, MORNING = Hour.from_key("20260301_02"), Hour.from_key("20260301_07")
errors: dict[str, Exception] = {}
cameras: dict[str, str] = {}


@dg.asset(partitions_def=hourly, check_specs=[dg.AssetCheckSpec("every_camera", asset="tables")])
@by_kind
def tables(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckEvaluation | dg.MaterializeResult]:
    if cameras:
        names = {f"{camera} {Hour.from_partition_key(context.partition_key)}": why for camera, why in cameras.items()}
        yield dg.AssetCheckEvaluation(
            asset_key=context.asset_key, check_name="every_camera", passed=False, metadata={**names, "rows": 7}
        )
        raise BadInputError("; ".join(names.values()))
    if "tables" in errors:
        raise errors["tables"]
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="every_camera", passed=True)])


@dg.asset(deps=[tables], partitions_def=hourly)
@by_kind
def health() -> None: ...


@dg.asset
@by_kind
def weights() -> None:
    if "weights" in errors:
        raise errors["weights"]


DEFS = dg.Definitions(assets=[tables, health, weights])
JOB = DEFS.resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    errors.clear()
    cameras.clear()
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(instance: dg.DagsterInstance, *assets: str, hour: Hour | None = None) -> str:
    result = JOB.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        partition_key=hour.partition_key if hour is not None else None,
        raise_on_error=False,
    )
    return result.run_id


def standing(instance: dg.DagsterInstance) -> list[Failure]:
    return sorted(
        standing_failures(instance), key=lambda failure: (failure.what, str(failure.hour), failure.camera_id or "")
    )


def test_nothing_failed(instance: dg.DagsterInstance) -> None:
    run(instance, "tables", "health", hour=NIGHT)
    run(instance, "weights")
    assert standing(instance) == []


def test_a_failed_step_is_told_once_and_not_what_waited_for_it(instance: dg.DagsterInstance) -> None:
    errors["tables"] = StoreUnavailableError("the store answered 503")
    run_id = run(instance, "tables", "health", hour=NIGHT)
    (one,) = standing(instance)
    assert (one.what, one.hour, one.camera_id, one.run_id, one.again) == ("tables", NIGHT, None, run_id, True)
    assert one.reason == "the store answered 503"


def test_cameras_that_failed_are_told_with_their_causes(instance: dg.DagsterInstance) -> None:
    cameras.update(cam3="no right to read", cam1="disk full")
    for hour in (NIGHT, MORNING):
        run(instance, "tables", "health", hour=hour)
    assert [(one.hour, one.camera_id, one.reason, one.again) for one in standing(instance)] == [
        (hour, camera, why, False)
        for hour in (NIGHT, MORNING)
        for camera, why in (("cam1", "disk full"), ("cam3", "no right to read"))
    ]


def test_what_was_done_since_is_gone_by_a_run_or_a_report(instance: dg.DagsterInstance) -> None:
    cameras.update(cam3="no right to read")
    errors["weights"] = BadInputError("there is no dataset")
    for hour in (NIGHT, MORNING):
        run(instance, "tables", hour=hour)
    run(instance, "weights")
    assert [(one.what, one.hour) for one in standing(instance)] == [
        ("tables", NIGHT),
        ("tables", MORNING),
        ("weights", None),
    ]
    cameras.clear()
    errors.clear()
    run(instance, "tables", hour=NIGHT)
    assert [(one.what, one.hour) for one in standing(instance)] == [("tables", MORNING), ("weights", None)]
    instance.report_runless_asset_event(dg.AssetMaterialization("tables", partition=MORNING.partition_key))
    instance.report_runless_asset_event(dg.AssetMaterialization("weights"))
    assert standing(instance) == []


def test_the_next_attempt_does_not_make_it_well_before_it_succeeds(instance: dg.DagsterInstance) -> None:
    cameras.update(cam3="no right to read")
    failed = run(instance, "tables", hour=NIGHT)
    again = instance.create_run_for_job(JOB, status=dg.DagsterRunStatus.STARTED, tags={RUN_TAG: failed})
    planned = AssetMaterializationPlannedData(dg.AssetKey("tables"), partition=NIGHT.partition_key)
    event = DagsterEvent.build_asset_materialization_planned_event(JOB.name, "tables", planned)
    instance.report_dagster_event(event, again.run_id)
    (one,) = standing(instance)
    assert (one.run_id, one.camera_id) == (failed, "cam3")


def test_a_run_that_died_is_told_once_for_all_its_assets(instance: dg.DagsterInstance) -> None:
    dead = instance.create_run_for_job(JOB, status=dg.DagsterRunStatus.STARTED)
    for name in ("tables", "health"):
        planned = AssetMaterializationPlannedData(dg.AssetKey(name), partition=NIGHT.partition_key)
        event = DagsterEvent.build_asset_materialization_planned_event(JOB.name, name, planned)
        instance.report_dagster_event(event, dead.run_id)
    instance.report_run_failed(dead, "Detected run worker status FAILED: killed by signal 9")
    (one,) = standing(instance)
    assert (one.what, one.hour, one.again) == ("health", NIGHT, True) and "signal 9" in one.reason
