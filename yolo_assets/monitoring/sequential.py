"""Tests that may be looked at every hour for ever: e-detectors over hours that resemble their neighbours. Pure.

An hour's figure is compared under two laws: the reference's, at the edge of what still counts as no change, and one in
which it changed. Both are predictions from the hours before, so the product of their ratios is an e-process, and the
sum of those that began at each hour (Shiryaev-Roberts) needs on average at least ``limit`` hours to pass ``limit``
while nothing changes: the budget of false alarms. Lots make neighbouring hours alike, and the next lot is another one:
the reference's law has a level around 1 (counts) or 0 (levels) that stays as it is from hour to hour, or is drawn anew.
How wide it is drawn and how long it stays is learned from the reference.

Does not belong here: what is compared with what (``drift``, ``health``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_LEAST_SPREAD = 0.02
_PRIOR_MEMORY = 0.7
_PRIOR_HOURS = 12.0
_PRIOR_LOTS = 2.0
_MOST_MEMORY = 0.95
_KEPT = 0.97
"""Share of a lot's distance from the reference that is left an hour later: no lot stays far away for ever."""
_FARTHEST = 4.0
"""Spreads from the reference within which a lot's level is looked for."""


@dataclass(frozen=True)
class Lots:
    """How the level of lots varies around the reference.

    Attributes:
        spread: ``[n]``, standard deviation of the level: relative for counts, in the unit of the level else.
        memory: ``[n]``, 0 to 1: how likely the next hour has the same level.
    """

    spread: Floats
    memory: Floats

    def error(self, hours: Floats, chance: Floats) -> Floats:
        """Standard error of a mean over hours of the reference.

        Args:
            hours: ``[n, ...]``, how many.
            chance: ``[n, ...]``, variance of the mean by single objects.
        """
        shape = (-1, *(1,) * (hours.ndim - 1))
        lasting = ((1 + self.memory) / (1 - self.memory)).reshape(shape)
        independent = np.maximum(hours / lasting, 1.0)
        return np.sqrt(self.spread.reshape(shape) ** 2 / independent + chance)


def learn_count_lots(counts: Floats, expected: Floats, usual: float) -> Lots:
    """From counts of the reference: what varies more than chance (Poisson), and how long it lasts.

    Args:
        counts: ``[n, t]``.
        expected: ``[n, t]``; NaN where there is nothing to learn from.
        usual: spread of lots to go by while few of them were seen.
    """
    there = np.isfinite(expected) & (expected > 0)
    gap = np.where(there, counts - expected, 0.0)
    mean = np.where(there, expected, 0.0)
    hours = there.sum(axis=1)
    squares = np.maximum((mean**2).sum(axis=1), 1e-12)
    excess = ((gap**2).sum(axis=1) - mean.sum(axis=1)) / squares
    pairs = np.maximum((mean[:, 1:] * mean[:, :-1]).sum(axis=1), 1e-12)
    neighbours = (gap[:, 1:] * gap[:, :-1]).sum(axis=1) / pairs
    typical = squares / np.maximum(mean.sum(axis=1), 1e-12)
    return _lots(excess, neighbours, hours, 1 / np.maximum(typical, 1e-12), usual)


def learn_level_lots(values: Floats, noise: Floats, usual: float) -> Lots:
    """From residuals of the reference.

    Args:
        values: ``[n, t]``, around 0; NaN where there is none.
        noise: ``[n, t]``, variance of each that is of its own hour alone.
        usual: spread of lots to go by while few of them were seen.
    """
    there = np.isfinite(values)
    gap, own = np.where(there, values, 0.0), np.where(there, noise, 0.0)
    hours = there.sum(axis=1)
    number = np.maximum(hours, 1)
    # An outlier of the reference is one bad hour: it widens nothing for the hours to come.
    bound = np.full((gap.shape[0], 1), 1e-9)
    some = hours > 0
    bound[some, 0] = np.maximum(6 * 1.4826 * np.nanmedian(np.abs(values[some]), axis=1), 1e-9)
    gap = np.clip(gap, -bound, bound)
    typical = own.sum(axis=1) / number
    excess = (gap**2).sum(axis=1) / number - typical
    pairs = np.maximum((there[:, 1:] & there[:, :-1]).sum(axis=1), 1)
    neighbours = (gap[:, 1:] * gap[:, :-1]).sum(axis=1) / pairs
    return _lots(excess, neighbours, hours, typical, usual)


