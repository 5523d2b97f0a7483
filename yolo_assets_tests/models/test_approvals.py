"""k of n people approve a release, each with an own key; what was signed for one release counts for no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from yolo_assets.contracts.dsse import Envelope
from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.names import proposal_key
from yolo_assets.contracts.plant import load_plant
from yolo_assets.contracts.releasing import People
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.signing import Signer, TrustedKeys, create_key_pairs
from yolo_assets.models.approvals import Approvals, ApprovalsMissingError
from yolo_assets.models.promotion import Promoter, ReleaseRequest, RollbackRequest
from yolo_assets.models.registry import Registry
from yolo_assets_tests.models.release_support import write


@pytest.fixture
def people(tmp_path: Path) -> dict[str, Signer]:
    paths = {name: tmp_path / "people" / name for name in ("anna", "ben", "cem", "stranger")}
    create_key_pairs(list(paths.values()))
    (tmp_path / "plant.yaml").write_text(
        "people:\n  needed: 2\n  keys: {anna: people/anna.pub, ben: people/ben.pub, cem: people/cem.pub}\n"
    )
    return {name: Signer.load(path) for name, path in paths.items()}


@pytest.fixture
def approvals(people, tmp_path, folder, trusted) -> Approvals:
    section = load_plant(Settings(home=tmp_path)).people
    assert section is not None
    return Approvals(folder, section, trusted)


@pytest.fixture
def promoter(folder, signer, trusted, approvals) -> Promoter:
    write(folder, "v1", "v2")
    return Promoter(Registry(folder, trusted), signer, check=lambda bundle, run: None, approvals=approvals)


def request(version: str = "v1") -> ReleaseRequest:
    return ReleaseRequest("line", version, "stable", "dagster", "passes the gate")


def approved(promoter: Promoter, approvals: Approvals, people, version: str, *names: str) -> None:
    with pytest.raises(ApprovalsMissingError):
        promoter.promote(request(version))
    for name in names:
        approvals.approve("line", "stable", version, people[name])


def test_two_of_three_people_and_their_names_are_kept(promoter, approvals, people) -> None:
    with pytest.raises(ApprovalsMissingError, match=r"waits for 2 more of 2 approvals.*nobody"):
        promoter.promote(request())
    assert not approvals.approve("line", "stable", "v1", people["anna"]).complete
    assert approvals.approve("line", "stable", "v1", people["anna"]).approved_by == ("anna",), "a key counts once"
    with pytest.raises(ApprovalsMissingError, match=r"1 more of 2 .*anna"):
        promoter.promote(request())
    with pytest.raises(BadInputError, match="belongs to nobody"):
        approvals.approve("line", "stable", "v1", people["stranger"])
    assert approvals.approve("line", "stable", "v1", people["cem"]).complete
    signed = r"passes the gate \(signed by anna: approved, 20[\d-]+T[\d:.]+Z; cem: approved, 20[\d-]+T[\d:.]+Z\)"
    assert re.fullmatch(signed, promoter.promote(request()).reason), "name, meaning and time, as in 21 CFR 11.50"


def test_a_signature_has_a_meaning_and_a_time_of_its_own(promoter, approvals, people, folder) -> None:
    approved(promoter, approvals, people, "v1")
    approvals.approve("line", "stable", "v1", people["anna"], "reviewed")
    with pytest.raises(BadInputError, match="signed line/v1 as reviewed already"):
        approvals.approve("line", "stable", "v1", people["anna"], "responsible")
    status = approvals.approve("line", "stable", "v1", people["ben"], "responsible")
    assert [(one.name, one.meaning) for one in status.signatures] == [("anna", "reviewed"), ("ben", "responsible")]
    assert all(one.at is not None and one.at >= status.proposal.proposed_at for one in status.signatures)
    assert status.in_words() in promoter.promote(request()).reason
    # Without its statement, or with one that another key signed, the name alone is known.
    (anna, ben) = [info.key for info in folder.list("channels/line/approvals/")]
    if people["anna"].key_id not in anna:
        anna, ben = ben, anna
    folder.put(ben, folder.get(anna))
    folder.delete(anna)
    left = approvals.status("line", "stable", "v1")
    assert [(one.name, one.meaning, one.at) for one in left.signatures] == [("anna", None, None), ("ben", None, None)]


def test_an_approval_is_of_one_release_only(promoter, approvals, people, folder, signer) -> None:
    approved(promoter, approvals, people, "v1", "anna", "ben")
    promoter.promote(request())
    with pytest.raises(ApprovalsMissingError):
        promoter.promote(request("v2"))
    # Signatures of v1 under v2's name, and a proposal that promotion did not sign.
    old, new = (proposal_key("line", "stable", version) for version in ("v1", "v2"))
    first, second = (Envelope.parse(folder.get(key), key) for key in (old, new))
    folder.put(new, second.model_copy(update={"signatures": (*second.signatures, *first.signatures[1:])}).to_json())
    status = approvals.status("line", "stable", "v2")
    assert status is not None and status.approved_by == ()
    alone = people["anna"].seal(second.content(new), "release-proposal")
    folder.put(new, people["ben"].co_sign(alone, "release-proposal", new).to_json())
    with pytest.raises(SignatureError, match="not trusted here"):
        approvals.status("line", "stable", "v2")
    # A new release of a version that was approved once: the channel was elsewhere meanwhile.
    approved(promoter, approvals, people, "v2", "ben", "cem")
    promoter.promote(request("v2"))
    with pytest.raises(ApprovalsMissingError):
        promoter.promote(request("v1"))
    assert promoter.roll_back(RollbackRequest("line", "stable", "ben", "urgent")).version == "v1"


def test_one_key_under_two_names_is_refused(people, tmp_path, folder, trusted) -> None:
    key = str(tmp_path / "people" / "anna.pub")
    with pytest.raises(SignatureError, match="would count twice"):
        Approvals(folder, People(needed=2, keys={"anna": key, "ben": key}), trusted)
    (tmp_path / "plant.yaml").write_text("people: {needed: 3, keys: {anna: a.pub}}\n")
    with pytest.raises(BadInputError, match="only 1 people are listed"):
        load_plant(Settings(home=tmp_path))


def test_signatures_of_people_are_found_by_openssl(promoter, approvals, people, folder, tmp_path) -> None:
    import base64
    import subprocess

    approved(promoter, approvals, people, "v1", "anna", "ben")
    key = proposal_key("line", "stable", "v1")
    envelope = Envelope.parse(folder.get(key), key)
    payload = base64.b64decode(envelope.payload)
    kind = envelope.payload_type.encode()
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    for name, signature in zip(("anna", "ben"), envelope.signatures[1:], strict=True):
        (tmp_path / "sig").write_bytes(base64.b64decode(signature.sig))
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "people" / f"{name}.pub", "-rawin"]
        subprocess.run([*command, "-in", tmp_path / "signed", "-sigfile", tmp_path / "sig"], check=True)
    assert TrustedKeys.of(people["anna"]).signers(envelope, "release-proposal", key) == {people["anna"].key_id}
