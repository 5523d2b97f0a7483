"""Evaluations for the tests of the gate: by default good ones. They are made up; nothing here was measured."""

from __future__ import annotations

from typing import Any

from yolo_assets.contracts.evaluation import (
    Changes,
    ClassChange,
    ClassResult,
    Evaluation,
    PairedChange,
    PairedEvaluation,
)
from yolo_assets.contracts.model import Interval
from yolo_assets_tests.models.release_support import NOON

TEST_SET = "e" * 64


def around(value: float, half: float = 0.02) -> Interval:
    return Interval(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))


def found(recall: float = 0.9, ap50: float = 0.9, precision: float = 0.9, truth: int = 100) -> ClassResult:
    return ClassResult(truth=truth, ap50=ap50, recall=recall, precision=precision, objects=truth, reported=truth)


def evaluation(version: str = "2", **changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "model_version": f"line/{version}",
        "onnx_sha256": "a" * 64,
        "test_sha256": TEST_SET,
        "frames": 400,
        "metric": "coco",
        "units": 400,
        "units_are": "objects",
        "map50": around(0.9),
        "map50_95": around(0.6),
        "classes": {"crack": found(), "pore": found(), "spatter": found()},
        "hard_recall": 0.7,
        "latency_ms_p50": 20.0,
        "latency_ms_p95": 25.0,
        "engine": "openvino",
        "threads": 2,
        "evaluated_at": NOON,
    }
    return Evaluation(**(fields | changes))


def differences(ours: Evaluation, theirs: Evaluation, se: float) -> Changes:
    """What changes between two evaluations, every difference with the same standard error."""

    def by(figure: str, name: str) -> PairedChange:
        return PairedChange(value=getattr(ours.classes[name], figure) - getattr(theirs.classes[name], figure), se=se)

    hard = None
    if ours.hard_recall is not None and theirs.hard_recall is not None:
        hard = PairedChange(value=ours.hard_recall - theirs.hard_recall, se=se)
    return Changes(
        classes={
            name: ClassChange(ap50=by("ap50", name), recall=by("recall", name), precision=by("precision", name))
            for name in ours.classes
            if name in theirs.classes
        },
        hard_recall=hard,
    )


def comparison(
    gain: Interval | None = None, champion: dict[str, Any] | None = None, se: float = 0.01, **candidate: Any
) -> PairedEvaluation:
    """A candidate against a champion that differs from it only in the given figures."""
    ours, theirs = evaluation("2", **candidate), evaluation("1", **(champion or {}))
    return PairedEvaluation(
        candidate=ours,
        champion=theirs,
        map50_gain=gain or Interval(value=0.02, low=0.005, high=0.035),
        changes=differences(ours, theirs, se),
    )


def with_anchor(
    compared: PairedEvaluation, anchor: dict[str, Any], gain: Interval | None = None, se: float = 0.01
) -> PairedEvaluation:
    """The same comparison with an anchor that differs from the candidate in the given figures."""
    best = evaluation("0", **anchor)
    return compared.model_copy(
        update={
            "anchor": best,
            "anchor_gain": gain or Interval(value=0.02, low=0.005, high=0.035),
            "anchor_changes": differences(compared.candidate, best, se),
        }
    )
