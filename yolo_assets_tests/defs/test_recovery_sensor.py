"""Failed work is requested again: real ticks, runs and events of an ephemeral instance; the assets only fail or not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._daemon.auto_run_reexecution.event_log_consumer import _create_cursor_key

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.automation import on_change, on_good_change, on_hour
from yolo_assets.defs.failures import RETRY_POLICY, by_kind, to_failure
from yolo_assets.defs.hours import NO_VALUE, HourEvent, HourResult, each_hour
from yolo_assets.defs.partitions import hourly, packed
from yolo_assets.defs.recovery.runs import FAILURES_TAG, ended_runs, finished_run
from yolo_assets.defs.recovery.sensors import recovery_sensor
from yolo_assets.defs.recovery.unfinished import MOST_FAILURES, Target, pause_after
from yolo_assets.defs.resources import Locations
from yolo_assets.storage import StoreUnavailableError
from yolo_assets_tests.support.automation_daemon import AutomationDaemon

NIGHT = "2026-03-01-02:00"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
errors: dict[str, Exception] = {}
starts: list[str] = []


def work(name: str) -> None:
    starts.append(name)
    if name in errors:
        raise errors[name]


labels = dg.AssetSpec("labels")
raw = dg.AssetSpec("raw", partitions_def=hourly)


@dg.asset(
    deps=["labels"],
    automation_condition=on_change(),
    retry_policy=RETRY_POLICY,
    check_specs=[dg.AssetCheckSpec("good", asset="dataset", blocking=True)],
)
@by_kind
def dataset() -> dg.MaterializeResult:
    work("dataset")
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="good", passed="bad" not in errors)])


class TrainingConfig(dg.Config):
    epochs: int = 1


@dg.asset(deps=["dataset"], automation_condition=on_good_change(), retry_policy=RETRY_POLICY)
@by_kind
def weights(config: TrainingConfig) -> dg.MaterializeResult:
    work("weights")
    return dg.MaterializeResult(metadata={"epochs": config.epochs})


@dg.asset(
    deps=["raw"],
    partitions_def=hourly,
    backfill_policy=packed,
    automation_condition=on_hour(),
    dagster_type=NO_VALUE,
    retry_policy=RETRY_POLICY,
)
@by_kind
def tables(context: dg.AssetExecutionContext) -> Iterator[HourEvent]:
    def one(hour: Hour, _: object) -> HourResult:
        error = errors.get("half") or errors.get(hour.partition_key)
        return HourResult({"tables": {}}, {f"cam01 {hour}": to_failure(error)} if error else {})

    work("tables")
    yield from each_hour(context, one)


@dg.asset(deps=["tables"], partitions_def=hourly, backfill_policy=packed, retry_policy=RETRY_POLICY)
@by_kind
def health() -> None:
    work("health")


ASSETS = [labels, raw, dataset, weights, tables, health]
AWAY = StoreUnavailableError("the store answered 503")


@pytest.fixture
def locations(tmp_path: Path) -> Locations:
    return Locations(values={"home": str(tmp_path / "home")})


@pytest.fixture
def daemon(locations: Locations) -> Iterator[AutomationDaemon]:
    errors.clear()
    starts.clear()
    definitions = dg.Definitions(assets=ASSETS, sensors=[recovery_sensor], resources={"locations": locations})
    with dg.DagsterInstance.ephemeral() as instance:
        yield AutomationDaemon(definitions, instance, START)


def report(daemon: AutomationDaemon, asset: str = "labels", partition: str | None = None) -> None:
    daemon.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))


def runs(daemon: AutomationDaemon, asset: str = "dataset") -> list[tuple[float, bool]]:
    """Minutes after the start at which the asset ran, and whether it succeeded."""
    return [((ran.at - START) / MINUTE, ran.success) for ran in daemon.runs if asset in ran.assets]


def test_a_failed_dataset_is_built_without_a_new_label_file(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    report(daemon)
    daemon.tick()
    assert starts == ["dataset"] * (1 + RETRY_POLICY.max_retries), "the step is retried in its run first"
    errors.clear()
    daemon.settle()
    assert runs(daemon) == runs(daemon, "weights") == [(0, False), (1, True)]
    assert daemon.settle() == [], "and nothing is done twice"


def test_an_hour_in_which_a_camera_failed_is_completed_later(daemon: AutomationDaemon) -> None:
    errors["half"] = AWAY
    assert not daemon.run("tables", "health", partition=NIGHT)
    errors.clear()
    daemon.settle()
    assert runs(daemon, "tables") == runs(daemon, "health") == [(0, False), (1, True)]


def test_of_several_hours_only_those_that_may_pass_are_requested(daemon: AutomationDaemon) -> None:
    hours = [NIGHT, "2026-03-01-03:00", "2026-03-01-04:00"]
    errors[hours[0]], errors[hours[1]] = AWAY, BadInputError("a record that nobody can read")
    job = daemon.definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=daemon.instance,
        asset_selection=[dg.AssetKey("tables"), dg.AssetKey("health")],
        tags={ASSET_PARTITION_RANGE_START_TAG: hours[0], ASSET_PARTITION_RANGE_END_TAG: hours[2]},
        raise_on_error=False,
    )
    assert not result.success
    (run,) = daemon.instance.get_runs()
    graph = daemon.definitions.resolve_asset_graph()
    (end,), _ = ended_runs(daemon.instance, None, START)
    left = finished_run(daemon.instance, graph, run, end).unfinished
    assert Target("tables", hours[0]) in left and Target("tables", hours[1]) not in left
    assert Target("health", hours[2]) in left, "its hour was made, and its step was not reached"


def test_pauses_grow_and_end(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    report(daemon)
    daemon.tick()
    for _ in range(90):
        daemon.advance(MINUTE)
    assert [minute for minute, _ in runs(daemon)] == [0, 1, 3, 7, 15, 31, 63]
    while len(runs(daemon)) < MOST_FAILURES:
        assert daemon.advance(timedelta(hours=2))
    for _ in range(10):
        assert daemon.advance(timedelta(days=1)) == []
    observed = daemon.instance.fetch_observations(dg.AssetKey("dataset"), limit=9).records
    (seen,) = [record.asset_observation for record in observed]
    assert seen is not None and seen.metadata["failed_runs"].value == MOST_FAILURES
    errors.clear()
    assert daemon.run("dataset"), "a person may run it"
    assert "given up" not in str(daemon._cursors) and daemon.settle() and daemon.settle() == []


def test_a_data_error_waits_for_a_changed_input(daemon: AutomationDaemon) -> None:
    errors["dataset"] = BadInputError("labels/inbox/a.json: line 3 has no box")
    report(daemon)
    daemon.tick()
    assert starts == ["dataset"], "not even the step is retried"
    for _ in range(30):
        assert daemon.advance(timedelta(minutes=10)) == []
    errors.clear()
    report(daemon)
    daemon.advance(MINUTE)
    assert [success for _, success in runs(daemon)] == [False, True]


def test_a_defect_is_not_retried_either(daemon: AutomationDaemon) -> None:
    errors["dataset"] = ZeroDivisionError("division by zero")
    report(daemon)
    daemon.tick()
    assert starts == ["dataset"] and daemon.advance(timedelta(hours=1)) == []


def test_a_success_by_hand_ends_the_requests(daemon: AutomationDaemon) -> None:
    errors["weights"] = AWAY
    report(daemon)
    daemon.tick()
    assert runs(daemon, "weights") == [(0, False)]
    errors.clear()
    daemon.run("weights")
    assert daemon.settle() == []


def test_a_materialization_reported_by_hand_ends_them_too(daemon: AutomationDaemon) -> None:
    errors["weights"] = AWAY
    report(daemon)
    daemon.tick()
    daemon.now += MINUTE / 2
    with daemon._time():
        report(daemon, "weights")
    errors.clear()
    assert daemon.settle() == []


def test_the_failed_run_gives_its_configuration(daemon: AutomationDaemon) -> None:
    errors["weights"] = AWAY
    with daemon._time():
        daemon._execute(("weights",), None, {"ops": {"weights": {"config": {"epochs": 7}}}}, {})
    errors.clear()
    daemon.settle()
    event = daemon.instance.get_latest_materialization_event(dg.AssetKey("weights"))
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.metadata["epochs"].value == 7


def test_what_a_failed_step_kept_from_running_is_requested_with_it(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    daemon.run("dataset", "weights")
    errors.clear()
    daemon.settle()
    assert [ran.assets for ran in daemon.runs] == [("dataset", "weights")] * 2


def test_only_the_unfinished_part_of_a_run_is_requested(daemon: AutomationDaemon) -> None:
    errors["weights"] = AWAY
    daemon.run("dataset", "weights")
    errors.clear()
    daemon.settle()
    assert [ran.assets for ran in daemon.runs] == [("dataset", "weights"), ("weights",)]


def test_one_hour_is_requested_again_and_not_its_neighbours(daemon: AutomationDaemon) -> None:
    errors["tables"] = AWAY
    report(daemon, "raw", NIGHT)
    daemon.tick()
    errors.clear()
    report(daemon, "raw", "2026-03-01-03:00")
    daemon.settle()
    hours = [(ran.partition, ran.success) for ran in daemon.runs]
    assert hours[0] == (NIGHT, False)
    assert sorted(hours[1:], key=str) == [(NIGHT, True), ("2026-03-01-03:00", True)]


def test_the_hours_of_a_failed_run_are_requested_in_one_run(daemon: AutomationDaemon) -> None:
    errors["tables"] = AWAY
    hours = [NIGHT, "2026-03-01-03:00", "2026-03-01-04:00"]
    tags = {"dagster/asset_partition_range_start": hours[0], "dagster/asset_partition_range_end": hours[-1]}
    assert not daemon.run("tables", tags=tags)
    errors.clear()
    daemon.settle()
    (again,) = daemon.runs[1:]
    assert again.tags.items() >= tags.items()
    made = daemon.instance.get_materialized_partitions(dg.AssetKey("tables"))
    assert sorted(made) == hours


def test_hours_that_fail_again_and_again_are_tried_twice_an_hour(daemon: AutomationDaemon) -> None:
    """A camera that is bad: each hour leaves one that cannot be completed."""
    errors["tables"] = AWAY
    hours = [f"2026-03-01-{number:02}:00" for number in range(1, 6)]
    for hour in hours:
        daemon.run("tables", partition=hour)
    del daemon.runs[:]
    for _ in range(60):
        daemon.advance(MINUTE)
    assert len(daemon.runs) == 2, [ran.tags for ran in daemon.runs]
    assert [ran.tags["dagster/asset_partition_range_end"] for ran in daemon.runs] == [hours[-1]] * 2, "packed"
    errors.clear()
    daemon.settle(most=80)
    assert sorted(daemon.instance.get_materialized_partitions(dg.AssetKey("tables"))) == hours


def test_when_the_archive_root_is_back_nobody_waits_out_the_hour(
    daemon: AutomationDaemon, locations: Locations
) -> None:
    root = locations.settings.home / "archive"
    locations.archive().store.put("receipts/note", b"this machine has stored here")
    root.rename(root.with_name("unmounted"))
    errors["tables"] = AWAY
    daemon.run("tables", partition=NIGHT)
    for _ in range(10):
        daemon.advance(MINUTE)
    assert len(daemon.runs) == 3, "two in vain after the first"
    errors.clear()
    for _ in range(10):
        daemon.advance(MINUTE)
    assert len(daemon.runs) == 3, "still away"
    root.with_name("unmounted").rename(root)
    for _ in range(2):
        daemon.advance(MINUTE)
    assert daemon.instance.get_materialized_partitions(dg.AssetKey("tables")) == {NIGHT}
    assert not daemon.failed_ticks


def test_what_runs_already_is_not_requested(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    report(daemon)
    daemon.tick()
    with daemon._time():
        queued = daemon.instance.create_run_for_job(
            daemon.definitions.resolve_implicit_global_asset_job_def(),
            asset_selection=frozenset({dg.AssetKey("dataset")}),
            status=dg.DagsterRunStatus.STARTED,
        )
    assert daemon.advance(timedelta(minutes=5)) == []
    daemon.instance.report_run_canceled(queued)
    assert daemon.advance(timedelta(minutes=5)) == [], "an operator who cancels it means it"


def test_a_run_that_dagster_itself_retries_is_left_to_it(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    daemon.run("dataset", tags={"dagster/will_retry": "true"})
    errors.clear()
    assert daemon.advance(timedelta(minutes=5)) == []
    assert daemon.advance(timedelta(minutes=30)), "unless it did not"


def test_a_retry_that_dagster_dropped_is_not_waited_for(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    daemon.run("dataset", tags={"dagster/will_retry": "true"})
    errors.clear()
    name = _create_cursor_key(dg.DagsterEventType.RUN_FAILURE)
    end = daemon.instance.event_log_storage.get_maximum_record_id() or 0
    daemon.instance.daemon_cursor_storage.set_cursor_values({name: "1"})
    assert daemon.advance(timedelta(minutes=5)) == [], "the daemon has not come to it"
    daemon.instance.daemon_cursor_storage.set_cursor_values({name: str(end)})
    assert daemon.advance(MINUTE)[0].assets == ("dataset",), "it has, and started nothing"


def test_a_retry_that_dagster_started_is_what_counts(daemon: AutomationDaemon) -> None:
    errors["dataset"] = AWAY
    tags = {"dagster/will_retry": "true", "dagster/auto_retry_run_id": "of-a-run-that-was-deleted"}
    daemon.run("dataset", tags=tags)
    errors.clear()
    assert daemon.advance(timedelta(minutes=5))[0].assets == ("dataset",)


def test_nothing_is_trained_after_a_failed_blocking_check(daemon: AutomationDaemon) -> None:
    report(daemon)
    errors["weights"] = AWAY
    daemon.tick()
    errors.clear()
    errors["bad"] = AWAY
    report(daemon)
    daemon.now += MINUTE / 2
    with daemon._time():
        daemon._evaluate_conditions()
    assert runs(daemon)[-1] == (0.5, False)
    assert [ran.assets for ran in daemon.advance(timedelta(minutes=5))] == []
    errors.clear()
    assert daemon.run("dataset") and daemon.settle()
    assert runs(daemon, "weights")[-1][1]


@pytest.mark.parametrize("cursor", [None, "{", '{"through": 1, "targets": {"gone_asset[x]": {"run": "a"}}}'])
def test_a_lost_cursor_loses_nothing(daemon: AutomationDaemon, cursor: str | None) -> None:
    errors["dataset"] = AWAY
    report(daemon)
    daemon.tick()
    daemon.advance(MINUTE)
    assert [minute for minute, _ in runs(daemon)] == [0, 1]
    daemon._cursors["recovery_sensor"] = cursor
    daemon.advance(MINUTE)
    assert len(runs(daemon)) == 2, "the failures in a row are known by the run's own tag"
    assert daemon.runs[-1].tags[FAILURES_TAG] == "1"
    errors.clear()
    daemon.settle()
    assert [minute for minute, _ in runs(daemon)] == [0, 1, 3]


def test_a_run_key_is_used_once(daemon: AutomationDaemon) -> None:
    """The sensor died after its requests were launched and before its cursor was stored."""
    errors["dataset"] = AWAY
    report(daemon)
    daemon.tick()
    before = daemon._cursors["recovery_sensor"]
    daemon.advance(MINUTE)
    daemon._cursors["recovery_sensor"] = before
    daemon.tick()
    assert len(runs(daemon)) == 2


def test_the_pause_is_bounded() -> None:
    pauses = [pause_after(failures) for failures in range(1, 1000)]
    assert pauses == sorted(pauses) and pauses[-1] == timedelta(hours=2)
    assert sum(pauses[: MOST_FAILURES - 1], timedelta()) > timedelta(days=2)
