"""The promotion gate: a pure function from measured figures and a policy to a report with a sentence for every rule.

Does not belong here: measuring (``training``), stores and channels (``gated_release``, which calls this).
Getting better in any figure never turns a pass into a refusal; the tests hold it to that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.evaluation import ClassResult, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import Interval
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport, RuleResult
from yolo_assets.vision.contract import class_differences

_TINY = 1e-9
"""Tolerance for the rounding of binary fractions: 0.95 is not below 1 - 0.05."""


def decide(
    comparison: PairedEvaluation,
    policy: GatePolicy,
    *,
    class_names: Sequence[str],
    champion_class_names: Sequence[str] | None = None,
    class_list: ClassList | None = None,
    champion_class_list: ClassList | None = None,
) -> GateReport:
    """Decide whether a candidate may replace the champion.

    When the figures themselves cannot be trusted or compared, only that is reported: everything else would be noise.

    Args:
        comparison: candidate and, unless it is the first, champion, on the same frames.
        policy: the limits.
        class_names: the candidate's, ordered by class id.
        champion_class_names: the champion's; required when the comparison holds one.
        class_list: that the candidate names; None: none.
        champion_class_list: that the champion names.

    Raises:
        BadInputError: the policy sets a floor for a class that the candidate does not have.
        ValueError: a champion without its class names.
    """
    if comparison.champion is not None and champion_class_names is None:
        raise ValueError("champion_class_names is required when there is a champion")
    unknown = sorted(set(policy.min_recall_by_class) - set(class_names))
    if unknown:
        raise BadInputError(
            f"the gate policy sets a floor for {', '.join(unknown)}, and the model has only {', '.join(class_names)}"
        )
    difference = class_difference(class_names, champion_class_names or (), class_list, champion_class_list)
    rules = list(_comparable(comparison, class_names, difference))
    if all(rule.passed for rule in rules):
        rules += [
            *_test_set(comparison.candidate, policy, class_names),
            *_accuracy(comparison, policy),
            *_classes(comparison, policy, class_names, class_names[len(champion_class_names or ()) :]),
            *_hard_cases(comparison, policy),
            *_latency(comparison, policy),
        ]
    return GateReport(
        candidate=comparison.candidate.model_version,
        onnx_sha256=comparison.candidate.onnx_sha256,
        champion=comparison.champion.model_version if comparison.champion else None,
        test_sha256=comparison.candidate.test_sha256,
        policy=policy,
        passed=all(rule.passed for rule in rules),
        rules=tuple(rules),
        expected=comparison.change,
    )


# Can the figures be trusted and compared at all? --------------------------------------------------------------------


def _comparable(
    comparison: PairedEvaluation, class_names: Sequence[str], class_problem: str | None
) -> Iterator[RuleResult]:
    """The rules that come first: sound figures, the same test for both, the same classes.

    Args:
        comparison: candidate and perhaps champion.
        class_names: the candidate's, ordered by class id.
        class_problem: why agents would refuse the candidate's classes in place of the champion's.
    """
    evaluations = [entry for entry in (comparison.candidate, comparison.champion) if entry is not None]
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


# Is the model good enough? -----------------------------------------------------------------------------------------


def _test_set(candidate: Evaluation, policy: GatePolicy, class_names: Sequence[str]) -> Iterator[RuleResult]:
    yield RuleResult.of(
        "test_frames",
        candidate.frames >= policy.min_frames,
        f"The test set holds {candidate.frames} frames and {policy.min_frames} are needed to tell models apart.",
        f"The test set holds {candidate.frames} frames.",
        value=candidate.frames,
        limit=policy.min_frames,
    )
    truth = {name: result.truth for name, result in candidate.classes.items()}
    thin = {name: count for name, count in truth.items() if count < policy.min_boxes_per_class}
    counts = ", ".join(f"{name} ({count})" for name, count in sorted(thin.items()))
    yield RuleResult.of(
        "test_boxes",
        not thin,
        f"The test set holds fewer than {policy.min_boxes_per_class} boxes of {counts}; label more frames with them.",
        f"Every class in the test set has at least {policy.min_boxes_per_class} boxes.",
        value=min(truth.values()),
        limit=policy.min_boxes_per_class,
    )
    if policy.require_all_classes:
        absent = [name for name in class_names if name not in candidate.classes]
        yield RuleResult.of(
            "test_classes",
            not absent,
            f"The test set holds no {', '.join(absent)}; label frames with them.",
            "Every class occurs in the test set.",
        )


def _accuracy(comparison: PairedEvaluation, policy: GatePolicy) -> Iterator[RuleResult]:
    map50 = comparison.candidate.map50
    shown = f"it reaches mAP50 {map50.value:.3f}, at least {map50.low:.3f} with {map50.level:.0%} confidence"
    yield _floor("map50", map50.low, policy.min_map50, shown)
    gain = comparison.map50_gain
    if gain is None:
        yield RuleResult(rule="gain", passed=True, judged=False, sentence="There is no champion to compare with.")
        return
    shown = f"against the champion mAP50 changes by {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    if policy.improvement == "better":
        yield RuleResult.of(
            "gain",
            gain.low > 0,
            f"It is not surely better: {shown}, and the whole interval must lie above 0.",
            f"It is better: {shown}.",
            value=gain.low,
            limit=0,
        )
        return
    yield RuleResult.of(
        "gain",
        gain.value >= -_TINY,
        f"It is worse: {shown}.",
        f"It is not worse: {shown}.",
        value=gain.value,
        limit=0,
    )
    yield RuleResult.of(
        "gain_interval",
        gain.low > -policy.margin,
        f"It may be worse by more than {policy.margin:g}: {shown}. A larger test set narrows it down.",
        f"It is not worse by more than {policy.margin:g}: {shown}.",
        value=gain.low,
        limit=-policy.margin,
    )


def _classes(
    comparison: PairedEvaluation, policy: GatePolicy, class_names: Sequence[str], new: Sequence[str]
) -> Iterator[RuleResult]:
    """Floors for every class; what the champion does not know (``new``) is not compared with it."""
    for name in class_names:
        result = comparison.candidate.classes.get(name)
        if result is None:
            required = name in policy.min_recall_by_class
            sentence = f"Class {name} does not occur in the test set, so it is not evaluated"
            sentence += "; the policy sets a floor for it, so label frames with it." if required else "."
            yield RuleResult(rule=f"recall/{name}", passed=not required, judged=required, sentence=sentence)
            continue
        floor = policy.min_recall_by_class.get(name, policy.min_recall)
        shown = f"recall of {name} is {result.recall:.3f} on {result.truth} boxes"
        yield _floor(f"recall/{name}", result.recall, floor, shown)
        if comparison.champion is not None and name not in new:
            yield _class_drop(name, result, comparison.champion.classes[name], policy)


def _class_drop(name: str, ours: ClassResult, theirs: ClassResult, policy: GatePolicy) -> RuleResult:
    allowed = max(policy.max_class_drop, 1 / ours.truth)
    # A champion that reports one box of ten has a precision of 1. Whoever finds more may be wrong more often.
    found_more = max(0.0, ours.recall - theirs.recall)
    figures = (
        ("recall", theirs.recall, ours.recall, 0.0),
        ("AP50", theirs.ap50, ours.ap50, 0.0),
        ("precision", theirs.precision, ours.precision, found_more),
    )
    losses = {
        f"{figure} from {before:.3f} to {now:.3f}": before - now - forgiven for figure, before, now, forgiven in figures
    }
    fallen = [shown for shown, lost in losses.items() if lost > allowed + _TINY]
    found = f" where recall rose by {found_more:.3f}" if found_more else ""
    return RuleResult.of(
        f"drop/{name}",
        not fallen,
        f"Class {name} got worse than the champion: {', '.join(fallen)}{found}; at most {allowed:.3g} may be lost.",
        f"Class {name} loses no more than {allowed:.3g} against the champion in recall, AP50 and precision.",
        value=max(losses.values()),
        limit=allowed,
    )


def _hard_cases(comparison: PairedEvaluation, policy: GatePolicy) -> Iterator[RuleResult]:
    ours = comparison.candidate.hard_recall
    if ours is None:
        required = policy.min_hard_recall > 0
        sentence = "The test set marks no hard frames, so they are not evaluated"
        sentence += "; the policy sets a floor for them, so mark some." if required else "."
        yield RuleResult(rule="hard_cases", passed=not required, judged=required, sentence=sentence)
        return
    yield _floor("hard_cases", ours, policy.min_hard_recall, f"recall on hard frames is {ours:.3f}")
    theirs = comparison.champion.hard_recall if comparison.champion else None
    if theirs is not None:
        limit = theirs - policy.max_hard_drop
        shown = f"on hard frames recall goes from {theirs:.3f} to {ours:.3f}"
        yield _floor("hard_cases_drop", ours, limit, shown)


def _latency(comparison: PairedEvaluation, policy: GatePolicy) -> Iterator[RuleResult]:
    ours = comparison.candidate.latency_ms_p95
    where = f"{comparison.candidate.engine} with {comparison.candidate.threads} threads"
    if policy.max_latency_ms is not None:
        yield _ceiling("latency", ours, policy.max_latency_ms, f"of all frames 95 % take up to {ours:.1f} ms ({where})")
    if comparison.champion is not None:
        theirs = comparison.champion.latency_ms_p95
        limit = max(theirs * policy.max_latency_ratio, theirs + policy.latency_slack_ms)
        shown = f"of all frames 95 % take up to {ours:.1f} ms where the champion takes {theirs:.1f} ({where})"
        yield _ceiling("latency_growth", ours, limit, shown)


# Words -------------------------------------------------------------------------------------------------------------


def _floor(rule: str, value: float, limit: float, shown: str) -> RuleResult:
    sentence = shown[0].upper() + shown[1:]
    refused, met = f"{sentence}; at least {limit:.3f} is needed.", f"{sentence}."
    return RuleResult.of(rule, value >= limit - _TINY, refused, met, value=value, limit=limit)


def _ceiling(rule: str, value: float, limit: float, shown: str) -> RuleResult:
    sentence = shown[0].upper() + shown[1:]
    refused, met = f"{sentence}; at most {limit:.1f} ms are allowed.", f"{sentence}."
    return RuleResult.of(rule, value <= limit + _TINY, refused, met, value=value, limit=limit)
