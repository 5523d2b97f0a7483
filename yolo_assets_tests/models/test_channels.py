"""Channels move forward only, by the holder of the key; at every moment readers find a pointer that verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.dsse import KEPT_ENVELOPES, EnvelopeSet
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.model import ONNX, ChannelPointer
from yolo_assets.contracts.names import channel_history_key, channel_key, envelope_key, model_key, signature_key
from yolo_assets.contracts.old_signatures import KEPT_SIGNATURES, SignatureSet
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.models.promotion import Promoter, ReleaseRequest, RollbackRequest
from yolo_assets.models.registry import Registry
from yolo_assets.storage import CasConflictError, ObjectNotFoundError, ObjectStore, StoreUnavailableError, open_store
from yolo_assets.storage.faults import FaultyStore, StoreCall, fail
from yolo_assets_tests.models.release_support import (
    POINTER,
    WRITING,
    byte_bundle,
    entry,
    failing_write,
    promoter_of,
    replace_manifest,
    write,
)


def promoter(store: ObjectStore, signer: Signer, trusted: TrustedKeys | None = None) -> Promoter:
    return promoter_of(Registry(store, trusted or TrustedKeys.of(signer)), signer)


def promote(
    store: ObjectStore,
    signer: Signer,
    version: str,
    channel: str = "stable",
    trusted: TrustedKeys | None = None,
    **more: Any,
) -> ChannelPointer:
    request = ReleaseRequest("line", version, channel, by="anna", reason=f"try {version}", **more)
    return promoter(store, signer, trusted).promote(request)


def rollback(store: ObjectStore, signer: Signer, trusted: TrustedKeys | None = None, **more: Any) -> ChannelPointer:
    request = RollbackRequest("line", "stable", by="ben", reason="worse", **more)
    return promoter(store, signer, trusted).roll_back(request)


def serving(store: ObjectStore, trusted: TrustedKeys, channel: str = "stable") -> ChannelPointer:
    """What an agent does: pointer verified, then the bundle that it names, verified down to the bytes."""
    registry = Registry(store, trusted)
    pointer = registry.channel("line", channel).pointer()
    assert pointer is not None
    registry.read_bundle("line", pointer.version, manifest_sha256=pointer.manifest_sha256)
    return pointer


def states(store: ObjectStore, trusted: TrustedKeys) -> list[tuple[int, str, str]]:
    past = Registry(store, trusted).channel("line", "stable").history()
    assert past.rejected == {}
    return [(r.entry.pointer.release, r.entry.pointer.version, r.state) for r in past.releases]


def test_a_channel_serves_what_was_promoted_last(store: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(store, "1", "2")
    assert Registry(store, trusted).channel("line", "stable").pointer() is None
    first = promote(store, signer, "1")
    assert serving(store, trusted) == first
    second = promote(store, signer, "2")
    promote(store, signer, "1", "canary")
    assert serving(store, trusted) == second
    assert (second.release, second.previous_version, second.moved_by, second.reason) == (2, "1", "anna", "try 2")
    assert serving(store, trusted, "canary").release == 1
    assert states(store, trusted) == [(1, "1", "served"), (2, "2", "serving")]
    assert Registry(store).channel_names("line") == ["canary", "stable"]


def test_promoting_what_is_served_changes_nothing(folder: ObjectStore, signer: Signer):
    write(folder, "1")
    first = promote(folder, signer, "1")
    watched = FaultyStore(folder)
    assert promote(watched, signer, "1", expected_release=0) == first
    assert watched.keys(*WRITING) == []


def test_what_is_served_but_damaged_is_reported_even_then(folder: ObjectStore, signer: Signer):
    write(folder, "1")
    promote(folder, signer, "1")
    folder.put(model_key("line", "1", ONNX), b"x")
    with pytest.raises(IntegrityError, match=ONNX):
        promote(folder, signer, "1")


@pytest.mark.parametrize("file", [ONNX, "weights.pt", "golden/000.jpg"])
def test_a_damaged_bundle_is_not_promoted(folder: ObjectStore, signer: Signer, trusted: TrustedKeys, file: str):
    write(folder, "1", "2")
    promote(folder, signer, "1")
    folder.put(model_key("line", "2", file), b"x")
    with pytest.raises(IntegrityError, match=file):
        promote(folder, signer, "2")
    assert serving(folder, trusted).version == "1"
    assert folder.head(model_key("line", "2", "manifest.json.sig")) is None


def test_a_bundle_without_manifest_is_not_promoted(folder: ObjectStore, signer: Signer):
    folder.put(model_key("line", "1", ONNX), b"x")
    with pytest.raises(ObjectNotFoundError, match="no model line/1"):
        promote(folder, signer, "1")


def test_a_move_needs_a_name_and_a_reason(folder: ObjectStore, signer: Signer):
    write(folder, "1")
    with pytest.raises(BadInputError, match="who moves the channel and why"):
        promoter(folder, signer).promote(ReleaseRequest("line", "1", "stable", by="anna", reason=" "))
    with pytest.raises(BadInputError, match="not a channel"):
        promote(folder, signer, "1", "../stable")


def test_a_decision_made_on_an_older_release_is_refused(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1", "2", "3")
    promote(folder, signer, "1", expected_release=0)
    promote(folder, signer, "2", expected_release=1)
    with pytest.raises(CasConflictError, match="at release 2 and not at 1"):
        promote(folder, signer, "3", expected_release=1)
    assert states(folder, trusted) == [(1, "1", "served"), (2, "2", "serving")]


# Roll-back ---------------------------------------------------------------------------------------------------------


def test_rolling_back_goes_one_further_each_time(store: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(store, "1", "2", "3", "4")
    for version in "123":
        promote(store, signer, version)
    assert (rollback(store, signer).version, rollback(store, signer).version) == ("2", "1")
    with pytest.raises(BadInputError, match="never served anything before 1"):
        rollback(store, signer)
    promote(store, signer, "4")
    back = rollback(store, signer)
    assert (back.version, back.release, back.previous_version) == ("1", 7, "4")
    assert serving(store, trusted) == back


def test_rolling_back_undoes_the_promotion_of_an_old_version(folder: ObjectStore, signer: Signer):
    write(folder, "1", "2")
    for version in "121":
        promote(folder, signer, version)
    assert rollback(folder, signer).version == "2"


def test_rolling_back_to_a_version(folder: ObjectStore, signer: Signer):
    write(folder, "1", "2", "3", "4")
    for version in "123":
        promote(folder, signer, version)
    back = rollback(folder, signer, to_version="1")
    assert (back.version, back.release) == ("1", 4)
    assert rollback(folder, signer, to_version="1") == back  # again, after an answer that was lost
    with pytest.raises(BadInputError, match="never served 4"):
        rollback(folder, signer, to_version="4")
    with pytest.raises(CasConflictError, match="at release 4 and not at 3"):
        rollback(folder, signer, to_version="2", expected_release=3)


def test_rolling_back_without_a_channel(folder: ObjectStore, signer: Signer):
    with pytest.raises(BadInputError, match="has no channel stable"):
        rollback(folder, signer)


def test_a_rollback_releases_the_bytes_of_then(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1", "2")
    promote(folder, signer, "1")
    promote(folder, signer, "2")
    manifest, _ = byte_bundle("1")
    evil = b"evil model"
    folder.put(model_key("line", "1", ONNX), evil)
    replace_manifest(folder, "1", manifest.model_copy(update={"files": manifest.files | {ONNX: entry(evil)}}))
    with pytest.raises(IntegrityError, match="not the manifest that was released"):
        rollback(folder, signer)
    assert serving(folder, trusted).version == "2"


# Crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("move", [promote, rollback], ids=["promote", "rollback"])
def test_a_crash_at_any_write_leaves_a_pointer_that_verifies_and_converges(
    tmp_path: Path, signer: Signer, trusted: TrustedKeys, move: Any, after: bool
):
    crashed_at: list[str] = []
    for fail_at in range(1, 9):
        folder = open_store((tmp_path / f"store{fail_at}").as_uri())
        write(folder, "1", "2", "3")
        promote(folder, signer, "1")
        before = promote(folder, signer, "2")
        wanted = {"version": "3"} if move is promote else {"to_version": "1"}
        failing = failing_write(folder, fail_at, after=after)
        try:
            move(failing, signer, **wanted)
        except StoreUnavailableError:
            crashed_at.append(failing.keys(*WRITING)[-1])
            assert serving(folder, trusted).version in ("2", "3", "1")
            if channel_key("line", "stable") not in failing.keys(*WRITING):
                assert serving(folder, trusted) == before
        end = move(folder, signer, **wanted)
        assert serving(folder, trusted) == end
        assert end.release > before.release
        chain = [(n, version) for n, version, state in states(folder, trusted) if state != "unconfirmed"]
        assert chain == [(1, "1"), (2, "2"), (end.release, end.version)]
    # The step list of the docstring; a roll-back finds the manifest signed already.
    manifest = f"models/line/{'3' if move is promote else '1'}/manifest.json"
    signs_manifest = [envelope_key(manifest), signature_key(manifest)] if move is promote else []
    signs_pointer = [envelope_key(POINTER), signature_key(POINTER)]
    assert crashed_at == [*signs_manifest, channel_history_key("line", "stable", 3), *signs_pointer, POINTER]


def test_dying_promotions_never_push_out_the_serving_signature(
    folder: ObjectStore, signer: Signer, trusted: TrustedKeys
):
    write(folder, "1", "2")
    promote(folder, signer, "1")
    for _ in range(KEPT_SIGNATURES + 4):
        # its writes: two manifest signatures (the first time), history, two pointer signatures, pointer
        first_time = folder.head(model_key("line", "2", "manifest.json.sig")) is None
        failing = failing_write(folder, 6 if first_time else 4)
        with pytest.raises(StoreUnavailableError):
            promote(failing, signer, "2")
        assert failing.keys(*WRITING)[-1] == POINTER
        assert serving(folder, trusted).version == "1"
    assert len(SignatureSet.from_json(folder.get(signature_key(POINTER))).signatures) == KEPT_SIGNATURES
    assert len(EnvelopeSet.parse(folder.get(envelope_key(POINTER))).envelopes) == KEPT_ENVELOPES
    assert promote(folder, signer, "2").release == KEPT_SIGNATURES + 6


def test_a_swap_whose_answer_was_lost_still_counts(folder: ObjectStore, signer: Signer, trusted: TrustedKeys):
    write(folder, "1")

    def lost(_: StoreCall) -> CasConflictError:
        return CasConflictError("a retry below found its own first try")

    deaf = FaultyStore(folder, fail("compare_and_swap", key=POINTER, times=None, effect="after", error=lost))
    assert promote(deaf, signer, "1") == serving(folder, trusted)
