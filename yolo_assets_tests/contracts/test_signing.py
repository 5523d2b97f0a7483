from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.base import canonical_json
from yolo_assets.contracts.dsse import KEPT_ENVELOPES, EnvelopeSet
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.old_signatures import KEPT_SIGNATURES, SignatureSet
from yolo_assets.contracts.signing import Signer, TrustedKeys, create_key_pairs
from yolo_assets_tests.support.signed import sealed, signed_by_0_1

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
    assert trusted.open(first.seal(b"bytes", "receipt"), "receipt", "it").payload == b"bytes"
    assert sorted(p.name for p in path.parent.iterdir()) == ["promotion", "promotion.pub"]


@given(documents, documents)
def test_a_signed_document_verifies_and_no_other_content_does(document: dict, other: dict) -> None:
    signer = _signer()
    trusted = TrustedKeys.of(signer)
    signed = signed_by_0_1(signer, document)
    trusted.open_document(orjson.dumps(signed), "receipt", "the receipt")
    changed = {**other, "signature": signed["signature"]}
    if {k: v for k, v in other.items() if k != "signature"} != {k: v for k, v in document.items() if k != "signature"}:
        with pytest.raises(SignatureError):
            trusted.open_document(orjson.dumps(changed), "receipt", "the receipt")
    envelope, another = sealed(signer, document, "receipt"), sealed(signer, other, "receipt")
    assert trusted.open_document(envelope, "receipt", "it").payload == canonical_json(document)
    if document != other:
        mixed = orjson.loads(envelope) | {"payload": orjson.loads(another)["payload"]}
        with pytest.raises(SignatureError, match="does not fit"):
            trusted.open_document(canonical_json(mixed), "receipt", "it")
    with pytest.raises(SignatureError, match="not as a gate-report"):
        trusted.open_document(envelope, "gate-report", "it")


_CACHED: list[Signer] = []


def _signer() -> Signer:
    if not _CACHED:
        import tempfile

        _CACHED.append(Signer.load_or_create(Path(tempfile.mkdtemp()) / "key"))
    return _CACHED[0]


def test_a_signature_by_an_unknown_key_is_refused(signer: Signer, stranger: Signer) -> None:
    with pytest.raises(SignatureError, match="not trusted"):
        TrustedKeys.of(signer).open_document(sealed(stranger, {"a": 1}, "receipt"), "receipt", "it")
    with pytest.raises(SignatureError, match="not trusted"):
        TrustedKeys.of(signer).open_document(orjson.dumps(signed_by_0_1(stranger, {"a": 1})), "receipt", "it")
    with pytest.raises(SignatureError, match="not signed"):
        TrustedKeys.of(signer).open_document(b'{"a": 1}', "receipt", "the receipt")


def test_a_set_verifies_old_and_new_bytes_and_stays_small(signer: Signer, stranger: Signer) -> None:
    trusted = TrustedKeys.of(signer)
    signatures, envelopes = SignatureSet(), EnvelopeSet()
    for number in range(KEPT_SIGNATURES + 5):
        signatures = signatures.with_signature(signer.sign_detached(b"%d" % number))
        envelopes = envelopes.with_envelope(signer.seal(b"%d" % number, "channel-pointer"))
    assert len(signatures.signatures) == KEPT_SIGNATURES == KEPT_ENVELOPES == len(envelopes.envelopes)
    both = signatures.with_signature(stranger.sign_detached(b"20")).to_json()
    more = envelopes.with_envelope(stranger.seal(b"20", "channel-pointer")).to_bytes()
    for old, new in ((both, None), (None, more), (both, b"junk"), (b"junk", more)):
        for number in (KEPT_SIGNATURES + 4, KEPT_SIGNATURES + 3):
            trusted.verify_detached(b"%d" % number, "channel-pointer", "it", envelopes=new, signatures=old)
        for forged in (b"0", b"forged"):
            with pytest.raises(SignatureError):
                trusted.verify_detached(forged, "channel-pointer", "it", envelopes=new, signatures=old)
    with pytest.raises(SignatureError, match="not as a model-manifest"):
        trusted.verify_detached(b"20", "model-manifest", "it", envelopes=more, signatures=None)


def test_making_keys_again_keeps_them_and_says_so(tmp_path: Path) -> None:
    paths = [tmp_path / "keys" / "archiver", tmp_path / "keys" / "promotion"]
    first = create_key_pairs(paths)
    before = {path: path.read_bytes() for path in paths[0].parent.iterdir()}
    again = create_key_pairs(paths)
    assert [pair.created for pair in first] == [True, True] and [pair.created for pair in again] == [False, False]
    assert [pair.key_id for pair in again] == [pair.key_id for pair in first]
    assert {path: path.read_bytes() for path in paths[0].parent.iterdir()} == before


def test_a_damaged_pair_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path, other = tmp_path / "archiver", tmp_path / "promotion"
    create_key_pairs([path, other])
    public = tmp_path / "archiver.pub"
    public.write_bytes((tmp_path / "promotion.pub").read_bytes())
    with pytest.raises(BadInputError, match="not the public half"):
        create_key_pairs([path, other])
    public.write_bytes(b"junk")
    with pytest.raises(SignatureError, match="not a readable public key"):
        create_key_pairs([path, other])
    path.unlink()
    with pytest.raises(BadInputError, match="without its private key"):
        create_key_pairs([path, other])
    assert public.read_bytes() == b"junk" and not path.exists()


def test_a_missing_or_wrong_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="keygen"):
        Signer.load(tmp_path / "none")
    (tmp_path / "junk").write_text("not a key")
    with pytest.raises(SignatureError, match="not a readable"):
        Signer.load(tmp_path / "junk")
    with pytest.raises(SignatureError, match="no trusted key"):
        TrustedKeys.load([])


def test_a_key_out_of_an_evidence_pack_is_shown_never_trusted(tmp_path: Path) -> None:
    pack = Path(__file__).parents[1] / "signed_before" / "pack"
    (own, *_) = sorted((pack / "keys").glob("*.pub"))
    (tmp_path / "link.pub").symlink_to(own)
    for path in (own, pack / "keys", tmp_path / "link.pub"):
        with pytest.raises(SignatureError, match="lies in an evidence pack"):
            TrustedKeys.load([path])
    assert TrustedKeys.load([own], to_show=True).keys.keys() == {own.stem}
    (tmp_path / "copy.pub").write_bytes(own.read_bytes())
    assert TrustedKeys.load([tmp_path / "copy.pub"]).keys.keys() == {own.stem}
