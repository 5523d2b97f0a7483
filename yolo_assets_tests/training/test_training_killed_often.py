"""One training whose process is killed ten times, each time after a random epoch and at a random moment of the next."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import psutil
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.learning.dataset import build_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.training import candidates
from yolo_assets.training.candidates import train_candidate
from yolo_assets.training.jobs import TrainingEvent
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.training.conftest import SPEC

KILLS = 10


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_training_killed_ten_times_trains_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "UPLOAD_SECONDS", 0.0)
    world = World.make(tmp_path)
    world.label(world.archive_frames(24))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))
    spec = SPEC.model_copy(update={"epochs": 2 * KILLS, "val_every": 4})
    draw, registry = random.Random(7), Registry(world.store)
    seen: list[int] = []
    for kill in range(KILLS):
        left, killer = [draw.choice((0, 1, 1, 2))], threading.Timer(draw.uniform(0, 2), _kill_children)

        def on_progress(event: TrainingEvent, left: list[int] = left, killer: threading.Timer = killer) -> None:
            if event.event == "epoch":
                seen.append(event.epoch)
                left[0] -= 1
            if left[0] <= 0 and not killer.is_alive() and not killer.finished.is_set():
                killer.start()

        # Every other time another machine goes on, which has nothing but the store.
        with pytest.raises(UserError, match="killed by signal 9"):
            train_candidate(registry, dataset, spec, tmp_path / f"machine{kill // 2 % 2}", on_progress=on_progress)
        killer.join()
    result = train_candidate(registry, dataset, spec, tmp_path / "last", on_progress=_note(seen))
    assert result.training.epochs == spec.epochs and result.training.resumed_from > 0
    assert set(seen) == set(range(1, spec.epochs + 1))
    assert len(seen) - len(set(seen)) <= 2 * KILLS, "an epoch or two a kill are trained twice"
    assert result.training.ran is not None and result.training.ran.architecture == "yolo11n.yaml"
    print(f"\n{KILLS} kills, {len(seen)} epochs trained for {spec.epochs}")


def _note(seen: list[int]):
    return lambda event: seen.append(event.epoch) if event.event == "epoch" else None


def _kill_children() -> None:
    for child in psutil.Process().children():
        if "yolo_assets.training" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
