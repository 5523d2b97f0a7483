"""Every asset's failures are of a known kind: what may pass is retried, nothing else is."""

from dataclasses import dataclass

import dagster as dg
import pytest

from yolo_assets.catalog.publish import CatalogBusyError
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.definitions import defs as load
from yolo_assets.defs.failures import REQUESTED_AGAIN, RETRY_POLICY, by_kind, to_failure
from yolo_assets.defs.hours import Outcomes, for_each
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


@dataclass(frozen=True)
class Tried:
    """What a run did: outcomes of its last try, tries of the failing camera, tags of the stored run."""

    outcomes: Outcomes[str]
    tries: int
    tags: set[str]


def run(*errors: Exception) -> Tried:
    """One asset over three cameras; ``errors`` are raised one after the other by the second camera."""
    left, tries, outcomes = list(errors), [0], []

    def work() -> str:
        tries[0] += 1
        if left:
            raise left.pop(0)
        return "done"

    @dg.asset(retry_policy=RETRY_POLICY)
    @by_kind
    def hours(context: dg.AssetExecutionContext) -> None:
        outcomes.append(for_each(context, [("a", lambda: "done"), ("b", work), ("c", lambda: "done")]))

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([hours], instance=instance, raise_on_error=False)
        stored = instance.get_run_by_id(result.run_id)
        assert result.success and stored is not None
        return Tried(outcomes[-1], tries[0], {tag for tag in stored.tags if "incomplete" in tag})


def test_a_camera_whose_store_recovers_is_done_by_a_retry_of_the_step() -> None:
    tried = run(StoreUnavailableError("503"))
    assert tried.tries == 2 and tried.tags == set()
    assert tried.outcomes.failed == {} and set(tried.outcomes.done) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("errors", "tries", "incomplete"),
    [
        ([StoreUnavailableError("503")] * 9, 4, True),
        ([StoreUnavailableError("not mounted", transient=False)], 1, True),
        ([IntegrityError("sha256 differs")], 1, False),
        ([ZeroDivisionError("a defect of the program")], 1, False),
        ([OverflowError("date value out of range")], 1, False),
    ],
)
def test_a_camera_that_fails_does_not_fail_the_others(errors: list[Exception], tries: int, incomplete: bool) -> None:
    tried = run(*errors)
    assert tried.tries == tries and bool(tried.tags) is incomplete
    assert set(tried.outcomes.failed) == {"b"} and set(tried.outcomes.done) == {"a", "c"}
    assert tried.outcomes.check(dg.AssetCheckSpec("all", asset="hours")).passed is False
