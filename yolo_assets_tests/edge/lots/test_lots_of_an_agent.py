"""Lots through a real agent: under load, at the border of an hour, across kill -9, by API and by a real mosquitto."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.publish import single

from yolo_assets.contracts.times import format_time, parse_time
from yolo_assets_tests.edge.outputs.receivers import Mosquitto
from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant, until


class Line:
    """A line that changes lots again and again, and remembers what the agent confirmed."""

    def __init__(self) -> None:
        self.number = 0
        self.confirmed: list[tuple[datetime, str, str]] = []
        self.open: list[str] = []
        """Changes that a kill left without an answer."""

    def change(self, agent: AgentProcess, at: str | None = None) -> dict[str, Any]:
        self.number += 1
        lot, part = f"LOT-{self.number}", f"SN-{self.number}"
        self.open.append(lot)
        body = {"batch_id": lot, "part_id": part} | ({"at": at} if at else {})
        status, answer = agent.request("/v1/cameras/lineA_cam01/batch", "PUT", TOKEN, body)
        assert status == 200, answer
        self.open.remove(lot)
        self.confirmed.append((parse_time(answer["lot"]["at"]), lot, part))
        return answer

    def wrong(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Records with another lot than the one that was confirmed for their capture time."""
        found: list[dict[str, Any]] = []
        for record in records:
            before = [each for each in self.confirmed if each[0] <= parse_time(record["captured_at"])]
            expected = max(before, default=(None, None, None))[1:]
            said = record.get("batch_id"), record.get("part_id")
            if said != expected and said[0] not in self.open:
                found.append(record)
        return found


@pytest.mark.parametrize(
    "clock", [None, {"start": "2026-01-02T03:00:00Z", "speed": 1800}], ids=["across_kills", "border_of_an_hour"]
)
def test_no_frame_has_a_wrong_lot_under_load(plant: Plant, agents: list[AgentProcess], clock: Any) -> None:
    """More frames than the device can judge, many of them waiting, several workers, thirty changes a second."""
    plant.register("1")
    plant.promote("1")
    camera: dict[str, Any] = {"kind": "simulated", "camera_ids": ["lineA_cam01"], "fps": 250, "width": 64, "height": 64}
    if clock is not None:
        camera["clock"] = clock
    engine = {"kind": "onnxruntime", "workers": 3}
    config = plant.config_file([camera | {"policy": "every"}], queue_size=64, engine=engine)
    line = Line()
    for turn in range(1 if clock is not None else 3):
        agent = AgentProcess(config)
        agents.append(agent)
        agent.wait_for(lambda s: s["cameras"]["lineA_cam01"]["processed"] > 20)
        found = agent.status()["cameras"]["lineA_cam01"]
        before, processed = found["lot"], found["processed"]
        if turn:  # what was confirmed holds; what the kill left open may
            assert before["batch_id"] in {line.confirmed[-1][1], *line.open}
            line.confirmed.append((parse_time(before["at"]), before["batch_id"], before["part_id"]))
        stop = threading.Event()

        def changing(agent: AgentProcess = agent, stop: threading.Event = stop) -> None:
            while not stop.wait(0.03):
                try:
                    line.change(agent)
                except (OSError, http.client.HTTPException, json.JSONDecodeError):
                    return

        thread = threading.Thread(target=changing)
        thread.start()
        time.sleep(1.2 if clock is None else 2.2)
        # A slow machine takes longer to see enough.
        agent.wait_for(lambda s, before=processed: s["cameras"]["lineA_cam01"]["processed"] > before + 120)
        if clock is None:
            agent.stop(signal.SIGKILL)
        stop.set()
        thread.join(10)
        agent.stop()
    records = [record for record in plant.records("records.ndjson") if record["batch_id"] not in line.open]
    records = [record for record in records if parse_time(record["captured_at"]) >= line.confirmed[0][0]]
    assert len({record["batch_id"] for record in records}) > 20 and len(records) > 60
    assert clock is None or len({record["image_path"].split("/")[1] for record in records}) >= 2
    assert line.wrong(records) == []


