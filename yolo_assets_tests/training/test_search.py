"""A search: trials from a journal in the store, one pruned, one that goes on after a kill, a study continued."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import training_key
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import utc_now
from yolo_assets.defs.release.search import search_sensor, training_trial
from yolo_assets.defs.resources import Locations
from yolo_assets.learning.dataset import Dataset, build_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.storage import open_store
from yolo_assets.training import candidates
from yolo_assets.training.jobs import CHECKPOINT, RESULT, TrainingEvent, TrainJob, TrainResult
from yolo_assets.training.progress import SCORE
from yolo_assets.training.request import SearchTrial
from yolo_assets.training.search import StoreJournal, run_trial, trials_of, wanted
from yolo_assets.training.spec import Augmentation, TrainSpec, fingerprint
from yolo_assets.training.studies import SearchRange, Study, read_space, studies
from yolo_assets_tests.learning.line_world import World
from yolo_assets_tests.support.quick_training import EVALUATED_AT, quick_child

SPEC = TrainSpec(name="line", epochs=3, imgsz=64, val_every=1, lr0=0.001, augmentation=Augmentation(mosaic=0.5))
SPACE = {"lr0": SearchRange(low=0.0001, high=0.1, log=True), "augmentation.mosaic": SearchRange(low=0, high=1)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World.make(tmp_path_factory.mktemp("world"))
    made.label(made.archive_frames(12))
    return made


@pytest.fixture(scope="module")
def dataset(world: World) -> Dataset:
    return build_dataset(world.store, Archive(world.archive, world.trusted))


def plan(name: str, dataset: Dataset) -> Study:
    """With a seed of its own: the weights of an equal trial of another study would be taken."""
    spec = SPEC.model_copy(update={"seed": sum(map(ord, name))})
    return Study(
        name=name, dataset=dataset.sha256, spec=spec, space=SPACE, trials=1, compare_after=2, created_at=utc_now()
    )


def scored(scores: dict[int, list[float]]) -> Callable[..., None]:
    """A training that reaches the given scores, by the number of the training."""
    begun: list[str] = []

    def child(command: str, job: Any, folder: Path, *, on_event: Any, **options: Any) -> None:
        if not isinstance(job, TrainJob):
            raise AssertionError(f"a trial exports nothing, and this is {command}")
        if job.work not in begun:
            begun.append(job.work)
        reached = scores[begun.index(job.work)]
        for epoch, score in enumerate(reached, 1):
            on_event(TrainingEvent(at=EVALUATED_AT, event="epoch", epoch=epoch, epochs=3, metrics={SCORE: score}))
        quick_child(command, job, folder, **options)
        result = TrainResult.from_json((folder / RESULT).read_bytes())
        (folder / RESULT).write_bytes(result.model_copy(update={"metrics": {SCORE: max(reached)}}).to_json())

    return child


def test_three_trials_one_pruned_and_the_study_continued(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = [0.4, 0.5, 0.6], [0.1, 0.1, 0.1]
    monkeypatch.setattr(candidates, "run_child", scored({0: good, 1: [0.5, 0.6, 0.7], 2: bad, 3: [0.9, 0.9, 0.9]}))
    wanted(world.store, plan("spring", dataset), more=3)

    def trial(run: str) -> SearchTrial:
        return run_trial(Registry(world.store), "spring", run, tmp_path, lambda _: None)

    ended = [trial(run) for run in ("a", "b", "c")]
    assert [(one.number, one.state, one.score) for one in ended] == [
        (0, "complete", 0.6),
        (1, "complete", 0.7),
        (2, "pruned", 0.1),
    ]
    assert ended[0].options == {"lr0": 0.001, "augmentation.mosaic": 0.5}, "the recipe is tried first"
    assert trial("b") == ended[1], "a run that is tried again has its trial"
    assert wanted(world.store, plan("spring", dataset), more=1).trials == 4
    assert trial("d").number == 3
    assert [one.state.name for one in trials_of(world.store, "spring")] == [*["COMPLETE"] * 2, "PRUNED", "COMPLETE"]
    assert list(tmp_path.iterdir()) == [], "nothing stays on the disk"

    after = wanted(world.store, plan("summer", dataset), more=2, earlier=["spring"])
    assert after.began_from == ("spring",)
    first = [one.system_attrs["fixed_params"] for one in trials_of(world.store, "summer")]
    assert first[0] == ended[0].options and ended[1].options in first


def test_a_trial_whose_process_was_killed_goes_on(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted(world.store, plan("killed", dataset), more=1)

    def killed(_: TrainingEvent) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(candidates, "run_child", scored({0: [0.4, 0.5, 0.6]}))
    with pytest.raises(KeyboardInterrupt):
        run_trial(Registry(world.store), "killed", "a", tmp_path, killed)
    again = run_trial(Registry(world.store), "killed", "a", tmp_path, lambda _: None)
    assert (again.number, again.state) == (0, "complete")
    assert len(trials_of(world.store, "killed")) == 1


def test_the_weights_of_the_best_trial_are_those_of_the_candidate(
    world: World, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted(world.store, plan("taken", dataset), more=1)
    unfinished = training_key(fingerprint(plan("taken", dataset).spec, dataset.sha256), CHECKPOINT)
    world.store.put(unfinished, b"an epoch of another machine")
    monkeypatch.setattr(candidates, "run_child", scored({0: [0.4, 0.5, 0.6]}))
    best = run_trial(Registry(world.store), "taken", "a", tmp_path, lambda _: None)
    assert world.store.head(unfinished) is None, "a trial leaves weights alone"
    spec = plan("taken", dataset).with_options(best.options)

    def child(command: str, *arguments: Any, **options: Any) -> None:
        assert command != "train", "the trial trained it"
        quick_child(command, *arguments, **options)

    monkeypatch.setattr(candidates, "run_child", child)
    made = candidates.train_candidate(Registry(world.store), dataset, spec, tmp_path)
    assert world.store.head(training_key(made.fingerprint, "train.json")) is not None


def test_entries_of_several_writers_are_all_kept(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = open_store((tmp_path / "store").as_uri())

    def write(writer: int) -> None:
        journal = StoreJournal(store, "many")
        for _ in range(10):
            journal.append_logs([{"worker": writer}])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    found = [log["worker"] for log in StoreJournal(store, "many").read_logs(0)]
    assert sorted(found) == sorted([*range(4)] * 10)
    assert len(list(StoreJournal(store, "many").read_logs(38))) == 2


def test_each_trial_is_one_run_in_the_pool_of_the_trainings(world: World, dataset: Dataset) -> None:
    for study in studies(world.store):
        world.store.delete(f"training/studies/{study.name}.json")
    wanted(world.store, plan("pool", dataset), more=3)
    settings = Settings(home=world.folder, store_url=(world.folder / "store").as_uri())
    locations = Locations(values=settings.model_dump(mode="json", exclude_none=True))

    def tick(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(cursor=cursor) as context:
            return search_sensor(context, locations=locations)  # pyright: ignore[reportReturnType]

    first = tick(None)
    assert isinstance(first, dg.SensorResult)
    requests = list(first.run_requests or ())
    assert len({request.run_key for request in requests}) == 3
    assert {request.tags["yolo_assets/lane"] for request in requests} == {"training"}
    assert isinstance(tick(first.cursor), dg.SkipReason)
    wanted(world.store, plan("pool", dataset), more=1)
    more = tick(first.cursor)
    assert isinstance(more, dg.SensorResult) and len(list(more.run_requests or ())) == 1
    assert {op.pool for op in training_trial.all_node_defs if isinstance(op, dg.OpDefinition)} == {"training"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lr_0: {low: 0.1, high: 0.2}", "'lr_0' cannot be searched; did you mean lr0?"),
        ("augmentation.mosiac: {low: 0, high: 1}", "did you mean augmentation.mosaic?"),
        ("lr0: {low: 0.2, high: 0.1}", "lr0: give low and a larger high"),
        ("lr0: {low: 0, high: 0.1, log: true}", "lr0: with log, low is above 0"),
        ("name: [a, b]", "'name' cannot be searched"),
        ("[]", "names no option"),
    ],
)
def test_a_wrong_search_space_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_space(path)
    assert told in str(caught.value)


def test_a_list_is_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("optimizer: [AdamW, SGD]\nepochs: {low: 5, high: 20, whole: true}\n")
    space = read_space(path)
    assert space["optimizer"].choices == ("AdamW", "SGD") and space["epochs"].whole
