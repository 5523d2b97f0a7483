"""Only evaluated files are promoted, and only against the champion that is still serving."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from yolo_assets.classes.changes import described, retired
from yolo_assets.classes.stored import change_class_list, read_class_list
from yolo_assets.contracts.errors import BadInputError, IntegrityError, SignatureError
from yolo_assets.contracts.evaluation import PairedEvaluation
from yolo_assets.contracts.model import ONNX, ExpectedChange, Interval, ModelManifest
from yolo_assets.contracts.names import training_key
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.learning.dataset import Dataset
from yolo_assets.learning.records import DatasetManifest
from yolo_assets.models.bundle import VerifiedBundle
from yolo_assets.models.gate_policy import GatePolicy
from yolo_assets.models.gate_report import GateReport
from yolo_assets.models.gate_status import read_gate_report
from yolo_assets.models.gated_release import (
    ChampionMovedError,
    GatedRelease,
    GateRefusedError,
    ManualRelease,
    promote_by_hand,
    release_candidate,
)
from yolo_assets.models.promotion import Promoter, ReleaseRequest, RollbackRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import ObjectInfo, ObjectStore, StoreUnavailableError
from yolo_assets.storage.base import CasConflictError, Payload
from yolo_assets.storage.decorators import ForwardingStore
from yolo_assets.training.candidates import EvaluationResult
from yolo_assets.training.verdict import judge_version
from yolo_assets_tests.models.figures import around, evaluation, found
from yolo_assets_tests.models.release_support import (
    CLASSES,
    byte_bundle,
    entry,
    failing_write,
    promoter_of,
    replace_manifest,
)

DATA = Dataset("0" * 64, DatasetManifest(class_names=CLASSES, items=()))


def fingerprint(version: str) -> str:
    return version * 64


def register(store: ObjectStore, *versions: str, **changes: Any) -> None:
    for version in versions:
        Registry(store).write_bundle(*byte_bundle(version, training_fingerprint=fingerprint(version), **changes))


CHANGE = ExpectedChange(against="line/1", frames=90, old_right=9, old_wrong=8, new_right=80, new_wrong=7)


def compared(store: ObjectStore, candidate: str, champion: str | None, **figures: Any) -> PairedEvaluation:
    def of(version: str, **more: Any):
        return evaluation(version, onnx_sha256=manifest_of(store, version).files[ONNX].sha256, **more)

    return PairedEvaluation(
        candidate=of(candidate, **figures),
        champion=of(champion) if champion else None,
        map50_gain=Interval(value=0.02, low=0.01, high=0.03) if champion else None,
        change=CHANGE.model_copy(update={"against": f"line/{champion}"}) if champion else None,
    )


def promoter(store: ObjectStore, signer: Signer) -> Promoter:
    return promoter_of(Registry(store, TrustedKeys.of(signer)), signer)


def manifest_of(store: ObjectStore, version: str) -> ModelManifest:
    return Registry(store).read_manifest("line", version, signed=False).manifest


def release(store: ObjectStore, signer: Signer, comparison: PairedEvaluation, **more: Any) -> GatedRelease:
    return release_candidate(promoter(store, signer), comparison, GatePolicy(), channel="stable", by="pipeline", **more)


def by_hand(
    store: ObjectStore,
    signer: Signer,
    version: str,
    *,
    force: bool = False,
    unjudged: bool = False,
    reason: str = "trial",
) -> ManualRelease:
    request = ReleaseRequest("line", version, "stable", by="anna", reason=reason)
    return promote_by_hand(promoter(store, signer), request, force=force, unjudged=unjudged)


def test_the_first_and_the_better_are_released_with_a_report(store: ObjectStore, signer: Signer, trusted: TrustedKeys):
    register(store, "1", "2")
    first = release(store, signer, compared(store, "1", None))
    second = release(store, signer, compared(store, "2", "1"))
    assert first.pointer is not None
    assert second.pointer is not None
    assert (first.pointer.release, second.pointer.release) == (1, 2)
    assert second.pointer.reason == second.report.summary
    pointer = Registry(store, trusted).channel("line", "stable").pointer()
    assert pointer is not None
    assert pointer == second.pointer
    assert first.pointer.expected is None and second.pointer.expected == CHANGE
    assert read_gate_report(Registry(store, trusted), manifest_of(store, "2")) == second.report


def test_a_refused_candidate_leaves_the_channel_and_has_a_report(
    folder: ObjectStore, signer: Signer, trusted: TrustedKeys
):
    register(folder, "1", "2")
    release(folder, signer, compared(folder, "1", None))
    outcome = release(folder, signer, compared(folder, "2", "1", map50=around(0.4)))
    assert outcome.pointer is None
    assert not outcome.report.passed
    pointer = Registry(folder, trusted).channel("line", "stable").pointer()
    assert pointer is not None
    assert pointer.version == "1"
    assert read_gate_report(Registry(folder, trusted), manifest_of(folder, "2")) == outcome.report


def test_the_plants_list_counts_as_it_is_now(
    folder: ObjectStore, signer: Signer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """``classes add pore --critical`` today is the gate's business today, whenever the candidate was made."""
    register(folder, "1")
    few = {**evaluation().classes, "pore": found(truth=8, recall=0.5)}
    measured = compared(folder, "1", None, classes=few)
    comparison = EvaluationResult(measured, {}, {})
    monkeypatch.setattr("yolo_assets.training.verdict.evaluate_candidate", lambda *_, **__: comparison)

    def judged() -> list[GateReport]:
        by_verdict = judge_version(promoter(folder, signer), "line", "1", DATA, GatePolicy(), tmp_path)
        return [by_verdict, release(folder, signer, measured, plant_classes=read_class_list(folder)).report]

    change_class_list(
        folder,
        partial(described, name="pore", display_names={}, critical=True),
        by="Li",
        what="",
        first=lambda: CLASSES,
    )
    assert [[rule.rule for rule in report.refusals] for report in judged()] == [["recall/pore"]] * 2
    change_class_list(folder, partial(retired, name="pore"), by="Li", what="")
    assert all(report.passed for report in judged())


