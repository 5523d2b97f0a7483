"""What is announced is looked at within two seconds; polling then finds nothing new. What is not there is nothing."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest
import yaml

from yolo_assets.archive.archive import Archive
from yolo_assets.contracts.announcements import Announcement, hour_archived, hour_closed, labels_arrived
from yolo_assets.contracts.brokers import Events, HttpEndpoint, HttpReceiverAt
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import LABELS_INBOX
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.defs.archive.sensors import receipts_sensor
from yolo_assets.defs.events.service import EventService
from yolo_assets.defs.intake.sensors import spool_sensor
from yolo_assets.defs.lanes import HourRange
from yolo_assets.defs.learning.sensors import labels_sensor
from yolo_assets.defs.resources import Locations
from yolo_assets.events.announcer import Announcer
from yolo_assets.events.metrics import EventMetrics
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.local.driver import Graph
from yolo_assets.storage import open_store
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.support.brokers import KINDS, wait
from yolo_assets_tests.support.one_round import run_archiver

FOREIGN = Path(__file__).parents[1] / "foreign" / "labels"
BATCH = "annotation/batch-1/manifest.json"
HOUR = Hour.of(utc_now()).next(-2)
TOKEN = "0123456789abcdef"
SENSORS = (spool_sensor, receipts_sensor, labels_sensor)


class Centre:
    """An installation, the service that listens, and a look at what the graph was told."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.instance = dg.DagsterInstance.ephemeral()
        self.locations = Locations.from_env()
        self.token = home / "token"
        self.token.write_text(TOKEN)
        self.receiver = HttpEndpoint(port=0, token_file=self.token)

    @contextmanager
    def listening(self, *sections: Any) -> Iterator[EventService]:
        events = Events(brokers=sections, receiver=None if sections else self.receiver)
        with EventService(events, self.instance, self.locations) as service:
            wait(lambda: service.listener.listening, 10, lambda: str(service.listener.troubles))
            yield service

    def bring_label(self) -> str:
        store = self.locations.store()
        store.put(BATCH, (FOREIGN / BATCH).read_bytes())
        key = f"{LABELS_INBOX}coco_round1_good.json"
        store.put(key, (FOREIGN / "coco_round1_good.json").read_bytes())
        return key

    def archive_elsewhere(self) -> None:
        signer, spool = Signer.load_or_create(self.home / "box" / "archiver"), self.home / "box-spool"
        folder = self.home / "keys" / "archivers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "box.pub").write_bytes(signer.public_pem())
        write_hour(spool, "cam2", HOUR)
        archive = Archive(open_store((self.home / "archive").as_uri()), TrustedKeys.of(signer))
        run_archiver(spool, archive, signer, grace_seconds=0)

    def told(self, asset: str) -> int:
        return len(self.instance.fetch_materializations(dg.AssetKey(asset), limit=100).records)

    def polling_finds(self) -> set[str]:
        """Assets that a tick of each sensor with an empty cursor would report."""
        found: set[str] = set()
        for sensor in SENSORS:
            with dg.build_sensor_context(instance=self.instance, resources={"locations": self.locations}) as context:
                result = sensor(context)
            events = result.asset_events if isinstance(result, dg.SensorResult) else []
            found |= {e.asset_key.to_user_string() for e in events if isinstance(e, dg.AssetMaterialization)}
        return found


@pytest.fixture
def centre(home: Path, monkeypatch: pytest.MonkeyPatch) -> Centre:
    monkeypatch.setenv("YOLO_ASSETS_CLASSES", "crack,dent")
    return Centre(home)


@pytest.mark.parametrize("kind", [*KINDS, "http"])
def test_announced_work_is_done_within_2_s_and_polling_finds_none(
    kind: str, centre: Centre, request: pytest.FixtureRequest
) -> None:
    sections = () if kind == "http" else (request.getfixturevalue("brokers").section(kind),)
    with centre.listening(*sections) as service:
        if service.receiver is not None:
            url = service.receiver.url
            sections = (HttpReceiverAt(name="http", kind="http", url=url, token_file=centre.token),)
        with Announcer(sections, f"sender-{kind}") as announcer:

            def announced(announcement: Announcement, asset: str) -> float:
                started = time.monotonic()
                announcer.announce(announcement)
                wait(lambda: centre.told(asset), 5, lambda: f"{asset} {service.intake.received}")
                return time.monotonic() - started

            write_hour(centre.locations.settings.spool, "cam1", HOUR)
            assert centre.polling_finds() == {"raw_frames"}
            assert announced(hour_closed("/devices/box", "cam1", HOUR), "raw_frames") < 2
            assert centre.polling_finds() == set()
            key = centre.bring_label()
            assert announced(labels_arrived("/tool", key), "labels") < 2
            (only,) = centre.locations.settings.spool.glob("cam1/*")
            only.rename(centre.home / "elsewhere")  # else the hour waits here for a run
            centre.archive_elsewhere()
            assert announced(hour_archived("/archivers/box", "cam2", HOUR), "hourly_archives") < 2
    assert centre.polling_finds() == set()


