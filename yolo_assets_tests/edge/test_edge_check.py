"""``yolo-assets edge check``: a table of what works; and wrong configurations, each told in one line."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest
import yaml

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.check import check_everything
from yolo_assets.edge.config.agent import load_config
from yolo_assets_tests.cli.command_line import cli, refused
from yolo_assets_tests.edge.outputs.receivers import Hole, Mosquitto
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.edge.test_edge_config import FOLDER, document
from yolo_assets_tests.support.brokers import KINDS, Brokers, free_port
from yolo_assets_tests.support.picture_server import PictureServer
from yolo_assets_tests.support.tiny_model import blob_frame

ALARM = {"name": "defects", "classes": ["crack"]}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    """A plant that serves line/1; a check writes nothing into it."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    plant.register("1")
    plant.promote("1")
    plant.photos("photos", 3)
    return plant


def camera(plant: Plant, **options: Any) -> dict[str, Any]:
    return {"kind": "folder", "camera_id": "cam1", "path": str(plant.root / "photos")} | options


def test_a_good_configuration_in_one_table(released: Plant) -> None:
    broker = Mosquitto(released.root)
    where = {"host": "127.0.0.1", "port": broker.port}
    try:
        options = {"outputs": [{"kind": "mqtt", "name": "mes"} | where], "lots": {"mqtt": where}, "alarms": [ALARM]}
        config = released.config_file([camera(released)], **options)
        before = sorted(released.root.rglob("*"))
        done = cli("edge", "check", "--config", config, "--seconds", "30", "--json", home=released.root / "home")
        assert done.returncode == 0, done.stderr
    finally:
        broker.kill()
    found = {row["what"]: row for row in json.loads(done.stdout)}
    assert {row["state"] for row in found.values()} == {"ok"}, found
    assert found["camera cam1"]["found"].startswith("320 x 240, the first picture after")
    assert "finds its golden frames" in found["model line/1"]["found"]
    assert {"spool", "token", "store", "release line/stable", "output mes", "lots.mqtt", "alarms"} <= found.keys()
    assert sorted(released.root.rglob("*")) == before, "nothing is written"


def test_drop_folders_and_snapshots_are_looked_at_and_left_as_they_are(released: Plant, tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    released.photos("photos", 3)
    shutil.copytree(released.root / "photos", full)
    empty.mkdir()
    with closing(PictureServer(tmp_path / "server")) as server:
        server.show(cv2.imencode(".jpg", blob_frame(1, 240, 320, 2)[0])[1].tobytes())
        cameras = [
            {"kind": "drop_folder", "camera_id": "full", "path": str(full), "settle_s": 0.1},
            {"kind": "drop_folder", "camera_id": "empty", "path": str(empty)},
            {"kind": "drop_folder", "camera_id": "missing", "path": str(tmp_path / "none")},
            {"kind": "snapshot", "camera_id": "snapshot", "url": server.url, "interval_s": 0.1},
        ]
        found = {row.what: row for row in check_everything(released.config(cameras), 5.0)}
    assert found["camera full"].found.startswith("320 x 240, the first picture after")
    assert found["camera empty"].found == "works, and has no picture now"
    assert found["camera snapshot"].found.startswith("320 x 240, the first picture after")
    assert [found[f"camera {name}"].state for name in ("full", "empty", "snapshot")] == ["ok"] * 3
    assert "there is no folder" in found["camera missing"].found and found["camera missing"].state == "failed"
    assert len(list(full.iterdir())) == 3 and not list(empty.iterdir())


STREAM = {"kind": "stream", "camera_id": "cam1", "url": "rtsp://ann:secret@127.0.0.1:9/x"}
WEBHOOK = {"kind": "webhook", "name": "mes", "url": "http://127.0.0.1:9/x"}
WRONG: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "misspelt class": ({"alarms": [ALARM | {"classes": ["krack"]}]}, "alarms", "warning", "did you mean crack?"),
    "misspelt model": ({"model": "lines"}, "release lines/stable", "failed", "line (stable); did you mean model line?"),
    "channel without a release": ({"channel": "night"}, "release line/night", "failed", "there are: line (stable)"),
    "store that is a typo": ({"store": "stroe"}, "store", "failed", "does not exist; is it a typo?"),
    "page without texts": ({"page": {"language": "de", "texts": "de.yaml"}}, "page", "failed", "cannot read"),
    "text of no page": ({"page": {"language": "de", "texts": "edge.yaml"}}, "page", "warning", "/page/en.json"),
    "no token": ({"token": None}, "token", "warning", "set token_file"),
    "key that is not there": ({"trusted_keys": ["none.pub"]}, "store", "failed", "none.pub"),
    "receiver that is away": ({"outputs": [WEBHOOK]}, "output mes", "failed", "cannot be reached"),
    "broker that is silent": (
        *({"lots": {"mqtt": {"host": "127.0.0.1", "port": 0}}}, "lots.mqtt", "failed"),
        "check host, port and tls",
    ),
    "camera that is away": ({"cameras": [STREAM]}, "camera cam1", "failed", ""),
    "password in an address": ({"cameras": [STREAM]}, "camera cam1", "warning", "into credentials_file"),
}


