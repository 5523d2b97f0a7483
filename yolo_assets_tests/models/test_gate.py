"""The gate lets through what is better or no worse, refuses the rest with reasons, never punishes an improvement."""

from __future__ import annotations

import math
from typing import Any

import pytest

from yolo_assets.contracts.class_list import ClassEntry, ClassList
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.evaluation import ClassResult, PairedEvaluation
from yolo_assets.contracts.model import Interval
from yolo_assets.models.gate import decide
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport
from yolo_assets_tests.models.figures import around, comparison, evaluation, found, with_anchor
from yolo_assets_tests.models.release_support import CLASSES, NOON


def report_on(compared: PairedEvaluation, champion_classes: tuple[str, ...] = CLASSES, **policy: Any) -> GateReport:
    return decide(compared, GatePolicy(**policy), class_names=CLASSES, champion_class_names=champion_classes)


def refused_by(report: GateReport) -> list[str]:
    assert report.passed is (report.refusals == ())
    return [rule.rule for rule in report.refusals]


def with_class(name: str, **figures: Any) -> dict[str, ClassResult]:
    return {one: found(**figures) if one == name else found() for one in CLASSES}


def test_a_better_candidate_passes_and_every_rule_has_a_sentence():
    report = report_on(comparison())
    assert refused_by(report) == []
    assert (report.answer, report.labels_needed, report.next_anchor) == ("better", {}, "line/2")
    assert (
        report.summary
        == f"line/2 passes the gate against line/1: all {len(report.rules)} rules are met (1 could not be evaluated)."
    )
    assert all(rule.sentence[0].isupper() and rule.sentence.endswith(".") for rule in report.rules)
    assert len({rule.rule for rule in report.rules}) == len(report.rules)


def test_a_first_model_is_held_to_the_floors_alone():
    report = report_on(PairedEvaluation(candidate=evaluation()))
    assert refused_by(report) == []
    assert [rule.rule for rule in report.rules if not rule.judged] == ["gain", "false_alarms"]
    assert "with no champion to beat" in report.summary
    assert refused_by(report_on(PairedEvaluation(candidate=evaluation(map50=around(0.51))))) == ["map50"]
    useless = evaluation(
        classes=with_class("pore", precision=0.04, truth=400), good_frames=200, good_units=200, false_alarms=1500
    )
    assert refused_by(report_on(PairedEvaluation(candidate=useless))) == ["precision/pore", "false_alarms"]


def test_the_three_answers_and_the_labels_that_are_missing():
    assert report_on(comparison(around(0.02, 0.01))).answer == "better"
    unsure = report_on(comparison(around(0.03, 0.05)))
    assert (unsure.answer, refused_by(unsure), unsure.passed) == ("cannot tell", ["gain"], False)
    assert set(unsure.labels_needed) == set(CLASSES)
    assert "Not released; label about" in unsure.summary
    none = report_on(comparison(around(0.001, 0.005)))
    assert (none.answer, none.labels_needed) == ("not better", {})
    # Something that is surely wrong beside something that is unsure: no label cures it.
    both = report_on(comparison(around(0.03, 0.05), classes=with_class("pore", recall=0.8)))
    assert (both.answer, refused_by(both)) == ("not better", ["gain", "drop/pore"])


def test_more_variance_asks_for_more_labels():
    asked = [sum(report_on(comparison(around(0.03, half))).labels_needed.values()) for half in (0.035, 0.05, 0.08)]
    assert 0 < asked[0] < asked[1] < asked[2]


def test_a_loss_that_chance_explains_is_no_harm():
    down = with_class("pore", recall=0.8)
    assert refused_by(report_on(comparison(classes=down, se=0.01))) == ["drop/pore"]
    assert refused_by(report_on(comparison(classes=down, se=0.05))) == []
    # One budget: what is evidence alone is none among many.
    assert refused_by(report_on(comparison(classes=down, se=0.045))) == []
    # Sure, and not worth a word: a fifth of what a class may lose.
    assert refused_by(report_on(comparison(classes=with_class("pore", recall=0.89), se=0.001))) == []


