"""From figures to a release: decide, keep the gate's report, and promote exactly the evaluated files.

The checks of an orchestrator gate its own runs only, so everything that the decision rests on is verified again here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from yolo_assets.contracts.class_list import ClassList
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.contracts.evaluation import Evaluation, PairedEvaluation
from yolo_assets.contracts.model import ONNX, ChannelPointer, ModelManifest
from yolo_assets.contracts.names import parse_model_version, training_key
from yolo_assets.models.gate import decide
from yolo_assets.models.gate_comparable import class_difference
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport
from yolo_assets.models.gate_status import REPORT, gate_status
from yolo_assets.models.promotion import Promoter, ReleaseRequest, check_reason
from yolo_assets.models.registry import Registry

Release = Callable[[ReleaseRequest], ChannelPointer]
"""Lets a version out: to every device, or to the first wave of a rollout."""


class ChampionMovedError(UserError):
    """The channel no longer serves the champion that the candidate was compared with."""

    may_pass = True


class GateRefusedError(UserError):
    """The gate did not pass a version that an operator asks to promote by hand."""


@dataclass(frozen=True)
class GatedRelease:
    """The result of putting a candidate through the gate.

    Attributes:
        report: the gate's decision.
        pointer: of the channel afterwards; None when the gate refused, and the channel is as it was.
    """

    report: GateReport
    pointer: ChannelPointer | None


@dataclass(frozen=True)
class ManualRelease:
    """The result of a promotion by hand.

    Attributes:
        pointer: of the channel afterwards.
        gate: the gate's decision on this version, in words.
    """

    pointer: ChannelPointer
    gate: str


def release_candidate(
    promoter: Promoter,
    comparison: PairedEvaluation,
    policy: GatePolicy,
    *,
    channel: str,
    by: str,
    reason: str | None = None,
    release: Release | None = None,
    plant_classes: ClassList | None = None,
) -> GatedRelease:
    """Put a candidate through the gate and promote it when it passes. Again after a crash gives the same end.

    The report is kept, signed, as ``training/<SHA-256>/gate.json`` when the manifest says how the version came about.

    Args:
        promoter: registry and promotion key.
        comparison: measured with the files that lie in the registry.
        policy: the limits.
        channel: to promote to.
        by: who releases.
        reason: for the history; by default the gate's summary.
        release: how it goes out; by default to every device at once.
        plant_classes: the plant's list of classes as it is now; its flags count for every candidate.

    Raises:
        IntegrityError: the registered file is not the one that was evaluated.
        ChampionMovedError: the channel serves another version than the evaluated champion; evaluate again.
        ObjectNotFoundError, SignatureError, CasConflictError, BadInputError: as in ``Promoter.promote``.
    """
    registry = promoter.registry
    name, version = parse_model_version(comparison.candidate.model_version)
    stored = registry.read_manifest(name, version, signed=False)
    _require_same_file(comparison.candidate, stored.manifest)
    serving = registry.channel(name, channel).pointer()
    already_served = serving is not None and serving.version == version
    if serving is not None and not already_served:
        _require_same_champion(comparison.champion, serving)
    elif serving is None and comparison.champion is not None:
        raise ChampionMovedError(
            f"channel {name}/{channel} does not exist, yet {version} was compared with "
            f"{comparison.champion.model_version}; evaluate it without a champion"
        )
    champion_classes = champion_list = None
    if comparison.champion is not None:
        champion = registry.read_manifest(*parse_model_version(comparison.champion.model_version))
        _require_same_file(comparison.champion, champion.manifest)
        if comparison.anchor is not None:
            anchor = registry.read_manifest(*parse_model_version(comparison.anchor.model_version))
            _require_same_file(comparison.anchor, anchor.manifest)
        champion_classes, champion_list = champion.manifest.class_names, champion.manifest.class_list
    report = decide(
        comparison,
        policy,
        class_names=stored.manifest.class_names,
        champion_class_names=champion_classes,
        class_list=stored.manifest.class_list,
        champion_class_list=champion_list,
        plant_classes=plant_classes,
    )
    keep_report(promoter, stored.manifest, report)
    if not report.passed:
        return GatedRelease(report, None)
    request = ReleaseRequest(
        name=name,
        version=version,
        channel=channel,
        by=by,
        reason=reason or report.summary,
        expected_release=serving.release if serving else 0,
        manifest_sha256=stored.sha256,
        expected=report.expected,
    )
    return GatedRelease(report, (release or promoter.promote)(request))


def keep_report(promoter: Promoter, manifest: ModelManifest, report: GateReport) -> None:
    """Keep the gate's report on a version, signed, where ``gate_status`` finds it."""
    if manifest.evidence is None:
        return
    envelope = promoter.signer.seal(report.to_json(), "gate-report")
    promoter.registry.store.put(training_key(manifest.evidence, REPORT), envelope.to_json())


