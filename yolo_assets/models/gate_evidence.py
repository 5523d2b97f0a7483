"""What is sure from the figures of an evaluation, and how many objects are to be labelled until more is.

Belongs here: chances, one budget of error for all of them, and the arithmetic of sample sizes. Does not belong here:
what follows for a candidate (``gate``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

from yolo_assets.contracts.evaluation import ClassChange, Evaluation, PairedEvaluation, Reference
from yolo_assets.models.gate_policy import GatePolicy

_TINY = 1e-9
"""Tolerance for the rounding of binary fractions."""
POWER = 0.85
"""The chance that so many labels are enough, if the difference is as large as it is taken to be."""
MOST = 100_000
"""More than this nobody labels, and the figure would only look exact."""
_MOST_PUT_RIGHT = 0.75
"""Standard errors. Close to what is needed almost any large gain explains the measurement, and the labels of a large
gain would not be enough for a small one."""
_LEAST = 5
_NORMAL = NormalDist()


def sure_losses(comparison: PairedEvaluation, policy: GatePolicy) -> frozenset[str]:
    """The losses and missed floors that chance does not explain, of all together with the policy's error (Holm).

    Returns:
        Names as ``champion/crack/recall`` or ``floor/crack/precision``.
    """
    chances: dict[str, float] = {}
    candidate = comparison.candidate
    for name, result in candidate.classes.items():
        floor = recall_floor(policy, name)
        chances[f"floor/{name}/recall"] = chance_below(result.recall, floor, result.objects or result.truth)
        chances[f"floor/{name}/precision"] = chance_below(result.precision, policy.min_precision, result.reported)
    if candidate.false_alarms is not None:
        chances["false_alarms"] = _above(candidate, policy.max_false_alarms)
    for reference in comparison.references:
        for name, change in reference.changes.classes.items():
            for figure, (loss, se) in class_losses(change).items():
                chances[f"{reference.part}/{name}/{figure}"] = _no_loss(loss, se)
        if reference.changes.hard_recall is not None:
            hard = reference.changes.hard_recall
            chances[f"{reference.part}/hard"] = _no_loss(-hard.value, hard.se)
    sure: list[str] = []
    for position, key in enumerate(sorted(chances, key=lambda key: (chances[key], key))):
        if chances[key] > policy.error / (len(chances) - position):
            break
        sure.append(key)
    return frozenset(sure)


def class_losses(change: ClassChange) -> dict[str, tuple[float, float]]:
    """What a class loses by figure, with its standard error.

    A reference that reports one box of ten has a precision of 1. Whoever finds more may be wrong more often.
    """
    found_more = max(0.0, change.recall.value)
    return {
        "recall": (-change.recall.value, change.recall.se),
        "AP50": (-change.ap50.value, change.ap50.se),
        "precision": (-change.precision.value - found_more, change.precision.se),
    }


def _no_loss(loss: float, se: float) -> float:
    """The chance of such a loss, or a larger one, where nothing is lost."""
    if loss <= _TINY:
        return 1.0
    return _NORMAL.cdf(-loss / se) if se > 0 else 0.0


def chance_below(value: float, floor: float, units: int) -> float:
    """The chance of such a share, or a smaller one, at the floor."""
    if value >= floor - _TINY or not units:
        return 1.0
    sd = math.sqrt(floor * (1 - floor) / units)
    return _NORMAL.cdf((value - floor) / sd) if sd > 0 else 0.0


def _above(candidate: Evaluation, limit: float) -> float:
    """The chance of so many false alarms, or more, at the limit."""
    assert candidate.false_alarms is not None
    units = candidate.good_units or candidate.good_frames
    excess = (candidate.false_alarms - limit) / 1000
    if excess <= _TINY or not units:
        return 1.0
    sd = math.sqrt(limit / 1000 / units)
    return _NORMAL.cdf(-excess / sd) if sd > 0 else 0.0


def recall_floor(policy: GatePolicy, name: str) -> float:
    """The floor for the recall of a class."""
    return policy.min_recall_by_class.get(name, policy.min_recall)


# How many labels are missing? ----------------------------------------------------------------------------------------


def more_for_gain(
    reference: Reference, candidate: Evaluation, error: float, margin: float, worth: float
) -> dict[str, int]:
    """Objects to label, by class, until a gain in mAP50 is surely above ``-margin``.

    A gain that could not be told is, on average, one that was measured too small, so the estimate is put right for
    that: it is the gain of which half of all measurements that could not be told would be smaller, but never more than
    a part of a standard error above what was measured. What is measured already counts on. Classes whose AP varies most
    get most of the labels.

    Args:
        reference: whose gain it is.
        candidate: says how many objects of each class there are.
        error: one-sided.
        margin: what may be lost.
        worth: the smallest gain that is looked for.
    """
    gain = reference.map50_gain
    se = (gain.high - gain.low) / 2 / _NORMAL.inv_cdf((1 + gain.level) / 2)
    objects = {
        name: candidate.classes[name].objects or candidate.classes[name].truth for name in _known(reference, candidate)
    }
    spread = {name: reference.changes.classes[name].ap50.se * math.sqrt(count) for name, count in objects.items()}
    total = sum(spread.values())
    if se <= _TINY or total <= _TINY:
        return {}
    needed = _NORMAL.inv_cdf(1 - error)
    seen = (gain.value + margin) / se
    taken = max(min(_put_right(seen, needed), seen + _MOST_PUT_RIGHT), worth / se)
    factor = next(_enough(seen, taken, needed), None)
    if factor is None:
        return dict.fromkeys(objects, MOST)
    # Variance of the mean over classes is the sum of spread² / objects / classes²; this shares the objects out best.
    variance = sum(value**2 / objects[name] for name, value in spread.items()) / factor
    return {
        name: _about(more) for name, value in spread.items() if (more := value * total / variance - objects[name]) >= 1
    }


def more_for_share(value: float, floor: float, units: int, error: float) -> int:
    """Objects to label until a recall is surely above or below its floor, if it stays what it is."""
    apart = max(abs(value - floor), 0.02)
    spread = math.sqrt(max(floor * (1 - floor), 0.01))
    return _about(((_NORMAL.inv_cdf(1 - error) + _NORMAL.inv_cdf(POWER)) * spread / apart) ** 2 - units)


def more_for_loss(lost: float, se: float, allowed: float, units: int, error: float) -> int:
    """Objects to label until a loss is surely no more than what is allowed, if it stays what it is."""
    apart = max(allowed - max(lost, 0.0), allowed / 4, 0.005)
    factor = ((_NORMAL.inv_cdf(1 - error) + _NORMAL.inv_cdf(POWER)) * se / apart) ** 2
    return _about(units * (factor - 1))


def _known(reference: Reference, candidate: Evaluation) -> list[str]:
    return [name for name in reference.changes.classes if name in candidate.classes]


def _put_right(seen: float, needed: float) -> float:
    """The true gain, in standard errors, of which half of all measurements below ``needed`` lie below ``seen``."""
    low, high = -8.0, 8.0
    for _ in range(40):
        middle = (low + high) / 2
        if _NORMAL.cdf(seen - middle) > _NORMAL.cdf(needed - middle) / 2:
            low = middle
        else:
            high = middle
    return low


def _enough(seen: float, taken: float, needed: float) -> Iterator[float]:
    """By which factors the information may grow so that a gain of ``taken`` standard errors is seen with POWER."""
    sure = _NORMAL.inv_cdf(POWER)
    for step in range(1, 400):
        factor = 1.02**step
        grown = factor - 1
        if (seen + grown * taken - sure * math.sqrt(grown)) / math.sqrt(factor) >= needed:
            yield factor


def _about(count: float) -> int:
    """Rounded up to two digits."""
    least = min(max(math.ceil(count), _LEAST), MOST)
    unit = 10 ** max(len(str(least)) - 2, 0)
    return min(-(-least // unit) * unit, MOST)