def test_a_critical_class_needs_proof():
    slightly = with_class("pore", recall=0.87)
    assert refused_by(report_on(comparison(classes=slightly, se=0.02))) == []
    report = report_on(comparison(classes=slightly, se=0.02), critical=("pore",))
    assert (report.answer, refused_by(report)) == ("cannot tell", ["drop/pore"])
    assert report.labels_needed["pore"] > 0
    few = with_class("pore", truth=8, recall=0.5)
    listed = plant_list(ClassEntry(name="crack"), ClassEntry(name="pore", critical=True), ClassEntry(name="spatter"))
    report = decide(
        PairedEvaluation(candidate=evaluation(classes=few)), GatePolicy(), class_names=CLASSES, class_list=listed
    )
    assert (report.answer, refused_by(report)) == ("cannot tell", ["recall/pore"])
    assert "critical and not surely at its floor" in report.summary


def test_many_small_losses_are_one_large_one_against_the_anchor():
    small = comparison(classes=with_class("pore", recall=0.88), se=0.02)
    assert report_on(small).passed
    report = report_on(with_anchor(small, {"classes": with_class("pore", recall=0.99)}))
    assert (report.answer, refused_by(report)) == ("not better", ["drop_anchor/pore"])
    assert "Class pore got worse than the anchor: recall from 0.990 to 0.880" in report.summary
    worse = report_on(with_anchor(comparison(), {}, around(-0.05, 0.02)))
    assert refused_by(worse) == ["gain_anchor"]
    assert "worse than line/0, the best release so far" in worse.summary


def test_a_trade_is_released_and_does_not_move_the_anchor():
    traded = comparison(around(0.05), classes=with_class("pore", recall=0.88), se=0.02)
    assert (report_on(traded).passed, report_on(traded).next_anchor) == (True, "line/1")
    anchored = report_on(with_anchor(traded, {}, se=0.02))
    assert (anchored.anchor, anchored.next_anchor) == ("line/0", "line/0")
    better = report_on(with_anchor(comparison(), {}))
    assert better.next_anchor == "line/2"
    assert report_on(comparison(around(0.03, 0.05))).next_anchor is None


def test_golden_frames_are_hard_limits():
    found_less = comparison(golden_recall=0.9, champion={"golden_recall": 0.9})
    changes = found_less.changes
    assert changes is not None
    lost = found_less.model_copy(update={"changes": changes.model_copy(update={"golden_lost": ("cam1/a.jpg",)})})
    report = report_on(lost)
    assert (report.answer, refused_by(report)) == ("not better", ["golden_lost"])
    assert "cam1/a.jpg" in report.summary
    assert refused_by(report_on(comparison(), min_golden_recall=0.9)) == ["golden"]


def test_figures_of_another_metric_are_never_compared():
    report = report_on(comparison(champion={"metric": "ultralytics"}))
    assert refused_by(report) == ["same_test"]
    assert "mAP by coco and by ultralytics" in report.summary


@pytest.mark.parametrize(
    ("change", "policy", "rule", "words"),
    [
        ({"frames": 49, "champion": {"frames": 49}}, {}, "test_frames", "holds 49 frames and 50 are needed"),
        ({"map50": around(0.51)}, {}, "map50", "at least 0.500 is needed"),
        ({"gain": around(-0.01, 0.005)}, {"improvement": "not_worse"}, "gain", "It is worse"),
        ({"gain": around(0.01, 0.03)}, {"improvement": "not_worse"}, "gain", "may be worse by more than 0.01"),
        ({"gain": around(0.01, 0.01)}, {}, "gain", "not surely better"),
        ({"gain": around(0.001, 0.005)}, {}, "gain", "not better by as much as 0.01"),
        ({"classes": with_class("pore", recall=0.88)}, {"min_recall_by_class": {"pore": 0.89}}, "recall/pore", "0.880"),
        ({"classes": with_class("pore", recall=0.8)}, {}, "drop/pore", "recall from 0.900 to 0.800"),
        ({"classes": with_class("pore", ap50=0.8)}, {}, "drop/pore", "AP50 from 0.900 to 0.800"),
        ({"classes": with_class("pore", precision=0.8)}, {}, "drop/pore", "precision from 0.900 to 0.800"),
        ({"hard_recall": 0.64}, {}, "hard_cases_drop", "from 0.700 to 0.640 against the champion; at most 0.05"),
        ({}, {"min_hard_recall": 0.8}, "hard_cases", "0.700; at least 0.800"),
        ({"latency_ms_p95": 31.3}, {}, "latency_growth", "31.3 ms where the champion takes 25.0"),
        ({}, {"max_latency_ms": 24.0}, "latency", "at most 24.0 ms"),
    ],
)  # fmt: skip
def test_one_figure_too_low_refuses_by_one_rule_and_says_why(change: Any, policy: Any, rule: str, words: str):
    report = report_on(comparison(**change), **policy)
    assert refused_by(report) == [rule]
    assert words in report.refusals[0].sentence
    assert words in report.summary
    mark = "refused" if report.answer == "not better" else "cannot tell"
    assert f"| {mark} | {rule} |" in report.to_markdown()


