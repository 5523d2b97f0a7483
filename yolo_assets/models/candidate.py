"""From figures to a release: judge, keep the verdict, and promote exactly what was judged.

The checks of an orchestrator gate its own runs only, so everything that the verdict rests on is verified again here.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError, UserError
from yolo_assets.contracts.evaluation import Comparison, Evaluation
from yolo_assets.contracts.model import ONNX, ChannelPointer, ModelManifest
from yolo_assets.contracts.names import parse_model_version, training_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.channels import promote, read_pointer
from yolo_assets.models.comparable import class_difference
from yolo_assets.models.gate import decide
from yolo_assets.models.policy import GatePolicy
from yolo_assets.models.registry import read_stored_manifest
from yolo_assets.models.report import GateReport
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore

REPORT = "gate.json"


class ChampionMovedError(UserError):
    """The channel no longer serves the champion that the candidate was compared with."""

    may_pass = True


class GateRefusedError(UserError):
    """The gate refused a version that somebody wants to promote by hand."""


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        report: the verdict.
        pointer: of the channel afterwards; None when the gate refused, and the channel is as it was.
    """

    report: GateReport
    pointer: ChannelPointer | None


def release_candidate(
    store: ObjectStore,
    signer: Signer,
    comparison: Comparison,
    policy: GatePolicy,
    *,
    channel: str,
    by: str,
    reason: str | None = None,
    trusted: TrustedKeys | None = None,
) -> Outcome:
    """Put a candidate through the gate and promote it when it passes. Again after a crash gives the same end.

    The verdict is kept, signed, as ``training/<fingerprint>/gate.json`` when the manifest names a training run.

    Args:
        store: the store root.
        signer: holds the promotion key.
        comparison: measured with the files that lie on the store.
        policy: the limits.
        channel: to promote to.
        by: who releases.
        reason: for the history; by default the gate's summary.
        trusted: as in ``channels.promote``.

    Raises:
        IntegrityError: the registered file is not the one that was evaluated.
        ChampionMovedError: the channel serves another version than the evaluated champion; evaluate again.
        ObjectNotFoundError, SignatureError, CasConflictError, BadInputError: as in ``channels.promote``.
    """
    trusted = trusted or TrustedKeys.of(signer)
    name, version = parse_model_version(comparison.candidate.model_version)
    stored = read_stored_manifest(store, name, version, None)
    _same_file(comparison.candidate, stored.manifest)
    found = read_pointer(store, name, channel, trusted)
    serving = found[0] if found else None
    done = serving is not None and serving.version == version
    if serving is not None and not done:
        _same_champion(comparison.champion, serving)
    elif serving is None and comparison.champion is not None:
        raise ChampionMovedError(
            f"channel {name}/{channel} does not exist, yet {version} was compared with "
            f"{comparison.champion.model_version}; evaluate it without a champion"
        )
    champion_classes = None
    if comparison.champion is not None:
        champion_name, champion_version = parse_model_version(comparison.champion.model_version)
        champion = read_stored_manifest(store, champion_name, champion_version, trusted)
        _same_file(comparison.champion, champion.manifest)
        champion_classes = champion.manifest.class_names
    report = decide(comparison, policy, class_names=stored.manifest.class_names, champion_class_names=champion_classes)
    if stored.manifest.training_fingerprint is not None:
        document = signer.sign_document(report.model_dump(mode="json"))
        store.put(training_key(stored.manifest.training_fingerprint, REPORT), canonical_json(document))
    if not report.passed:
        return Outcome(report, None)
    pointer = promote(
        store,
        signer,
        name=name,
        version=version,
        channel=channel,
        by=by,
        reason=reason or report.summary,
        expected_release=serving.release if serving else 0,
        trusted=trusted,
        manifest_sha256=stored.sha256,
        expected=report.expected,
    )
    return Outcome(report, pointer)


