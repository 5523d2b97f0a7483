"""The figures of exported models on a test set: training writes them, the gate reads them.

Every figure is of the ONNX file that ships, run with the edge's own pre- and post-processing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import ConfigDict, Field

from yolo_assets.contracts.base import Record, Time
from yolo_assets.contracts.model import ExpectedChange, Interval

Metric = Literal["coco", "ultralytics"]
"""How precision is sampled along recall: ``coco`` takes 101 points, ``ultralytics`` the area between them."""

UnitKind = Literal["objects", "groups of frames"]
"""What counts as one independent piece of evidence."""


class ClassResult(Record):
    """One class on the test set. Classes without ground truth are not listed."""

    truth: int = Field(ge=1, description="ground-truth boxes")
    ap50: float = Field(ge=0, le=1)
    recall: float = Field(ge=0, le=1, description="at the operating threshold, by box")
    precision: float = Field(ge=0, le=1, description="at the operating threshold; 1 when nothing was reported")
    objects: int = Field(default=0, ge=0, description="independent units among the boxes; 0: not counted")
    reported: int = Field(default=0, ge=0, description="independent units among the reports; 0: not counted")
    recall_by_object: float | None = Field(
        default=None, ge=0, le=1, description="objects that were found in at least one of their frames"
    )
    recall_interval: Interval | None = None
    precision_interval: Interval | None = None
    threshold: float | None = Field(default=None, ge=0, le=1, description="from which confidence the edge reports")
    false_alarms: float | None = Field(default=None, ge=0, description="reports for each 1,000 good frames")


class Evaluation(Record):
    """One exported model on one test set."""

    model_config = ConfigDict(protected_namespaces=())

    schema_version: int = 1
    model_version: str
    onnx_sha256: str
    test_sha256: str = Field(description="identity of the test set: frames and truth")
    metric: Metric = Field(
        default="ultralytics", description="of map50, map50_95 and ap50; records that do not say it are of Ultralytics'"
    )
    frames: int = Field(ge=1)
    units: int = Field(default=0, ge=0, description="independent units in the test set; 0: not counted")
    units_are: UnitKind = "groups of frames"
    map50: Interval
    map50_95: Interval
    ultralytics_map50: float | None = Field(default=None, description="the same detections by Ultralytics' area")
    classes: dict[str, ClassResult]
    good_frames: int = Field(default=0, ge=0, description="test frames without an object")
    good_units: int = Field(default=0, ge=0, description="independent units among the good frames")
    false_alarms: float | None = Field(
        default=None, ge=0, description="reports of any class for each 1,000 good frames; None without such frames"
    )
    hard_recall: float | None = Field(
        default=None, ge=0, le=1, description="recall on the frames marked hard (small, low contrast); None without any"
    )
    golden_recall: float | None = Field(
        default=None, ge=0, le=1, description="recall on the golden frames; None without any"
    )
    latency_ms_p50: float = Field(ge=0, description="over the frames; of each frame the shortest of three runs")
    latency_ms_p95: float = Field(ge=0)
    engine: str
    threads: int = Field(ge=1)
    evaluated_at: Time


class PairedChange(Record):
    """By how much a figure of the candidate differs from the reference's, measured on the same units."""

    value: float = Field(ge=-1, le=1, description="candidate - reference")
    se: float = Field(ge=0, description="standard error of the difference")


class ClassChange(Record):
    """One class that both models know, candidate against reference."""

    ap50: PairedChange
    recall: PairedChange
    precision: PairedChange


class Changes(Record):
    """What the candidate does otherwise than a reference, on the same frames."""

    classes: dict[str, ClassChange] = Field(
        default_factory=dict[str, ClassChange], description="that both know and that occur in the test set"
    )
    hard_recall: PairedChange | None = Field(default=None, description="on the hard frames; None without any")
    golden_lost: tuple[str, ...] = Field(
        default=(), description="golden frames in which the reference finds an object that the candidate misses"
    )


class PairedEvaluation(Record):
    """Candidate, champion and anchor on the same frames in one process; differences are paired by object.

    A gain is over the classes that both models know.
    """

    schema_version: int = 1
    candidate: Evaluation
    champion: Evaluation | None = None
    map50_gain: Interval | None = Field(default=None, description="candidate - champion; None without a champion")
    change: ExpectedChange | None = Field(default=None, description="in right and wrong boxes; None without a champion")
    changes: Changes | None = Field(default=None, description="against the champion; None in older records")
    anchor: Evaluation | None = Field(
        default=None, description="the best release of the class list; None where that is the champion"
    )
    anchor_gain: Interval | None = Field(default=None, description="candidate - anchor")
    anchor_changes: Changes | None = Field(default=None, description="against the anchor")

    @property
    def references(self) -> tuple[Reference, ...]:
        """What the candidate is compared with."""
        return tuple(
            Reference(part, evaluation, gain, changes or Changes())
            for part, evaluation, gain, changes in (
                ("champion", self.champion, self.map50_gain, self.changes),
                ("anchor", self.anchor, self.anchor_gain, self.anchor_changes),
            )
            if evaluation is not None and gain is not None
        )


class Reference(NamedTuple):
    """A version that a candidate is compared with: the part it plays, its figures, what changes."""

    part: str
    evaluation: Evaluation
    map50_gain: Interval
    changes: Changes
