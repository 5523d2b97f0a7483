"""``models why`` and ``models compare``, and the figures on test frames that ``models show`` prints, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from yolo_assets.cli.common import JsonOption, StoreOption, emit_json, note, out, settings, show_table, valid
from yolo_assets.cli.registries import ModelArgument, TrustedOption, check_spelling, find_version, readable_registry
from yolo_assets.contracts.errors import BadInputError

if TYPE_CHECKING:
    from yolo_assets.contracts.evaluation import Evaluation, PairedChange, PairedEvaluation
    from yolo_assets.contracts.model import Interval, Thresholds

OtherArgument = Annotated[
    str,
    typer.Argument(metavar="OTHER", help="The version that it is compared with.", parser=valid(check_spelling)),
]


def why(
    model: ModelArgument, store: StoreOption = None, trusted_key: TrustedOption = None, as_json: JsonOption = False
) -> None:
    """What the gate said of a version: better, not better because, or cannot tell, and what to label until it can.

    Example: yolo-assets models why line/20260102-1a2b3c4d
    """
    from yolo_assets.models.gate_status import gate_status

    located = settings(store=store)
    registry = readable_registry(located, trusted_key)
    if not registry.trusted.keys:
        raise BadInputError("the gate's word is signed, and no key is trusted here; name one with --trusted-key")
    name, version = find_version(registry, located, model)
    status = gate_status(registry, registry.read_manifest(name, version, signed=False).manifest)
    report = status.report
    if as_json:
        emit_json(
            {
                "model": f"{name}/{version}",
                "gate": status.state,
                "answer": report.verdict if report else None,
                "summary": status.summary,
                "because": [{"rule": r.rule, "sentence": r.sentence, "unsure": r.unsure} for r in report.refusals]
                if report
                else [],
                "labels_needed": report.labels_needed if report else {},
                "champion": report.champion if report else None,
                "anchor": report.anchor if report else None,
            }
        )
        return
    out().print(f"{name}/{version}: {report.verdict if report else status.state}")
    if report is None:
        out().print(status.summary)
        return
    for rule in report.refusals:
        out().print(f"because: {rule.sentence}")
    if report.passed:
        out().print(status.summary)
    if report.plan:
        out().print(f"next: {report.plan}, and put it through the gate again")


def compare(
    model: ModelArgument,
    other: OtherArgument,
    store: StoreOption = None,
    trusted_key: TrustedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate two versions on the newest test frames, and show what changes, with intervals. Releases nothing.

    Both run on the same frames in one process, and differences are paired by object: what is hard for both cancels out.

    Example: yolo-assets models compare line/20260102-1a2b3c4d line/20251224-5e6f7a8b
    """
    from yolo_assets.learning.dataset import latest_dataset
    from yolo_assets.training.candidates import evaluate_candidate

    located = settings(store=store)
    registry = readable_registry(located, trusted_key)
    first, second = ("/".join(find_version(registry, located, one)) for one in (model, other))
    dataset = latest_dataset(registry.store)
    if dataset is None:
        raise BadInputError("there is no dataset to compare on yet; run: yolo-assets datasets build")
    note(f"running both on {len(dataset.items('test'))} test frames")
    work = located.home / "training"
    comparison = evaluate_candidate(registry, dataset, first, second, work, keep=False, nice=0).comparison
    if as_json:
        emit_json(comparison.model_dump(mode="json"))
        return
    show_table(["", first, second, "change"], _rows(comparison))


def test_facts(evaluation: Evaluation) -> dict[str, str]:
    """The figures of a version on test frames, in words."""
    units = f"{evaluation.frames} frames" + (f", {evaluation.units} {evaluation.units_are}" if evaluation.units else "")
    facts = {
        f"test mAP50 ({_METRICS[evaluation.metric]})": f"{_interval(evaluation.map50)} on {units}",
        "test mAP50-95": _interval(evaluation.map50_95),
    }
    if evaluation.ultralytics_map50 is not None:
        facts["test mAP50 (Ultralytics' sampling)"] = f"{evaluation.ultralytics_map50:.3f}"
    if evaluation.false_alarms is not None:
        facts["false alarms"] = f"{evaluation.false_alarms:.0f} for each 1,000 good frames"
    for name, result in sorted(evaluation.classes.items()):
        recall = _interval(result.recall_interval) if result.recall_interval else f"{result.recall:.3f}"
        precision = _interval(result.precision_interval) if result.precision_interval else f"{result.precision:.3f}"
        facts[f"test {name}"] = f"recall {recall}, precision {precision}, AP50 {result.ap50:.3f}, {result.truth} boxes"
    return facts


def threshold_words(thresholds: Thresholds) -> str:
    """From which confidence what is reported, and what that promises."""
    parts = [f"{thresholds.confidence:g}"]
    for name, confidence in sorted(thresholds.by_class.items()):
        promised = thresholds.miss_rate.get(name)
        parts.append(f"{name} {confidence:.3g}" + (f" (overlooks at most {promised:.1%})" if promised else ""))
    return "; ".join(parts)


_METRICS = {"coco": "COCO", "ultralytics": "Ultralytics' sampling"}


def _rows(comparison: PairedEvaluation) -> list[list[str]]:
    ours, theirs, changes, gain = comparison.candidate, comparison.champion, comparison.changes, comparison.map50_gain
    assert theirs is not None and changes is not None and gain is not None
    rows = [["mAP50", _interval(ours.map50), _interval(theirs.map50), _signed(gain.value, gain.low, gain.high)]]
    rows.append(["mAP50-95", _interval(ours.map50_95), _interval(theirs.map50_95), ""])
    for name, change in sorted(changes.classes.items()):
        for figure in ("recall", "precision", "ap50"):
            one: PairedChange = getattr(change, figure)
            values = [f"{getattr(side.classes[name], figure):.3f}" for side in (ours, theirs)]
            reach = 1.96 * one.se
            rows.append(
                [
                    f"{figure.replace('ap50', 'AP50')} of {name}",
                    *values,
                    _signed(one.value, one.value - reach, one.value + reach),
                ]
            )
    if ours.false_alarms is not None and theirs.false_alarms is not None:
        rows.append(["false alarms in 1,000 good frames", f"{ours.false_alarms:.0f}", f"{theirs.false_alarms:.0f}", ""])
    rows.append(["95 % of frames take up to", f"{ours.latency_ms_p95:.1f} ms", f"{theirs.latency_ms_p95:.1f} ms", ""])
    return rows


def _interval(value: Interval) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _signed(value: float, low: float, high: float) -> str:
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
