"""What a training process is asked for, and what it answers, when it is started by Dagster Pipes.

Belongs here: the records that cross between the asset and the process, on this machine or in a pod. Does not belong
here: the training (``candidates``), and how the process is started (``yolo_assets.defs.release.training``).
"""

from __future__ import annotations

from pydantic import Field

from yolo_assets.contracts.base import Record
from yolo_assets.training.jobs import TrainingEvent, TrainingResult
from yolo_assets.training.spec import TrainSpec


class TrainingRequest(Record):
    """Everything that a machine with nothing but access to the store needs to train a candidate."""

    store: str = Field(description="store root: the dataset, the parent's weights, checkpoints, the candidate")
    dataset: str = Field(description="SHA-256 of the dataset version")
    spec: TrainSpec
    home: str | None = Field(default=None, description="for scratch; None: that of the process's own settings")
    parent: int | None = Field(default=None, description="process id with which the process ends; None in a pod")


class TrainingNews(Record):
    """One epoch, told while the training runs."""

    epoch: TrainingEvent


class TrainingAnswer(Record):
    """A result, or why there is none. A process that gives no answer was ended by something else."""

    result: TrainingResult | None = None
    error: str = ""
    may_pass: bool = Field(default=False, description="of the error, see ``UserError``")
    transient: bool = Field(default=True, description="of the error, see ``StoreUnavailableError``")
