"""The figures of exported models on a test set: training writes them, the gate reads them.

Every figure is of the ONNX file that ships, run with the edge's own pre- and post-processing.
"""

from __future__ import annotations

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.model import ExpectedChange, Interval


class ClassResult(Record):
    """One class on the test set. Classes without ground truth are not listed."""

    truth: int = Field(ge=1, description="ground-truth boxes")
    ap50: float = Field(ge=0, le=1)
    recall: float = Field(ge=0, le=1, description="at the operating threshold")
    precision: float = Field(ge=0, le=1, description="at the operating threshold; 1 when nothing was reported")


class Evaluation(Record):
    """One exported model on one test set."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: int = 1
    model_version: str
    onnx_sha256: str
    test_sha256: str = Field(description="identity of the test set: frames and truth")
    frames: int = Field(ge=1)
    map50: Interval
    map50_95: Interval
    classes: dict[str, ClassResult]
    hard_recall: float | None = Field(
        default=None, ge=0, le=1, description="recall on the frames marked hard (small, low contrast); None without any"
    )
    latency_ms_p50: float = Field(ge=0, description="over the frames; of each frame the shortest of three runs")
    latency_ms_p95: float = Field(ge=0)
    engine: str
    threads: int = Field(ge=1)
    evaluated_at: Time


class PairedEvaluation(Record):
    """Candidate and champion on the same frames in one process; the difference by paired bootstrap over frames."""

    schema_version: int = 1
    candidate: Evaluation
    champion: Evaluation | None = None
    map50_gain: Interval | None = Field(default=None, description="candidate - champion; None without a champion")
    change: ExpectedChange | None = Field(default=None, description="in right and wrong boxes; None without a champion")
