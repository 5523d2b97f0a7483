"""A store that answers 503 while a dataset is built costs nothing: dataset, training and release need no new labels.

Once it lost all three until the next label file arrived. Three layers share the work, see ``defs.failures``.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.failures import RETRY_POLICY
from yolo_assets.storage.faults import StoreCall, StoreFault, unavailable
from yolo_assets.storage.retrying import RetryBounds
from yolo_assets_tests.faults.conftest import MakeLoop
from yolo_assets_tests.faults.test_store_away import watch_store

NIGHT = Hour(datetime(2026, 3, 1, 2, tzinfo=UTC))
MINUTE = timedelta(minutes=1)
TRIES = RetryBounds().tries
STEPS = 1 + RETRY_POLICY.max_retries


@pytest.mark.parametrize(
    ("answers", "steps", "failed_runs"),
    [
        pytest.param(1, 0, 0, id="the store retries"),
        pytest.param(TRIES, 1, 0, id="the step is retried"),
        pytest.param(TRIES * STEPS, STEPS - 1, 1, id="the run is requested again"),
        pytest.param(TRIES * STEPS * 3, (STEPS - 1) * 3, 3, id="and again, later"),
    ],
)
def test_503(
    make_loop: MakeLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int, steps: int, failed_runs: int
) -> None:
    loop = make_loop(tmp_path / "home")
    left = answers

    def rule(call: StoreCall) -> StoreFault | None:
        nonlocal left
        if "training_dataset" not in loop.daemon.running or call.operation != "get" or left == 0:
            return None
        left -= 1
        return StoreFault(unavailable(call))

    watch_store(monkeypatch, rule)
    loop.record_hour(NIGHT)
    loop.daemon.tick()
    assert loop.ask(NIGHT)
    loop.label()
    begun, before = loop.daemon.now, loop.daemon.step_retries()
    loop.daemon.settle()
    assert left == 0 and loop.labelled == 1
    assert loop.daemon.step_retries() - before == steps
    failed = [(ran.at - begun) / MINUTE for ran in loop.daemon.runs if not ran.success]
    assert failed == [1, 2, 4][:failed_runs], "the pauses grow"
    for asset in ("training_dataset", "trained_weights", "promoted_model", "deployed_model"):
        assert loop.made(asset) == 1, asset
