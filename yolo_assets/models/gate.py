"""The promotion gate: a pure function from measured figures and a policy to a report with a sentence for every rule.

Three answers: *better*; *not better*, because a rule shows harm or no gain worth having; *cannot tell*, with the number
of objects to label until it can. A class is refused on evidence of harm, not for want of proof that there is none. All
evidence shares one budget of error (Holm), so that many classes and rules do not refuse by chance.

Does not belong here: measuring (``training``), how many labels are missing (``gate_evidence``), stores and channels
(``gated_release``, which calls this). Getting better in any figure never turns a pass into a refusal; the tests hold it
to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.evaluation import (
    ClassResult,
    Evaluation,
    PairedChange,
    PairedEvaluation,
    Reference,
)
from yolo_assets.contracts.model import Interval
from yolo_assets.models.gate_comparable import JudgedClasses, class_difference, comparable
from yolo_assets.models.gate_evidence import (
    chance_below,
    class_losses,
    more_for_gain,
    more_for_loss,
    more_for_share,
    recall_floor,
    sure_losses,
)
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport, RuleResult

_TINY = 1e-9
"""Tolerance for the rounding of binary fractions: 0.95 is not below 1 - 0.05."""
_NORMAL = NormalDist()


def decide(
    comparison: PairedEvaluation,
    policy: GatePolicy,
    *,
    class_names: Sequence[str],
    champion_class_names: Sequence[str] | None = None,
    class_list: ClassList | None = None,
    champion_class_list: ClassList | None = None,
    plant_classes: ClassList | None = None,
) -> GateReport:
    """Decide whether a candidate may replace the champion.

    When the figures themselves cannot be trusted or compared, only that is reported: everything else would be noise.

    Args:
        comparison: candidate and, unless it is the first, champion, and anchor where that is another, on the same
            frames.
        policy: the limits.
        class_names: the candidate's, ordered by class id.
        champion_class_names: the champion's; required when the comparison holds one.
        class_list: that the candidate names; None: none.
        champion_class_list: that the champion names.
        plant_classes: the plant's list as it is now. The newest of the lists says which classes are critical, of which
            the proof is asked, and which are retired and not judged.

    Raises:
        BadInputError: the policy speaks of a class that the candidate does not have.
        ValueError: a champion without its class names.
    """
    if comparison.champion is not None and champion_class_names is None:
        raise ValueError("champion_class_names is required when there is a champion")
    theirs = champion_class_names or ()
    classes = JudgedClasses.of(policy, class_names, theirs, class_list, (champion_class_list, plant_classes))
    comparison = classes.without_retired(comparison)
    difference = class_difference(class_names, theirs, class_list, champion_class_list)
    rules = list(comparable(comparison, classes.known, difference))
    if all(rule.passed for rule in rules):
        judge = _Judge(comparison, classes.policy, classes, sure_losses(comparison, classes.policy))
        rules += [
            *judge.test_set(),
            *judge.accuracy(),
            *judge.classes(),
            *judge.false_alarms(),
            *judge.hard_cases(),
            *judge.golden(),
            *_latency(comparison, policy),
        ]
    needed: dict[str, int] = {}
    for rule in rules:
        for name, count in rule.labels_needed.items():
            needed[name] = max(count, needed.get(name, 0))
    refused = [rule for rule in rules if not rule.passed]
    certain = any(not rule.unsure for rule in refused)
    return GateReport(
        candidate=comparison.candidate.model_version,
        onnx_sha256=comparison.candidate.onnx_sha256,
        champion=comparison.champion.model_version if comparison.champion else None,
        anchor=comparison.anchor.model_version if comparison.anchor else None,
        next_anchor=None if refused else _best_after(comparison),
        test_sha256=comparison.candidate.test_sha256,
        policy=policy,
        passed=not refused,
        answer="better" if not refused else "not better" if certain else "cannot tell",
        labels_needed=needed,
        rules=tuple(rules),
        expected=comparison.change,
    )


def _best_after(comparison: PairedEvaluation) -> str:
    """The anchor once the candidate is released: the candidate where it is surely better and loses in no class.

    A release that trades one class for others is no anchor: measured against it, the next trade would be the first.
    """
    if not comparison.references:
        return comparison.candidate.model_version
    best = comparison.references[-1]
    loses = any(min(change.recall.value, change.ap50.value) < 0 for change in best.changes.classes.values())
    return (best.evaluation if loses or best.map50_gain.low <= 0 else comparison.candidate).model_version


# Is the model good enough? -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judge:
    """The rules on figures that can be trusted."""

    comparison: PairedEvaluation
    policy: GatePolicy
    judged: JudgedClasses
    sure: frozenset[str]

    @property
    def candidate(self) -> Evaluation:
        return self.comparison.candidate

    def test_set(self) -> Iterator[RuleResult]:
        """Is there enough to judge by?"""
        frames, policy = self.candidate.frames, self.policy
        yield RuleResult.of(
            "test_frames",
            frames >= policy.min_frames,
            f"The test set holds {frames} frames and {policy.min_frames} are needed to tell models apart.",
            f"The test set holds {frames} frames.",
            value=frames,
            limit=policy.min_frames,
            unsure=True,
        )
        truth = {name: result.truth for name, result in self.candidate.classes.items()}
        least = policy.min_boxes_per_class
        thin = {name: count for name, count in truth.items() if count < least}
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(thin.items()))
        yield RuleResult.of(
            "test_boxes",
            not thin,
            f"The test set holds fewer than {least} boxes of {counts}; label more frames with them.",
            f"Every class in the test set has at least {least} boxes.",
            value=min(truth.values()),
            limit=least,
            unsure=True,
            labels_needed={name: least - count for name, count in thin.items()},
        )
        if policy.require_all_classes:
            absent = [name for name in self.judged.in_use if name not in self.candidate.classes]
            yield RuleResult.of(
                "test_classes",
                not absent,
                f"The test set holds no {', '.join(absent)}; label frames with them, or retire the class.",
                "Every class occurs in the test set.",
                unsure=True,
                labels_needed=dict.fromkeys(absent, least),
            )

    def accuracy(self) -> Iterator[RuleResult]:
        """mAP50: its floor, and the gain over champion and anchor."""
        map50, limit = self.candidate.map50, self.policy.min_map50
        shown = f"it reaches mAP50 {map50.value:.3f}, at least {map50.low:.3f} with {map50.level:.0%} confidence"
        yield _floor("map50", map50.low, limit, shown, unsure=map50.high >= limit)
        if not self.comparison.references:
            yield RuleResult(rule="gain", passed=True, judged=False, sentence="There is no champion to compare with.")
        for reference in self.comparison.references:
            yield self._gain(reference)

    def _gain(self, reference: Reference) -> RuleResult:
        policy, gain = self.policy, reference.map50_gain
        low, high = _at_error(gain, policy.error)
        shown = f"against the {reference.part} mAP50 changes by {gain.value:+.3f} [{low:+.3f}, {high:+.3f}]"
        rule = "gain" if reference.part == "champion" else f"gain_{reference.part}"
        if policy.improvement == "not_worse":
            return RuleResult.of(
                rule,
                low > -policy.margin,
                f"It is worse: {shown}."
                if high < 0
                else f"It may be worse by more than {policy.margin:g}: {shown}. A larger test set narrows it down.",
                f"It is not worse by more than {policy.margin:g}: {shown}.",
                value=low,
                limit=-policy.margin,
                unsure=high >= 0,
                labels_needed=more_for_gain(reference, self.candidate, policy.error, policy.margin, policy.margin),
            )
        if reference.part != "champion":
            return RuleResult.of(
                rule,
                high >= 0,
                f"It is worse than {reference.evaluation.model_version}, the best release so far: {shown}.",
                f"It is not surely worse than {reference.evaluation.model_version}, the best release so far: {shown}.",
                value=high,
                limit=0,
            )
        hopeless = high < policy.margin
        return RuleResult.of(
            rule,
            low > 0,
            f"It is not better by as much as {policy.margin:g}: {shown}."
            if hopeless
            else f"It is not surely better: {shown}, and the whole interval must lie above 0.",
            f"It is better: {shown}.",
            value=low,
            limit=0,
            unsure=not hopeless,
            labels_needed={}
            if hopeless
            else more_for_gain(reference, self.candidate, policy.error, 0.0, policy.margin),
        )

    def classes(self) -> Iterator[RuleResult]:
        """Each class: its floors, and what it loses against champion and anchor."""
        for name in self.judged.lost:
            sentence = f"Class {name} is critical: the champion has it and this version has not; train with its labels."
            yield RuleResult(rule=f"recall/{name}", passed=False, sentence=sentence)
        for name in self.judged.known:
            if name in self.judged.retired:
                sentence = f"Class {name} is retired, so it is not judged."
                yield RuleResult(rule=f"recall/{name}", passed=True, judged=False, sentence=sentence)
                continue
            result = self.candidate.classes.get(name)
            if result is None:
                required = name in self.policy.min_recall_by_class or name in self.judged.critical
                sentence = f"Class {name} does not occur in the test set, so it is not evaluated"
                sentence += "; the policy sets a floor for it, so label frames with it." if required else "."
                yield RuleResult(
                    rule=f"recall/{name}",
                    passed=not required,
                    judged=required,
                    unsure=required,
                    sentence=sentence,
                    labels_needed={name: self.policy.min_boxes_per_class} if required else {},
                )
                continue
            yield self._recall(name, result)
            yield self._precision(name, result)
            for reference in self.comparison.references:
                yield self._drop(name, result, reference)

    def _recall(self, name: str, result: ClassResult) -> RuleResult:
        floor, units = recall_floor(self.policy, name), result.objects or result.truth
        boxes = f"{result.truth} boxes" if units == result.truth else f"{result.truth} boxes of {units} objects"
        shown = f"Recall of {name} is {result.recall:.3f} on {boxes}"
        reached = result.recall >= floor - _TINY
        surely_below = f"floor/{name}/recall" in self.sure
        must = name in self.policy.min_recall_by_class or name in self.judged.critical
        proven = (
            name not in self.judged.critical
            or chance_below(2 * floor - result.recall, floor, units) <= self.policy.error
        )
        more = more_for_share(result.recall, floor, units, self.policy.error)
        if surely_below or (must and not reached):
            refused = f"{shown}; at least {floor:.3f} is needed."
            return RuleResult(
                rule=f"recall/{name}",
                passed=False,
                unsure=not surely_below,
                sentence=refused,
                labels_needed={} if surely_below else {name: more},
                value=result.recall,
                limit=floor,
            )
        if not reached or not (proven or floor <= 0):
            word = "critical and not surely at" if reached else "below"
            sentence = f"{shown}, {word} its floor of {floor:.3f}; label about {more} more to be sure."
            return RuleResult(
                rule=f"recall/{name}",
                passed=not reached,
                unsure=reached,
                sentence=sentence,
                labels_needed={name: more},
                value=result.recall,
                limit=floor,
            )
        return RuleResult(rule=f"recall/{name}", passed=True, sentence=f"{shown}.", value=result.recall, limit=floor)

    def _precision(self, name: str, result: ClassResult) -> RuleResult:
        return RuleResult.of(
            f"precision/{name}",
            f"floor/{name}/precision" not in self.sure,
            f"Precision of {name} is {result.precision:.3f}; at least {self.policy.min_precision:.3f} is needed.",
            f"Precision of {name} is {result.precision:.3f}.",
            value=result.precision,
            limit=self.policy.min_precision,
        )

    def _drop(self, name: str, result: ClassResult, reference: Reference) -> RuleResult:
        rule = f"drop/{name}" if reference.part == "champion" else f"drop_{reference.part}/{name}"
        change = reference.changes.classes.get(name)
        if change is None:
            sentence = f"The {reference.part} does not know class {name}, so only its floors count."
            return RuleResult(rule=rule, passed=True, judged=False, sentence=sentence)
        allowed, losses = self.policy.max_class_drop, class_losses(change)
        before, now = reference.evaluation.classes.get(name), result
        harmed = [
            figure
            for figure, (loss, _) in losses.items()
            if f"{reference.part}/{name}/{figure}" in self.sure and loss > allowed / 2 + _TINY
        ]
        fallen = [f"{figure} {_from_to(figure, before, now)}" for figure in harmed]
        found = f" where recall rose by {change.recall.value:.3f}" if change.recall.value > 0 else ""
        worst = max(losses.values())
        lost, se = losses["recall"]
        if not fallen and name in self.judged.critical:
            z = _NORMAL.inv_cdf(1 - self.policy.error)
            if lost + z * se > allowed + _TINY and se > 0:
                more = more_for_loss(lost, se, allowed, result.objects or result.truth, self.policy.error)
                return RuleResult(
                    rule=rule,
                    passed=False,
                    unsure=True,
                    sentence=f"Class {name} is critical, and its recall may have fallen by up to {lost + z * se:.3f} "
                    f"against the {reference.part}; at most {allowed:.3g} may be lost.",
                    value=lost + z * se,
                    limit=allowed,
                    labels_needed={name: more},
                )
        return RuleResult.of(
            rule,
            not fallen,
            f"Class {name} got worse than the {reference.part}: {', '.join(fallen)}{found}; at most {allowed:.3g} may "
            "be lost, and that something is lost is sure.",
            f"Class {name} shows no loss against the {reference.part} in recall, AP50 and precision that is sure and "
            f"matters.",
            value=worst[0],
            limit=allowed,
        )

    def false_alarms(self) -> Iterator[RuleResult]:
        """Reports on frames without an object."""
        alarms, limit = self.candidate.false_alarms, self.policy.max_false_alarms
        if alarms is None:
            sentence = "The test set holds no frame without an object, so false alarms are not counted."
            yield RuleResult(rule="false_alarms", passed=True, judged=False, sentence=sentence)
            return
        shown = f"Of 1,000 good frames {alarms:.0f} would show a false alarm"
        yield RuleResult.of(
            "false_alarms",
            "false_alarms" not in self.sure,
            f"{shown} ({self.candidate.good_frames} were tried); at most {limit:g} are allowed.",
            f"{shown} ({self.candidate.good_frames} were tried).",
            value=alarms,
            limit=limit,
        )

    def hard_cases(self) -> Iterator[RuleResult]:
        """Frames marked hard."""
        ours, policy = self.candidate.hard_recall, self.policy
        if ours is None:
            required = policy.min_hard_recall > 0
            sentence = "The test set marks no hard frames, so they are not evaluated"
            sentence += "; the policy sets a floor for them, so mark some." if required else "."
            yield RuleResult(
                rule="hard_cases", passed=not required, judged=required, unsure=required, sentence=sentence
            )
            return
        yield _floor("hard_cases", ours, policy.min_hard_recall, f"recall on hard frames is {ours:.3f}")
        for reference in self.comparison.references:
            change = reference.changes.hard_recall
            if change is not None:
                yield self._hard_drop(reference, ours, change)

    def _hard_drop(self, reference: Reference, ours: float, change: PairedChange) -> RuleResult:
        rule = "hard_cases_drop" if reference.part == "champion" else f"hard_cases_drop_{reference.part}"
        limit, lost = self.policy.max_hard_drop, -change.value
        theirs = reference.evaluation.hard_recall
        shown = f"On hard frames recall goes from {ours if theirs is None else theirs:.3f} to {ours:.3f}"
        return RuleResult.of(
            rule,
            f"{reference.part}/hard" not in self.sure or lost <= limit / 2 + _TINY,
            f"{shown} against the {reference.part}; at most {limit:g} may be lost.",
            f"{shown} against the {reference.part}.",
            value=lost,
            limit=limit,
        )

    def golden(self) -> Iterator[RuleResult]:
        """Frames that people chose: nothing found there may be lost again."""
        ours, policy = self.candidate.golden_recall, self.policy
        if ours is None:
            if policy.min_golden_recall > 0:
                sentence = "There are no golden frames, and the policy sets a floor for them; choose some."
                yield RuleResult(rule="golden", passed=False, unsure=True, sentence=sentence)
            return
        yield _floor("golden", ours, policy.min_golden_recall, f"recall on golden frames is {ours:.3f}")
        for reference in self.comparison.references:
            lost = reference.changes.golden_lost
            yield RuleResult.of(
                "golden_lost" if reference.part == "champion" else f"golden_lost_{reference.part}",
                not lost,
                f"It misses what the {reference.part} finds in {len(lost)} golden frames, as in {', '.join(lost[:3])}.",
                f"In golden frames it finds all that the {reference.part} finds.",
                value=len(lost),
                limit=0,
            )


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


# Words and figures --------------------------------------------------------------------------------------------------


def _at_error(gain: Interval, error: float) -> tuple[float, float]:
    """The ends of an interval at the policy's error, one-sided."""
    scale = _NORMAL.inv_cdf(1 - error) / _NORMAL.inv_cdf((1 + gain.level) / 2)
    return gain.value - scale * (gain.value - gain.low), gain.value + scale * (gain.high - gain.value)


def _from_to(figure: str, before: ClassResult | None, now: ClassResult) -> str:
    name = {"AP50": "ap50"}.get(figure, figure)
    return f"from {getattr(before, name):.3f} to {getattr(now, name):.3f}" if before else f"to {getattr(now, name):.3f}"


def _floor(rule: str, value: float, limit: float, shown: str, *, unsure: bool = False) -> RuleResult:
    sentence = shown[0].upper() + shown[1:]
    refused, met = f"{sentence}; at least {limit:.3f} is needed.", f"{sentence}."
    return RuleResult.of(rule, value >= limit - _TINY, refused, met, value=value, limit=limit, unsure=unsure)


def _ceiling(rule: str, value: float, limit: float, shown: str) -> RuleResult:
    sentence = shown[0].upper() + shown[1:]
    refused, met = f"{sentence}; at most {limit:.1f} ms are allowed.", f"{sentence}."
    return RuleResult.of(rule, value <= limit + _TINY, refused, met, value=value, limit=limit)
