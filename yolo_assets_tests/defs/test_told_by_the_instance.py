"""What Dagster's instance knows and somebody should be told: given up, refused by the gate."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

from yolo_assets.alerts.causes import GivenUp
from yolo_assets.defs.alerts.sensors import given_up, refused_by_gate
from yolo_assets.defs.recovery.unfinished import MOST_FAILURES, RecoveryCursor, Unfinished

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def test_work_that_the_recovery_sensor_gave_up(instance: dg.DagsterInstance) -> None:
    assert given_up(instance) == []
    targets = {
        "hourly_archives[2026-03-01-03:00]": Unfinished(run="b", ended=AT, failures=MOST_FAILURES),
        "hourly_archives[2026-03-01-02:00]": Unfinished(run="a", ended=AT.replace(hour=5), failures=MOST_FAILURES),
        "hourly_archives[2026-03-01-04:00]": Unfinished(run="c", ended=AT, failures=3),
        "archive_catalog": Unfinished(run="d", ended=AT, failures=1),
    }
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("yolo_assets"), "__repository__"), "recovery_sensor"
    )
    data = SensorInstigatorData(cursor=RecoveryCursor(targets=targets).model_dump_json())
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data))
    assert given_up(instance) == [
        GivenUp("hourly_archives", ("2026-03-01-02:00", "2026-03-01-03:00"), MOST_FAILURES, "b")
    ]


def verdict(passed: bool, why: str) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("promoted_model"), check_name="gate_passed", passed=passed, metadata={}, description=why
    )


def test_the_gates_sentence_until_a_candidate_passes(instance: dg.DagsterInstance) -> None:
    assert refused_by_gate(instance) == {}
    instance.report_runless_asset_event(dg.AssetMaterialization("promoted_model", metadata={"model": "line/v3"}))
    instance.report_runless_asset_event(verdict(False, "recall of crack fell"))
    assert refused_by_gate(instance) == {"line/v3": "recall of crack fell"}
    instance.report_runless_asset_event(verdict(True, "better"))
    assert refused_by_gate(instance) == {}