def test_precision_may_fall_by_as_much_more_as_recall_rose():
    few = with_class("pore", recall=0.1, ap50=0.2, precision=1.0)
    found = with_class("pore", recall=0.6, ap50=0.7, precision=0.5)
    assert refused_by(report_on(comparison(classes=found, champion={"classes": few}))) == []
    wrong = with_class("pore", recall=0.6, ap50=0.7, precision=0.4)
    report = report_on(comparison(classes=wrong, champion={"classes": few}))
    assert refused_by(report) == ["drop/pore"]
    assert "precision from 1.000 to 0.400 where recall rose by 0.500; at most 0.05" in report.refusals[0].sentence


def test_a_rule_carries_the_figure_that_decided():
    report = report_on(comparison(classes=with_class("pore", recall=0.95, ap50=0.87), latency_ms_p95=26.0))
    figures = {rule.rule: (rule.value, rule.limit) for rule in report.rules}
    assert figures["drop/pore"] == pytest.approx((0.03, 0.05))
    assert figures["recall/pore"] == (0.95, 0.5)
    assert figures["gain"] == pytest.approx((0.005, 0))
    assert figures["latency_growth"] == (26.0, 31.25)


def test_recall_below_the_common_floor():
    low = with_class("crack", recall=0.12)
    report = report_on(comparison(classes=low, champion={"classes": low}))
    assert refused_by(report) == ["recall/crack"]
    assert "Recall of crack is 0.120 on 100 boxes; at least 0.500 is needed." in report.summary + "."
    # Below, but by chance perhaps: said, with what would make it sure, and no reason to refuse.
    unsure = with_class("crack", recall=0.25, truth=20)
    report = report_on(comparison(classes=unsure, champion={"classes": unsure}))
    assert report.passed and report.labels_needed["crack"] > 0
    assert "to be surer, label about" in report.summary


def test_classes_of_few_boxes():
    few = with_class("pore", truth=4)
    report = report_on(comparison(classes=few, champion={"classes": few}))
    assert (refused_by(report), report.answer, report.labels_needed) == (["test_boxes"], "cannot tell", {"pore": 1})
    assert "fewer than 5 boxes of pore (4); label more" in report.summary


def test_a_missing_class_is_never_silently_fine():
    classes = {"crack": found(), "spatter": found()}
    compared = comparison(classes=classes, champion={"classes": classes})
    report = report_on(compared)
    assert (refused_by(report), report.answer, report.labels_needed) == (["test_classes"], "cannot tell", {"pore": 5})
    listed = plant_list(ClassEntry(name="crack"), ClassEntry(name="pore", retired=True), ClassEntry(name="spatter"))
    retired = decide(
        compared,
        GatePolicy(),
        class_names=CLASSES,
        champion_class_names=CLASSES,
        class_list=listed,
        champion_class_list=listed,
    )
    assert retired.passed
    report = report_on(compared, require_all_classes=False)
    assert refused_by(report) == []
    skipped = [rule for rule in report.rules if not rule.judged and rule.rule == "recall/pore"]
    assert [rule.sentence for rule in skipped] == ["Class pore does not occur in the test set, so it is not evaluated."]
    assert "could not be evaluated)" in report.summary
    assert "| not evaluated | recall/pore |" in report.to_markdown()
    floor = {"require_all_classes": False, "min_recall_by_class": {"pore": 0.2}}
    assert refused_by(report_on(compared, **floor)) == ["recall/pore"]


