"""Does a model still report what it reported in the days after its release? Rate, class mix and confidence. Pure.

Each camera and model version is compared with itself: with the first days after the version came to the camera, season
by season. A new model reports differently by design, which the release gate evaluates. What is counted is objects, not
frames: one part in front of the camera is one observation, however often it was photographed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import log
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yolo_assets.monitoring.seasons import Slots, learn_seasons, season_of_hours, season_sums
from yolo_assets.monitoring.sequential import (
    Flags,
    Floats,
    Lots,
    count_ratios,
    learn_count_lots,
    learn_level_lots,
    level_ratios,
    watch,
)

Aspect = Literal["rate", "mix", "confidence"]
ASPECTS: tuple[Aspect, ...] = ("rate", "mix", "confidence")
MONTH_HOURS = 720.0
TESTS = 5
"""Rate, mix and confidence of ``drift``; sharpness and brightness of ``health``: they share one budget."""

_RATES = (0.7, 0.45, 0.2, 0.02, 1.5, 2.5, 5.0)
_SHARES = (0.5, 0.05, 2.0, 6.0)
_CONFIDENCES = (-0.25, -0.6, -1.2, 0.25, 0.6, 1.2)


@dataclass(frozen=True)
class MonitoringPolicy:
    """What both drift and health go by.

    Attributes:
        false_alarms: of one camera in a month, drift and health together, while nothing changes.
        learning_hours: of the reference before anything is said; each shift must be among them.
        reference_hours: after which the reference is frozen.
        rate_slack: relative change of the rate that is none yet.
        share_slack: relative change of a class's share that is none yet.
        confidence_slack: change of the mean confidence, in standard deviations of an object's, that is none yet.
        suspicion: share of the evidence needed for a fault at which a camera's output is no longer called drifted.
    """

    false_alarms: float = 0.1
    learning_hours: int = 48
    reference_hours: int = 168
    rate_slack: float = 0.1
    share_slack: float = 0.15
    confidence_slack: float = 0.1
    suspicion: float = 0.4

    @property
    def limit(self) -> float:
        """Logarithm of an e-detector's limit: so many hours pass on average between two false alarms of one test."""
        return log(MONTH_HOURS / self.false_alarms * TESTS)


@dataclass(frozen=True)
class ModelReports:
    """What models reported, hour by hour; a row for each camera and model version.

    Attributes:
        objects: ``[n, t]``; NaN: no frame of this version.
        exposure: ``[n, t]``: share of the hour that was looked at.
        classes: ``[n, t, k]``, objects of each class.
        confidence: ``[n, t, k]``, sum of the objects' confidences.
        squares: ``[n, t, k]``, sum of their squares.
        class_names: of the k classes.
    """

    objects: Floats
    exposure: Floats
    classes: Floats
    confidence: Floats
    squares: Floats
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class DriftReference:
    """What is usual, by row; frozen: it depends on the hours in ``hours`` alone.

    Attributes:
        hours: ``[n, t]``, hours of the reference.
        judged: ``[n, t]``, hours that it covers.
        expected: ``[n, t]``, objects.
        error: ``[n, t]``, standard error of ``expected``, relative.
        shares: ``[n, t, k]``, of the classes.
        centre: ``[n, k]``, mean confidence.
        deviation: ``[n, k]``, of one object's.
        rate_lots: of the rate.
        mix_lots: ``[n * k]``, of the classes.
        confidence_lots: of the mean confidence, in standard deviations of an object's.
    """

    hours: Flags
    judged: Flags
    expected: Floats
    error: Floats
    shares: Floats
    centre: Floats
    deviation: Floats
    rate_lots: Lots
    mix_lots: Lots
    confidence_lots: Lots


