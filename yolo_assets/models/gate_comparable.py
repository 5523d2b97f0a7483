"""The gate's first rules: can the figures be trusted, and may the models be compared and swapped at all?

Does not belong here: whether the candidate is good enough (``gate``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.evaluation import Evaluation, PairedEvaluation
from yolo_assets.contracts.model import Interval
from yolo_assets.models.gate_report import RuleResult
from yolo_assets.vision.contract import class_differences

_TINY = 1e-9
"""Tolerance for the rounding of binary fractions."""


def comparable(
    comparison: PairedEvaluation, class_names: Sequence[str], class_problem: str | None
) -> Iterator[RuleResult]:
    """The rules that come first: sound figures, the same test for all, the same classes.

    Args:
        comparison: candidate and perhaps champion and anchor.
        class_names: the candidate's, ordered by class id.
        class_problem: why agents would refuse the candidate's classes in place of the champion's.
    """
    evaluations = [comparison.candidate, *filter(None, (comparison.champion, comparison.anchor))]
    faults = [fault for evaluation in evaluations for fault in _faults(evaluation, class_names)]
    if (comparison.champion is None) != (comparison.map50_gain is None):
        faults.append("a champion and the gain over it must be given together")
    if (comparison.anchor is None) != (comparison.anchor_gain is None):
        faults.append("an anchor and the gain over it must be given together")
    for reference in comparison.references:
        over = "" if reference.part == "champion" else f" over the {reference.part}"
        faults += _interval_faults(f"the gain in mAP50{over}", reference.map50_gain, -1)
    yield RuleResult.of(
        "figures", not faults, f"The figures cannot be right: {'; '.join(faults)}.", "The figures are sound."
    )
    champion = comparison.champion
    if champion is None:
        return
    differences = [
        difference for reference in evaluations[1:] for difference in _differences(comparison.candidate, reference)
    ]
    yield RuleResult.of(
        "same_test",
        not differences,
        f"Candidate and champion were not measured alike: {'; '.join(differences)}. Evaluate both together again.",
        "Candidate and champion were measured on the same frames in the same way.",
    )
    yield RuleResult.of(
        "class_list",
        class_problem is None,
        f"The class list differs from the champion's: {class_problem}. "
        "Agents would refuse the swap; change classes with: yolo-assets classes add, rename, retire, merge.",
        "Every class of the champion keeps its id.",
    )


def _faults(evaluation: Evaluation, class_names: Sequence[str]) -> Iterator[str]:
    model = evaluation.model_version
    yield from _interval_faults(f"mAP50 of {model}", evaluation.map50, 0)
    yield from _interval_faults(f"mAP50-95 of {model}", evaluation.map50_95, 0)
    for quantile, latency in (("median", evaluation.latency_ms_p50), ("95th percentile", evaluation.latency_ms_p95)):
        if not math.isfinite(latency):
            yield f"the {quantile} latency of {model} is {latency}"
    unknown = sorted(set(evaluation.classes) - set(class_names))
    if unknown:
        yield f"{model} was evaluated on classes that the candidate does not have: {', '.join(unknown)}"
    if not evaluation.classes:
        yield f"the test set of {model} holds no ground truth at all"


def _interval_faults(figure: str, interval: Interval, lowest: float) -> Iterator[str]:
    ends = (interval.low, interval.value, interval.high)
    if not all(math.isfinite(end) for end in ends):
        yield f"{figure} is not a number"
    elif not lowest - _TINY <= interval.low <= interval.value + _TINY <= interval.high + 2 * _TINY <= 1 + 3 * _TINY:
        yield f"{figure} is {interval.value:.4g} with the impossible interval [{interval.low:.4g}, {interval.high:.4g}]"


def _differences(candidate: Evaluation, champion: Evaluation) -> Iterator[str]:
    if candidate.test_sha256 != champion.test_sha256:
        yield f"test set {candidate.test_sha256[:12]} and {champion.test_sha256[:12]}"
    if candidate.metric != champion.metric:
        yield f"mAP by {candidate.metric} and by {champion.metric}"
    if candidate.frames != champion.frames:
        yield f"{candidate.frames} and {champion.frames} frames"
    truth = [{name: result.truth for name, result in side.classes.items()} for side in (candidate, champion)]
    if truth[0] != truth[1]:
        changed = sorted(name for name in truth[0].keys() | truth[1].keys() if truth[0].get(name) != truth[1].get(name))
        yield f"another ground truth of {', '.join(changed)}"
    if (candidate.hard_recall is None) != (champion.hard_recall is None):
        yield "hard frames for only one model"
    if (candidate.engine, candidate.threads) != (champion.engine, champion.threads):
        engines = [f"{side.engine} with {side.threads} threads" for side in (candidate, champion)]
        yield f"{engines[0]} and {engines[1]}"


def class_difference(
    ours: Sequence[str],
    theirs: Sequence[str],
    class_list: ClassList | None = None,
    their_class_list: ClassList | None = None,
) -> str | None:
    """Why agents would refuse our classes in place of theirs, in words; None when they would not.

    Args:
        ours: names by class id.
        theirs: names of the model that serves.
        class_list: that our model names; None: none.
        their_class_list: that the other one names.
    """
    problems = class_differences(theirs, ours, known=their_class_list, declared=class_list)
    if not problems:
        return None
    if tuple(ours) == tuple(theirs):
        return "; ".join(problems)
    parts: list[str] = []
    if missing := [name for name in theirs if name not in ours]:
        parts.append(f"missing {', '.join(missing)}")
    if added := [name for name in ours if name not in theirs]:
        parts.append(f"added {', '.join(added)}")
    return "; ".join(parts) or f"another order, [{', '.join(ours)}] for [{', '.join(theirs)}]"