def test_no_hard_frames():
    compared = comparison(hard_recall=None, champion={"hard_recall": None})
    assert refused_by(report_on(compared)) == []
    assert refused_by(report_on(compared, min_hard_recall=0.1)) == ["hard_cases"]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("crack", "pore"), "added spatter"),
        (("crack", "pore", "spatter", "scratch"), "missing scratch"),
        (("pore", "crack", "spatter"), "another order, [crack, pore, spatter] for [pore, crack, spatter]"),
    ],
)
def test_another_class_list_is_refused_with_the_difference(classes: tuple[str, ...], words: str):
    report = report_on(comparison(), champion_classes=classes)
    assert "class_list" in refused_by(report)
    assert words in report.summary


def plant_list(*classes: ClassEntry, version: int = 2) -> ClassList:
    return ClassList(id="plant", version=version, classes=classes, by="Li", at=NOON, change="")


def flags(**pore: Any) -> ClassList:
    """A list whose second class has these flags; a later version than that of ``plant_list``."""
    entries = (ClassEntry(name="crack"), ClassEntry(name="pore", **pore), ClassEntry(name="spatter"))
    return plant_list(*entries, version=3)


def judged_by(compared: PairedEvaluation, listed: ClassList | None, now: ClassList | None, **policy: Any) -> GateReport:
    return decide(
        compared,
        GatePolicy(**policy),
        class_names=CLASSES,
        champion_class_names=CLASSES,
        class_list=listed,
        champion_class_list=listed,
        plant_classes=now,
    )


@pytest.mark.parametrize("critical", [False, True])
def test_nothing_is_asked_of_a_retired_class(critical: bool):
    lost = comparison(classes=with_class("pore", recall=0.0, ap50=0.0, truth=2), se=0.001)
    given_up = flags(retired=True, critical=critical)
    asked = {"min_recall_by_class": {"pore": 0.9}, "critical": ("pore",)}
    assert not judged_by(lost, flags(), None).passed
    assert judged_by(lost, given_up, None, **asked).passed
    two = {"crack": found(), "spatter": found()}
    absent = comparison(classes=two, champion={"classes": two})
    report = judged_by(absent, given_up, None, **asked)
    assert report.passed and "Class pore is retired, so it is not judged." in [rule.sentence for rule in report.rules]
    assert judged_by(absent, plant_list(*flags().classes), given_up).passed, "retired since the candidate was made"
    other = given_up.model_copy(update={"id": "another plant's"})
    assert refused_by(judged_by(absent, plant_list(*flags().classes), other)) == ["test_classes"]


def test_a_class_that_became_critical_since_needs_proof():
    slightly = comparison(classes=with_class("pore", recall=0.87), se=0.02)
    before = plant_list(*flags().classes)
    assert judged_by(slightly, before, before).passed
    for listed in (before, None):
        report = judged_by(slightly, listed, flags(critical=True))
        assert (report.answer, refused_by(report)) == ("cannot tell", ["drop/pore"])


def test_a_class_is_judged_under_the_name_that_it_has_now():
    listed = plant_list(ClassEntry(name="crack"), ClassEntry(name="pit", aliases=("pore",), critical=True),
                        ClassEntry(name="spatter"))  # fmt: skip
    slightly = {"crack": found(), "pit": found(recall=0.87), "spatter": found()}
    champion = {"classes": {"crack": found(), "pit": found(), "spatter": found()}}
    compared = comparison(classes=slightly, champion=champion, se=0.02)
    report = judged_by(compared, listed, None, min_recall_by_class={"pore": 0.6})
    assert (report.answer, refused_by(report)) == ("cannot tell", ["drop/pit"])
    assert refused_by(judged_by(compared, listed, None, min_recall_by_class={"pore": 0.95})) == [
        "recall/pit",
        "drop/pit",
    ]


