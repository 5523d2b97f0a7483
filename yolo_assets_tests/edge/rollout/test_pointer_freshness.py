"""A store that withholds the newest release is noticed, also after a restart; nothing of it stops the line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from yolo_assets.contracts.names import channel_key, channel_statement_key, signature_files
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.rollout import freshness as module
from yolo_assets.edge.rollout.freshness import PointerFreshness
from yolo_assets.models.promotion import Promoter, ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets_tests.models.release_support import put_back, save, write

POINTER, STATEMENT = channel_key("line", "stable"), channel_statement_key("line", "stable")
EVERYTHING = (POINTER, *signature_files(POINTER), STATEMENT)


class Watched:
    def __init__(self, store, tmp_path) -> None:
        self.store, self.file = store, tmp_path / "newest.json"
        signer = Signer.load_or_create(tmp_path / "keys" / "promotion")
        self.registry = Registry(store, TrustedKeys.of(signer))
        hour = timedelta(hours=1)
        self.promoter = Promoter(self.registry, signer, check=lambda bundle, run: None, valid_for=hour)
        write(store, "v1", "v2")
        self.release("v1")
        self.restart()

    def release(self, version: str) -> None:
        self.promoter.promote(ReleaseRequest("line", version, "stable", "t", "t"))

    def restart(self) -> None:
        self.channel = self.registry.channel("line", "stable")
        self.freshness = PointerFreshness(self.channel, self.file)

    def look(self) -> str | None:
        """Two polls: one alone may have read the statement of a promotion that came after its pointer."""
        for _ in range(2):
            self.freshness.look(self.channel.pointer())
        return self.freshness.problem


@pytest.fixture
def watched(store, tmp_path) -> Watched:
    return Watched(store, tmp_path)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch):
    def wait(**passed: float) -> None:
        now = utc_now() + timedelta(**passed)
        monkeypatch.setattr(module, "utc_now", lambda: now)

    return wait


def test_a_withheld_release_is_told_and_so_it_is_after_a_restart(watched: Watched) -> None:
    old = save(watched.store, *EVERYTHING)
    watched.release("v2")
    assert watched.look() is None
    put_back(watched.store, old)
    for _ in range(2):
        told = watched.look()
        assert told is not None and "shows release 1, and release 2 was out by" in told
        watched.restart()


def test_a_promotion_between_two_reads_is_no_alarm(watched: Watched) -> None:
    pointer = watched.channel.pointer()
    watched.release("v2")
    watched.freshness.look(pointer)
    assert watched.freshness.problem is None
    assert watched.look() is None


def test_a_statement_nobody_renews_expires(watched: Watched, later) -> None:
    assert watched.look() is None
    later(minutes=59)
    assert watched.look() is None
    watched.store.delete(STATEMENT)
    later(minutes=61)
    watched.restart()
    told = watched.look()
    assert told is not None and "nobody has confirmed since" in told
    watched.freshness.look(None)  # the store is away as well
    assert watched.freshness.problem == told


def test_the_platform_renews_in_time_and_seldom(watched: Watched, later) -> None:
    now = utc_now()
    assert not watched.promoter.renew("line", "stable", now + timedelta(minutes=10))
    assert watched.promoter.renew("line", "stable", now + timedelta(minutes=30))
    assert not watched.promoter.renew("line", "canary", now)


def test_a_forged_statement_counts_for_nothing(watched: Watched, tmp_path) -> None:
    stranger = Signer.load_or_create(tmp_path / "stranger")
    statement = watched.channel.statement()
    assert statement is not None and watched.look() is None
    forged = statement.model_copy(update={"release": 9})
    watched.store.put(STATEMENT, stranger.seal(forged.to_json(), "channel-statement").to_json())
    watched.restart()
    assert watched.look() is None and watched.channel.statement() is None


def test_without_statements_nothing_is_told(watched: Watched, tmp_path, later) -> None:
    watched.store.delete(STATEMENT)
    later(days=400)
    assert watched.look() is None and watched.freshness.expires_at is None
