"""Signed notes, checkpoints and co-signatures: C2SP's own examples, and what is not as it was signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.checkpoint import (
    PLAIN,
    TIMED,
    Checkpoint,
    LogProof,
    Note,
    SignedCheckpoint,
    VerifierKey,
    cosign,
)
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.merkle import GrowingTree, MerkleTree, inclusion_proof, leaf_hash, merkle_root
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.trusted_key import TrustedKey
from yolo_assets_tests.catalog.receipt_factory import new_signer
from yolo_assets_tests.transparency.by_specification import checkpoint_lines, verified_times

KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
"""Both of c2sp.org/signed-note."""
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
).encode()
"""Of c2sp.org/tlog-cosignature."""
AT = datetime(2026, 3, 1, 4, 15, 7, tzinfo=UTC)


def test_the_examples_of_the_specifications() -> None:
    key, note = VerifierKey.parse(KEY, "key"), Note.parse(EXAMPLE, "note")
    assert (str(key), note.to_bytes(), key.fits(note.signatures[0])) == (KEY, EXAMPLE, True)
    assert key.verify(note.signatures[0], note.text, "note") is None
    cosigned = Note.parse(COSIGNED, "note")
    stated = Checkpoint.parse(cosigned.text, "note")
    assert (stated.origin, stated.size, stated.text()) == ("example.com/behind-the-sofa", 20852163, cosigned.text)
    assert cosigned.to_bytes() == COSIGNED
    assert cosigned.signatures[1].value[:8] == (1679315147).to_bytes(8, "big"), "the time that the text names"


def test_what_a_log_and_a_witness_sign_is_read_by_the_specification() -> None:
    log, witness = new_signer(), new_signer()
    signed = SignedCheckpoint.sign(Checkpoint("plant.example/log", 3, b"\7" * 32, ("more",)), log, AT)
    note = signed.note.signed_also([cosign(signed.note.text, "quality.example", witness, AT)])
    assert verified_times(note.to_bytes(), "plant.example/log", log.public_bytes()) == {1: None, 4: 1772338507}
    assert verified_times(note.to_bytes(), "quality.example", witness.public_bytes()) == {4: 1772338507}
    assert checkpoint_lines(note.to_bytes()) == ("plant.example/log", 3, b"\7" * 32)
    read = SignedCheckpoint.parse(note.to_bytes(), TrustedKeys.of(new_signer(), log), "note")
    assert (read.checkpoint, read.at, read.key_id) == (signed.checkpoint, AT, log.key_id)
    key = VerifierKey("quality.example", TIMED, witness.private.public_key())
    assert [one.at for one in read.cosigned_by([VerifierKey.parse(str(key), "key")], "note")] == [AT]
    assert read.cosigned_by([VerifierKey("other.example", TIMED, witness.private.public_key())], "note") == []
    with pytest.raises(SignatureError, match=r"not signed by a key that is trusted here as that of plant\.example/log"):
        SignedCheckpoint.parse(note.to_bytes(), TrustedKeys.of(witness), "note")


def test_a_log_key_counts_for_its_time_only() -> None:
    log = new_signer()
    note = SignedCheckpoint.sign(Checkpoint("plant.example/log", 3, b"\7" * 32), log, AT).note.to_bytes()
    key = TrustedKey(log.private.public_key(), revoked_at=AT + timedelta(days=1))
    assert SignedCheckpoint.parse(note, TrustedKeys({log.key_id: key}), "note").at == AT
    later = AT + timedelta(seconds=1)
    for limited in (replace(key, revoked_at=AT), replace(key, not_after=AT), replace(key, not_before=later)):
        with pytest.raises(SignatureError, match=f"signed by key {log.key_id}, which"):
            SignedCheckpoint.parse(note, TrustedKeys({log.key_id: limited}), "note")


@given(st.data())
def test_one_changed_byte_of_a_checkpoint_is_found(data: st.DataObject) -> None:
    log = new_signer()
    note = SignedCheckpoint.sign(Checkpoint("plant.example/log", 300, b"\7" * 32), log, AT).note.to_bytes()
    place = data.draw(st.integers(0, len(note) - 1))
    changed = note[:place] + bytes([note[place] ^ data.draw(st.integers(1, 255))]) + note[place + 1 :]
    with pytest.raises(SignatureError):
        SignedCheckpoint.parse(changed, TrustedKeys.of(log), "note")


@pytest.mark.parametrize(
    "text",
    ["", "x", "x\n\n", "x\n\n— a b\n", "x\n\n— a AAAAAAAAAA==", "\rx\n\n— a AAAAAAAAAA==\n", "x\n\n- a AAAAAAAAAA==\n"],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        Note.parse(text.encode(), "file")


@pytest.mark.parametrize("text", ["a\n1\n", "a\n01\nAAAA\n", "a\n1\nAAAA\n", "a\n\n1\n", f"a\n-1\n{'A' * 43}=\n"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(SignatureError):
        Checkpoint.parse(text, "file")


def test_a_key_with_another_number_and_a_name_with_a_blank_are_refused() -> None:
    with pytest.raises(SignatureError, match="damaged"):
        VerifierKey.parse(KEY.replace("530d", "530e"), "key")
    with pytest.raises(SignatureError, match="name\\+1a2b3c4d"):
        VerifierKey.parse("example.com/foo", "key")
    with pytest.raises(BadInputError, match="without blanks"):
        cosign("a\n1\n", "my witness", new_signer(), AT)
    assert VerifierKey.parse(KEY, "key").kind == PLAIN


def test_a_proof_is_written_and_read_again() -> None:
    proof = LogProof(5, (b"\1" * 32, b"\2" * 32), COSIGNED)
    assert LogProof.parse(proof.to_bytes(), "proof") == proof
    for bad in (COSIGNED, proof.to_bytes().replace(b"index 5", b"index 05"), proof.to_bytes().replace(b"v1", b"v2")):
        with pytest.raises(SignatureError):
            LogProof.parse(bad, "proof")


@given(st.lists(st.integers(0, 9), max_size=7), st.data())
def test_a_growing_tree_and_a_whole_one_agree(steps: list[int], data: st.DataObject) -> None:
    growing, leaves = GrowingTree(), list[bytes]()
    for count in steps:
        added = [leaf_hash(bytes([len(leaves) + n])) for n in range(count)]
        growing.extend(added)
        leaves += added
        growing = GrowingTree(growing.size, growing.nodes)
        assert (growing.size, growing.root) == (len(leaves), merkle_root(leaves))
    assert MerkleTree(leaves).root == merkle_root(leaves)
    if leaves:
        index = data.draw(st.integers(0, len(leaves) - 1))
        assert MerkleTree(leaves).inclusion_proof(index) == inclusion_proof(leaves, index)
