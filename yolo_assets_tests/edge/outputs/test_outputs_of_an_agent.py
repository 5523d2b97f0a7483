"""Outputs as the agent runs them: configured in YAML, sent to real receivers, without slowing inference."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.edge.config.agent import load_config
from yolo_assets.edge.outputs.events import AlarmEvent, ResultEvent, event_schema
from yolo_assets_tests.edge.outputs.receivers import Hole, Receiver, free_port, live_camera
from yolo_assets_tests.edge.plant import AgentProcess, Plant, until

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs" / "edge-events.schema.json"


def box(root: Path, **options: Any) -> AgentProcess:
    root.mkdir()
    plant = Plant(root)
    plant.register("1")
    plant.promote("1")
    return AgentProcess(plant.config_file([live_camera(plant, fps=10)], **options))


def test_receivers_that_hang_or_are_dead_do_not_slow_inference(tmp_path: Path, agents: list[AgentProcess]) -> None:
    """Two agents side by side on the same processors: one without outputs, one whose receivers never answer."""
    hole = Hole()
    common = {"results": "all", "queue_size": 20}
    outputs = [
        {"kind": "webhook", "name": "hangs", "url": f"http://127.0.0.1:{hole.port}/", "timeout_s": 300, **common},
        {"kind": "webhook", "name": "dead", "url": f"http://127.0.0.1:{free_port()}/", **common},
        {"kind": "mqtt", "name": "mute", "host": "127.0.0.1", "port": hole.port, **common},
    ]
    agents += [box(tmp_path / "plain"), box(tmp_path / "told", outputs=outputs, alarms=[{"name": "any"}])]
    for agent in agents:
        agent.wait_for(lambda s: s["ready"])
    before = [agent.status()["cameras"]["cam1"]["processed"] for agent in agents]
    time.sleep(6)
    status = [agent.status() for agent in agents]
    done = [s["cameras"]["cam1"]["processed"] - b for s, b in zip(status, before, strict=True)]
    latency = [s["cameras"]["cam1"]["latency_ms_p50"] for s in status]
    assert done[1] >= 0.9 * done[0] > 0, (done, latency)
    assert latency[1] <= 1.5 * latency[0] + 5, (done, latency)
    for output in status[1]["outputs"]["outputs"]:
        ended = output["delivered"] + sum(output["dropped"].values())
        assert output["accepted"] == ended + output["waiting"] + output["sending"] and not output["delivered"]
        assert output["dropped"]["queue_full"] > 0 and output["waiting"] <= 20
    assert hole.connections
    text = agents[1].request("/metrics")[1].decode()
    for series in (
        'yolo_edge_output_events_total{kind="result",outcome="dropped_queue_full",output="hangs"}',
        'yolo_edge_output_up{output="dead"} 0.0',
        'yolo_edge_output_failures_total{output="dead",reason="connection"}',
        'yolo_edge_alarm_standing{camera="cam1",rule="any"} 1.0',
    ):
        assert series in text, series
    begin = time.monotonic()
    assert agents[1].stop() == 0 and time.monotonic() - begin < 20
    hole.close()


def test_results_and_alarms_of_a_run_follow_the_schema(tmp_path: Path, agents: list[AgentProcess]) -> None:
    sink = Receiver()
    output = {"kind": "webhook", "name": "mes", "url": f"http://127.0.0.1:{sink.port}/", "results": "all", "batch": 20}
    agent = box(tmp_path / "box", outputs=[output], alarms=[{"name": "many", "min_count": 2, "hold_frames": 3}])
    agents.append(agent)
    until(lambda: len(sink.events) > 20)
    status = agent.status()
    assert status["outputs"]["alarms"][0]["rule"] == "many"
    assert agent.stop() == 0
    check = TypeAdapter[ResultEvent | AlarmEvent](ResultEvent | AlarmEvent)
    events = sink.events
    for event in events:
        check.validate_json(json.dumps(event))
    ids = [(event["source"], event["id"]) for event in events]
    assert len(set(ids)) == len(ids)
    records = {}
    for path in (tmp_path / "box" / "spool").rglob("*.ndjson"):
        records |= {r["sequence"]: r for r in map(json.loads, path.read_bytes().splitlines())}
    for event in events:
        if event["type"] == "yolo_assets.result.v1":  # what left the box is what lies in the spool
            data, record = event["data"], records[event["data"]["sequence"]]
            for key in ("detections", "model_version", "captured_at", "image_path", "image_saved", "width", "quality"):
                assert data[key] == record[key], key
    kinds = [event["type"] for event in events]
    assert kinds.count("yolo_assets.alarm.raised.v1") == 1
    sink.close()


def test_the_documented_schema_is_the_one_in_use() -> None:
    assert json.loads(SCHEMA.read_text()) == event_schema(), (
        "write it again: python -c 'import json; from yolo_assets.edge.outputs.events import event_schema as s; "
        f"print(json.dumps(s(), indent=2))' > docs/{SCHEMA.name}"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": [{"kind": "webhook", "name": "a", "url": "http://x/"}] * 2}, "used twice"),
        ({"outputs": [{"kind": "webhook", "name": "a", "url": "http://x/", "cameras": ["cam9"]}]}, "no camera cam9"),
        ({"outputs": [{"kind": "pigeon", "name": "a"}]}, "webhook"),
        ({"outputs": [{"kind": "webhook", "name": "a", "url": "http://x/", "sercet_file": "s"}]}, "sercet_file"),
        ({"outputs": [{"kind": "mqtt", "name": "a", "host": "h", "topic": "a/#"}]}, "no + and no #"),
        ({"outputs": [{"kind": "mqtt", "name": "a", "host": "h", "ca_file": "x"}]}, "tls: true"),
        ({"alarms": [{"name": "a", "min_confidence": 2}]}, "min_confidence"),
        ({"alarms": [{"name": "a b"}]}, "alarm name"),
    ],
)
def test_wrong_options_are_one_line(plant: Plant, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        plant.config([live_camera(plant)], **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_example_configuration_holds_outputs_that_are_read(tmp_path: Path) -> None:
    """The commented examples, with the signs of the comment taken away, are options of the agent."""
    text = (ROOT / "deploy" / "edge" / "edge.example.yaml").read_text()
    lines = text.split("# outputs:", 1)[1].split("\n\n", 1)[0]
    example = "outputs:" + "\n".join(line[2:] if line.startswith("# ") else line for line in lines.splitlines())
    document = yaml.safe_load(text) | yaml.safe_load(example)
    path = tmp_path / "edge.yaml"
    path.write_text(yaml.safe_dump(document))
    config = load_config(path)
    assert {output.kind for output in config.outputs} == {"webhook", "mqtt"} and config.alarms
    assert config.outputs[0].ca_file is None or config.outputs[0].ca_file.is_absolute()