def test_each_broker_is_heard_for_a_moment_and_one_that_is_away_told(released: Plant, brokers: Brokers) -> None:
    sections = [brokers.section(kind).model_dump(mode="json", exclude_defaults=True) for kind in KINDS]
    nobody = free_port()
    away = [
        {"kind": "mqtt", "name": "mqtt-away", "host": "127.0.0.1", "port": nobody},
        {"kind": "nats", "name": "nats-away", "servers": [f"nats://127.0.0.1:{nobody}"]},
        {"kind": "kafka", "name": "kafka-away", "servers": [f"127.0.0.1:{nobody}"]},
        {"kind": "etcd", "name": "etcd-away", "url": f"http://127.0.0.1:{nobody}"},
        {"kind": "http", "name": "http-away", "url": f"http://127.0.0.1:{nobody}/events"},
    ]
    config = released.config([camera(released)], events={"brokers": [*sections, *away]})
    found = {row.what: row for row in check_everything(config, 60.0) if row.what.startswith("events.")}
    assert [found[f"events.{kind}"].state for kind in KINDS] == ["ok"] * len(KINDS), found
    told = {what: row.found for what, row in found.items() if row.state == "failed"}
    assert set(told) == {f"events.{broker['name']}" for broker in away}
    assert all(str(nobody) in words for words in told.values()), told


@pytest.mark.parametrize(("changes", "what", "state", "words"), WRONG.values(), ids=WRONG)
def test_what_is_accepted_and_cannot_be_meant(
    released: Plant, changes: dict[str, Any], what: str, state: str, words: str
) -> None:
    hole = Hole()
    text = json.dumps({"cameras": [camera(released)]} | changes).replace('"port": 0', f'"port": {hole.port}')
    options = json.loads(text)
    found = check_everything(released.config(options.pop("cameras"), **options), 1.0)
    hole.close()
    told = [row.found for row in found if row.what == what and row.state == state]
    assert told and words in told[0] and "\n" not in told[0], found
    assert "secret" not in repr(found)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt option is told first": ({"trusted_keys": None, "trusted_key": ["k"]}, "did you mean trusted_keys?"),
    "of a section": ({"listen": {"prot": 1}}, "listen: there is no option 'prot' here; did you mean port?"),
    "of a camera": (
        {"cameras": [FOLDER | {"lop": True}]},
        "camera cam1: there is no option 'lop' here; did you mean loop",
    ),
    "of a broker": ({"events": {"brokers": [{"kind": "mqtt", "name": "a", "hots": "x"}]}}, "did you mean host?"),
    "value of a camera": ({"cameras": [FOLDER | {"pace": "slow"}]}, "camera cam1.pace: "),
    "camera id that is a number": ({"cameras": [FOLDER | {"camera_id": 404}]}, "put it in quotes"),
    "bucket without its slashes": ({"store": "s3:/plant"}, "store: "),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_options_are_told_with_the_nearest(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(yaml.safe_dump(document(**changes)))
    with pytest.raises(BadInputError) as caught:
        load_config(path)
    assert words in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


def test_wrong_use_exits_with_2(tmp_path: Path) -> None:
    path = tmp_path / "edge.yaml"
    path.write_text(yaml.safe_dump(document(listen={"prot": 1})))
    refused(cli("edge", "check", "--config", path, home=tmp_path), "did you mean port?", code=2)
    refused(cli("edge", "run", "--config", tmp_path / "none.yaml", home=tmp_path), "edge init", code=2)


def test_an_alarm_that_a_model_silences_is_told_before_it_serves(
    released: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    alarms = [ALARM | {"classes": ["krack"]}]
    agent = Agent(released.config([camera(released, loop=True, pace="realtime", fps=5)], alarms=alarms))
    words = "alarm defects: the model has no class krack; did you mean crack?"
    try:
        with caplog.at_level(logging.WARNING):
            agent.start()
            until(lambda: agent.control.serving is not None, 120)
        assert f"line/1: {words}" in caplog.text
        assert agent._warnings() == [words]
    finally:
        agent.stop(2)


def test_a_channel_without_a_release_is_told_with_those_there_are(
    released: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(released.config([camera(released)], model="lines", device_id="box2", spool="spool2"))
    try:
        with caplog.at_level(logging.WARNING):
            agent.start()
            (words,) = until(agent._warnings, 60)
        assert words in caplog.text and "there are: line (stable); did you mean model line?" in words
    finally:
        agent.stop(2)
