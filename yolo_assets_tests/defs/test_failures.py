"""Every asset's failures are of a known kind: what may pass is retried, nothing else is."""

from collections.abc import Iterator

import dagster as dg
import pytest

from yolo_assets.catalog.publish import CatalogBusyError
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.times import Hour
from yolo_assets.definitions import defs as load
from yolo_assets.defs.failures import REQUESTED_AGAIN, RETRY_POLICY, by_kind, several, to_failure
from yolo_assets.defs.hours import NO_VALUE, HourEvent, HourResult, each_hour, for_each
from yolo_assets.defs.partitions import hourly
from yolo_assets.storage import StoreUnavailableError


def test_every_asset_is_retried_by_kind() -> None:
    executable = [made for made in load().resolve_asset_graph().assets_defs if made.is_executable]
    assert len(executable) > 10
    for made in executable:
        assert isinstance(made.node_def, dg.OpDefinition)
        assert made.node_def.retry_policy == RETRY_POLICY, f"{made.node_def.name} has no retry_policy=RETRY_POLICY"
        function = getattr(made.node_def.compute_fn, "decorated_fn", None)
        assert getattr(function, "__code__", None) in _wrappers(), f"{made.node_def.name} has no @by_kind"


def _wrappers() -> set[object]:
    def plain() -> None: ...

    def generator():
        yield

    return {by_kind(plain).__code__, by_kind(generator).__code__}


@pytest.mark.parametrize(
    ("error", "retried", "again"),
    [
        (StoreUnavailableError("503"), True, True),
        (StoreUnavailableError("access denied", transient=False), False, True),
        (CatalogBusyError("other publishers kept winning"), True, True),
        (ConnectionResetError("reset by peer"), True, True),
        (OSError(28, "No space left on device"), True, True),
        (BadInputError("line 3 has no box"), False, False),
        (IntegrityError("sha256 differs"), False, False),
        (SignatureError("untrusted key"), False, False),
        (UserError("something else"), False, False),
        (ZeroDivisionError("division by zero"), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_kinds(error: Exception, retried: bool, again: bool) -> None:
    failure = to_failure(error)
    assert (failure.allow_retries, failure.metadata[REQUESTED_AGAIN].value) == (retried, again)
    assert failure.description and "\n" not in failure.description and failure.metadata["next"].value


def test_several_failures_are_one_line_that_names_each() -> None:
    broken, away = to_failure(IntegrityError("sha256 differs")), to_failure(StoreUnavailableError("503"))
    one = several({"cam02 20260301_02": broken, "cam07 20260301_02": away})
    assert one.description == "cam02 20260301_02: sha256 differs; cam07 20260301_02: 503"
    assert one.allow_retries and one.metadata[REQUESTED_AGAIN].value is True
    many = several({f"cam{number:03} 20260301_02": broken for number in range(200)})
    assert many.description is not None and many.description.endswith("; and 195 more camera-hours")
    assert not many.allow_retries and many.metadata[REQUESTED_AGAIN].value is False


def run(*errors: Exception) -> tuple[int, bool, list[bool]]:
    """One hour of three cameras; ``errors`` are raised one after the other by the second camera.

    Returns:
        Tries of the failing camera, whether the run succeeded, whether what was observed is requested again.
    """
    left, tries = list(errors), [0]

    def work() -> str:
        tries[0] += 1
        if left:
            raise left.pop(0)
        return "done"

    @dg.asset(retry_policy=RETRY_POLICY, partitions_def=hourly, dagster_type=NO_VALUE)
    @by_kind
    def hours(context: dg.AssetExecutionContext) -> Iterator[HourEvent]:
        def cameras(hour: Hour, _: object) -> HourResult:
            outcomes = for_each(context, [("a", lambda: "done"), ("b", work), ("c", lambda: "done")])
            assert set(outcomes.done) >= {"a", "c"}, "the others are done"
            return HourResult({"hours": {}}, outcomes.failed)

        yield from each_hour(context, cameras)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([hours], instance=instance, partition_key="2026-03-01-02:00", raise_on_error=False)
        seen = [record.asset_observation for record in instance.fetch_observations(dg.AssetKey("hours"), 9).records]
        return tries[0], result.success, [bool(item.metadata[REQUESTED_AGAIN].value) for item in seen if item]


def test_a_camera_whose_store_recovers_is_done_by_a_retry_of_the_step() -> None:
    assert run(StoreUnavailableError("503")) == (2, True, [])


@pytest.mark.parametrize(
    ("errors", "tries", "again"),
    [
        ([StoreUnavailableError("503")] * 9, 4, True),
        ([StoreUnavailableError("not mounted", transient=False)], 1, True),
        ([IntegrityError("sha256 differs")], 1, False),
        ([ZeroDivisionError("a defect of the program")], 1, False),
        ([OverflowError("date value out of range")], 1, False),
    ],
)
def test_a_camera_that_fails_does_not_fail_the_others(errors: list[Exception], tries: int, again: bool) -> None:
    assert run(*errors) == (tries, False, [again])
