"""Evaluations for the tests of the gate: by default good ones. They are made up; nothing here was measured."""

from __future__ import annotations

from typing import Any

from yolo_assets.contracts.evaluation import ClassResult, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import Interval
from yolo_assets_tests.models.release_support import NOON

TEST_SET = "e" * 64


def around(value: float, half: float = 0.02) -> Interval:
    return Interval(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))


def found(recall: float = 0.9, ap50: float = 0.9, precision: float = 0.9, truth: int = 100) -> ClassResult:
    return ClassResult(truth=truth, ap50=ap50, recall=recall, precision=precision)


def evaluation(version: str = "2", **changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "model_version": f"line/{version}",
        "onnx_sha256": "a" * 64,
        "test_sha256": TEST_SET,
        "frames": 400,
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


def comparison(
    gain: Interval | None = None, champion: dict[str, Any] | None = None, **candidate: Any
) -> PairedEvaluation:
    """A candidate against a champion that differs from it only in the given figures."""
    return PairedEvaluation(
        candidate=evaluation("2", **candidate),
        champion=evaluation("1", **(champion or {})),
        map50_gain=gain or Interval(value=0.02, low=0.005, high=0.035),
    )
