"""What starts a training in the graph: nine label files are one training, and what failed is not started again."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.camera_states import CameraState, CameraStates, ModelDrift
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs import training_due
from yolo_assets.defs.automation import on_training_due
from yolo_assets.defs.resources import Locations
from yolo_assets.learning.dataset import build_dataset, latest_dataset
from yolo_assets.monitoring.states import keep_camera_states
from yolo_assets_tests.learning.line_world import START, World

FILES = 9


@dg.asset
def training_dataset() -> dg.MaterializeResult:
    dataset = latest_dataset(Locations.from_env().store())
    assert dataset is not None
    return dg.MaterializeResult(data_version=dg.DataVersion(dataset.sha256))


@dg.asset(deps=["training_dataset"], automation_condition=on_training_due())
def trained_weights(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    if context.run.tags.get("fails"):
        raise UserError("a recipe that does not fit")
    dataset = latest_dataset(Locations.from_env().store())
    assert dataset is not None
    return dg.MaterializeResult(metadata={"dataset": dataset.sha256})


DEFS = dg.Definitions(assets=[training_dataset, trained_weights])


@dataclass
class Plant:
    """A store with labels, an instance, and a clock that the test moves."""

    world: World
    instance: dg.DagsterInstance
    later: timedelta = timedelta()
    cursor: Any = None
    job: dg.JobDefinition = field(default_factory=DEFS.resolve_implicit_global_asset_job_def)

    def label(self, paths: list[str], name: str) -> None:
        self.world.label(paths, name)
        build_dataset(self.world.store, Archive(self.world.archive, self.world.trusted))
        self.run("training_dataset")

    def run(self, asset: str, **tags: str) -> None:
        key = [dg.AssetKey(asset)]
        self.job.execute_in_process(instance=self.instance, asset_selection=key, raise_on_error=False, tags=tags)

    def starts(self) -> bool:
        """A tick; what it requests runs."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            at = utc_now() + self.later
            found = dg.evaluate_automation_conditions(DEFS, self.instance, cursor=self.cursor, evaluation_time=at)
        self.cursor = found.cursor
        return found.total_requested > 0


@pytest.fixture
def plant(home: Path) -> Iterator[Plant]:
    world = World.make(home)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Plant(world, instance)


def test_nine_label_files_are_one_training(plant: Plant, home: Path) -> None:
    (home / "plant.yaml").write_text("training: {new_labels: 10}")
    paths = plant.world.archive_frames(2 * FILES)
    trainings = 0
    for number in range(FILES):
        plant.label(paths[2 * number : 2 * number + 2], f"{number}.json")
        trainings += plant.starts()
    assert trainings == 0, "they come within ten minutes"
    plant.later = timedelta(minutes=11)
    assert plant.starts() and training_due.MEMORY.why == f"{2 * FILES} images labelled since the last training"
    plant.run("trained_weights")
    assert not plant.starts()


def test_an_attempt_that_failed_is_not_started_again(plant: Plant, home: Path) -> None:
    (home / "plant.yaml").write_text("training: {new_labels: 2, quiet_minutes: 0}")
    paths = plant.world.archive_frames(4)
    plant.label(paths[:2], "a.json")
    assert plant.starts()
    plant.run("trained_weights", fails="yes")
    assert not plant.starts()
    plant.label(paths[2:], "b.json")
    assert plant.starts(), "new labels start one"


def test_drift_starts_one_with_fewer_labels(plant: Plant, home: Path) -> None:
    (home / "plant.yaml").write_text("training: {new_labels: 50, after_drift: 2, quiet_minutes: 0}")
    plant.label(plant.world.archive_frames(3), "a.json")
    assert not plant.starts()
    drift = ModelDrift(model_version="line/1", verdict="drifted", reason="fewer cracks", size=0.4)
    camera = CameraState(camera_id="lineA_cam01", drift=drift)
    keep_camera_states(plant.world.store, CameraStates(hour=START, cameras=(camera,)))
    assert plant.starts()


def test_a_wrong_plant_file_starts_nothing_and_is_told(plant: Plant, home: Path) -> None:
    (home / "plant.yaml").write_text("training: {new_label: 2}")
    plant.label(plant.world.archive_frames(2), "a.json")
    assert not plant.starts()
    assert "did you mean new_labels?" in training_due.MEMORY.why
