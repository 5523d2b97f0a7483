"""Webhooks against real HTTP receivers: signed, repeated after failures, verified by TLS, never delaying the caller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.frames import FrameId
from yolo_assets.edge.config.outputs import AlarmRule, MqttOutput, WebhookOutput
from yolo_assets.edge.outputs.hub import Outputs
from yolo_assets.edge.outputs.webhook import retry_after, signature, signing_key
from yolo_assets.edge.types import Frame, Result
from yolo_assets_tests.edge.outputs.receivers import CAMERAS, Answer, Hole, Receiver, certificate, free_port
from yolo_assets_tests.edge.plant import until
from yolo_assets_tests.support.records import frame_record

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
PICTURE = np.zeros((8, 8, 3), np.uint8)
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
Make = Callable[..., Outputs]


def result(number: int, found: bool = True, at: float = 0.0) -> Result:
    box = {"bbox": [1.0, 2.0, 3.0, 4.0], "class": "crack", "confidence": 0.9, "timestamp": AT}
    record = frame_record(
        {
            "image_path": "cam1/20260102_03/x.jpg",
            "image_saved": True,
            "detections": [box] if found else [],
            "model_version": "line/1",
            "device_id": "box1",
            "width": 8,
            "height": 8,
            "inference_ms": 1.5,
            "batch_id": "B7",
            "quality": {"blur": 1.0},
        }
    )
    frame = Frame(FrameId("cam1", number, AT), PICTURE, 1000.0 + at)
    return Result(frame, tuple(record.model_dump(by_alias=True)["detections"]), record, True, 1000.0 + at, AT)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    running: list[Outputs] = []

    def start(*outputs: WebhookOutput | MqttOutput, rules: tuple[AlarmRule, ...] = ()) -> Outputs:
        running.append(Outputs(outputs, rules, CAMERAS, "box1", tmp_path))
        running[-1].start()
        return running[-1]

    yield start
    for outputs in running:
        outputs.stop(0)


@pytest.fixture
def receiver() -> Iterator[Callable[..., Receiver]]:
    open_ones: list[Receiver] = []

    def start(answer: Callable[[int], Answer] = lambda _: 204, tls: ssl.SSLContext | None = None) -> Receiver:
        open_ones.append(Receiver(answer, tls))
        return open_ones[-1]

    yield start
    for one in open_ones:
        one.close()


def hook(port: int, **options: Any) -> WebhookOutput:
    return WebhookOutput(kind="webhook", name="mes", url=f"http://127.0.0.1:{port}/in?key=hidden", **options)


def test_signed_cloud_events_arrive(make: Make, receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "token").write_text("a-bearer-token")
    sink = receiver()
    out = make(hook(sink.port, secret_file=tmp_path / "secret", token_file=tmp_path / "token"))
    out.on_result(result(0, found=False))
    out.on_result(result(1))
    until(lambda: len(sink.requests) == 1)
    headers, body = sink.requests[0]
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["authorization"] == "Bearer a-bearer-token"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 5
    (event,) = sink.events
    assert event["id"] == headers["webhook-id"] and event["source"] == "/devices/box1/cameras/cam1"
    assert event["specversion"] == "1.0" and event["type"] == "yolo_assets.result.v1"
    assert event["time"] == "2026-01-02T03:04:05.678Z" and event["subject"] == "cam1"
    data = event["data"]
    assert (data["sequence"], data["model_version"], data["batch_id"], data["width"]) == (1, "line/1", "B7", 8)
    assert data["detections"][0]["class"] == "crack" and data["image_saved"] and data["image_path"]
    until(lambda: out.status()["outputs"][0]["delivered"] == 1)
    shown = str(out.status())
    assert not any(secret in shown for secret in ("hidden", "a-bearer", "whsec", "kkk"))


@pytest.mark.parametrize("first", [500, 503, 429, 302, 404])
def test_a_failing_receiver_gets_the_same_event_again(
    make: Make, receiver: Callable[..., Receiver], first: int
) -> None:
    headers = {"Location": "http://127.0.0.1:9/elsewhere"} if first == 302 else {}
    sink = receiver(lambda number: (first, headers) if number < 2 else 200)
    out = make(hook(sink.port))
    out.on_result(result(1))
    until(lambda: len(sink.requests) == 3)
    assert len({event["id"] for event in sink.events}) == 1
    assert len({headers["webhook-id"] for headers, _ in sink.requests}) == 1
    status = until(lambda: (s := out.status()["outputs"][0])["delivered"] == 1 and s)
    assert status["failures"] == {f"http_{first}": 2} and status["error"] is None


def test_retry_after_is_kept(make: Make, receiver: Callable[..., Receiver]) -> None:
    times: list[float] = []

    def answer(number: int) -> Answer:
        times.append(time.monotonic())
        return (429, {"Retry-After": "2"}) if number == 0 else 200

    make(hook(receiver(answer).port)).on_result(result(1))
    until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 2.0
    assert retry_after("120", 0) == 120 and retry_after("nonsense", 0) is None and retry_after(None, 0) is None
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 20.0) == 40.0


def test_what_the_receiver_refuses_does_not_hold_up_the_rest(make: Make, receiver: Callable[..., Receiver]) -> None:
    bad = '"sequence":2,'

    def answer(number: int) -> Answer:
        return 422 if bad.encode() in sink.requests[number][1] else 200

    sink = receiver(answer)
    out = make(hook(sink.port, batch=50))
    for number in range(5):
        out.on_result(result(number))
    until(lambda: (s := out.status()["outputs"][0])["delivered"] == 4 and s["dropped"] == {"refused": 1})
    assert sink.requests[-1][0]["content-type"] == "application/cloudevents-batch+json"
    out.on_result(result(9))
    until(lambda: sink.events[-1]["data"]["sequence"] == 9)


def test_an_alarm_overtakes_results_and_clears(make: Make, receiver: Callable[..., Receiver], tmp_path: Path) -> None:
    gate = threading.Event()
    sink = receiver(lambda number: 204 if gate.is_set() else 503)
    rule = AlarmRule(name="cracks", classes=("crack",), hold_frames=3, clear_s=1)
    out = make(hook(sink.port, queue_size=4), rules=(rule,))
    for number in range(40):
        out.on_result(result(number, at=number / 10))
    until(lambda: out.status()["alarms"])
    gate.set()
    alarms = until(lambda: [e for e in sink.events if e["type"] == "yolo_assets.alarm.raised.v1"])
    assert alarms[0]["data"]["rule"] == "cracks" and alarms[0]["data"]["sequence"] == 2
    status = until(lambda: (s := out.status()["outputs"][0])["waiting"] + s["sending"] == 0 and s)
    assert status["dropped"]["queue_full"] >= 30  # the alarm was never among them
    out.stop()
    again = make(hook(sink.port), rules=(rule,))  # as after a restart: told again under the same id
    until(lambda: [e["id"] for e in sink.events if "raised" in e["type"]].count(alarms[0]["id"]) == 2)
    for number, at in enumerate((10.0, 10.6, 11.2)):
        again.on_result(result(100 + number, found=False, at=at))
    cleared = until(lambda: [e for e in sink.events if e["type"] == "yolo_assets.alarm.cleared.v1"])
    assert cleared[0]["data"]["alarm_id"] == alarms[0]["data"]["alarm_id"]
    assert cleared[0]["id"] != alarms[0]["id"]


def test_tls_is_verified_against_the_authority_and_the_name(
    make: Make, receiver: Callable[..., Receiver], tmp_path: Path
) -> None:
    def server(name: str) -> tuple[Receiver, Path]:
        cert, key = certificate(tmp_path, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return receiver(tls=context), cert

    right, authority = server("localhost")
    wrong, stranger = server("other.example")

    def secure(name: str, port: int, ca: Path) -> WebhookOutput:
        return WebhookOutput(kind="webhook", name=name, url=f"https://localhost:{port}/", ca_file=ca)

    out = make(
        secure("good", right.port, authority),
        secure("untrusted", right.port, stranger),
        secure("misnamed", wrong.port, stranger),
    )
    out.on_result(result(1))
    until(lambda: len(right.requests) == 1)
    found = until(
        lambda: (
            (s := {o["name"]: o for o in out.status()["outputs"]})["untrusted"]["error"]
            and s["misnamed"]["error"]
            and s
        )
    )
    assert found["good"]["error"] is None
    for name in ("untrusted", "misnamed"):
        assert set(found[name]["failures"]) == {"tls"} and "not trusted" in found[name]["error"]
    assert not wrong.requests and len(right.requests) == 1


def test_giving_takes_microseconds_and_stopping_seconds_whatever_the_receivers_do(make: Make) -> None:
    hole = Hole()
    dead = WebhookOutput(kind="webhook", name="dead", url=f"http://127.0.0.1:{free_port()}/", queue_size=50)
    out = make(hook(hole.port, queue_size=50, timeout_s=300), dead)
    spent = []
    for number in range(2000):
        begin = time.perf_counter()
        out.on_result(result(number))
        spent.append(time.perf_counter() - begin)
        time.sleep(0.0005)
    assert sorted(spent)[1900] < 0.002
    status = until(lambda: out.status() if out.status()["outputs"][1]["error"] else None)
    until(lambda: all(o["accepted"] + out.missed == 2000 for o in out.status()["outputs"]))
    status = out.status()
    for output in status["outputs"]:
        ended = output["delivered"] + sum(output["dropped"].values())
        assert output["accepted"] == ended + output["waiting"] + output["sending"] and output["waiting"] <= 50
        assert output["dropped"]["queue_full"] >= 1500
    assert hole.connections and "cannot be reached" in status["outputs"][1]["error"]
    begin = time.monotonic()
    out.stop(1.0)
    assert time.monotonic() - begin < 5
    assert all(o["waiting"] + o["sending"] == 0 and o["dropped"]["stopped"] for o in out.status()["outputs"])
    hole.close()


def test_old_results_expire_and_rates_are_kept(make: Make, receiver: Callable[..., Receiver]) -> None:
    gate = threading.Event()
    sink = receiver(lambda number: 204 if gate.is_set() else 503)
    out = make(hook(sink.port, expire_s=0.3, min_interval_s=1.0, results="all"))
    for number in range(30):
        out.on_result(result(number, found=False, at=number / 10))
    status = until(lambda: (s := out.status()["outputs"][0])["dropped"].get("expired") and s)
    assert status["accepted"] == 3
    gate.set()


def test_what_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**options: Any) -> str:
        with pytest.raises(BadInputError) as caught:
            Outputs((hook(9, **options),), (), CAMERAS, "box1", tmp_path)
        return str(caught.value)

    assert "outputs.mes: secret: cannot read" in refused(secret_file=tmp_path / "none")
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    assert "NO_SUCH_SECRET is empty or not set" in refused(secret_env="NO_SUCH_SECRET")
    (tmp_path / "short").write_text("hunter2")
    assert "fewer than 16 bytes" in refused(secret_file=tmp_path / "short") and "hunter2" not in refused(
        secret_file=tmp_path / "short"
    )
    (tmp_path / "lines").write_text("first line of it\nsecond line of it")
    assert "more than one line" in refused(token_file=tmp_path / "lines")
    with pytest.raises(BadInputError, match="cannot use ca_file"):
        bad = WebhookOutput(kind="webhook", name="mes", url="https://localhost/", ca_file=tmp_path / "short")
        Outputs((bad,), (), CAMERAS, "box1", tmp_path)
    for url in ("ftp://x/", "https://", "https://me:pass@x/", "not an address"):
        with pytest.raises(ValueError) as caught:
            WebhookOutput(kind="webhook", name="mes", url=url)
        assert "pass@" not in str(caught.value.errors(include_input=False))  # type: ignore[attr-defined]


def test_the_signature_of_the_standard() -> None:
    """The example that the Standard Webhooks libraries test themselves with."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "x")
    body = b'{"test": 2432232314}'
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@given(body=st.text(max_size=200), key=st.binary(min_size=16, max_size=64), moment=st.integers(1, 2**32))
def test_the_signature_is_what_the_reference_library_verifies(body: str, key: bytes, moment: int) -> None:
    receiver = standardwebhooks.Webhook("whsec_" + base64.b64encode(key).decode())
    sent_at = datetime.fromtimestamp(moment, UTC)
    assert receiver.sign("id-7", sent_at, body) == signature(key, "id-7", moment, body.encode())
