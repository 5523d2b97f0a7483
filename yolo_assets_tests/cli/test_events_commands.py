"""The commands that announce, to a real HTTP receiver; ``events listen`` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from yolo_assets.contracts.announcements import hour_closed
from yolo_assets.contracts.brokers import HttpReceiverAt
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.events.announcer import Announcer
from yolo_assets.local.dagster_home import prepare_dagster_home
from yolo_assets.storage import open_store
from yolo_assets_tests.cli.command_line import clean_env
from yolo_assets_tests.defs.hours_in_spool import write_hour
from yolo_assets_tests.edge.outputs.receivers import Receiver, free_port
from yolo_assets_tests.support.tiny_model import tiny_bundle_files

Call = Callable[..., subprocess.CompletedProcess[str]]
HOUR = Hour.of(utc_now()).next(-2)
FOREIGN = Path(__file__).parents[1] / "foreign" / "labels"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def announces_to(home: Path, port: int) -> None:
    home.mkdir(exist_ok=True)
    (home / "token").write_text("0123456789abcdef")
    (home / "plant.yaml").write_text(
        "events:\n  brokers:\n"
        f"    - {{kind: http, name: centre, url: 'http://127.0.0.1:{port}/events', token_file: token}}\n"
    )


def test_archiving_labels_and_releases_are_announced(tmp_path: Path, call: Call, receiver: Receiver) -> None:
    from yolo_assets.models.registry import Registry

    home = tmp_path / "home"
    announces_to(home, receiver.port)
    write_hour(home / "spool", "cam1", HOUR)
    assert call("archive", "run", home=home, cwd=tmp_path).returncode == 0
    assert call("archive", "run", home=home, cwd=tmp_path).returncode == 0  # nothing new, nothing announced
    store = open_store((home / "store").as_uri())
    batch = "annotation/batch-1/manifest.json"
    store.put(batch, (FOREIGN / batch).read_bytes())
    assert call("labels", "import", FOREIGN / "coco_round1_good.json", home=home, cwd=tmp_path).returncode == 0
    Registry(store).write_bundle(*tiny_bundle_files(name="line", version="v1", variant="good"))
    assert call("models", "keygen", home=home, cwd=tmp_path).returncode == 0
    promote = ("models", "promote", "line/v1", "--unjudged", "--reason", "first", "--json")
    promoted = call(*promote, home=home, cwd=tmp_path)
    assert promoted.returncode == 0, promoted.stderr
    assert [(event["type"], event["data"]) for event in receiver.events] == [
        ("yolo_assets.hour.archived.v1", {"camera_id": "cam1", "hour": HOUR.key}),
        ("yolo_assets.labels.arrived.v1", {"key": "labels/inbox/coco_round1_good.json"}),
        ("yolo_assets.channel.moved.v1", {"name": "line", "channel": "stable", "version": "v1", "release": 1}),
    ]
    assert all(headers["authorization"] == "Bearer 0123456789abcdef" for headers, _ in receiver.requests)


@pytest.mark.parametrize(
    "section", ["{brokers: [{kind: http, name: c, url: 'http://127.0.0.1:%d/'}]}", "{brokers: [{kind: carrier}]}"]
)
def test_neither_a_dead_receiver_nor_a_wrong_section_stops_archiving(section: str, tmp_path: Path, call: Call) -> None:
    home = tmp_path / "home"
    home.mkdir()
    port = free_port()
    (home / "plant.yaml").write_text(f"events: {section % port if '%' in section else section}\n")
    write_hour(home / "spool", "cam1", HOUR)
    done = call("archive", "run", "--json", home=home, cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)[0]["status"] == "archived"
    assert "Traceback" not in done.stderr
    assert ("nothing is announced" in done.stderr) is ("carrier" in section)


def test_listening_to_nothing_and_to_what_is_wrong_are_one_line(tmp_path: Path, call: Call) -> None:
    home = tmp_path / "home"
    home.mkdir()
    nothing = call("events", "listen", home=home, cwd=tmp_path)
    assert nothing.returncode == 1 and "names nothing to listen to" in nothing.stderr
    prepare_dagster_home(home)
    for section, word in (
        ("{receiver: {port: 0}}", "events.receiver.token_file"),
        ("{receiver: {port: 0, token_file: none}}", "cannot read"),
        ("{brokers: [{kind: mqtt, name: a, host: h}, {kind: mqtt, name: a, host: h}]}", "used twice"),
        ("{brokers: [{kind: nats, name: a, servers: ['nats://me:secret@h']}]}", "no credentials in the address"),
    ):
        (home / "plant.yaml").write_text(f"events: {section}\n")
        refused = call("events", "listen", home=home, cwd=tmp_path)
        assert refused.returncode == 1 and word in refused.stderr, refused.stderr
        assert refused.stderr.count("\n") == 1 and "secret" not in refused.stderr


def test_the_service_reports_an_hour_and_ends_on_sigterm(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text("0123456789abcdef")
    (home / "plant.yaml").write_text("events: {receiver: {port: 0, token_file: token}}\n")
    prepare_dagster_home(home)
    write_hour(home / "spool", "cam1", HOUR)
    command = [sys.executable, "-m", "yolo_assets.cli.main", "events", "listen", "--json"]
    env = {**clean_env(home), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as service:
        assert service.stdout is not None and service.stderr is not None
        url = next(line for line in service.stderr if line.startswith("receiver: ")).split()[1]
        section = HttpReceiverAt(name="c", kind="http", url=url, token_file=home / "token")
        with Announcer([section], "test") as announcer:
            announcer.announce(hour_closed("/devices/box1", "cam1", HOUR))
            assert json.loads(service.stdout.readline()) == {"reported": f"raw_frames {HOUR.partition_key}"}
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == 0
