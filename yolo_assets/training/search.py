"""A study in Optuna: its journal in the object store, and one trial of it. Imported only where Optuna is installed.

The journal lies beside what it is about: every machine that can train can read and write it, it outlives the disk of
each of them, and two that write at once never share a number (``put_if_absent``). SQLite would need one disk, and
Optuna's own journal file a shared one with locks.

A trial belongs to a run: a run that is tried again goes on with its trial, from the last checkpoint.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import optuna
import orjson
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import study_key, study_log_key
from yolo_assets.learning.dataset import read_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.storage import AlreadyExistsError, CasConflictError, ObjectNotFoundError, ObjectStore
from yolo_assets.training.candidates import forget_training, train_weights
from yolo_assets.training.job_process import OnEvent
from yolo_assets.training.jobs import TrainingEvent
from yolo_assets.training.progress import SCORE
from yolo_assets.training.request import SearchTrial
from yolo_assets.training.studies import SearchRange, Study, read_study

_RUN = "run"
_BEST_OF_EARLIER = 3
"""Trials of each earlier study that are tried first."""


class StoreJournal(BaseJournalBackend):
    """Optuna's journal: an object an entry, numbered from 0 without a gap."""

    def __init__(self, store: ObjectStore, study: str) -> None:
        """Of a study; nothing is read yet."""
        self._store = store
        self._study = study
        self._next = 0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Entries from a number on, up to the newest."""
        number = log_number_from
        while True:
            try:
                entry = orjson.loads(self._store.get(study_log_key(self._study, number)))
            except ObjectNotFoundError:
                self._next = max(self._next, number)
                return
            number += 1
            yield entry["log"]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries behind the newest; one that another process took the number of gets the next."""
        for log in logs:
            # The id makes two equal entries of two writers different: the store takes equal bytes for one write.
            data = orjson.dumps({"id": uuid.uuid4().hex, "log": log})
            while True:
                try:
                    self._store.put_if_absent(study_log_key(self._study, self._next), data)
                    break
                except AlreadyExistsError:
                    self._next += 1
            self._next += 1


class _PrunedError(Exception):
    """The trial is behind the others; its training is ended."""


def wanted(store: ObjectStore, plan: Study, *, more: int, earlier: Iterable[str] = ()) -> Study:
    """Begin a study, or ask for more trials of one that is there.

    Args:
        store: store root.
        plan: of a new study; of one that is there its dataset, start and space stay.
        more: trials that are wanted, on top of those that were.
        earlier: studies whose best trials are tried first, in a new study.

    Raises:
        BadInputError: an earlier study is not there, or has no trial that fits.
    """
    key = study_key(plan.name)
    while True:
        try:
            data, info = store.get_with_info(key)
        except ObjectNotFoundError:
            first = [plan.options_of(plan.spec), *(best for name in earlier for best in _best_of(store, name, plan))]
            begun = plan.model_copy(update={"trials": more, "began_from": tuple(earlier)})
            opened = open_study(store, begun)
            for options in first:
                opened.enqueue_trial(options, skip_if_exists=True)
            try:
                store.put_if_absent(key, begun.to_json())
            except AlreadyExistsError:
                continue
            return begun
        there = Study.from_json(data, key)
        raised = there.model_copy(update={"trials": there.trials + more})
        try:
            store.compare_and_swap(key, raised.to_json(), info.etag)
        except CasConflictError:
            continue
        return raised


def _best_of(store: ObjectStore, name: str, plan: Study) -> list[dict[str, Any]]:
    """The best trials of an earlier study, as far as their options are searched in the new one."""
    done = [trial for trial in trials_of(store, name) if trial.state is TrialState.COMPLETE]
    done.sort(key=lambda trial: -(trial.value or 0.0))
    space = plan.space
    found = [
        {option: value for option, value in trial.params.items() if option in space and space[option].holds(value)}
        for trial in done[:_BEST_OF_EARLIER]
    ]
    if not any(found):
        raise BadInputError(f"study {name} has no finished trial with an option that {plan.name} searches")
    return [options for options in found if options]


def open_study(store: ObjectStore, plan: Study) -> optuna.Study:
    """The study in Optuna; it is made when it is not there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    startup = plan.compare_after
    return optuna.create_study(
        storage=JournalStorage(StoreJournal(store, plan.name)),
        study_name=plan.name,
        direction="maximize",
        load_if_exists=True,
        # No seed: each trial is a process of its own, and all would draw the same.
        sampler=TPESampler(n_startup_trials=max(startup, 5), constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup, n_min_trials=min(startup, 2)),
    )


def trials_of(store: ObjectStore, name: str) -> list[FrozenTrial]:
    """All trials of a study by number, those that wait included.

    Raises:
        BadInputError: there is no such study.
    """
    plan = read_study(store, name)
    if plan is None:
        raise BadInputError(f"there is no study {name}; yolo-assets training search {name} begins one")
    return open_study(store, plan).get_trials(deepcopy=False)


def run_trial(registry: Registry, name: str, run: str, work_dir: Path, on_progress: OnEvent) -> SearchTrial:
    """One trial: options from the sampler, a training, its best score; ended early when it is behind the others.

    Args:
        registry: where the parent lies, and the store with study and dataset.
        name: of the study.
        run: what the trial belongs to: called again with the same, it goes on.
        work_dir: local folder.
        on_progress: called for each event of the training.

    Raises:
        UserError: no such study, or the training failed.
    """
    store = registry.store
    plan = read_study(store, name)
    if plan is None:
        raise BadInputError(f"there is no study {name}; yolo-assets training search {name} begins one")
    study = open_study(store, plan)
    before = next((trial for trial in study.get_trials() if trial.user_attrs.get(_RUN) == run), None)
    if before is not None and before.state.is_finished():
        return _result(name, before)
    if before is not None:
        trial = Trial(study, before._trial_id)
    else:
        trial = study.ask()
        trial.set_user_attr(_RUN, run)
    spec = plan.with_options({option: _suggested(trial, option, values) for option, values in plan.space.items()})
    dataset = read_dataset(store, plan.dataset)

    def on_event(event: TrainingEvent) -> None:
        on_progress(event)
        score = event.metrics.get(SCORE)
        if event.event == "epoch" and score is not None:
            trial.report(score, event.epoch)
            if event.epoch < event.epochs and trial.should_prune():
                raise _PrunedError

    try:
        trained = train_weights(registry, dataset, spec, work_dir, on_progress=on_event)
    except _PrunedError:
        study.tell(trial, state=TrialState.PRUNED)
        forget_training(registry, dataset, spec, work_dir)
    except UserError as error:
        if not error.may_pass:
            study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, trained.metrics.get(SCORE, 0.0))
    return _result(name, study.get_trials()[trial.number])


def _suggested(trial: Trial, option: str, values: SearchRange) -> Any:
    """The value of an option; of a trial that goes on, the one that it has."""
    if values.choices:
        return trial.suggest_categorical(option, values.choices)
    assert values.low is not None and values.high is not None
    if values.whole:
        return trial.suggest_int(option, round(values.low), round(values.high), log=values.log)
    return trial.suggest_float(option, values.low, values.high, log=values.log)


def _result(name: str, trial: FrozenTrial) -> SearchTrial:
    return SearchTrial(
        study=name, number=trial.number, state=trial.state.name.lower(), score=trial.value, options=trial.params
    )
