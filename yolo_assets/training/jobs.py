"""Jobs and events between the caller and its child process, and the records of a training in the store."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.model import GoldenDetection, Thresholds
from yolo_assets.training.spec import EvaluateSpec, TrainSpec

RESULT = "result.json"
PROGRESS = "progress.ndjson"
CHECKPOINT = "checkpoint.pt"
RAN = "ran.json"
CURVE = "curve.png"
BEST = "best.pt"
BUNDLE = "bundle"
COMPARISON = "comparison.json"


class ExportJob(Record):
    """``export``: weights in, a bundle folder out."""

    model_config = ConfigDict(protected_namespaces=())

    spec: TrainSpec
    data: str
    weights: str
    out: str = Field(description="bundle folder; appears complete or not at all")
    version: str
    dataset_sha256: str
    fingerprint: str
    created_at: Time
    metrics: dict[str, float] = Field(default_factory=dict)


class TrainJob(Record):
    """``train``: paths are of this machine."""

    spec: TrainSpec
    data: str = Field(description="dataset folder made by ``learning.training_folder``")
    work: str = Field(description="folder of this training; what is in it is resumed from")
    weights: str | None = Field(default=None, description="parent weights; None starts from random")
    export: ExportJob | None = Field(default=None, description="done in the same process once trained")


class TrainingRan(Record):
    """``ran.json``: what was really trained, and where, as the trainer itself says it; written after each epoch."""

    architecture: str = Field(description="name of the network's description; empty where a checkpoint does not tell")
    parameters: int = Field(ge=1, description="numbers in the network")
    taken_over: float = Field(ge=0, le=1, description="share of them that came from weights; 0 for random ones")
    imgsz: int | tuple[int, int] = Field(description="side of the input, or height and width, in pixels")
    batch: int = Field(ge=1, description="pictures a step, all cards together; found where the recipe says `auto`")
    device: str
    hardware: str = Field(description="name of the card or of the processor")
    libraries: dict[str, str]
    code: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="of this program: `version`, `sources` (SHA-256 over its files), `git_commit` where that is known; "
        "empty in trainings of 0.1",
    )


class TrainResult(Record):
    """``result.json`` of a training, written last."""

    weights_sha256: str
    epochs: int = Field(ge=1, description="epochs that were trained, over all attempts")
    resumed_from: int = Field(default=0, ge=0, description="epochs that an earlier attempt had done")
    seconds: float = Field(ge=0, description="wall time of this attempt")
    cpu_seconds: float = Field(ge=0)
    peak_rss_bytes: int = Field(ge=0)
    device: str
    metrics: dict[str, float] = Field(default_factory=dict, description="of the best epoch on the val split")
    ran: TrainingRan | None = Field(default=None, description="of the newest attempt; trainings of 0.1 do not tell it")


class EvaluateJob(Record):
    """``evaluate``: bundle folders in, a comparison and plots out."""

    spec: EvaluateSpec
    data: str
    candidate: str = Field(description="bundle folder")
    champion: str | None = Field(default=None, description="bundle folder")
    anchor: str | None = Field(default=None, description="bundle folder, where it is not the champion's")
    out: str
    fresh: tuple[str, ...] = Field(default=(), description="SHA-256 of test frames that are new to the champion")


class ConvertJob(Record):
    """``convert``: a checkpoint that was brought in, its ONNX file out."""

    weights: str
    out: str = Field(description="ONNX file; appears complete or not at all")
    work: str
    threads: int = Field(default=2, ge=1, le=256)


class AverageJob(Record):
    """``average``: checkpoints of sites in, one checkpoint out."""

    weights: tuple[str, ...] = Field(min_length=2)
    shares: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(min_length=2)
    out: str = Field(description="checkpoint; appears complete or not at all")
    work: str
    threads: int = Field(default=2, ge=1, le=256)


class QuantizeJob(Record):
    """``quantize``: an ONNX file and pictures in, the same network with int8 arithmetic out."""

    onnx: str
    pictures: tuple[str, ...] = Field(min_length=1)
    input_size: tuple[int, int] = Field(description="height, width")
    out: str = Field(description="ONNX file; appears complete or not at all")
    work: str
    threads: int = Field(default=2, ge=1, le=256)


class ReferenceJob(Record):
    """``reference``: an ONNX file and pictures in, the boxes of Ultralytics' own ``predict`` out."""

    onnx: str
    pictures: tuple[str, ...]
    input_size: tuple[int, int] = Field(description="height, width")
    thresholds: Thresholds
    out: str
    work: str
    threads: int = Field(default=2, ge=1, le=256)


class ReferenceResult(Record):
    """What Ultralytics found, by picture in the order of the job."""

    version: str
    boxes: tuple[tuple[GoldenDetection, ...], ...]


class TrainingEvent(Record):
    """One line of ``progress.ndjson``."""

    at: Time
    event: Literal["started", "resumed", "note", "epoch", "finished"]
    epoch: int = Field(default=0, ge=0, description="from 1")
    epochs: int = Field(default=0, ge=0)
    seconds: float = Field(default=0, ge=0, description="of this attempt so far")
    losses: dict[str, float | None] = Field(default_factory=dict)
    metrics: dict[str, float | None] = Field(default_factory=dict, description="only in epochs that were validated")
    lr: float | None = None
    cpu_percent: float | None = Field(default=None, description="of one core, this process")
    rss_bytes: int | None = None
    gpu_bytes: int | None = None
    message: str = ""


class StoredJob(Record):
    """``training/<fingerprint>/job.json``."""

    spec: TrainSpec
    dataset_sha256: str
    parent_weights_sha256: str | None
    libraries: dict[str, str]
    version: str
    started_at: Time


class TrainingResult(Record):
    """``training/<fingerprint>/result.json``: a candidate, trained, exported and registered, not yet evaluated."""

    name: str
    version: str
    fingerprint: str
    dataset_sha256: str
    parent: str | None
    training: TrainResult
    reused: bool = False

    @property
    def model_version(self) -> str:
        """``<name>/<version>``."""
        return f"{self.name}/{self.version}"