@dataclass(frozen=True)
class DriftTimeline:
    """What was said hour by hour.

    Attributes:
        learning: ``[n, t]``: the reference does not cover the hour yet.
        standing: ``[n, t]`` by aspect: it is called changed.
        evidence: ``[n, t]`` by aspect, logarithm.
        empty: ``[n, t]``: nothing at all is seen where objects are usual, since the rate is called changed.
        reference: that holds in the last hour, by row.
    """

    learning: Flags
    standing: dict[Aspect, Flags]
    evidence: dict[Aspect, Floats]
    empty: Flags
    reference: DriftReference = field(repr=False)

    @property
    def drifted(self) -> Flags:
        """``[n, t]``: any aspect."""
        return np.any([self.standing[aspect] for aspect in ASPECTS], axis=0)


def judge_drift(
    reports: ModelReports,
    slots: Slots,
    age: NDArray[np.int64],
    trusted: Flags,
    policy: MonitoringPolicy | None = None,
) -> DriftTimeline:
    """Judge every hour against the reference.

    Args:
        reports: of all rows and hours.
        slots: of the hours.
        age: ``[n, t]``, hours since a row's reference began; negative before.
        trusted: ``[n, t]``: the camera is well and the plant does not stand on purpose; other hours are neither learned
            from nor judged.
        policy: the defaults without.
    """
    policy = policy or MonitoringPolicy()
    reports = _seen(reports, trusted)
    there = np.isfinite(reports.objects)
    first = there & (age >= 0) & (age < policy.learning_hours)
    week = there & (age >= 0) & (age < policy.reference_hours)
    young = (age >= policy.learning_hours) & (age < policy.reference_hours)
    # Of two days the lots are not well known yet: more evidence is asked for.
    careful = replace(policy, false_alarms=policy.false_alarms / 100)
    early = _judge(reports, slots, first, young, careful)
    # A change in the first week is no reference: such a row keeps the one of its first days.
    ends = last_hour(age < policy.reference_hours)
    changed = np.any([early.standing[aspect][np.arange(ends.size), ends] for aspect in ASPECTS], axis=0)
    if changed.any():
        early = _judge(reports, slots, first, young | (changed[:, None] & (age >= policy.reference_hours)), careful)
    frozen = _judge(reports, slots, np.where(changed[:, None], first, week), age >= policy.reference_hours, policy)
    return _joined(early, frozen, age >= policy.reference_hours, changed)


def last_hour(hours: Flags) -> NDArray[np.int64]:
    """``[n]``: number of the last of some hours ``[n, t]``; 0 without any."""
    return np.where(hours, np.arange(hours.shape[1]), 0).max(axis=1, initial=0)


def _seen(reports: ModelReports, trusted: Flags) -> ModelReports:
    objects = np.where(trusted & (reports.exposure > 0), reports.objects, np.nan)
    return ModelReports(
        objects, reports.exposure, reports.classes, reports.confidence, reports.squares, reports.class_names
    )


def _joined(early: DriftTimeline, frozen: DriftTimeline, later: Flags, keep: Flags) -> DriftTimeline:
    use = later & ~keep[:, None]
    old, new = early.reference, frozen.reference
    row = use[:, -1:]
    return DriftTimeline(
        learning=np.where(use, frozen.learning, early.learning),
        standing={aspect: np.where(use, frozen.standing[aspect], early.standing[aspect]) for aspect in ASPECTS},
        evidence={aspect: np.where(use, frozen.evidence[aspect], early.evidence[aspect]) for aspect in ASPECTS},
        empty=np.where(use, frozen.empty, early.empty),
        reference=DriftReference(
            hours=np.where(row, new.hours, old.hours),
            judged=np.where(use, new.judged, old.judged),
            expected=np.where(use, new.expected, old.expected),
            error=np.where(use, new.error, old.error),
            shares=np.where(use[..., None], new.shares, old.shares),
            centre=np.where(row, new.centre, old.centre),
            deviation=np.where(row, new.deviation, old.deviation),
            rate_lots=new.rate_lots,
            mix_lots=new.mix_lots,
            confidence_lots=new.confidence_lots,
        ),
    )


