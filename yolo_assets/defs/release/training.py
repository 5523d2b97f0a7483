"""How ``trained_weights`` and trials of a search train: in a process that speaks Dagster Pipes, here or in a pod.

``YOLO_ASSETS_TRAINING_POD`` decides: with it the process runs in the pod that the file describes, the only one of the
plant with a GPU; without it, on this machine. Both run ``yolo_assets.training.pipes`` and need nothing but the store.

While it runs, each epoch is an observation of the asset with its figures as metadata: the curve in the UI grows.

Belongs here: choosing the place, showing what it tells, and turning its answer into a result or an error. Does not
belong here: the training (``yolo_assets.training``), and the pod's supervision (``yolo_assets.cluster``).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import dagster as dg
from dagster import DagsterEvent
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.pipes.client import PipesClientCompletedInvocation, PipesMessageReader
from dagster._core.pipes.context import PipesMessageHandler
from dagster._core.pipes.utils import PipesTempFileMessageReader

import yolo_assets
from yolo_assets.contracts.errors import UserError, missing_package
from yolo_assets.defs.resources import Locations

if TYPE_CHECKING:
    from yolo_assets.learning.dataset import Dataset
    from yolo_assets.training.jobs import TrainingEvent, TrainingResult
    from yolo_assets.training.request import SearchTrial, TrainingAnswer, TrainingRequest
    from yolo_assets.training.spec import TrainSpec

COMMAND = ("-m", "yolo_assets.training.pipes")

_MOST_SHOWN = 100
"""Epochs of a training that are shown: an observation stays in Dagster's database as long as its run."""

_Reader = TypeVar("_Reader", bound=PipesMessageReader)
_Context = dg.AssetExecutionContext | dg.OpExecutionContext


class TrainingError(UserError):
    """The training process says why it has no result."""


class TrainingInterruptedError(UserError):
    """The training process was ended, or could not reach its store: the training goes on from its last checkpoint.

    Attributes:
        transient: whether trying again within a minute may help.
    """

    may_pass = True

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


def train(context: dg.AssetExecutionContext, locations: Locations, dataset: Dataset, spec: TrainSpec) -> TrainingResult:
    """Train a candidate, or get the result that the same inputs gave before.

    Args:
        context: of the step; progress goes to its log.
        locations: the store, and where trainings run.
        dataset: the version to train on.
        spec: what to train.

    Raises:
        UserError: bad dataset or parent, or the training failed; the message says which.
    """
    from yolo_assets.training.request import TrainingRequest

    request = TrainingRequest(store=locations.settings.store_url, dataset=dataset.sha256, spec=spec)
    result = _answered(context, locations, request).result
    if result is None:
        raise TrainingInterruptedError("the training process ended without a result")
    return result


def try_options(context: dg.OpExecutionContext, locations: Locations, study: str, run: str) -> SearchTrial:
    """One trial of a study, in the same kind of process.

    Args:
        context: of the step.
        locations: the store, and where trainings run.
        study: its name.
        run: asked again with the same, the same trial goes on.

    Raises:
        UserError: there is no such study, or the training failed.
    """
    from yolo_assets.training.request import TrainingRequest, TrialRequest

    request = TrainingRequest(store=locations.settings.store_url, trial=TrialRequest(study=study, run=run))
    trial = _answered(context, locations, request).trial
    if trial is None:
        raise TrainingInterruptedError("the training process ended without a result")
    return trial


def _answered(context: _Context, locations: Locations, request: TrainingRequest) -> TrainingAnswer:
    if locations.settings.training_pod is not None:
        return _answer(_in_a_pod(context, locations, request, locations.settings.training_pod))
    return _answer(_here(context, locations, request))