def _lots(excess: Floats, neighbours: Floats, hours: NDArray[np.int64], noise: Floats, usual: float) -> Lots:
    """A spread that is more likely too wide than too narrow, and a memory between what was seen and a usual one.

    Args:
        excess: ``[n]``, variance beyond that of the single hours.
        neighbours: ``[n]``, covariance of neighbouring hours.
        hours: ``[n]`` in the reference.
        noise: ``[n]``, variance of a single hour.
        usual: spread to go by while few lots were seen.
    """
    seen = np.clip(neighbours / np.maximum(excess, 1e-12), 0.0, _MOST_MEMORY)
    seen = np.where(excess > 0, seen, _PRIOR_MEMORY)
    memory = (hours * seen + _PRIOR_HOURS * _PRIOR_MEMORY) / (hours + _PRIOR_HOURS)
    lasting = (1 + memory) / (1 - memory)
    independent = np.maximum(hours / lasting, 1.0)
    wide = np.maximum(excess, 0.0)
    variance = wide + np.sqrt(2 / independent) * wide + np.sqrt(2 / np.maximum(hours, 1)) * noise
    variance = (independent * variance + _PRIOR_LOTS * usual**2) / (independent + _PRIOR_LOTS)
    return Lots(np.maximum(np.sqrt(variance), _LEAST_SPREAD), memory)


def count_ratios(counts: Floats, expected: Floats, lots: Lots, slack: Floats, changes: Sequence[float]) -> Floats:
    """Log likelihood ratios of each hour: changed against not.

    Args:
        counts: ``[n, t]``.
        expected: ``[n, t]`` by the reference; NaN: the hour is not judged.
        lots: of the reference.
        slack: ``[n, t]``, logarithm of the factor that is no change yet.
        changes: factors, each below or above 1; they come on top of the slack.

    Returns:
        ``[n, t, len(changes)]``; NaN where an hour is not judged.
    """
    from scipy.special import gammaln

    factors = np.array([1.0, 1.0, *changes])
    signs = np.array([-1.0, 1.0, *np.where(np.array(changes) < 1, -1.0, 1.0)])
    null = np.where(np.array(changes) < 1, 0, 1)
    width = np.maximum(lots.spread, _LEAST_SPREAD)[:, None] ** 2 * np.ones_like(factors)
    stays = lots.memory[:, None]
    highest = 1 + _FARTHEST * np.sqrt(width)
    mean, variance = np.ones_like(width), width.copy()
    found = np.full((*counts.shape, len(changes)), np.nan)

    def chance(number: Floats, exposure: Floats, centre: Floats, around: Floats) -> tuple[Floats, Floats, Floats]:
        """Log probability of a count when its level is gamma distributed; mean and variance of the level after it."""
        shape, rate = centre**2 / around, centre / around
        log = (
            gammaln(number + shape)
            - gammaln(shape)
            + shape * np.log(rate / (rate + exposure))
            + number * np.log(exposure / (rate + exposure))
        )
        after = (shape + number) / (rate + exposure)
        return log, after, after / (rate + exposure)

    for hour in _judged_hours(np.nan_to_num(expected) > 0):
        seen = expected[:, hour, None]
        judged = np.isfinite(seen) & (seen > 0)
        number = np.where(judged, counts[:, hour, None], 0.0)
        edge = np.where(judged, slack[:, hour, None], 0.0)
        exposure = np.where(judged, seen, 1.0) * factors * np.exp(signs * edge)
        mean, variance = 1 + _KEPT * (mean - 1), _KEPT**2 * variance + (1 - _KEPT**2) * width
        same = chance(number, exposure, mean, variance)
        fresh = chance(number, exposure, np.ones_like(width), width)
        logs, mean, variance = _either(same, fresh, stays, mean, variance, judged)
        mean, variance = np.clip(mean, 1 / highest, highest), np.maximum(variance, 1e-9)
        found[:, hour] = np.where(judged, logs[:, 2:] - logs[:, null], np.nan)
    return found