@pytest.mark.parametrize("who", ["1", "2"])
def test_another_file_than_the_evaluated_one_is_not_released(folder: ObjectStore, signer: Signer, who: str):
    register(folder, "1", "2")
    release(folder, signer, compared(folder, "1", None))
    what = compared(folder, "2", "1")
    side = "champion" if who == "1" else "candidate"
    changed = getattr(what, side).model_copy(update={"onnx_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match=f"line/{who} was evaluated with another model.onnx"):
        release(folder, signer, what.model_copy(update={side: changed}))


def test_a_champion_that_moved_is_refused(folder: ObjectStore, signer: Signer):
    register(folder, "1", "2", "3")
    stale = compared(folder, "3", "1")
    with pytest.raises(ChampionMovedError, match="does not exist, yet 3 was compared with line/1"):
        release(folder, signer, stale)
    release(folder, signer, compared(folder, "1", None))
    release(folder, signer, compared(folder, "2", "1"))
    with pytest.raises(ChampionMovedError, match=r"serves line/2 \(release 2\) and .* compared with line/1"):
        release(folder, signer, stale)
    with pytest.raises(ChampionMovedError, match="compared with no champion"):
        release(folder, signer, compared(folder, "3", None))


def test_another_class_list_is_refused_from_the_registered_manifests(folder: ObjectStore, signer: Signer):
    register(folder, "1")
    register(folder, "2", class_names=("pore", "crack", "spatter"))
    release(folder, signer, compared(folder, "1", None))
    outcome = release(folder, signer, compared(folder, "2", "1"))
    assert [rule.rule for rule in outcome.report.refusals] == ["class_list"]


def test_a_manifest_changed_after_its_evaluation_is_not_promoted(folder: ObjectStore, signer: Signer):
    register(folder, "1")
    what = compared(folder, "1", None)
    manifest = manifest_of(folder, "1")

    class Swapping(ForwardingStore):
        """Swaps the manifest as soon as the report is stored."""

        def put(self, key: str, data: Payload) -> ObjectInfo:
            info = super().put(key, data)
            replace_manifest(folder, "1", manifest.model_copy(update={"class_names": ("x", "y", "z")}))
            return info

    with pytest.raises(IntegrityError, match="not the manifest that was released"):
        release(Swapping(folder), signer, what)


def test_a_crash_anywhere_converges(folder: ObjectStore, signer: Signer, tmp_path: Any):
    from yolo_assets.storage import open_store

    crashes = 0
    for fail_at in range(1, 9):
        store = open_store((tmp_path / f"s{fail_at}").as_uri())
        register(store, "1", "2")
        release(store, signer, compared(store, "1", None))
        what = compared(store, "2", "1")
        failing = failing_write(store, fail_at, after=fail_at % 2 == 0)
        try:
            release(failing, signer, what)
        except StoreUnavailableError:
            crashes += 1
        again = release(store, signer, what)
        assert again.pointer is not None
        assert again.pointer.version == "2"
        assert release(store, signer, what).pointer == again.pointer
    assert crashes == 7  # report, two manifest signatures, history, two pointer signatures, pointer


# By hand -------------------------------------------------------------------------------------------------------------


def test_a_promotion_by_hand_shows_the_gates_decision(folder: ObjectStore, signer: Signer):
    register(folder, "1", "2", "3")
    manual = by_hand(folder, signer, "1", unjudged=True)
    assert (manual.pointer.forced, manual.pointer.unjudged) == (False, True)
    assert "line/1 never went through the gate" in manual.gate
    assert manual.pointer.reason == "trial (by hand, no gate report)"
    release(folder, signer, compared(folder, "2", "1"))
    by_hand(folder, signer, "1", unjudged=True)
    manual = by_hand(folder, signer, "2")
    assert (manual.pointer.forced, manual.pointer.unjudged) == (False, False)
    assert "passes the gate" in manual.gate
    assert manual.pointer.reason == "trial (by hand, gate passed)"
    assert manual.pointer.expected is not None and manual.pointer.expected.against == "line/1"
    release(folder, signer, compared(folder, "3", "2", map50=around(0.4)))
    with pytest.raises(GateRefusedError, match=r"line/3 is refused .*--force"):
        by_hand(folder, signer, "3")
    manual = by_hand(folder, signer, "3", force=True)
    assert (manual.pointer.forced, manual.pointer.unjudged) == (True, False)
    assert "is refused" in manual.gate
    assert manual.pointer.reason == "trial (by hand, gate overridden)"
    assert manual.pointer.expected is None, "what made the gate refuse is what the box must not overlook"


def test_a_changed_report_counts_as_a_refusal(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    register(folder, "1")
    release(folder, signer, compared(folder, "1", None, map50=around(0.4)))
    key = training_key(fingerprint("1"), "gate.json")
    folder.put(key, orjson.dumps(orjson.loads(folder.get(key)) | {"passed": True}))
    with pytest.raises(SignatureError, match="changed"):
        read_gate_report(Registry(folder, trusted), manifest_of(folder, "1"))
    with pytest.raises(GateRefusedError, match="cannot be trusted"):
        by_hand(folder, signer, "1")


def test_a_report_on_another_version_does_not_count(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    register(folder, "1")
    release(folder, signer, compared(folder, "1", None))
    manifest, files = byte_bundle("2", training_fingerprint=fingerprint("1"))
    Registry(folder).write_bundle(manifest, files)
    with pytest.raises(BadInputError, match="is about line/1"):
        read_gate_report(Registry(folder, trusted), manifest)
    other = manifest.model_copy(update={"version": "1", "files": manifest.files | {ONNX: entry(b"x")}})
    with pytest.raises(BadInputError, match="not about this line/1"):
        read_gate_report(Registry(folder, trusted), other)


def test_a_promotion_that_loses_a_race_changes_nothing(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    """The file is run before anything is written; what another process released meanwhile stays."""
    register(folder, "1", "2", "3")
    by_hand(folder, signer, "1", unjudged=True)

    def meanwhile(bundle: VerifiedBundle, run: bool) -> None:
        assert run and bundle.manifest.version == "2"
        by_hand(folder, signer, "3", unjudged=True)

    slow = Promoter(Registry(folder, trusted), signer, check=meanwhile)
    with pytest.raises(CasConflictError, match="was moved by another process"):
        promote_by_hand(slow, ReleaseRequest("line", "2", "stable", by="anna", reason="trial"), unjudged=True)
    pointer = Registry(folder, trusted).channel("line", "stable").pointer()
    assert pointer is not None and (pointer.version, pointer.unjudged) == ("3", True)


def test_flags_follow_a_rollback_and_end_with_a_judged_release(folder: ObjectStore, signer: Signer):
    register(folder, "1", "2")
    by_hand(folder, signer, "1", unjudged=True)
    second = release(folder, signer, compared(folder, "2", "1")).pointer
    assert second is not None and (second.forced, second.unjudged) == (False, False)
    assert b"unjudged" not in second.to_json(), "agents of version 0.1 refuse what they do not know"
    back = promoter(folder, signer).roll_back(RollbackRequest("line", "stable", by="anna", reason="worse"))
    assert (back.version, back.forced, back.unjudged) == ("1", False, True)
    assert b'"unjudged":true' in back.to_json()
