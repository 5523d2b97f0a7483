"""What holds for any figures and any policy: the gate never punishes an improvement."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from yolo_assets.contracts.evaluation import Changes, ClassResult, Evaluation, PairedEvaluation
from yolo_assets.contracts.model import Interval
from yolo_assets.models.gate import decide
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport
from yolo_assets_tests.models.figures import differences, evaluation
from yolo_assets_tests.models.release_support import CLASSES

share = st.floats(0, 1)
latency = st.floats(0, 200)


def intervals(lowest: float) -> st.SearchStrategy[Interval]:
    ordered = st.tuples(*[st.floats(lowest, 1)] * 3).map(sorted)
    return ordered.map(lambda three: Interval(low=three[0], value=three[1], high=three[2]))


def class_results(truths: dict[str, int]) -> st.SearchStrategy[dict[str, ClassResult]]:
    return st.fixed_dictionaries(
        {
            name: st.builds(
                ClassResult,
                truth=st.just(truth),
                objects=st.just(truth),
                reported=st.just(truth),
                ap50=share,
                recall=share,
                precision=share,
            )
            for name, truth in truths.items()
        }
    )


@st.composite
def comparisons(draw: st.DrawFn) -> PairedEvaluation:
    """Any comparison that was measured alike; figures near the limits, so that about half would pass."""
    present = draw(st.lists(st.sampled_from(CLASSES), unique=True, min_size=1))
    truths = {name: draw(st.integers(1, 60)) for name in present}
    shared = {"frames": draw(st.integers(1, 200))}
    hard = draw(st.booleans())
    alarms = draw(st.booleans())

    def one(version: str) -> Evaluation:
        return evaluation(
            version,
            **shared,
            classes=draw(class_results(truths)),
            map50=draw(intervals(0)),
            map50_95=draw(intervals(0)),
            hard_recall=draw(share) if hard else None,
            false_alarms=draw(st.floats(0, 3000)) if alarms else None,
            good_frames=100,
            good_units=100,
            latency_ms_p50=draw(latency),
            latency_ms_p95=draw(latency),
        )

    if draw(st.booleans()):
        return PairedEvaluation(candidate=one("2"))
    ours, theirs = one("2"), one("1")
    compared = PairedEvaluation(
        candidate=ours,
        champion=theirs,
        map50_gain=draw(intervals(-1)),
        changes=differences(ours, theirs, draw(st.floats(0, 0.1))),
    )
    if draw(st.booleans()):
        return compared
    best = one("0")
    changes = differences(ours, best, draw(st.floats(0, 0.1)))
    return compared.model_copy(update={"anchor": best, "anchor_gain": draw(intervals(-1)), "anchor_changes": changes})


policies = st.builds(
    GatePolicy,
    min_frames=st.integers(1, 200),
    min_boxes_per_class=st.integers(1, 20),
    require_all_classes=st.booleans(),
    min_map50=share,
    improvement=st.sampled_from(["better", "not_worse"]),
    margin=st.floats(0.001, 1),
    min_recall=share,
    min_recall_by_class=st.dictionaries(st.sampled_from(CLASSES), share),
    max_class_drop=share,
    min_hard_recall=share,
    max_hard_drop=share,
    error=st.floats(0.001, 0.3),
    critical=st.lists(st.sampled_from(CLASSES), unique=True).map(tuple),
    min_precision=share,
    max_false_alarms=st.floats(0, 2000),
    max_latency_ms=st.none() | st.floats(0.1, 200),
    max_latency_ratio=st.floats(0.5, 3),
    latency_slack_ms=st.floats(0, 10),
)


def improved(compared: PairedEvaluation, by: float, what: str) -> PairedEvaluation:
    """The same comparison with one figure of the candidate better by a share of what is left to gain."""
    ours = compared.candidate

    def up(value: float) -> float:
        return min(1.0, value + by * (1 - value))

    def raised(interval: Interval) -> Interval:
        return Interval(value=up(interval.value), low=up(interval.low), high=up(interval.high))

    changes: dict[str, Any] = {}
    match what:
        case "map50":
            changes = {"map50": raised(ours.map50)}
        case "low":  # a narrower interval: the same figure, known better
            low = ours.map50.low + by * (ours.map50.value - ours.map50.low)
            changes = {"map50": ours.map50.model_copy(update={"low": min(low, ours.map50.value)})}
        case "recall" | "ap50" | "precision":
            name = sorted(ours.classes)[0]
            one = ours.classes[name]
            changes = {"classes": {**ours.classes, name: one.model_copy(update={what: up(getattr(one, what))})}}
        case "hard" if ours.hard_recall is not None:
            changes = {"hard_recall": up(ours.hard_recall)}
        case "alarms" if ours.false_alarms is not None:
            changes = {"false_alarms": ours.false_alarms * (1 - by)}
        case "latency":
            changes = {"latency_ms_p95": ours.latency_ms_p95 * (1 - by)}
        case "gain" if compared.map50_gain is not None:
            return compared.model_copy(update={"map50_gain": raised(compared.map50_gain)})
    better = compared.model_copy(update={"candidate": ours.model_copy(update=changes)})
    return better.model_copy(update={part: moved(compared, better, part) for part in ("changes", "anchor_changes")})


def moved(before: PairedEvaluation, after: PairedEvaluation, part: str) -> Changes | None:
    """The differences again, with the standard errors that they had."""
    reference = before.champion if part == "changes" else before.anchor
    changes: Changes | None = getattr(before, part)
    if reference is None or changes is None:
        return changes
    errors = [change.recall.se for change in changes.classes.values()]
    return differences(after.candidate, reference, errors[0])


FIGURES = ["map50", "low", "recall", "ap50", "precision", "hard", "latency", "gain", "alarms"]


@settings(max_examples=400, deadline=None)
@given(comparisons(), policies, share, st.sampled_from(FIGURES))
def test_a_better_figure_never_fails_a_rule_that_was_met(
    compared: PairedEvaluation, policy: GatePolicy, by: float, what: str
):
    # Rule by rule, which is stronger than the decision and does not need an example that passes as a whole.
    before = decide(compared, policy, class_names=CLASSES, champion_class_names=CLASSES)
    after = decide(improved(compared, by, what), policy, class_names=CLASSES, champion_class_names=CLASSES)
    was_met = {rule.rule for rule in before.rules if rule.passed}
    assert not {rule.rule for rule in after.refusals} & was_met
    assert [rule.rule for rule in after.rules] == [rule.rule for rule in before.rules]


@settings(max_examples=200, deadline=None)
@given(comparisons(), policies)
def test_a_model_is_never_worse_than_itself(compared: PairedEvaluation, policy: GatePolicy):
    alike = PairedEvaluation(
        candidate=compared.candidate,
        champion=compared.candidate.model_copy(update={"model_version": "line/1"}),
        map50_gain=Interval(value=0, low=0, high=0),
        changes=differences(compared.candidate, compared.candidate, 0),
    )
    report = decide(alike, policy, class_names=CLASSES, champion_class_names=CLASSES)
    comparing = [rule for rule in report.rules if rule.rule.startswith(("drop/", "hard_cases_drop"))]
    assert all(rule.passed for rule in comparing)
    gain = next(rule for rule in report.rules if rule.rule == "gain")
    assert gain.passed is (policy.improvement == "not_worse")


@settings(max_examples=100, deadline=None)
@given(comparisons(), policies)
def test_a_report_survives_its_json(compared: PairedEvaluation, policy: GatePolicy):
    report = decide(compared, policy, class_names=CLASSES, champion_class_names=CLASSES)
    again = GateReport.from_json(report.to_json())
    assert again == report
    assert again.to_markdown().count("\n| ") == len(report.rules) + 1  # and the heading of the table