def learn_reference(reports: ModelReports, slots: Slots, hours: Flags) -> DriftReference:
    """What is usual by some hours.

    Args:
        reports: of all rows and hours.
        slots: of the hours.
        hours: ``[n, t]``, the reference.
    """
    kinds = reports.classes.shape[2]
    exposure = np.where(hours, reports.exposure, np.nan)
    with np.errstate(invalid="ignore"):
        rate = np.where(hours, reports.objects / np.maximum(reports.exposure, 1e-9), np.nan)
    seasons = learn_seasons([(np.sqrt(rate), 0.25)], slots)
    season = season_of_hours(seasons, slots)
    count = len(slots.names)
    index = np.maximum(season, 0)
    found, number = season_sums(np.where(hours, reports.objects, np.nan), season, count)
    looked, _ = season_sums(exposure, season, count)
    known = np.take_along_axis(number, index, axis=1) >= 1
    judged = (season >= 0) & known
    # A season without any object in the reference may have one now and then.
    per_hour = (found + 0.5 * (found == 0)) / np.maximum(looked, 1e-9)
    expected = np.where(judged, np.take_along_axis(per_hour, index, axis=1) * reports.exposure, np.nan)

    learned = np.where(hours[..., None], reports.classes, 0.0)
    of_class = learned.sum(axis=1)
    total = of_class.sum(axis=1, keepdims=True)
    overall = (of_class + 0.5) / (total + 0.5 * kinds)
    in_season = np.stack(
        [season_sums(np.where(hours, reports.classes[..., kind], np.nan), season, count)[0] for kind in range(kinds)],
        -1,
    )
    # Each season's mix is drawn towards the overall mix, as far as it has few objects.
    weight = 50.0
    mixed = (in_season + weight * overall[:, None]) / (in_season.sum(-1, keepdims=True) + weight)
    shares = np.take_along_axis(mixed, index[..., None].repeat(kinds, -1), axis=1)

    sums = np.where(hours[..., None], reports.confidence, 0.0).sum(axis=1)
    squares = np.where(hours[..., None], reports.squares, 0.0).sum(axis=1)
    all_mean = sums.sum(1, keepdims=True) / np.maximum(total, 1)
    all_square = squares.sum(1, keepdims=True) / np.maximum(total, 1)
    everything = np.sqrt(np.maximum(all_square - all_mean**2, 1e-4))
    few = 10.0
    centre = (sums + few * all_mean) / (of_class + few)
    variance = np.maximum(squares / np.maximum(of_class, 1) - (sums / np.maximum(of_class, 1)) ** 2, 0)
    deviation = np.sqrt((of_class * variance + few * everything**2) / (of_class + few))
    deviation = np.maximum(deviation, 0.01)

    counts = np.where(hours, reports.objects, 0.0)
    rate_lots = learn_count_lots(counts, np.where(hours, expected, np.nan), 0.3)
    objects_known = np.maximum(np.take_along_axis(found, index, axis=1), 0.5)
    error = rate_lots.error(np.take_along_axis(number, index, axis=1).astype(float), 1 / objects_known)
    mix_expected = np.where(hours[..., None], shares * reports.classes.sum(-1, keepdims=True), np.nan)
    mix_lots = learn_count_lots(_by_class(learned), _by_class(mix_expected), 0.2)
    value, noise = _confidence(reports, centre, deviation)
    confidence_lots = learn_level_lots(np.where(hours, value, np.nan), np.where(hours, noise, np.nan), 0.15)
    return DriftReference(
        hours, judged, expected, error, shares, centre, deviation, rate_lots, mix_lots, confidence_lots
    )


