from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import SignatureError
from yolo_assets.contracts.signing import KEPT_SIGNATURES, SignatureSet, Signer, TrustedKeys

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=6)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.load_or_create(tmp_path_factory.mktemp("keys") / "archiver")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.load_or_create(tmp_path_factory.mktemp("other") / "archiver")


def test_keys_are_private_kept_and_published(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "promotion"
    first = Signer.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer.load_or_create(path).key_id == first.key_id
    trusted = TrustedKeys.load([path.with_name("promotion.pub")])
    trusted.verify(b"bytes", first.sign(b"bytes"), "it")
    assert sorted(p.name for p in path.parent.iterdir()) == ["promotion", "promotion.pub"]


@given(documents, documents)
def test_a_signed_document_verifies_and_no_other_content_does(document: dict, other: dict) -> None:
    signer = _signer()
    trusted = TrustedKeys.of(signer)
    signed = signer.sign_document(document)
    trusted.verify_document(signed, "the receipt")
    changed = {**other, "signature": signed["signature"]}
    if {k: v for k, v in other.items() if k != "signature"} != {k: v for k, v in document.items() if k != "signature"}:
        with pytest.raises(SignatureError):
            trusted.verify_document(changed, "the receipt")


_CACHED: list[Signer] = []


def _signer() -> Signer:
    if not _CACHED:
        import tempfile

        _CACHED.append(Signer.load_or_create(Path(tempfile.mkdtemp()) / "key"))
    return _CACHED[0]


def test_a_signature_by_an_unknown_key_is_refused(signer: Signer, stranger: Signer) -> None:
    with pytest.raises(SignatureError, match="not trusted"):
        TrustedKeys.of(signer).verify_document(stranger.sign_document({"a": 1}), "the receipt")
    with pytest.raises(SignatureError, match="not signed"):
        TrustedKeys.of(signer).verify_document({"a": 1}, "the receipt")


def test_a_set_verifies_old_and_new_bytes_and_stays_small(signer: Signer, stranger: Signer) -> None:
    trusted = TrustedKeys.of(signer)
    signatures = SignatureSet()
    for number in range(KEPT_SIGNATURES + 5):
        signatures = signatures.with_signature(signer.sign_detached(b"%d" % number))
    assert len(signatures.signatures) == KEPT_SIGNATURES
    trusted.verify_detached(b"%d" % (KEPT_SIGNATURES + 4), signatures, "the pointer")
    trusted.verify_detached(b"%d" % (KEPT_SIGNATURES + 3), signatures, "the pointer")
    for forged in (b"0", b"forged"):
        with pytest.raises(SignatureError):
            trusted.verify_detached(forged, signatures, "the pointer")
    both = signatures.with_signature(stranger.sign_detached(b"20"))
    trusted.verify_detached(b"20", both, "the pointer")


def test_a_missing_or_wrong_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="keygen"):
        Signer.load(tmp_path / "none")
    (tmp_path / "junk").write_text("not a key")
    with pytest.raises(SignatureError, match="not a readable"):
        Signer.load(tmp_path / "junk")
    with pytest.raises(SignatureError, match="no trusted key"):
        TrustedKeys.load([])
