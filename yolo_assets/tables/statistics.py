"""Distances between samples and how large chance alone makes them. Plain functions of arrays; nothing of detections."""

from __future__ import annotations

import math

import numpy as np


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Jensen-Shannon distance of two histograms: square root of the divergence in bits, 0 (same) to 1 (disjoint).

    Args:
        first: counts ``[k]``, sum above 0.
        second: counts ``[k]`` of the same bins.
    """
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    divergence = 0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle))
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    there = p > 0
    return float(np.sum(p[there] * np.log2(p[there] / q[there])))


def class_mix_p_value(first: np.ndarray, second: np.ndarray, resolution: float) -> float:
    """Share of random splits of the pooled counts that differ at least as much: a permutation test.

    Args:
        first: counts ``[k]``.
        second: counts ``[k]``.
        resolution: smallest share that must be told from zero; sets the number of splits.
    """
    pooled, size = first + second, int(first.sum())
    observed = jensen_shannon(first, second)
    # Seeded: the same tables must always give the same verdict.
    splits = np.random.default_rng(0).multivariate_hypergeometric(pooled, size, size=math.ceil(1 / resolution))
    as_far = sum(jensen_shannon(split, pooled - split) >= observed for split in splits)
    return (as_far + 1) / (len(splits) + 1)


def ks_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance: the largest gap between two empirical distributions, 0 to 1.

    Args:
        first: values ``[n]``, n > 0.
        second: values ``[m]``, m > 0.
    """
    first, second = np.sort(first), np.sort(second)
    values = np.concatenate([first, second])
    below_first = np.searchsorted(first, values, side="right") / len(first)
    below_second = np.searchsorted(second, values, side="right") / len(second)
    return float(np.max(np.abs(below_first - below_second)))


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
    difference = abs(float(first.mean() - second.mean()))
    if difference == 0:
        return 0.0
    error = math.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return difference / error if error > 0 else math.inf
