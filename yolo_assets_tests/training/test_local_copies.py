"""What a training and an evaluation copy to the local disk is removed; the children are replaced by a moment's work."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import UserError
from yolo_assets.learning.dataset import Dataset, build_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.training import candidates
from yolo_assets.training.candidates import evaluate_candidate, train_candidate
from yolo_assets.training.spec import starter
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.quick_training import quick_child


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(candidates, "run_child", quick_child)
    return World.make(tmp_path)


@pytest.fixture
def dataset(world: World) -> Dataset:
    world.label(world.archive_frames(30))
    return build_dataset(world.store, Archive(world.archive, world.trusted))


def test_no_pictures_stay_here_once_a_model_is_trained_and_judged(world: World, dataset: Dataset, tmp_path: Path):
    registry, work = Registry(world.store), tmp_path / "work"
    old = work / "given-up"
    (old / "data").mkdir(parents=True)
    long_ago = time.time() - 8 * 86_400
    os.utime(old, (long_ago, long_ago))
    made = train_candidate(registry, dataset, starter("line"), work)
    assert list(work.iterdir()) == []
    evaluated = evaluate_candidate(registry, dataset, made.model_version, None, work)
    assert evaluated.comparison.candidate.model_version == made.model_version
    (folder,) = work.iterdir()
    assert [path.name for path in folder.iterdir()] == ["out"]


def test_a_failed_training_keeps_its_folder_and_an_evaluation_none(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    registry, work = Registry(world.store), tmp_path / "work"
    made = train_candidate(registry, dataset, starter("line"), work)

    def fail(command: str, *_: Any, **__: Any) -> None:
        raise UserError(f"{command} failed")

    monkeypatch.setattr(candidates, "run_child", fail)
    with pytest.raises(UserError, match="evaluate failed"):
        evaluate_candidate(registry, dataset, made.model_version, None, work)
    assert not [path for path in work.rglob("*") if path.is_file()]
    with pytest.raises(UserError, match="train failed"):
        train_candidate(registry, dataset, starter("line", epochs=2), work)
    assert list(work.glob("*/data/images/train/*.jpg"))  # gone on with from here
