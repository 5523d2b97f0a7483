"""For which time a trusted key counts: by the time that is signed, after a revocation by what a checkpoint holds."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from yolo_assets.contracts.dsse import EnvelopeSet
from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets_tests.support.signed import sealed, signed_by_0_1

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BEFORE, AFTER = "2026-06-01T11:59:59Z", "2026-06-01T12:00:00Z"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.load_or_create(tmp_path / "archiver")


def limited(signer: Signer, folder: Path, *lines: str) -> TrustedKeys:
    """The key as an operator names it, with these lines above it."""
    path = folder / "limited.pub"
    path.write_bytes("".join(f"{line}\n" for line in lines).encode() + signer.public_pem())
    return TrustedKeys.load([path])


def test_the_time_that_is_signed_decides(signer: Signer, tmp_path: Path) -> None:
    early, late = (sealed(signer, {"verified_at": at}, "receipt") for at in (BEFORE, AFTER))
    ended = limited(signer, tmp_path, "not-after: 2026-06-01T12:00:00Z")
    begun = limited(signer, tmp_path, "Archiver of line A", "Not-Before: 2026-06-01T14:00:00+02:00")
    assert ended.open_document(early, "receipt", "it") and begun.open_document(late, "receipt", "it")
    with pytest.raises(SignatureError, match="counted until 2026-06-01T12:00:00"):
        ended.open_document(late, "receipt", "it")
    with pytest.raises(SignatureError, match="counts from 2026-06-01T12:00:00"):
        begun.open_document(early, "receipt", "it")


def test_every_form_of_signature_is_judged_by_its_time(signer: Signer, tmp_path: Path) -> None:
    ended = limited(signer, tmp_path, "not-after: 2026-06-01T12:00:00Z")
    for at, counts in ((BEFORE, True), (AFTER, False)):
        data = orjson.dumps({"moved_at": at})
        envelopes = EnvelopeSet().with_envelope(signer.seal(data, "channel-pointer")).to_bytes()
        signatures = orjson.dumps({"signatures": [orjson.loads(signer.sign_detached(data).to_json())]})
        old = orjson.dumps(signed_by_0_1(signer, {"verified_at": at}))
        tried = [
            lambda data=data, found=envelopes: ended.verify_detached(
                data, "channel-pointer", "it", envelopes=found, signatures=None
            ),
            lambda data=data, found=signatures: ended.verify_detached(
                data, "channel-pointer", "it", envelopes=None, signatures=found
            ),
            lambda old=old: ended.open_document(old, "receipt", "it"),
        ]
        for verify in tried:
            if counts:
                verify()
            else:
                with pytest.raises(SignatureError, match="counted until"):
                    verify()
        proposal = signer.seal(orjson.dumps({"proposed_at": at}), "release-proposal")
        assert bool(ended.signers(proposal, "release-proposal", "it")) is counts


def test_a_document_that_names_no_time_where_it_must_is_refused(signer: Signer, tmp_path: Path) -> None:
    nameless = sealed(signer, {"hour": "20260601_12"}, "receipt")
    assert TrustedKeys.of(signer).open_document(nameless, "receipt", "it")
    with pytest.raises(SignatureError, match="has no verified_at, so it is not known when it was signed"):
        limited(signer, tmp_path, "not-after: 2030-01-01T00:00:00Z").open_document(nameless, "receipt", "it")


def test_a_manifest_may_be_signed_after_it_was_made(signer: Signer, tmp_path: Path) -> None:
    begun = limited(signer, tmp_path, "not-before: 2026-06-01T12:00:00Z")
    assert begun.open(signer.seal(orjson.dumps({"created_at": BEFORE}), "model-manifest"), "model-manifest", "it")


def test_after_a_revocation_a_checkpoint_from_before_decides(signer: Signer, tmp_path: Path) -> None:
    held, forged = (sealed(signer, {"verified_at": BEFORE, "n": n}, "receipt") for n in (1, 2))
    revoked = limited(signer, tmp_path, "revoked-at: 2026-06-01T12:00:00Z")
    for keys in (revoked, revoked.with_checkpoints(lambda _: None), revoked.with_checkpoints(lambda _: NOON)):
        with pytest.raises(SignatureError, match="and no checkpoint from before"):
            keys.open_document(held, "receipt", "it")
    checkpoints = {hashlib.sha256(held).hexdigest(): NOON - timedelta(hours=1)}
    known = revoked.with_checkpoints(checkpoints.get)
    assert known.open_document(held, "receipt", "it")
    with pytest.raises(SignatureError, match="no checkpoint from before then holds it"):
        known.open_document(forged, "receipt", "it")
    assert known.also(TrustedKeys({})).open_document(held, "receipt", "it")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["not_after: 2026-06-01T12:00:00Z"], "is not understood; there are not-before, not-after, revoked-at"),
        (["not-after: tomorrow"], "not-after: "),
        (["not-after: 2026-06-01T12:00:00Z"] * 2, "is not understood"),
    ],
)
def test_a_misspelt_time_above_a_key_is_refused(signer: Signer, tmp_path: Path, lines: list[str], told: str) -> None:
    with pytest.raises(SignatureError, match=told):
        limited(signer, tmp_path, *lines)


def test_openssl_reads_a_key_with_times(signer: Signer, tmp_path: Path) -> None:
    limited(signer, tmp_path, "not-before: 2026-01-01T00:00:00Z", "not-after: 2028-01-01T00:00:00Z")
    read = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", tmp_path / "limited.pub", "-outform", "DER"],
        capture_output=True,
        check=True,
    )
    assert read.stdout[-32:] == signer.public_bytes()


def test_one_key_with_two_times_is_refused(signer: Signer, tmp_path: Path) -> None:
    limited(signer, tmp_path, "not-after: 2028-01-01T00:00:00Z")
    with pytest.raises(SignatureError, match="with other times; leave one of the files"):
        TrustedKeys.load([tmp_path])
