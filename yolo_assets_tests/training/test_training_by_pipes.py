"""A training as the asset starts it on this machine: a process that speaks Dagster Pipes and ends with its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import psutil
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.names import training_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.failures import by_kind
from yolo_assets.defs.release.search import training_trial
from yolo_assets.defs.release.training import train
from yolo_assets.defs.resources import Locations
from yolo_assets.learning.dataset import Dataset, build_dataset
from yolo_assets.training.jobs import BEST, CHECKPOINT, TrainingResult
from yolo_assets.training.search import trials_of, wanted
from yolo_assets.training.spec import fingerprint
from yolo_assets.training.studies import SearchRange, Study
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.training.conftest import SPEC

QUICK = Path(__file__).parents[1] / "kubernetes" / "quick_image"
"""Trainings of a moment: two attempts wait after an epoch, the third ends."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World.make(tmp_path_factory.mktemp("world"))
    made.label(made.archive_frames(40))
    return made


@pytest.fixture(scope="module")
def dataset(world: World) -> Dataset:
    return build_dataset(world.store, Archive(world.archive, world.trusted))


def train_in_a_run(
    world: World, dataset: Dataset, home: Path, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """One asset that trains, run in this process; its metadata is the result."""

    @dg.asset
    @by_kind
    def candidate(context: dg.AssetExecutionContext, locations: Locations) -> dg.MaterializeResult:
        got = train(context, locations, dataset, SPEC)
        return dg.MaterializeResult(metadata={"result": dg.MetadataValue.json(got.model_dump(mode="json"))})

    settings = Settings(home=home, store_url=(world.folder / "store").as_uri())
    resources = {"locations": Locations(values=settings.model_dump(mode="json", exclude_none=True))}
    return dg.materialize([candidate], resources=resources, raise_on_error=False, instance=instance)


def test_the_answer_of_the_process_is_the_result(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(QUICK))
    key = fingerprint(SPEC, dataset.sha256)
    world.store.put(training_key(key, BEST), b"best")
    world.store.put(training_key(key, CHECKPOINT), b"ee")  # two epochs that another machine did
    done = train_in_a_run(world, dataset, tmp_path)
    assert done.success
    (event,) = done.asset_materializations_for_node("candidate")
    result = TrainingResult.model_validate(event.metadata["result"].value)
    assert (result.fingerprint, result.training.resumed_from, result.training.epochs) == (key, 2, 3)


def test_epochs_are_seen_while_they_run_and_after_a_kill(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(QUICK))
    other = SPEC.model_copy(update={"seed": 5})
    key = fingerprint(other, dataset.sha256)
    world.store.put(training_key(key, BEST), b"best")
    world.store.put(training_key(key, CHECKPOINT), b"e")
    monkeypatch.setattr(sys.modules[__name__], "SPEC", other)

    def shown() -> list[float]:
        records = instance.fetch_observations(dg.AssetKey("candidate"), limit=9, ascending=True).records
        found = [record.asset_observation for record in records]
        return [float(seen.metadata["epoch"].value) for seen in found if seen is not None]  # pyright: ignore[reportArgumentType]

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, ThreadPoolExecutor(1) as thread:
        first = thread.submit(train_in_a_run, world, dataset, tmp_path, instance)
        _until(shown)
        assert not first.done() and shown() == [2], "the process waits in its second epoch"
        _child_of(os.getpid(), "yolo_assets.training.pipes").kill()
        (failed,) = [event for event in first.result().all_events if event.is_step_failure]
        failure = failed.step_failure_data.user_failure_data
        assert failure is not None and failure.metadata["requested_again"].value is True
        assert train_in_a_run(world, dataset, tmp_path, instance).success
        assert len(shown()) == 2


def test_a_trial_of_a_search_is_a_run_of_its_job(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(QUICK))
    spec = SPEC.model_copy(update={"seed": 9})
    space = {"lr0": SearchRange(low=0.0001, high=0.1, log=True)}
    study = Study(name="spring", dataset=dataset.sha256, spec=spec, space=space, trials=1, created_at=utc_now())
    wanted(world.store, study, more=1)
    key = fingerprint(spec, dataset.sha256)  # the recipe is tried first
    world.store.put(training_key(key, BEST), b"best")
    world.store.put(training_key(key, CHECKPOINT), b"ee")
    settings = Settings(home=tmp_path, store_url=(world.folder / "store").as_uri())
    ran = training_trial.execute_in_process(
        run_config={"ops": {"search_trial": {"config": {"study": "spring"}}}},
        resources={"locations": Locations(values=settings.model_dump(mode="json", exclude_none=True))},
    )
    (trial,) = trials_of(world.store, "spring")
    assert (trial.state.name, trial.params, trial.user_attrs["run"]) == ("COMPLETE", {"lr0": spec.lr0}, ran.run_id)


def test_an_error_of_the_process_is_the_cause_of_the_failed_step(
    world: World, dataset: Dataset, tmp_path: Path
) -> None:
    done = train_in_a_run(world, Dataset("0" * 64, dataset.manifest), tmp_path)
    (event,) = [event for event in done.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None and "0000" in (failure.description or "")
    assert failure.metadata["requested_again"].value is False


def test_the_training_ends_with_the_process_that_asked_for_it(world: World, dataset: Dataset, tmp_path: Path) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        import dagster as dg
        from yolo_assets.contracts.settings import Settings
        from yolo_assets.defs.release.training import train
        from yolo_assets.defs.resources import Locations
        from yolo_assets.learning.dataset import read_dataset
        from yolo_assets.training.spec import starter

        @dg.asset
        def candidate(context: dg.AssetExecutionContext, locations: Locations) -> None:
            dataset = read_dataset(locations.store(), {dataset.sha256!r})
            train(context, locations, dataset, starter("other", seed=7))

        values = Settings(home=Path({str(tmp_path)!r}), store_url={(world.folder / "store").as_uri()!r})
        resources = {{"locations": Locations(values=values.model_dump(mode="json", exclude_none=True))}}
        dg.materialize([candidate], resources=resources)
        """
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{QUICK}:{root}"}
    run = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
    try:
        training = _child_of(run.pid, "yolo_assets.training.pipes")
        _until(lambda: list((tmp_path / "training").glob("*/checkpoint.pt")))
        run.send_signal(signal.SIGKILL)
        training.wait(10)
    finally:
        run.kill()
        run.wait()


def _child_of(parent: int, module: str) -> psutil.Process:
    def found() -> psutil.Process | None:
        children = psutil.Process(parent).children(recursive=True)
        return next((child for child in children if module in " ".join(child.cmdline())), None)

    return _until(found)


def _until(what):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("not within a minute")