def read_report(store: ObjectStore, manifest: ModelManifest, trusted: TrustedKeys) -> GateReport | None:
    """The kept verdict on a version, or None when it never went through the gate.

    Raises:
        SignatureError: not signed by a trusted key.
        BadInputError: not a report, or one about another file.
    """
    if manifest.training_fingerprint is None:
        return None
    key = training_key(manifest.training_fingerprint, REPORT)
    try:
        document = orjson.loads(store.get(key))
    except ObjectNotFoundError:
        return None
    except orjson.JSONDecodeError:
        raise BadInputError(f"{key} is not JSON") from None
    if not isinstance(document, dict):
        raise BadInputError(f"{key} is not a gate report")
    trusted.verify_document(document, key)
    del document["signature"]
    report = GateReport.from_json(canonical_json(document), key)
    if (report.candidate, report.onnx_sha256) != (manifest.model_version, manifest.files[ONNX].sha256):
        raise BadInputError(f"{key} is about {report.candidate} and not about this {manifest.model_version}")
    return report


def promote_by_hand(
    store: ObjectStore,
    signer: Signer,
    *,
    name: str,
    version: str,
    channel: str,
    by: str,
    reason: str,
    force: bool = False,
    trusted: TrustedKeys | None = None,
    replace_untrusted: bool = False,
) -> tuple[ChannelPointer, str]:
    """Promote because a person says so. The history says what the gate had to say about it.

    Args:
        store: the store root.
        signer: holds the promotion key.
        name: of the model.
        version: a committed bundle of it.
        channel: to promote to.
        by: who promotes.
        reason: why, for the history.
        force: promote although the gate refused, or although its report cannot be trusted.
        trusted: as in ``channels.promote``; the gate's report must be signed by one of them too.
        replace_untrusted: as in ``channels.promote``.

    Returns:
        The pointer, and the gate's status in words.

    Raises:
        GateRefusedError: the gate refused this version, or it never saw it and its class list is not that of the
            version served now, and ``force`` is not set.
        ObjectNotFoundError, IntegrityError, SignatureError, CasConflictError: as in ``channels.promote``.
    """
    trusted = trusted or TrustedKeys.of(signer)
    stored = read_stored_manifest(store, name, version, None)
    try:
        report = read_report(store, stored.manifest, trusted)
    except (BadInputError, SignatureError) as error:
        report = None
        status, refused = f"the gate report cannot be trusted: {error}", True
    else:
        status = report.summary if report else f"{name}/{version} never went through the gate"
        refused = report is not None and not report.passed
        if report is None and (difference := _other_classes(store, stored.manifest, channel, trusted)):
            status, refused = f"{status}, and {difference}.", True
    if refused and not force:
        raise GateRefusedError(f"{status} Promote it all the same with --force and a --reason that stands up later.")
    said = "gate overridden" if refused else "gate passed" if report else "no gate report"
    pointer = promote(
        store,
        signer,
        name=name,
        version=version,
        channel=channel,
        by=by,
        reason=f"{reason.strip()} (by hand, {said})" if reason.strip() else "",
        trusted=trusted,
        manifest_sha256=stored.sha256,
        replace_untrusted=replace_untrusted,
        expected=report.expected if report and report.passed else None,
    )
    return pointer, status


def _other_classes(store: ObjectStore, manifest: ModelManifest, channel: str, trusted: TrustedKeys) -> str | None:
    """How the class list differs from what the channel serves; None when it does not, or nothing readable serves."""
    try:
        serving = read_pointer(store, manifest.name, channel, trusted)
        if serving is None:
            return None
        served = read_stored_manifest(store, manifest.name, serving[0].version, None).manifest
    except UserError:
        return None  # ``promote`` says what is wrong with the pointer, and whether that matters
    if served.class_names == manifest.class_names:
        return None
    difference = class_difference(manifest.class_names, served.class_names)
    return f"its class list differs from {served.model_version}: {difference}; agents would refuse the swap"


def _same_file(evaluation: Evaluation, manifest: ModelManifest) -> None:
    if manifest.files[ONNX].sha256 != evaluation.onnx_sha256:
        raise IntegrityError(
            f"{manifest.model_version} was evaluated with another {ONNX} than the registered one; evaluate it again"
        )


def _same_champion(champion: Evaluation | None, serving: ChannelPointer) -> None:
    judged = champion.model_version if champion else "no champion"
    if judged != serving.model_version:
        raise ChampionMovedError(
            f"the channel serves {serving.model_version} (release {serving.release}) and the candidate was compared "
            f"with {judged}; evaluate it against {serving.model_version}"
        )