def test_the_route_of_lots(plant: Plant, agents: list[AgentProcess]) -> None:
    plant.register("1")
    plant.promote("1")
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 6)), "loop": True, "fps": 20}
    agent = AgentProcess(plant.config_file([camera | {"pace": "realtime"}], batch_id="STATIC"))
    agents.append(agent)
    where = "/v1/cameras/cam1/batch"
    assert agent.request(where) == (200, {"camera_id": "cam1", "lot": None, "planned": []})
    until(lambda: any(record["batch_id"] == "STATIC" for record in plant.records("records.ndjson")))
    assert agent.request(where, "PUT", body={"batch_id": "A"})[0] == 401
    assert agent.request("/v1/cameras/cam9/batch", "PUT", TOKEN, {"batch_id": "A"})[0] == 404
    for body in ({}, {"batch_id": "A\n"}, {"batch_id": 7}, {"batch_id": "A", "at": "noon"}, {"batch_id": "A", "x": 1}):
        assert agent.request(where, "PUT", TOKEN, body)[0] == 422, body
    far = format_time(datetime.now(UTC) + timedelta(days=3))
    status, answer = agent.request(where, "PUT", TOKEN, {"batch_id": "A", "at": far})
    assert status == 409 and "too far" in answer["detail"]
    status, answer = agent.request(where, "PUT", TOKEN, {"batch_id": "A", "part_id": "7"})
    assert status == 200 and answer["lot"]["batch_id"] == "A" and "token holder" in answer["lot"]["by"]
    assert agent.request(where, "PUT", TOKEN, {"batch_id": "A", "part_id": "7"})[1]["lot"] == answer["lot"]
    assert agent.request(where)[1]["lot"] == answer["lot"]
    assert agent.status()["cameras"]["cam1"]["lot"]["part_id"] == "7"
    until(lambda: any(record["batch_id"] == "A" for record in plant.records("records.ndjson")))
    assert agent.request(where, "PUT", TOKEN, {"batch_id": None})[0] == 200  # nothing is in front of the camera
    until(lambda: plant.records("records.ndjson")[-1]["batch_id"] is None)


def test_lots_by_a_broker_that_goes_and_returns(plant: Plant, agents: list[AgentProcess], tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")

    def publish(text: str, camera: str = "cam1", *, retain: bool = False) -> None:
        single(f"plant/{camera}/lot", text, qos=1, retain=retain, hostname="127.0.0.1", port=broker.port)

    try:
        plant.register("1")
        plant.promote("1")
        cameras = [
            {"kind": "folder", "camera_id": name, "path": str(plant.photos("photos", 6)), "loop": True, "fps": 10}
            | {"pace": "realtime"}
            for name in ("cam1", "cam2")
        ]
        lots = {"mqtt": {"host": "127.0.0.1", "port": broker.port, "topic": "plant/{camera_id}/lot"}}
        config = plant.config_file(cameras, lots=lots)
        publish("LOT-1", retain=True)
        agent = AgentProcess(config)
        agents.append(agent)

        def lot(camera: str = "cam1") -> str | None:
            found = agent.status()["cameras"][camera]["lot"]
            return found and found["batch_id"]

        until(lambda: lot() == "LOT-1")
        publish('{"batch_id": "LOT-2", "part_id": "9"}')
        until(lambda: lot() == "LOT-2")
        assert lot("cam2") is None
        publish('{"batch_id": 3}')
        refused = until(lambda: (found := agent.status()["lots"])["refused"] and found)
        assert "batch_id" in refused["last_refused"] and lot() == "LOT-2"
        assert agent.request("/v1/cameras/cam1/batch", "PUT", TOKEN, {"batch_id": "LOT-3"})[0] == 200
        publish("LOT-2", retain=True)  # as the line's own controller repeats it
        until(lambda: lot() == "LOT-2")
        assert agent.request("/v1/cameras/cam1/batch", "PUT", TOKEN, {"batch_id": "LOT-4"})[0] == 200
        agent.stop(signal.SIGKILL)
        agent = AgentProcess(config)
        agents.append(agent)
        agent.wait_for(lambda s: s["lots"]["error"] is None)
        publish("LOT-5", "cam2")
        until(lambda: lot("cam2") == "LOT-5")  # so the retained message of cam1 was heard, too
        assert lot() == "LOT-4"
    finally:
        broker.kill()
