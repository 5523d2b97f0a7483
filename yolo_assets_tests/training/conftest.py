"""One small dataset and one real training for the tests of this folder: training is what takes the time."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.learning.dataset import Dataset, build_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.training import candidates
from yolo_assets.training.candidates import TrainingResult, train_candidate
from yolo_assets.training.job_process import run_child
from yolo_assets.training.jobs import TrainingEvent
from yolo_assets.training.spec import Augmentation, TrainSpec
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.training.exporting import Exports, exports

SPEC = TrainSpec(
    name="line", epochs=3, imgsz=64, batch=8, val_every=1, warmup_epochs=0, augmentation=Augmentation(mosaic=0)
)


@dataclass
class Trained:
    """A training that was killed once and resumed."""

    world: World
    dataset: Dataset
    spec: TrainSpec
    work: Path
    killed: str
    children: list[str]
    events: list[TrainingEvent]
    result: TrainingResult


@pytest.fixture(scope="session")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """What ``make test`` has time for: suppression inside, free sides, a checkpoint, and an end-to-end head."""
    return exports(tmp_path_factory.mktemp("brought"), "yolo11n:nms,dynamic,checkpoint", "yolo26n:end2end")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Killed with SIGKILL after the first of three epochs, gone on with on a machine that has nothing but the store."""
    folder = tmp_path_factory.mktemp("trained")
    world = World.make(folder)
    world.label(world.archive_frames(40))
    dataset = build_dataset(world.store, Archive(world.archive, world.trusted))

    def kill_after_one(event: TrainingEvent) -> None:
        if event.event == "epoch":
            for child in psutil.Process().children():
                if "yolo_assets.training" in " ".join(child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as killed:
        patch.setattr(candidates, "UPLOAD_SECONDS", 0.0)
        train_candidate(Registry(world.store), dataset, SPEC, folder / "first", on_progress=kill_after_one, nice=0)
    events: list[TrainingEvent] = []
    children: list[str] = []

    def counted(command: str, *arguments: Any, **options: Any) -> None:
        children.append(command)
        run_child(command, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "run_child", counted)
        result = train_candidate(
            Registry(world.store),
            dataset,
            SPEC,
            folder / "second",
            on_progress=events.append,
            nice=0,
            timeout_seconds=900,
        )
    return Trained(world, dataset, SPEC, folder / "second", str(killed.value), children, events, result)