def _judge(reports: ModelReports, slots: Slots, hours: Flags, later: Flags, policy: MonitoringPolicy) -> DriftTimeline:
    reference = learn_reference(reports, slots, hours)
    judged = reference.judged & later & np.isfinite(reports.objects)
    objects = np.where(judged, reports.objects, 0.0)
    expected = np.where(judged, reference.expected, np.nan)

    rate_slack = policy.rate_slack + 2 * reference.error
    rate = count_ratios(objects, expected, reference.rate_lots, rate_slack, _RATES)
    calm = _calm(objects, expected, rate_slack, judged)
    rate_watch = watch(rate, calm, policy.limit)

    rows, length, kinds = reports.classes.shape
    of_class = np.where(judged[..., None], reports.classes, 0.0)
    share = np.where(judged[..., None], reference.shares * of_class.sum(-1, keepdims=True), np.nan)
    by_class, by_share = _by_class(of_class), _by_class(share)
    hours_known = np.broadcast_to(hours.sum(1)[:, None], (rows, kinds)).reshape(-1).astype(float)
    learned = _by_class(np.where(hours[..., None], reports.classes, 0.0)).sum(1)
    mix_error = reference.mix_lots.error(hours_known, 1 / np.maximum(learned, 0.5))
    mix_slack = np.broadcast_to((policy.share_slack + 2 * mix_error)[:, None], by_class.shape)
    mix = count_ratios(by_class, by_share, reference.mix_lots, mix_slack, _SHARES)
    mix = mix.reshape(rows, kinds, length, len(_SHARES)).transpose(0, 2, 1, 3).reshape(rows, length, -1)
    calm_class = _calm(by_class, by_share, mix_slack, by_share > 0).reshape(rows, kinds, length)
    mix_watch = watch(mix, calm_class.min(axis=1, initial=True), policy.limit)

    value, noise = _confidence(reports, reference.centre, reference.deviation)
    value = np.where(judged, value, np.nan)
    objects_learned = np.maximum(learned.reshape(rows, kinds).sum(1), 1.0)
    confidence_error = reference.confidence_lots.error(hours.sum(1).astype(float), 1 / objects_learned)
    confidence_slack = np.broadcast_to((policy.confidence_slack + 2 * confidence_error)[:, None], value.shape)
    confidence = level_ratios(value, noise, reference.confidence_lots, confidence_slack, _CONFIDENCES, 6.0)
    far = _rolling(np.where(np.isfinite(value), value, 0.0)) / np.maximum(_rolling(np.isfinite(value).astype(float)), 1)
    near = np.zeros(far.shape, np.bool_)
    near[np.abs(far) < confidence_slack] = True
    confidence_watch = watch(confidence, near, policy.limit)

    recent = _rolling(objects, 3)
    usual = _rolling(np.where(judged, reference.expected, 0.0), 3)
    empty = rate_watch.standing & (objects == 0) & (recent == 0) & (usual > 3)
    return DriftTimeline(
        learning=~(reference.judged & later),
        standing={
            "rate": rate_watch.standing,
            "mix": mix_watch.standing,
            "confidence": confidence_watch.standing,
        },
        evidence={
            "rate": rate_watch.evidence,
            "mix": mix_watch.evidence,
            "confidence": confidence_watch.evidence,
        },
        empty=empty,
        reference=reference,
    )


def _by_class(values: Floats) -> Floats:
    """``[n, t, k]`` as ``[n * k, t]``."""
    rows, length, kinds = values.shape
    return values.transpose(0, 2, 1).reshape(rows * kinds, length)


def _confidence(reports: ModelReports, centre: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """Mean of the objects' confidences, each against its class, in standard deviations; and its variance by chance."""
    number = reports.classes.sum(-1)
    gap = (reports.confidence - reports.classes * centre[:, None]) / deviation[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, gap.sum(-1) / number, np.nan), np.where(number > 0, 1 / number, np.nan)


def _calm(counts: Floats, expected: Floats, slack: Floats, judged: Flags) -> Flags:
    """Whether the last day counts as it used to."""
    seen = _rolling(np.where(judged, counts, 0.0))
    usual = _rolling(np.where(judged, np.nan_to_num(expected), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.maximum(seen, 0.5) / np.maximum(usual, 0.5))
    return (np.abs(ratio) < slack) & (usual > 0)


def _rolling(values: Floats, hours: int = 24) -> Floats:
    """Sum of the last ``hours`` hours, ``[n, t]``."""
    total = np.cumsum(values, axis=1)
    before = np.zeros_like(total)
    before[:, hours:] = total[:, :-hours]
    return total - before