def promote_by_hand(
    promoter: Promoter,
    request: ReleaseRequest,
    *,
    force: bool = False,
    unjudged: bool = False,
    release: Release | None = None,
) -> ManualRelease:
    """Promote because an operator asks for it. Pointer and history record what the gate said of it.

    Args:
        promoter: registry and promotion key; the gate's report must be signed by a trusted key of the registry too.
        request: what to promote, without ``manifest_sha256``, ``expected``, ``forced`` and ``unjudged``: they are
            found here.
        force: promote although the gate refused or could not tell, or although its report cannot be trusted, or
            although the class list is not that of the version served now.
        unjudged: promote although no gate judged the version, or a check in front of the gate failed.
        release: how it goes out; by default to every device at once.

    Raises:
        BadInputError: no ``by`` or ``reason``.
        GateRefusedError: the version needs ``force``, ``unjudged`` or both, and not all of it is set.
        ExportRefusedError: the exported file is not what its manifest promises; nothing overrides that.
        ObjectNotFoundError, IntegrityError, SignatureError, CasConflictError: as in ``Promoter.promote``.
    """
    reason = request.reason.strip()
    check_reason(request.by, reason)
    registry = promoter.registry
    stored = registry.read_manifest(request.name, request.version, signed=False)
    status = gate_status(registry, stored.manifest)
    sentence = status.summary
    forced = status.state in ("refused", "cannot tell", "untrusted")
    if status.report is None and (difference := _class_change(registry, stored.manifest, request.channel)):
        sentence, forced = f"{sentence.rstrip('.')}, and {difference}.", True
    never_judged = status.state in ("not judged", "blocked")
    missing = ["--force"] * (forced and not force) + ["--unjudged"] * (never_judged and not unjudged)
    if missing:
        raise GateRefusedError(
            f"{sentence} Promote it all the same with {' and '.join(missing)} and a --reason that stands up later."
        )
    gate = "gate overridden" if forced else "no gate report" if never_judged else "gate passed"
    pointer = (release or promoter.promote)(
        replace(
            request,
            reason=f"{reason} (by hand, {gate})",
            manifest_sha256=stored.sha256,
            expected=status.report.expected if status.report and not forced else None,
            forced=forced,
            unjudged=never_judged,
        )
    )
    return ManualRelease(pointer, sentence)


def _class_change(registry: Registry, manifest: ModelManifest, channel: str) -> str | None:
    """How the class list differs from what the channel serves; None when it does not, or nothing readable serves."""
    try:
        serving = registry.channel(manifest.name, channel).pointer()
        if serving is None:
            return None
        served = registry.read_manifest(manifest.name, serving.version, signed=False).manifest
    except UserError:
        return None  # ``promote`` reports what is wrong with the pointer, and whether that matters
    difference = class_difference(manifest.class_names, served.class_names, manifest.class_list, served.class_list)
    if difference is None:
        return None
    return f"its class list differs from {served.model_version}: {difference}; agents would refuse the swap"


def _require_same_file(evaluation: Evaluation, manifest: ModelManifest) -> None:
    if manifest.files[ONNX].sha256 != evaluation.onnx_sha256:
        raise IntegrityError(
            f"{manifest.model_version} was evaluated with another {ONNX} than the registered one; evaluate it again"
        )


def _require_same_champion(champion: Evaluation | None, serving: ChannelPointer) -> None:
    compared = champion.model_version if champion else "no champion"
    if compared != serving.model_version:
        raise ChampionMovedError(
            f"the channel serves {serving.model_version} (release {serving.release}) and the candidate was compared "
            f"with {compared}; evaluate it against {serving.model_version}"
        )
