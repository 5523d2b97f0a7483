"""``python -m yolo_assets.training.pipes``: a whole training, started by Dagster Pipes here or in a pod of its own.

Needs the store and no Dagster: ``dagster-pipes`` has no dependency. Exit 0 with an answer, also when the answer is an
error that an operator can put right; another exit is a bug or was done to the process.

Told to stop (an eviction, a cancelled run), it stores the last checkpoint within the grace that it is given.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from dagster_pipes import PipesContext, open_dagster_pipes

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.learning.dataset import read_dataset
from yolo_assets.models.registry import Registry
from yolo_assets.runtime.processes import die_with_parent
from yolo_assets.storage import open_store
from yolo_assets.training.candidates import train_candidate
from yolo_assets.training.jobs import TrainingEvent
from yolo_assets.training.progress import figures
from yolo_assets.training.request import TrainingAnswer, TrainingNews, TrainingRequest

REQUEST = "request"
"""The name of the request among the extras of the Pipes session."""


def main() -> None:
    """Answer one request."""
    signal.signal(signal.SIGTERM, _stop)
    with open_dagster_pipes() as pipes:
        try:
            request = TrainingRequest.model_validate(pipes.get_extra(REQUEST))
            if request.parent is not None:
                die_with_parent(request.parent)
            answer = _train(request, pipes)
        except UserError as error:
            answer = TrainingAnswer(
                error=str(error), may_pass=error.may_pass, transient=getattr(error, "transient", True)
            )
        pipes.report_custom_message(answer.model_dump(mode="json"))


def _train(request: TrainingRequest, pipes: PipesContext) -> TrainingAnswer:
    settings = Settings.from_env()
    if request.home is not None:
        settings = Settings(home=Path(request.home))
    store = open_store(request.store, memory=settings.known_stores)

    def on_progress(event: TrainingEvent) -> None:
        told = " ".join(f"{name} {value:.3f}" for name, value in figures(event).items())
        pipes.log.info(f"{event.event} {event.epoch}/{event.epochs} {event.seconds:.0f} s {told}{event.message}")
        if event.event == "epoch":
            pipes.report_custom_message(TrainingNews(epoch=event).model_dump(mode="json"))

    # No key: a training signs nothing, and what it reads is named by its hash.
    registry = Registry(store, TrustedKeys({}))
    work = settings.home / "training"
    if request.trial is not None:
        from yolo_assets.training.search import run_trial  # Optuna is of no use to a candidate

        return TrainingAnswer(trial=run_trial(registry, request.trial.study, request.trial.run, work, on_progress))
    if request.spec is None:
        raise BadInputError("the request names neither a candidate nor a trial")
    dataset = read_dataset(store, request.dataset)
    return TrainingAnswer(result=train_candidate(registry, dataset, request.spec, work, on_progress=on_progress))


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
