"""Each transport against its real server: what is announced is heard, and a broker that is away holds up nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from yolo_assets.contracts.announcements import (
    CHANNEL_MOVED,
    HOUR_CLOSED,
    LABELS_ARRIVED,
    Announcement,
    channel_moved,
    hour_closed,
    labels_arrived,
    read_announcement,
)
from yolo_assets.contracts.brokers import EtcdBroker, HttpReceiverAt, KafkaBroker, MqttBroker, NatsBroker
from yolo_assets.contracts.times import Hour
from yolo_assets.events.announcer import Announcer
from yolo_assets.events.opening import open_transport
from yolo_assets.events.transport import Hearing, Transport
from yolo_assets_tests.support.brokers import KINDS, Brokers, Section, free_port, wait

HOUR = Hour.from_key("20260301_02")


@contextmanager
def heard(section: Section, *types: str) -> Iterator[list[Announcement]]:
    found: list[Announcement] = []
    hearing = Hearing(frozenset(types), lambda message: found.append(read_announcement(message)))
    transport = open_transport(section, f"listener-{time.monotonic_ns()}", hearing)
    transport.open()
    try:
        wait(lambda: transport.listening, 10, lambda: str(transport.trouble))
        yield found
    finally:
        transport.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_announced_is_heard_by_those_who_listen_to_it(kind: str, brokers: Brokers) -> None:
    section = brokers.section(kind)
    sent = [
        hour_closed("/devices/box1", "cam1", HOUR),
        labels_arrived("/centre", "labels/inbox/a.json"),
        channel_moved("/centre", "line", "stable", "v2", 2),
    ]
    with heard(section, HOUR_CLOSED, LABELS_ARRIVED) as centre, heard(section, CHANNEL_MOVED) as device:
        with Announcer([section], f"sender-{kind}") as announcer:
            for announcement in sent:
                announcer.announce(announcement)
            wait(lambda: announcer.counts[kind].published == 3, 5)
        wait(lambda: len(centre) >= 2 and device, 5)
    assert {announcement.id for announcement in centre} == {announcement.id for announcement in sent[:2]}
    assert device == [sent[2]]


@pytest.mark.parametrize(
    "kind", [pytest.param("mqtt", marks=pytest.mark.soak), pytest.param("nats", marks=pytest.mark.soak), "etcd"]
)
def test_a_broker_that_dies_and_returns_is_heard_again(kind: str, tmp_path: Path) -> None:
    own = Brokers(tmp_path)
    try:
        section = own.section(kind)
        with heard(section, HOUR_CLOSED) as found, Announcer([section], "sender") as announcer:
            own.servers[kind].stop()
            started = time.monotonic()
            announcer.announce(hour_closed("/devices/box1", "cam1", HOUR))
            assert time.monotonic() - started < 0.05
            wait(lambda: announcer.counts[kind].failures, 12)
            own.servers[kind].start()
            for number in range(100):  # the listener may come back after the sender
                announcer.announce(hour_closed("/devices/box1", f"cam{number}", HOUR))
                if found:
                    break
                time.sleep(0.2)
            assert found
    finally:
        own.close()


def away() -> list[Callable[[int], object]]:
    port = free_port()
    return [
        lambda size: MqttBroker(name="b", kind="mqtt", host="127.0.0.1", port=port, queue_size=size),
        lambda size: NatsBroker(name="b", kind="nats", servers=(f"nats://127.0.0.1:{port}",), queue_size=size),
        lambda size: KafkaBroker(name="b", kind="kafka", servers=(f"127.0.0.1:{port}",), queue_size=size),
        lambda size: EtcdBroker(name="b", kind="etcd", url=f"http://127.0.0.1:{port}", queue_size=size),
        lambda size: HttpReceiverAt(name="b", kind="http", url=f"http://127.0.0.1:{port}/events", queue_size=size),
    ]


@pytest.mark.parametrize("section", away(), ids=("mqtt", "nats", "kafka", "etcd", "http"))
def test_a_broker_that_is_away_costs_announcements_only(section: Callable[[int], Section]) -> None:
    announcer = Announcer([section(10)], "sender")
    announcer.start()
    started = time.monotonic()
    for number in range(1000):
        announcer.announce(hour_closed("/devices/box1", f"cam{number}", HOUR))
    assert time.monotonic() - started < 0.5
    announcer.close(0.3)
    assert time.monotonic() - started < 4
    counts = announcer.counts["b"]
    assert counts.published == 0 and counts.dropped == 1000


def test_troubles_name_the_broker_and_no_secret(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("not-to-be-seen")
    section = MqttBroker(
        name="b", kind="mqtt", host="127.0.0.1", port=free_port(), username="plant", password_file=secret
    )
    transport: Transport = open_transport(section, "sender", None)
    transport.open()
    trouble = wait(lambda: transport.trouble if "cannot be reached" in (transport.trouble or "") else None, 10)
    transport.close()
    assert str(section.port) in trouble and "not-to-be-seen" not in trouble