def level_ratios(
    values: Floats, noise: Floats, lots: Lots, slack: Floats, changes: Sequence[float], clip: float
) -> Floats:
    """As ``count_ratios``, for levels.

    Args:
        values: ``[n, t]``, distance from the reference; NaN: the hour is not judged.
        noise: ``[n, t]``, variance of each that is of its own hour alone.
        lots: of the reference.
        slack: ``[n, t]``, the distance that is no change yet.
        changes: distances beyond it, negative or positive.
        clip: an hour counts at most as so many standard deviations: one outlier alone proves nothing.
    """
    steps = np.array([0.0, 0.0, *changes])
    signs = np.array([-1.0, 1.0, *np.sign(changes)])
    null = np.where(np.array(changes) < 0, 0, 1)
    width = lots.spread[:, None] ** 2 * np.ones_like(steps)
    stays = lots.memory[:, None]
    farthest = _FARTHEST * np.sqrt(width)
    mean, variance = np.zeros_like(width), width.copy()
    found = np.full((*values.shape, len(changes)), np.nan)

    def chance(gap: Floats, own: Floats, centre: Floats, around: Floats) -> tuple[Floats, Floats, Floats]:
        total = around + own
        gain = around / total
        return -0.5 * ((gap - centre) ** 2 / total + np.log(total)), centre + gain * (gap - centre), own * gain

    for hour in _judged_hours(np.isfinite(values)):
        seen = values[:, hour, None]
        judged = np.isfinite(seen)
        own = np.where(judged, noise[:, hour, None], 1.0)
        edge = np.where(judged, slack[:, hour, None], 0.0)
        # Held within what the reference and its lots can explain with luck, the same for every law.
        room = clip * np.sqrt(width[:, :1] + own) + edge
        gap = np.clip(np.where(judged, seen, 0.0), -room, room) - (steps + signs * edge)
        mean, variance = _KEPT * mean, _KEPT**2 * variance + (1 - _KEPT**2) * width
        same = chance(gap, own, mean, variance)
        fresh = chance(gap, own, np.zeros_like(width), width)
        logs, mean, variance = _either(same, fresh, stays, mean, variance, judged)
        mean = np.clip(mean, -farthest, farthest)
        found[:, hour] = np.where(judged, logs[:, 2:] - logs[:, null], np.nan)
    return found


def _either(
    same: tuple[Floats, Floats, Floats],
    fresh: tuple[Floats, Floats, Floats],
    stays: Floats,
    mean: Floats,
    variance: Floats,
    judged: Flags,
) -> tuple[Floats, Floats, Floats]:
    """Log probability, mean and variance when the lot is the same one with probability ``stays``, else the next one.

    An hour that is not judged tells nothing but that time passed.
    """
    with np.errstate(divide="ignore"):
        first, second = same[0] + np.log(stays), fresh[0] + np.log1p(-stays)
    logs = np.logaddexp(first, second)
    share = np.exp(first - logs)
    middle = share * same[1] + (1 - share) * fresh[1]
    around = share * (same[2] + (same[1] - middle) ** 2) + (1 - share) * (fresh[2] + (fresh[1] - middle) ** 2)
    return logs, np.where(judged, middle, mean), np.where(judged, around, variance)


def _judged_hours(judged: Flags) -> range:
    """From the first hour in which any row is judged to the last: before and after it nothing can change."""
    hours = np.flatnonzero(judged.any(axis=0))
    return range(int(hours[0]), int(hours[-1]) + 1) if hours.size else range(0)


@dataclass(frozen=True)
class Watched:
    """What was said hour by hour.

    Attributes:
        standing: ``[n, t]``: a change was found and has not gone since.
        evidence: ``[n, t]``: logarithm of the e-detector; it starts anew when a change has gone.
    """

    standing: Flags
    evidence: Floats


def watch(ratios: Floats, calm: Flags, limit: float) -> Watched:
    """Say from when on something changed, and when it has gone.

    Args:
        ratios: ``[n, t, k]``, log likelihood ratios against k kinds of change; NaN: the hour is not judged.
        calm: ``[n, t]``: by then the figures have been as in the reference for long enough.
        limit: logarithm of the e-detector's limit.
    """
    rows, hours, kinds = ratios.shape
    each = np.full((rows, kinds), -np.inf)
    stands = np.zeros(rows, bool)
    standing, evidence = np.zeros((rows, hours), bool), np.full((rows, hours), -np.inf)
    share = np.log(max(kinds, 1))
    begun = _judged_hours(np.isfinite(ratios[:, :, 0])).start  # before, nothing can be said
    for hour in range(begun, hours):
        ratio = ratios[:, hour]
        judged = np.isfinite(ratio)
        each = np.where(judged, np.minimum(np.where(judged, ratio, 0.0) + np.logaddexp(0.0, each), limit + 50), each)
        top = np.max(each, axis=1, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            together = (top + np.log(np.exp(each - top).sum(axis=1, keepdims=True)))[:, 0] - share
        gone = stands & calm[:, hour]
        stands = (stands | (together >= limit)) & ~gone
        each[gone] = -np.inf
        standing[:, hour] = stands
        evidence[:, hour] = np.where(gone, -np.inf, together)
    return Watched(standing, evidence)
