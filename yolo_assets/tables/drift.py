"""Drift of what the model reports, per camera and model version: rate, class mix, confidence. Pure.

Two windows of tables are compared, the same camera and the same model version on both sides: a new model reports
differently by design, and that is the gate's business. A difference is called drift only when it is large enough to
matter and larger than chance. Neighbouring frames resemble each other, so chance alone is a weak guard; the size of
the difference decides. A camera that health calls sick is reported as that: a dirty lens needs a cloth, no new model.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from yolo_assets.tables.statistics import class_mix_p_value, jensen_shannon, ks_distance, ks_threshold, rate_z


@dataclass(frozen=True)
class Window:
    """Tables of one stretch of time: ``schema.Frames`` and ``schema.Detections``."""

    frames: pl.DataFrame
    detections: pl.DataFrame


@dataclass(frozen=True)
class DriftPolicy:
    """When a difference is drift.

    Attributes:
        min_frames: on both sides, for the detection rate.
        min_detections: on both sides, for class mix and confidence.
        rate_ratio: the rates differ by more than this factor, up or down.
        class_distance: Jensen-Shannon distance of the class mixes, 0 to 1.
        confidence_distance: Kolmogorov-Smirnov distance of the confidences, 0 to 1.
        significance: probability of chance under which a difference counts.
    """

    min_frames: int = 50
    min_detections: int = 50
    rate_ratio: float = 1.5
    class_distance: float = 0.15
    confidence_distance: float = 0.2
    significance: float = 0.001


SCHEMA = pl.Schema(
    {
        "camera_id": pl.String(),
        "model_version": pl.String(),
        "verdict": pl.String(),
        "reason": pl.String(),
        "frames_before": pl.Int64(),
        "frames_now": pl.Int64(),
        "detections_before": pl.Int64(),
        "detections_now": pl.Int64(),
        "rate_before": pl.Float64(),
        "rate_now": pl.Float64(),
        "class_distance": pl.Float64(),
        "confidence_distance": pl.Float64(),
        "confidence_before": pl.Float64(),
        "confidence_now": pl.Float64(),
    }
)
"""Columns of a drift report; see ``drift_report``."""


def drift_report(
    reference: Window, current: Window, *, sick: Collection[str] = (), policy: DriftPolicy | None = None
) -> pl.DataFrame:
    """Compare each camera and model version of ``current`` with itself in ``reference``.

    Args:
        reference: what is normal.
        current: what is asked about.
        sick: cameras whose picture is not to be trusted: ``CameraHealth.sick_cameras``.
        policy: thresholds; the defaults without.

    Returns:
        One row per camera and model version of ``current``, columns ``SCHEMA``. ``verdict`` is ``stable``, ``drifted``,
        ``sick camera`` (it would have been called drifted; see to the camera) or ``unknown`` (too few frames on
        one side). ``rate_*`` is detections per frame, ``confidence_*`` the median. Null without enough data.
    """
    policy = policy or DriftPolicy()
    groups = current.frames.select("camera_id", "model_version").unique().sort("camera_id", "model_version")
    rows = []
    for camera_id, model_version in groups.iter_rows():
        before, now = (_of(window, camera_id, model_version) for window in (reference, current))
        rows.append(
            {
                "camera_id": camera_id,
                "model_version": model_version,
                **_compare(before, now, camera_id in sick, policy),
            }
        )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _of(window: Window, camera_id: str, model_version: str) -> Window:
    same = (pl.col("camera_id") == camera_id) & (pl.col("model_version") == model_version)
    return Window(window.frames.filter(same), window.detections.filter(same))


def _compare(before: Window, now: Window, sick: bool, policy: DriftPolicy) -> dict[str, Any]:
    figures = _figures(before, now, policy)
    if figures["rate_before"] is None:
        fewest = min(before.frames.height, now.frames.height)
        reason = f"{fewest} frames on one side, {policy.min_frames} needed"
        return {**figures, "verdict": "unknown", "reason": reason}
    reasons = [
        reason
        for reason in (
            _rate_drift(before, now, figures, policy),
            _class_drift(before, now, figures, policy),
            _confidence_drift(before, now, figures, policy),
        )
        if reason
    ]
    if not reasons:
        return {**figures, "verdict": "stable", "reason": "no figure moved beyond its limit"}
    return {**figures, "verdict": "sick camera" if sick else "drifted", "reason": "; ".join(reasons)}


def _figures(before: Window, now: Window, policy: DriftPolicy) -> dict[str, Any]:
    enough_frames = min(before.frames.height, now.frames.height) >= policy.min_frames
    enough_detections = min(before.detections.height, now.detections.height) >= policy.min_detections
    figures: dict[str, Any] = dict.fromkeys(SCHEMA.names()[4:])
    figures |= {
        "frames_before": before.frames.height,
        "frames_now": now.frames.height,
        "detections_before": before.detections.height,
        "detections_now": now.detections.height,
    }
    if enough_frames:
        figures |= {"rate_before": _counts(before).mean(), "rate_now": _counts(now).mean()}
    if enough_frames and enough_detections:
        old, new = _confidences(before), _confidences(now)
        figures |= {
            "class_distance": jensen_shannon(*_class_counts(before, now)),
            "confidence_distance": ks_distance(old, new),
            "confidence_before": float(np.median(old)),
            "confidence_now": float(np.median(new)),
        }
    return figures


def _rate_drift(before: Window, now: Window, figures: dict[str, Any], policy: DriftPolicy) -> str | None:
    old, new = figures["rate_before"], figures["rate_now"]
    low, high = min(old, new), max(old, new)
    large = high > policy.rate_ratio * low
    if large and rate_z(_counts(before), _counts(now)) > _z(policy.significance):
        return f"{old:.2f} detections per frame became {new:.2f}"
    return None


def _class_drift(before: Window, now: Window, figures: dict[str, Any], policy: DriftPolicy) -> str | None:
    distance = figures["class_distance"]
    if distance is None or distance <= policy.class_distance:
        return None
    if class_mix_p_value(*_class_counts(before, now), policy.significance) > policy.significance:
        return None
    return f"the mix of classes moved by {distance:.2f} (Jensen-Shannon, limit {policy.class_distance})"


def _confidence_drift(before: Window, now: Window, figures: dict[str, Any], policy: DriftPolicy) -> str | None:
    distance = figures["confidence_distance"]
    chance = ks_threshold(before.detections.height, now.detections.height, policy.significance)
    if distance is None or distance <= max(policy.confidence_distance, chance):
        return None
    return f"median confidence {figures['confidence_before']:.2f} became {figures['confidence_now']:.2f}"


def _counts(window: Window) -> np.ndarray:
    return window.frames["n_detections"].to_numpy().astype(np.float64)


def _confidences(window: Window) -> np.ndarray:
    return window.detections["confidence"].to_numpy()


def _class_counts(before: Window, now: Window) -> tuple[np.ndarray, np.ndarray]:
    """Counts by class on both sides, the same classes in the same order."""
    old, new = (dict(w.detections.group_by("class").len().iter_rows()) for w in (before, now))
    names = sorted({*old, *new})
    return np.array([old.get(name, 0) for name in names]), np.array([new.get(name, 0) for name in names])


def _z(significance: float) -> float:
    """A bound on the two-sided normal quantile: ``P(|Z| > z) <= 2 exp(-z^2 / 2)``, never too lenient."""
    return math.sqrt(2 * math.log(2 / significance))