def test_a_way_back_that_loses_a_critical_class_is_refused():
    older = plant_list(ClassEntry(name="crack"), ClassEntry(name="pore"), version=1)
    both = {"crack": found(), "pore": found()}

    def back(critical: bool) -> GateReport:
        newer = plant_list(*older.classes, ClassEntry(name="spatter", critical=critical), version=2)
        return decide(
            comparison(classes=both, champion={"classes": both}),
            GatePolicy(),
            class_names=("crack", "pore"),
            champion_class_names=CLASSES,
            class_list=older,
            champion_class_list=newer,
        )

    assert back(critical=False).passed
    report = back(critical=True)
    assert (report.answer, refused_by(report)) == ("not better", ["recall/spatter"])
    assert "the champion has it and this version has not" in report.summary


def test_a_declared_class_has_a_floor_and_common_ones_are_compared():
    old, new = ("crack", "pore"), ("fissure", "pore", "spatter")
    listed = plant_list(ClassEntry(name="fissure", aliases=("crack",)), *(ClassEntry(name=name) for name in new[1:]))

    def judged(ours: ClassResult, theirs: ClassResult, spatter: ClassResult) -> GateReport:
        compared = comparison(
            classes={"fissure": ours, "pore": found(), "spatter": spatter},
            champion={"classes": {"fissure": theirs, "pore": found(), "spatter": found(0, 0, 1)}},
        )
        return decide(compared, GatePolicy(), class_names=new, champion_class_names=old, class_list=listed)

    assert judged(found(), found(), found(0.6, 0.6)).passed
    assert refused_by(judged(found(), found(), found(0.1, 0.4))) == ["recall/spatter"]
    assert refused_by(judged(found(0.8), found(), found())) == ["drop/fissure"]


@pytest.mark.parametrize(
    ("champion", "words"),
    [
        ({"test_sha256": "f" * 64}, "test set eeeeeeeeeeee and ffffffffffff"),
        ({"frames": 399}, "400 and 399 frames"),
        ({"classes": with_class("pore", truth=99)}, "another ground truth of pore"),
        ({"classes": {"crack": found(), "pore": found()}}, "another ground truth of spatter"),
        ({"hard_recall": None}, "hard frames for only one"),
        ({"engine": "onnxruntime"}, "openvino with 2 threads and onnxruntime with 2 threads"),
        ({"threads": 4}, "openvino with 2 threads and openvino with 4 threads"),
    ],
)
def test_what_was_not_measured_alike_is_not_compared(champion: Any, words: str):
    report = report_on(comparison(champion=champion))
    assert refused_by(report) == ["same_test"]
    assert words in report.summary
    assert {rule.rule for rule in report.rules} == {"figures", "same_test", "class_list"}


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (comparison(map50=Interval(value=math.nan, low=0.8, high=1)), "mAP50 of line/2 is not a number"),
        (comparison(champion={"map50_95": Interval(value=0.5, low=-math.inf, high=1)}), "mAP50-95 of line/1 is not a"),
        (comparison(gain=Interval(value=0.1, low=math.nan, high=0.2)), "the gain in mAP50 is not a number"),
        (comparison(map50=Interval(value=0.9, low=0.95, high=0.99)), "impossible interval"),
        (comparison(map50=Interval(value=0.9, low=0.99, high=0.8)), "impossible interval"),
        (comparison(map50=Interval(value=1.2, low=0.9, high=1.3)), "impossible interval"),
        (comparison(latency_ms_p95=math.inf), "95th percentile latency of line/2 is inf"),
        (comparison(classes={}, champion={"classes": {}}), "no ground truth at all"),
        (comparison(classes={"rust": found()}, champion={"classes": {"rust": found()}}), "does not have: rust"),
        (PairedEvaluation(candidate=evaluation(), map50_gain=around(0.1)), "given together"),
        (PairedEvaluation(candidate=evaluation(), champion=evaluation("1")), "given together"),
    ],
)
def test_figures_that_cannot_be_right_are_refused(compared: PairedEvaluation, words: str):
    report = report_on(compared)
    assert refused_by(report) == ["figures"]
    assert words in report.summary


def test_what_the_caller_must_say():
    with pytest.raises(ValueError, match="champion_class_names is required"):
        decide(comparison(), GatePolicy(), class_names=CLASSES)
    with pytest.raises(BadInputError, match="a floor for craks, and the model has only crack, pore, spatter"):
        report_on(comparison(), min_recall_by_class={"craks": 0.9})