def test_an_hour_archived_here_is_announced_as_one_from_elsewhere(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_ASSETS_GRACE_SECONDS", "0")
    monkeypatch.setenv("DAGSTER_HOME", str(prepare_dagster_home(centre.home)))
    write_hour(centre.locations.settings.spool, "cam1", HOUR)
    with centre.listening() as service:
        assert service.receiver is not None
        broker = {"name": "http", "kind": "http", "url": service.receiver.url, "token_file": str(centre.token)}
        (centre.home / "plant.yaml").write_text(yaml.safe_dump({"events": {"brokers": [broker]}}))
        with Graph() as graph:
            graph.run(["hourly_archives"], HourRange(HOUR, HOUR))
            wait(lambda: sum(service.intake.received.values()) == 1, 10, lambda: str(service.intake.received))
            graph.run(["hourly_archives"], HourRange(HOUR, HOUR))
        assert [(kind, count) for (_, kind, _), count in service.intake.received.items()] == [("hour-archived", 1)]


def test_false_and_repeated_announcements_report_nothing(centre: Centre) -> None:
    future = Hour.of(utc_now()).next(3)
    write_hour(centre.locations.settings.spool, "cam1", HOUR)
    (centre.locations.settings.spool / "cam1" / future.key).mkdir()
    with centre.listening() as service:
        service.intake.take("test", hour_closed("/x", "cam1", HOUR).to_json())
        wait(lambda: centre.told("raw_frames"), 5)
        looks = service.intake.looks
        for announcement in (
            hour_closed("/x", "cam9", Hour.from_key("20260301_02")),
            hour_closed("/x", "cam1", future),
            hour_closed("/x", "cam1", Hour.from_key("19700101_00")),
            hour_archived("/x", "cam9", HOUR),
            labels_arrived("/x", f"{LABELS_INBOX}not-there.json"),
        ):
            service.intake.take("test", announcement.to_json())
        wait(lambda: service.intake.looks == looks + 5, 5)
        for _ in range(1000):
            service.intake.take("test", hour_closed("/x", "cam1", HOUR).to_json())
        time.sleep(0.3)
        assert service.intake.looks == looks + 5 and service.intake.failures == 0
    assert {asset: centre.told(asset) for asset in ("raw_frames", "hourly_archives", "labels")} == {
        "raw_frames": 1,
        "hourly_archives": 0,
        "labels": 0,
    }


def post(url: str, body: bytes, token: str | None = TOKEN, kind: str = "application/cloudevents+json") -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, orjson.loads(error.read())["detail"]


def test_the_receiver_refuses_in_one_sentence(centre: Centre) -> None:
    event = hour_closed("/x", "cam1", HOUR).to_json()
    batch = "application/cloudevents-batch+json"
    with centre.listening() as service:
        assert service.receiver is not None
        url = service.receiver.url
        assert post(url, event) == (202, {"taken": 1})
        assert post(url, b"[" + event + b"," + event + b"]", kind=batch) == (202, {"taken": 2})
        refused = [
            post(url, event, token=None),
            post(url, event, token="guessed-guessed-guessed"),
            post(url, b"{}"),
            post(url, b"not json at all"),
            post(url, event, kind="text/plain"),
            post(url, b"[1]", kind=batch),
            post(url, b"[" + b",".join([event] * 101) + b"]", kind=batch),
            post(url, b"x" * (300 << 10)),
            post(url, event.replace(b"cam1", b"../../etc")),
        ]
        assert [status for status, _ in refused] == [401, 401, 400, 400, 415, 400, 400, 413, 400]
        assert all("\n" not in detail and detail for _, detail in refused)
        with urllib.request.urlopen(url.replace("/events", "/metrics"), timeout=10) as answer:
            page = answer.read().decode()
        assert 'yolo_events_received_total{broker="http",outcome="refused",type="unknown"} 4.0' in page
    short = centre.home / "short"
    short.write_text("abc")
    with pytest.raises(BadInputError, match="fewer than 16"):
        EventService(Events(receiver=HttpEndpoint(port=0, token_file=short)), centre.instance, centre.locations)


def test_a_look_that_fails_is_counted_and_the_next_one_is_made(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = threading.Event()
    broken.set()
    store = Locations.store

    def away(self: Locations) -> Any:
        if broken.is_set():
            raise OSError("the store is away")
        return store(self)

    key = centre.bring_label()
    monkeypatch.setattr(Locations, "store", away)
    with centre.listening() as service:
        service.intake.take("test", labels_arrived("/x", key).to_json())
        wait(lambda: service.intake.failures == 1, 5)
        broken.clear()
        service.intake.take("test", labels_arrived("/x", key).to_json())
        wait(lambda: centre.told("labels"), 5)
        metrics = {family.name: family for family in EventMetrics(None, service.intake).collect()}
        assert metrics["yolo_events_look_failures"].samples[0].value == 1
