"""A release that is announced is read at once, by the same verification as one that polling finds."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from yolo_assets.contracts.announcements import CHANNEL_MOVED, HOUR_CLOSED, Announcement, channel_moved
from yolo_assets.contracts.announcements import read_announcement as read
from yolo_assets.contracts.model import ChannelPointer
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.edge.announcements import Announcements
from yolo_assets.edge.rollout.channel_poller import ChannelPoller
from yolo_assets.events.announcer import Announcer
from yolo_assets.events.opening import open_transport
from yolo_assets.events.transport import Hearing
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets_tests.edge.plant import Plant
from yolo_assets_tests.edge.rollout.box import Box
from yolo_assets_tests.models.release_support import promoter_of, write
from yolo_assets_tests.support.brokers import KINDS, Brokers, wait

A_DAY = 86_400.0


def brokers_of(*sections: object) -> dict[str, object]:
    return {"brokers": [section.model_dump(mode="json", exclude_none=True) for section in sections]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_an_announced_release_reaches_the_agent_within_2_s(kind: str, brokers: Brokers, tmp_path: Path) -> None:
    section = brokers.section(kind)
    plant = Plant(tmp_path)
    write(plant.store, "v1", "v2")
    registry = Registry(plant.store, TrustedKeys.of(plant.signer))
    promoter = promoter_of(registry, plant.signer)
    pointers: list[ChannelPointer] = []
    refused: list[str] = []
    poller = ChannelPoller(
        registry.channel("line", "stable"),
        poll_seconds=A_DAY,
        folder=None,
        explain=lambda: "there is none",
        on_pointer=pointers.append,
        on_refused=refused.append,
    )
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    heard = Announcements(plant.config([camera], events=brokers_of(section)), poller.poll_now)
    request = ReleaseRequest("line", "v1", "stable", by="test", reason="first")
    promoter.promote(request)
    poller.start()
    heard.start()
    with Announcer([section], f"centre-{kind}") as announcer:
        try:
            wait(lambda: pointers and heard.listener.listening, 10)
            second = promoter.promote(ReleaseRequest("line", "v2", "stable", by="test", reason="second"))
            started = time.monotonic()
            announcer.announce(channel_moved("/centre", "line", "stable", "v2", second.release))
            wait(lambda: pointers[-1] == second, 5)
            assert time.monotonic() - started < 2
            other = Signer.load_or_create(tmp_path / "other" / "key")  # whom nobody here trusts
            foreign = Registry(plant.store, TrustedKeys.of(plant.signer, other))
            promoter_of(foreign, other).promote(ReleaseRequest("line", "v1", "stable", by="thief", reason="mine"))
            announcer.announce(channel_moved("/thief", "line", "stable", "v1", 9))
            wait(lambda: refused, 5)
            assert pointers[-1] == second
        finally:
            heard.stop()
            poller.stop()


def test_the_agent_announces_hours_and_follows_announced_releases(
    brokers: Brokers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_assets.edge.rollout.updates.folder_of", lambda _: None)  # no watch: as on S3
    section = brokers.section("mqtt")
    closed: list[Announcement] = []
    hearing = Hearing(frozenset({HOUR_CLOSED, CHANNEL_MOVED}), lambda message: closed.append(read(message)))
    listener = open_transport(section, "centre-listens", hearing)
    listener.open()
    plant = Plant(tmp_path)
    plant.register("v1")
    plant.promote("v1")
    options = {"poll_seconds": A_DAY, "events": brokers_of(section)}
    box = Box(plant, **options)
    try:
        box.wait_serving("v1")
        wait(lambda: [a for a in closed if a.type == HOUR_CLOSED], 10)
        plant.register("v2")
        pointer = plant.promote("v2")
        wait(lambda: box.agent.announcements.listener.listening, 10)
        with Announcer([section], "centre-announces") as announcer:
            announcer.announce(channel_moved("/centre", "line", "stable", "v2", pointer.release))
            box.wait_serving("v2")
    finally:
        box.close()
        listener.close()
