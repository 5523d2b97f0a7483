"""The gate's first rules: can the figures be trusted, and may the models be compared and swapped at all?

And which classes are judged: retired ones are not, critical ones need proof. Does not belong here: whether the
candidate is good enough (``gate``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.evaluation import Changes, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import Interval
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import RuleResult
from yolo_assets.vision.contract import class_differences

_TINY = 1e-9
"""Tolerance for the rounding of binary fractions."""
V = TypeVar("V")


@dataclass(frozen=True)
class JudgedClasses:
    """The classes of a candidate, by the names that its evaluation has.

    Attributes:
        known: every class that it has, without repetition, ordered by class id.
        retired: those of them that the plant gave up: nothing is asked of them.
        critical: those in use of which the proof is asked.
        lost: critical classes that the champion has and the candidate has not.
        policy: with the names of now.
    """

    known: tuple[str, ...]
    retired: frozenset[str]
    critical: frozenset[str]
    lost: tuple[str, ...]
    policy: GatePolicy

    @classmethod
    def of(
        cls,
        policy: GatePolicy,
        ours: Sequence[str],
        theirs: Sequence[str],
        class_list: ClassList | None,
        others: Collection[ClassList | None],
    ) -> JudgedClasses:
        """Read the flags of the newest list, which counts for every candidate, also for one that was made before.

        Args:
            policy: as it was written; it may name a class as it was called before.
            ours: names of the candidate's file.
            theirs: names of the champion's file; none without one.
            class_list: that the candidate names.
            others: lists that may be newer: the champion's, and the plant's as it is now.

        Raises:
            BadInputError: the policy speaks of a class that the candidate does not have.
        """
        known = class_list.current_names(ours) if class_list is not None else tuple(dict.fromkeys(ours))
        lists = [one for one in (class_list, *others) if one is not None]
        fitting = [one for one in lists if class_list is None or one.id == class_list.id]
        flags = max(fitting, key=lambda one: one.version, default=None)
        meant = {_now(name, flags): name for name in known}
        told = {*policy.min_recall_by_class, *policy.critical}
        given_up = {name for name in told if _flag(name, flags, "retired")}
        unknown = sorted(name for name in told - given_up if _now(name, flags) not in meant)
        if unknown:
            raise BadInputError(
                f"the gate policy sets a floor for {', '.join(unknown)}, and the model has only {', '.join(known)}"
            )
        floors = {meant[_now(name, flags)]: v for name, v in policy.min_recall_by_class.items() if name not in given_up}
        critical = {meant[_now(name, flags)] for name in policy.critical if name not in given_up}
        retired = frozenset(name for name in known if _flag(name, flags, "retired"))
        critical |= {name for name in known if _flag(name, flags, "critical")} - retired
        lost = dict.fromkeys(
            now
            for name in theirs
            if (now := _now(name, flags)) not in meant
            and _flag(name, flags, "critical")
            and not _flag(name, flags, "retired")
        )
        named = policy.model_copy(update={"min_recall_by_class": floors, "critical": tuple(sorted(critical))})
        return cls(known, retired, frozenset(critical), tuple(lost), named)

    @property
    def in_use(self) -> tuple[str, ...]:
        """What is judged, ordered by class id."""
        return tuple(name for name in self.known if name not in self.retired)

    def without_retired(self, comparison: PairedEvaluation) -> PairedEvaluation:
        """The figures of the classes in use."""
        if not self.retired:
            return comparison
        return comparison.model_copy(
            update={
                **{part: self._figures(getattr(comparison, part)) for part in ("candidate", "champion", "anchor")},
                **{part: self._differences(getattr(comparison, part)) for part in ("changes", "anchor_changes")},
            }
        )

    def _figures(self, one: Evaluation | None) -> Evaluation | None:
        return None if one is None else one.model_copy(update={"classes": self._left(one.classes)})

    def _differences(self, one: Changes | None) -> Changes | None:
        return None if one is None else one.model_copy(update={"classes": self._left(one.classes)})

    def _left(self, by_class: Mapping[str, V]) -> dict[str, V]:
        return {name: value for name, value in by_class.items() if name not in self.retired}


def _now(name: str, flags: ClassList | None) -> str:
    return (flags.resolve(name) if flags is not None else None) or name


def _flag(name: str, flags: ClassList | None, flag: str) -> bool:
    entry = flags.entry(name) if flags is not None else None
    return entry is not None and bool(getattr(entry, flag))


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
