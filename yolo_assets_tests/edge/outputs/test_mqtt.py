"""MQTT against a real mosquitto: confirmed, retained, with a last will, through the broker's death and return."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from yolo_assets.edge.config.outputs import AlarmRule, MqttOutput
from yolo_assets.edge.outputs.hub import Outputs
from yolo_assets_tests.edge.outputs.receivers import CAMERAS, Hole, Mosquitto, certificate
from yolo_assets_tests.edge.outputs.test_webhook import result
from yolo_assets_tests.edge.plant import until

GONE = "yolo-assets/box1/availability"


class Listener:
    """A subscriber of a test."""

    def __init__(self, port: int, topic: str = "#", **login: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(login["username"], login["password"])
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1) and None
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _u, m: self.messages.append((m.topic, bytes(m.payload), m.retain))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def events(self, topic: str) -> list[dict[str, Any]]:
        return [orjson.loads(body) for where, body, _ in list(self.messages) if where == topic]

    def last(self, topic: str) -> bytes | None:
        return next((body for where, body, _ in reversed(list(self.messages)) if where == topic), None)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def closing() -> Iterator[list[Callable[[], object]]]:
    actions: list[Callable[[], object]] = []
    yield actions
    for action in reversed(actions):
        action()


def start(tmp_path: Path, port: int, closing: list[Callable[[], object]], **options: Any) -> Outputs:
    settings = MqttOutput(kind="mqtt", name="broker", host="127.0.0.1", port=port, keepalive_s=5, **options)
    rule = AlarmRule(name="cracks", classes=("crack",), hold_frames=2, clear_s=1)
    out = Outputs((settings,), (rule,), CAMERAS, "box1", tmp_path)
    out.start()
    closing.append(lambda: out.stop(0))
    return out


def test_results_alarms_and_presence(tmp_path: Path, closing: list[Callable[[], object]]) -> None:
    broker = Mosquitto(tmp_path)
    closing.append(broker.kill)
    listener = Listener(broker.port)
    closing.append(listener.close)
    out = start(tmp_path, broker.port, closing)
    until(lambda: listener.last(GONE) == b"online")
    for number in range(3):
        out.on_result(result(number, at=number / 10))
    results = until(lambda: len(e := listener.events("yolo-assets/box1/cam1/result")) == 3 and e)
    assert [event["data"]["sequence"] for event in results] == [0, 1, 2]
    (raised,) = until(lambda: listener.events("yolo-assets/box1/cam1/alarm/cracks"))
    assert raised["type"] == "yolo_assets.alarm.raised.v1"
    late = Listener(broker.port)  # a panel that is switched on later sees how things stand
    closing.append(late.close)
    until(lambda: len(late.messages) == 2)
    assert {(topic, kept) for topic, _, kept in late.messages} == {
        ("yolo-assets/box1/cam1/alarm/cracks", True),
        (GONE, True),
    }
    out.stop()
    until(lambda: listener.last(GONE) == b"offline")
    assert out.status()["outputs"][0]["delivered"] == 4


def test_the_broker_dies_and_returns_and_no_alarm_is_lost(tmp_path: Path, closing: list[Callable[[], object]]) -> None:
    broker = Mosquitto(tmp_path)
    closing.append(broker.kill)
    out = start(tmp_path, broker.port, closing, queue_size=10)
    out.on_result(result(0))
    until(lambda: out.status()["outputs"][0]["delivered"] == 1)
    broker.kill()
    until(lambda: out.status()["outputs"][0]["error"])
    spent = []
    for number in range(1, 200):
        begin = time.perf_counter()
        out.on_result(result(number, at=number / 10))
        spent.append(time.perf_counter() - begin)
    assert sorted(spent)[180] < 0.002
    until(lambda: out.status()["outputs"][0]["accepted"] == 201)  # 200 results and one alarm
    broker.start()
    closing.append(broker.kill)
    listener = Listener(broker.port)
    closing.append(listener.close)
    (raised, *more) = until(lambda: listener.events("yolo-assets/box1/cam1/alarm/cracks"), 40)
    assert raised["data"]["state"] == "raised" and not more
    status = until(lambda: (s := out.status()["outputs"][0])["waiting"] + s["sending"] == 0 and s)
    assert status["error"] is None and status["dropped"]["queue_full"] > 100

    def heard() -> list[str]:
        return [event["id"] for event in listener.events("yolo-assets/box1/cam1/result")]

    until(lambda: heard()[-1:] and heard()[-1].endswith("-199"))  # all are with the broker; the listener is next
    assert len(set(heard())) == len(heard())


def test_a_device_that_dies_is_reported_by_its_last_will(tmp_path: Path, closing: list[Callable[[], object]]) -> None:
    broker = Mosquitto(tmp_path)
    closing.append(broker.kill)
    listener = Listener(broker.port)
    closing.append(listener.close)
    code = (
        "import sys, time, pathlib; from yolo_assets.edge.outputs.hub import Outputs;"
        "from yolo_assets.edge.config.outputs import MqttOutput;"
        "o = Outputs((MqttOutput(kind='mqtt', name='b', host='127.0.0.1', port=int(sys.argv[1])),), (), ['cam1'],"
        "'box1', pathlib.Path(sys.argv[2])); o.start(); time.sleep(60)"
    )

    box = subprocess.Popen([sys.executable, "-c", code, str(broker.port), str(tmp_path)])
    closing.append(box.kill)
    until(lambda: listener.last(GONE) == b"online")
    box.kill()
    box.wait(10)
    until(lambda: listener.last(GONE) == b"offline")


def test_tls_and_password(tmp_path: Path, closing: list[Callable[[], object]]) -> None:
    cert, key = certificate(tmp_path, "localhost")
    (tmp_path / "passwords").write_text("box:right-password\n")
    done = subprocess.run(
        ["mosquitto_passwd", "-U", str(tmp_path / "passwords")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for path in (key, tmp_path / "passwords"):
        path.chmod(0o644)  # the broker drops its privileges
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and "pytest" in str(folder):
            folder.chmod(0o755)
    tls = (f"certfile {cert}", f"keyfile {key}", "allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    broker = Mosquitto(tmp_path, *tls)
    closing.append(broker.kill)
    (tmp_path / "right").write_text("right-password")
    (tmp_path / "wrong").write_text("wrong-password")
    common: dict[str, Any] = {"kind": "mqtt", "port": broker.port, "tls": True, "username": "box", "ca_file": cert}
    outputs = (
        MqttOutput(name="good", host="localhost", password_file=tmp_path / "right", **common),
        MqttOutput(name="badlogin", host="localhost", password_file=tmp_path / "wrong", **common),
        MqttOutput(name="badname", host="127.0.0.1", password_file=tmp_path / "right", **common),
    )
    out = Outputs(outputs, (), CAMERAS, "box1", tmp_path)
    out.start()
    closing.append(lambda: out.stop(0))
    out.on_result(result(1))

    def settled() -> dict[str, Any] | None:
        found = {o["name"]: o for o in out.status()["outputs"]}
        done = found["good"]["delivered"] and "refuses" in str(found["badlogin"]["error"])
        return found if done and "cannot be reached" in str(found["badname"]["error"]) else None

    found = until(settled)
    assert found["good"]["error"] is None and not found["badlogin"]["delivered"] and not found["badname"]["delivered"]
    assert "password" not in str(out.status()).replace("password_file", "")


def test_a_broker_that_never_answers_delays_nothing(tmp_path: Path, closing: list[Callable[[], object]]) -> None:
    hole = Hole()
    closing.append(hole.close)
    out = start(tmp_path, hole.port, closing, queue_size=10)
    begin = time.perf_counter()
    for number in range(500):
        out.on_result(result(number))
    assert time.perf_counter() - begin < 1.0
    until(lambda: hole.connections)
    until(lambda: out.status()["outputs"][0]["accepted"] == 501)  # the alarm is one of them
    begin = time.monotonic()
    out.stop(0.5)
    assert time.monotonic() - begin < 6


@pytest.mark.parametrize("topic", ["a/#", "a/+/b", "{nobody}/x", "{camera_id!r}", "{camera_id:>10}", "{", "$SYS/x", ""])
def test_topics_that_cannot_be(topic: str) -> None:
    with pytest.raises(ValueError):
        MqttOutput(kind="mqtt", name="b", host="h", topic=topic)
