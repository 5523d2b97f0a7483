"""What is known of a version and the gate: it passed, was refused, was never judged, or did not even come so far.

Belongs here: reading the gate's report, and the check in front of the gate. Does not belong here: deciding (``gate``),
and what a promotion makes of it (``gated_release``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from yolo_assets.contracts.errors import BadInputError, SignatureError, UserError
from yolo_assets.contracts.evaluation import Evaluation, PairedEvaluation
from yolo_assets.contracts.model import ONNX, ModelManifest
from yolo_assets.contracts.names import parse_model_version, training_key
from yolo_assets.models.gate_comparable import class_difference
from yolo_assets.models.gate_report import Answer, GateReport
from yolo_assets.models.registry import Registry
from yolo_assets.storage.base import ObjectNotFoundError

REPORT = "gate.json"
COMPARISON = "comparison.json"
CHECK_BEFORE_GATE = "exported_file_evaluated"
"""The blocking check of ``trained_weights``: a candidate that fails it never reaches the gate."""

GateState = Literal["passed", "refused", "cannot tell", "not judged", "blocked", "untrusted"]


@dataclass(frozen=True)
class GateStatus:
    """What the gate said of a version.

    Attributes:
        state: ``blocked``: a check in front of the gate failed; ``untrusted``: there is a report that no trusted key
            signed, or about another file.
        summary: one sentence.
        report: the gate's; None without a trusted one.
    """

    state: GateState
    summary: str
    report: GateReport | None = None


def problem_before_gate(candidate: Evaluation) -> str | None:
    """Why a candidate is not even put through the gate, or None: it found no class of the test split at all."""
    missing = sorted(name for name, figures in candidate.classes.items() if figures.recall == 0)
    if candidate.classes and len(missing) < len(candidate.classes):
        return None
    return f"never found: {', '.join(missing)}" if missing else "the test split holds no object"


def gate_status(registry: Registry, manifest: ModelManifest) -> GateStatus:
    """What the gate said of a version, by the signed report and by what was measured before it."""
    model = manifest.model_version
    try:
        report = read_gate_report(registry, manifest)
    except (BadInputError, SignatureError) as error:
        return GateStatus("untrusted", f"the gate report of {model} cannot be trusted: {error}.")
    if report is not None:
        states: dict[Answer, GateState] = {"better": "passed", "not better": "refused", "cannot tell": "cannot tell"}
        return GateStatus(states[report.verdict], report.summary, report)
    problem = _problem_measured(registry, manifest)
    if problem is None:
        return GateStatus("not judged", f"{model} never went through the gate.")
    check = f"check {CHECK_BEFORE_GATE} of trained_weights failed"
    return GateStatus("blocked", f"{model} was blocked before the gate: {check}: {problem}.")


def read_gate_report(registry: Registry, manifest: ModelManifest) -> GateReport | None:
    """The stored report on a version, or None when it never went through the gate.

    Raises:
        SignatureError: not signed by a trusted key.
        BadInputError: not a report, or one about another file.
    """
    if manifest.evidence is None:
        return None
    key = training_key(manifest.evidence, REPORT)
    try:
        report = GateReport.from_json(registry.objects.document(key, "gate-report"), key)
    except ObjectNotFoundError:
        return None
    if (report.candidate, report.onnx_sha256) != (manifest.model_version, manifest.files[ONNX].sha256):
        raise BadInputError(f"{key} is about {report.candidate} and not about this {manifest.model_version}")
    return report


def anchor_of(registry: Registry, candidate: ModelManifest, channel: str) -> str | None:
    """``<name>/<version>`` of the best release so far, which a candidate is compared with beside the champion.

    It is what the gate's report on the newest release names; releases that no gate passed name none. None where that is
    the champion or the candidate itself, where it has other classes, or where nothing is known of it.
    """
    serving = registry.channel(candidate.name, channel)
    pointer = serving.pointer()
    if pointer is None:
        return None
    for release in reversed(serving.history().releases):
        if release.state == "unconfirmed":
            continue
        version = release.entry.pointer.version
        try:
            report = read_gate_report(registry, registry.read_manifest(candidate.name, version, signed=False).manifest)
        except UserError:
            continue
        if report is None or report.next_anchor is None:
            continue
        if report.next_anchor in (pointer.model_version, candidate.model_version):
            return None
        try:
            anchor = registry.read_manifest(*parse_model_version(report.next_anchor)).manifest
        except UserError:
            return None
        classes = (candidate.class_names, anchor.class_names, candidate.class_list, anchor.class_list)
        return anchor.model_version if class_difference(*classes) is None else None
    return None


def newest_evaluation(registry: Registry, manifest: ModelManifest) -> PairedEvaluation | None:
    """The newest stored evaluation of this very file; None without one.

    Evaluations are not signed: they explain, and decide nothing.
    """
    if manifest.evidence is None:
        return None
    evaluations: list[PairedEvaluation] = []
    for info in registry.store.list(training_key(manifest.evidence, "evaluation/")):
        if not info.key.endswith(f"/{COMPARISON}"):
            continue
        try:
            evaluation = PairedEvaluation.from_json(registry.store.get(info.key), info.key)
        except (BadInputError, ObjectNotFoundError):
            continue
        if evaluation.candidate.onnx_sha256 == manifest.files[ONNX].sha256:
            evaluations.append(evaluation)
    return max(evaluations, key=lambda evaluation: evaluation.candidate.evaluated_at, default=None)


def _problem_measured(registry: Registry, manifest: ModelManifest) -> str | None:
    """What the newest evaluation shows; None where there is none, or it shows nothing wrong."""
    newest = newest_evaluation(registry, manifest)
    return problem_before_gate(newest.candidate) if newest is not None else None
