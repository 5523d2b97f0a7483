"""Drift of what the model reports, per camera and model version: rate, class mix, confidence. Pure.

Two windows of tables are compared, the same camera and the same model version on both sides: a new model reports
differently by design, which the release gate evaluates. A difference is called drift only when it is large enough to
matter and larger than chance. Neighbouring frames resemble each other, so chance alone is a weak guard; the size of
the difference decides. A camera that health calls sick is reported so: a dirty lens needs cleaning, no new model.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Period:
    """Tables of one stretch of time: ``schema.FramesTable`` and ``schema.DetectionsTable``."""

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
    reference: Period, current: Period, *, sick: Collection[str] = (), policy: DriftPolicy | None = None
) -> pl.DataFrame:
    """Compare each camera and model version of ``current`` with itself in ``reference``.

    Args:
        reference: what is normal.
        current: what is compared with it.
        sick: cameras whose picture cannot be trusted: ``CameraHealth.sick_cameras``.
        policy: thresholds; the defaults without.

    Returns:
        One row per camera and model version of ``current``, columns ``SCHEMA``. ``verdict`` is ``stable``, ``drifted``,
        ``sick camera`` (it would have been called drifted; check the camera) or ``unknown`` (too few frames on
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


def _of(window: Period, camera_id: str, model_version: str) -> Period:
    same = (pl.col("camera_id") == camera_id) & (pl.col("model_version") == model_version)
    return Period(window.frames.filter(same), window.detections.filter(same))


def _compare(before: Period, now: Period, sick: bool, policy: DriftPolicy) -> dict[str, Any]:
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


def _figures(before: Period, now: Period, policy: DriftPolicy) -> dict[str, Any]:
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


def _rate_drift(before: Period, now: Period, figures: dict[str, Any], policy: DriftPolicy) -> str | None:
    old, new = figures["rate_before"], figures["rate_now"]
    low, high = min(old, new), max(old, new)
    large = high > policy.rate_ratio * low
    if large and rate_z(_counts(before), _counts(now)) > _z(policy.significance):
        return f"{old:.2f} detections per frame became {new:.2f}"
    return None


def _class_drift(before: Period, now: Period, figures: dict[str, Any], policy: DriftPolicy) -> str | None:
    distance = figures["class_distance"]
    if distance is None or distance <= policy.class_distance:
        return None
    if class_mix_p_value(*_class_counts(before, now), policy.significance) > policy.significance:
        return None
    return f"the mix of classes moved by {distance:.2f} (Jensen-Shannon, limit {policy.class_distance})"


def _confidence_drift(before: Period, now: Period, figures: dict[str, Any], policy: DriftPolicy) -> str | None:
    distance = figures["confidence_distance"]
    chance = ks_threshold(before.detections.height, now.detections.height, policy.significance)
    if distance is None or distance <= max(policy.confidence_distance, chance):
        return None
    return f"median confidence {figures['confidence_before']:.2f} became {figures['confidence_now']:.2f}"


def _counts(window: Period) -> np.ndarray:
    return window.frames["n_detections"].to_numpy().astype(np.float64)


def _confidences(window: Period) -> np.ndarray:
    return window.detections["confidence"].to_numpy()


def _class_counts(before: Period, now: Period) -> tuple[np.ndarray, np.ndarray]:
    """Counts by class on both sides, the same classes in the same order."""
    old, new = (dict(w.detections.group_by("class").len().iter_rows()) for w in (before, now))
    names = sorted({*old, *new})
    return np.array([old.get(name, 0) for name in names]), np.array([new.get(name, 0) for name in names])


def _z(significance: float) -> float:
    """A bound on the two-sided normal quantile: ``P(|Z| > z) <= 2 exp(-z^2 / 2)``, never too lenient."""
    return math.sqrt(2 * math.log(2 / significance))


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon distance of two histograms: square root of the divergence in bits, 0 (same) to 1 (disjoint).

    Args:
        first: counts ``[k]``, sum above 0.
        second: counts ``[k]`` of the same bins.
    """
    return float(_jensen_shannon(first[None], second[None])[0])


def _jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """``jensen_shannon`` of the rows of ``[n, k]``, as ``[n]``."""
    from scipy.spatial import distance  # takes a quarter of a second to import, which only a drift report needs

    jensenshannon: Any = distance.jensenshannon  # the stubs know no axis
    with np.errstate(invalid="ignore"):  # the divergence of equal histograms may be rounded to less than 0
        return np.clip(np.nan_to_num(jensenshannon(first, second, base=2, axis=1)), 0.0, 1.0)


def class_mix_p_value(first: np.ndarray, second: np.ndarray, resolution: float) -> float:
    """Share of random splits of the pooled counts that differ at least as much: a permutation test.

    The splits are drawn as counts, not by shuffling every detection as ``scipy.stats.permutation_test`` would: the same
    test at a cost that does not grow with the number of detections.

    Args:
        first: counts ``[k]``.
        second: counts ``[k]``.
        resolution: smallest share that must be distinguished from zero; sets the number of splits.
    """
    pooled, size = first + second, int(first.sum())
    # Seeded: the same tables must always give the same report.
    splits = np.random.default_rng(0).multivariate_hypergeometric(pooled, size, size=math.ceil(1 / resolution))
    splits = np.vstack([first, splits])
    observed, *others = _jensen_shannon(splits, pooled - splits)
    return (sum(distance >= observed for distance in others) + 1) / len(splits)


def ks_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance: the largest gap between two empirical distributions, 0 to 1.

    Args:
        first: values ``[n]``, n > 0.
        second: values ``[m]``, m > 0.
    """
    from scipy.stats import ks_2samp

    with np.errstate(divide="ignore"):  # its p-value, which is not asked for
        result: Any = ks_2samp(first, second, method="asymp")
    return float(result.statistic)


def ks_threshold(first: int, second: int, significance: float) -> float:
    """The distance that chance exceeds with probability ``significance`` (asymptotic), for samples of these sizes."""
    if min(first, second) == 0:
        return math.inf
    return math.sqrt(-math.log(significance / 2) / 2) * math.sqrt((first + second) / (first * second))


def rate_z(first: np.ndarray, second: np.ndarray) -> float:
    """Absolute difference of two means in standard errors (Welch).

    Args:
        first: values ``[n]``, n > 1.
        second: values ``[m]``, m > 1.

    Returns:
        Infinity when the means differ and neither side varies; 0 when they are equal.
    """
    from scipy.stats import ttest_ind_from_stats

    if first.mean() == second.mean():
        return 0.0
    figures = [figure for side in (first, second) for figure in (side.mean(), side.std(ddof=1), len(side))]
    with np.errstate(divide="ignore", invalid="ignore"):  # neither side varies
        result: Any = ttest_ind_from_stats(*figures, equal_var=False)
    return abs(float(result.statistic))