def _here(context: _Context, locations: Locations, request: TrainingRequest) -> PipesClientCompletedInvocation:
    root = str(Path(yolo_assets.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    request = request.model_copy(update={"home": str(locations.settings.home), "parent": os.getpid()})
    reader = _showing_epochs(PipesTempFileMessageReader(), context)
    client = dg.PipesSubprocessClient(env={"PYTHONPATH": os.pathsep.join(paths)}, message_reader=reader)
    try:
        return client.run(context=context, command=[sys.executable, *COMMAND], extras=_extras(request))
    except DagsterPipesExecutionError as error:
        if "code -" in str(error):
            raise TrainingInterruptedError(f"the training process was killed: {error}") from None
        raise


def _in_a_pod(
    context: _Context, locations: Locations, request: TrainingRequest, description: Path
) -> PipesClientCompletedInvocation:
    try:
        from yolo_assets.cluster.pod_client import TrainingPodClient
        from yolo_assets.cluster.pod_watch import PodPatience
    except ModuleNotFoundError as error:
        raise UserError(missing_package(error.name or "dagster-k8s", "k8s")) from None
    from yolo_assets.cluster.training_pod import TrainingPod

    pod = TrainingPod.load(description)
    spec = request.spec
    if spec is None:
        assert request.trial is not None
        subject = f"{request.trial.study} {request.trial.run}"
    else:
        # Where it runs is the pod's affair, unless the recipe says otherwise; neither counts for the fingerprint.
        place: dict[str, Any] = {"device": "auto", "threads": pod.processors or spec.threads}
        spec = spec.model_copy(update={key: value for key, value in place.items() if key not in spec.model_fields_set})
        request = request.model_copy(update={"spec": spec})
        subject = f"{request.dataset} {spec.model_dump_json(exclude=set(place))}"
    longest = pod.longest_seconds
    patience = PodPatience(
        poll_seconds=pod.poll_seconds,
        start_seconds=pod.start_seconds,
        longest_seconds=None if longest is None else longest + _SLACK_SECONDS,
    )
    client = TrainingPodClient(pod, patience, lambda reader: _showing_epochs(reader, context))
    label = hashlib.sha256(subject.encode()).hexdigest()[:16]
    return client.train(context, ["python", *COMMAND], _extras(request), label)


_SLACK_SECONDS = 600.0
"""After its deadline a pod is ended by Kubernetes; later than that by nobody."""


def _extras(request: TrainingRequest) -> dict[str, Any]:
    return {"request": request.model_dump(mode="json")}


class _EpochHandler:
    """Takes the epochs out of the messages of a process and shows them; all other messages go on to Dagster."""

    def __init__(self, handler: PipesMessageHandler, context: _Context) -> None:
        self._handler = handler
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def handle_message(self, message: Mapping[str, Any]) -> None:
        """In place of Dagster's: it keeps custom messages until the process has ended."""
        payload = (message.get("params") or {}).get("payload") if message["method"] == "report_custom_message" else None
        if not isinstance(payload, dict) or "epoch" not in payload:
            self._handler.handle_message(cast(Any, message))
            return
        from yolo_assets.training.request import TrainingNews

        self._show(TrainingNews.model_validate(payload).epoch)

    def _show(self, event: TrainingEvent) -> None:
        from yolo_assets.training.progress import figures

        every = -(-event.epochs // _MOST_SHOWN) or 1
        skipped = event.epoch % every and event.epoch != event.epochs
        if skipped or not isinstance(self._context, dg.AssetExecutionContext):  # a trial is no asset; its log tells
            return
        # ``log_event`` of the context would keep it until the step has ended.
        observation = dg.AssetObservation(
            self._context.asset_key,
            description=f"epoch {event.epoch} of {event.epochs}",
            metadata={"epoch": event.epoch, **figures(event)},
        )
        DagsterEvent.asset_observation(self._context.get_step_execution_context(), observation)


def _showing_epochs(reader: _Reader, context: _Context) -> _Reader:
    """A reader of Dagster's whose epochs are shown while the process runs."""
    read = reader.read_messages

    @contextmanager
    def read_messages(handler: PipesMessageHandler) -> Iterator[Any]:
        with read(cast(PipesMessageHandler, _EpochHandler(handler, context))) as params:
            yield params

    reader.read_messages = read_messages  # pyright: ignore[reportAttributeAccessIssue]
    return reader


def _answer(invocation: PipesClientCompletedInvocation) -> TrainingAnswer:
    from yolo_assets.training.request import TrainingAnswer

    messages = invocation.get_custom_messages()
    if not messages:
        raise TrainingInterruptedError("the training process ended without an answer; its result may be in the store")
    answer = TrainingAnswer.model_validate(messages[-1])
    if not answer.error:
        return answer
    if answer.may_pass:
        raise TrainingInterruptedError(answer.error, transient=answer.transient)
    raise TrainingError(answer.error)
