"""What a training process is asked for, and what it answers, when it is started by Dagster Pipes.

Belongs here: the records that cross between the asset and the process, on this machine or in a pod. Does not belong
here: the training (``candidates``), and how the process is started (``yolo_assets.defs.release.training``).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.training.jobs import TrainingEvent, TrainingResult
from yolo_assets.training.spec import TrainSpec


class TrialRequest(Record):
    """One trial of a study; the options are drawn where it is trained."""

    study: str
    run: str = Field(description="asked again with the same, the same trial goes on")


class SearchTrial(Record):
    """A trial that ended."""

    study: str
    number: int
    state: str = Field(description="complete, pruned or fail")
    score: float | None = Field(default=None, description="best mAP50-95 on the val split")
    options: dict[str, Any] = Field(default_factory=dict)


class TrainingRequest(Record):
    """Everything that a machine with nothing but access to the store needs to train."""

    store: str = Field(description="store root: the dataset, the parent's weights, checkpoints, the candidate")
    dataset: str = Field(default="", description="SHA-256 of the dataset version")
    spec: TrainSpec | None = Field(default=None, description="a candidate; None for a trial")
    trial: TrialRequest | None = Field(default=None, description="in place of a candidate")
    home: str | None = Field(default=None, description="for scratch; None: that of the process's own settings")
    parent: int | None = Field(default=None, description="process id with which the process ends; None in a pod")


class TrainingNews(Record):
    """One epoch, told while the training runs."""

    epoch: TrainingEvent


class TrainingAnswer(Record):
    """A result, or why there is none. A process that gives no answer was ended by something else."""

    result: TrainingResult | None = None
    trial: SearchTrial | None = None
    error: str = ""
    may_pass: bool = Field(default=False, description="of the error, see ``UserError``")
    transient: bool = Field(default=True, description="of the error, see ``StoreUnavailableError``")
