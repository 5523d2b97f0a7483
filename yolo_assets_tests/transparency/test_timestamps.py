"""Time stamps by ``openssl ts`` as the authority, behind a small HTTP server, checked by openssl and by us."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from yolo_assets.contracts.errors import BadInputError, SignatureError
from yolo_assets.contracts.times import utc_now
from yolo_assets.transparency.checkpointing import stamp_checkpoint
from yolo_assets.transparency.timestamps import AuthorityError, load_roots, request_token, stamped_at
from yolo_assets.transparency.verification import Others, verify_history
from yolo_assets_tests.transparency.authority import Authority, openssl
from yolo_assets_tests.transparency.logged_plant import LoggedPlant


def test_a_checkpoint_is_stamped_and_openssl_verifies_it(authority: Authority, tmp_path: Path) -> None:
    plant, now = LoggedPlant(tmp_path / "plant"), utc_now()
    plant.add(verified_at=now)
    made = plant.checkpoint(now)
    stamp_checkpoint(plant.opened, made.stored, authority.url)
    archive = tmp_path / "plant" / "archive" / "checkpoints"
    said = openssl(archive, "ts", "-verify", "-data", "00000001.checkpoint", "-in", "00000001.tsr", "-CAfile",
                   str(authority.roots))  # fmt: skip
    assert said.strip() in (b"Verification: OK", b"")
    roots = load_roots(authority.roots)
    history = verify_history(plant.opened, plant.receipts(), Others(roots=roots), now)
    assert history.findings == []
    at = history.checkpoints[0].stamped_at
    assert at is not None and abs(at - now) < timedelta(minutes=10)

    other = Authority(tmp_path / "other")
    other.server.shutdown()
    other.server.server_close()
    wrong = verify_history(plant.opened, plant.receipts(), Others(roots=load_roots(other.roots)), now)
    assert wrong.findings[0].kind == "unstamped"
    token = plant.archive.get("checkpoints/00000001.tsr")
    for data, given in ((made.stored.data + b"x", token), (made.stored.data, token[:-40] + bytes(40)), (b"a", b"b")):
        with pytest.raises(SignatureError):
            stamped_at(given, data, roots, "token")


def test_a_log_that_is_made_later_has_stamps_of_later(authority: Authority, tmp_path: Path) -> None:
    plant, now = LoggedPlant(tmp_path / "plant"), utc_now()
    plant.add(verified_at=now - timedelta(days=30))
    made = plant.checkpoint(now - timedelta(days=29))
    stamp_checkpoint(plant.opened, made.stored, authority.url)
    plant.checkpoint(now)
    history = verify_history(plant.opened, plant.receipts(), Others(roots=load_roots(authority.roots)), now)
    assert [one.kind for one in history.findings] == ["unstamped"] and "was stamped at" in history.findings[0].text


def test_an_authority_that_is_away_or_answers_otherwise_gives_no_stamp(authority: Authority, tmp_path: Path) -> None:
    old = request_token(authority.url, b"something")
    for answer in (old, b"no token", b"0" * 2_000):
        authority.answer = answer
        with pytest.raises(AuthorityError):
            request_token(authority.url, b"else")
    authority.server.shutdown()
    authority.server.server_close()
    with pytest.raises(AuthorityError, match="does not answer"):
        request_token(authority.url, b"else")
    (tmp_path / "none.pem").write_text("none")
    for path in (tmp_path / "none.pem", tmp_path / "away.pem"):
        with pytest.raises(BadInputError, match="is no file of certificates"):
            load_roots(path)
