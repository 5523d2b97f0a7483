"""Whether the figures of a comparison can be trusted and compared at all; the gate judges nothing before that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from yolo_assets.contracts.evaluation import Comparison, Evaluation
from yolo_assets.contracts.model import Interval
from yolo_assets.models.report import RuleResult

_TINY = 1e-9
"""Forgives the rounding of binary fractions."""


def comparable(
    comparison: Comparison, class_names: Sequence[str], champion_class_names: Sequence[str] | None
) -> Iterator[RuleResult]:
    """The rules that come first: sound figures, the same test for both, the same classes.

    Args:
        comparison: candidate and perhaps champion.
        class_names: the candidate's, ordered by class id.
        champion_class_names: the champion's, when there is one.
    """
    evaluations = [one for one in (comparison.candidate, comparison.champion) if one is not None]
    faults = [fault for evaluation in evaluations for fault in _faults(evaluation, class_names)]
    if (comparison.champion is None) != (comparison.map50_gain is None):
        faults.append("a champion and the gain over it must be given together")
    if comparison.map50_gain is not None:
        faults += _interval_faults("the gain in mAP50", comparison.map50_gain, -1)
    yield RuleResult.of(
        "figures", not faults, f"The figures cannot be right: {'; '.join(faults)}.", "The figures are sound."
    )
    champion = comparison.champion
    if champion is None:
        return
    differences = list(_differences(comparison.candidate, champion))
    yield RuleResult.of(
        "same_test",
        not differences,
        f"Candidate and champion were not measured alike: {'; '.join(differences)}. Evaluate both together again.",
        "Candidate and champion were measured on the same frames in the same way.",
    )
    yield RuleResult.of(
        "class_list",
        tuple(class_names) == tuple(champion_class_names or ()),
        f"The class list differs from the champion's: {class_difference(class_names, champion_class_names or ())}. "
        "Agents would refuse the swap; release it under another model name.",
        "The class list is the champion's.",
    )


def _faults(evaluation: Evaluation, class_names: Sequence[str]) -> Iterator[str]:
    who = evaluation.model_version
    yield from _interval_faults(f"mAP50 of {who}", evaluation.map50, 0)
    yield from _interval_faults(f"mAP50-95 of {who}", evaluation.map50_95, 0)
    for what, latency in (("median", evaluation.latency_ms_p50), ("95th percentile", evaluation.latency_ms_p95)):
        if not math.isfinite(latency):
            yield f"the {what} latency of {who} is {latency}"
    strange = sorted(set(evaluation.classes) - set(class_names))
    if strange:
        yield f"{who} was judged on classes that the candidate does not have: {', '.join(strange)}"
    if not evaluation.classes:
        yield f"the test set of {who} holds no ground truth at all"


def _interval_faults(what: str, interval: Interval, lowest: float) -> Iterator[str]:
    figures = (interval.low, interval.value, interval.high)
    if not all(math.isfinite(figure) for figure in figures):
        yield f"{what} is not a number"
    elif not lowest - _TINY <= interval.low <= interval.value + _TINY <= interval.high + 2 * _TINY <= 1 + 3 * _TINY:
        yield f"{what} is {interval.value:.4g} with the impossible interval [{interval.low:.4g}, {interval.high:.4g}]"


def _differences(candidate: Evaluation, champion: Evaluation) -> Iterator[str]:
    if candidate.test_sha256 != champion.test_sha256:
        yield f"test set {candidate.test_sha256[:12]} and {champion.test_sha256[:12]}"
    if candidate.frames != champion.frames:
        yield f"{candidate.frames} and {champion.frames} frames"
    truth = [{name: found.truth for name, found in one.classes.items()} for one in (candidate, champion)]
    if truth[0] != truth[1]:
        odd = sorted(name for name in truth[0].keys() | truth[1].keys() if truth[0].get(name) != truth[1].get(name))
        yield f"another ground truth of {', '.join(odd)}"
    if (candidate.hard_recall is None) != (champion.hard_recall is None):
        yield "hard frames for only one of them"
    if (candidate.engine, candidate.threads) != (champion.engine, champion.threads):
        engines = [f"{one.engine} with {one.threads} threads" for one in (candidate, champion)]
        yield f"{engines[0]} and {engines[1]}"


def class_difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """In words: what is missing, what was added, or that the order is another."""
    parts = []
    if missing := [name for name in theirs if name not in ours]:
        parts.append(f"missing {', '.join(missing)}")
    if added := [name for name in ours if name not in theirs]:
        parts.append(f"added {', '.join(added)}")
    return "; ".join(parts) or f"another order, [{', '.join(ours)}] for [{', '.join(theirs)}]"
