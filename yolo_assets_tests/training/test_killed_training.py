"""A training whose process is killed, for example for want of memory: the step is tried again."""

from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from yolo_assets.defs.release import training


def test_a_killed_training_process_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "COMMAND", ("-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    settings = SimpleNamespace(training_pod=None, store_url=tmp_path.as_uri(), home=tmp_path)

    @dg.asset
    def weights(context: dg.AssetExecutionContext) -> None:
        training.try_options(context, SimpleNamespace(settings=settings), "lr", "run")  # pyright: ignore[reportArgumentType]

    with pytest.raises(training.TrainingInterruptedError, match="was killed") as raised:
        dg.materialize([weights])
    assert raised.value.may_pass
