"""The agent as people run it: a process, its API, signals, a power cut, and what it refuses to start with."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.fleet import Heartbeat
from yolo_assets.contracts.names import fleet_key
from yolo_assets.contracts.times import Hour
from yolo_assets_tests.edge.plant import MODEL, TOKEN, AgentProcess, Plant, until
from yolo_assets_tests.support.videos import write_video


def photos(plant: Plant, **options: Any) -> dict[str, Any]:
    path = plant.photos("photos", 6)
    return {"kind": "folder", "camera_id": "cam1", "path": str(path), "start": "2026-01-02T03:59:57Z"} | options


def live(plant: Plant, **options: Any) -> dict[str, Any]:
    return photos(plant, loop=True, pace="realtime", fps=40) | options


def test_life_of_an_agent(plant: Plant, agents: list[AgentProcess]) -> None:
    """Start without a model, first release, readiness, switch, rollback with and without token, kill -9, SIGTERM."""
    for version in "12":
        plant.register(version)
    config = plant.config_file([live(plant)])
    agent = AgentProcess(config)
    agents.append(agent)
    status, problem = agent.request("/readyz")
    assert status == 503 and "no model" in problem["detail"] and problem["status"] == 503
    assert agent.request("/healthz")[0] == 200
    waiting = agent.wait_for(lambda s: s["cameras"]["cam1"]["dropped"].get("no_model", 0) > 3)
    assert waiting["model"]["version"] is None

    plant.promote("1")
    agent.wait_for(lambda s: s["model"]["version"] == "line/1" and s["ready"])
    assert agent.request("/readyz")[0] == 200
    plant.promote("2")
    settled = agent.wait_for(
        lambda s: len(s["swaps"]) == 2 and s["swaps"][1]["first_result_at"] and s["swaps"][1]["lost"] is not None
    )
    swap = settled["swaps"][-1]
    assert (swap["source"], swap["target"], swap["result"], swap["lost"]) == ("line/1", "line/2", "committed", 0)
    assert swap["noticed_at"] <= swap["ended_at"] <= swap["first_result_at"]
    assert 0 < swap["longest_gap_seconds"]["cam1"] < 5 and set(swap["steps"]) >= {"fetch", "load", "warm", "golden"}

    status, answer = agent.request("/rollback", "POST")
    assert status == 401 and "Bearer" in answer["detail"]
    assert agent.request("/v1/rollback", "POST", token="wrong" + TOKEN)[0] == 401
    assert agent.status()["model"]["version"] == "line/2"
    status, answer = agent.request("/rollback", "POST", token=TOKEN)
    assert status == 200 and (answer["from"], answer["to"]) == ("line/2", "line/1") and answer["seconds"] < 1
    assert agent.status()["model"]["pinned"]["version"] == "1"
    status, problem = agent.request("/rollback", "POST", token=TOKEN)  # never forward again by the same button
    assert status == 409 and "no older model is kept" in problem["detail"] and "/v1/unpin" in problem["detail"]
    for body in ({"version": "../../etc/passwd"}, {"version": "http://x/y"}, {"version": "weld/2"}, {"path": "x"}):
        status, answer = agent.request("/v1/models/reload", "POST", token=TOKEN, body=body)
        assert status == 422 and answer["title"]
    assert agent.request("/v1/models/reload", "POST", body={"version": "2"})[0] == 401
    status, answer = agent.request("/v1/models/reload", "POST", token=TOKEN, body={"version": "line/2"})
    assert status == 202 and answer["accepted"] and answer["wanted"] == "line/2"
    agent.wait_for(lambda s: s["model"]["version"] == "line/2")
    audit = agent.request("/v1/audit?kind=model")[1]
    assert [event["result"] for event in audit] == ["committed", "committed", "rolled_back", "committed"]

    check_pictures_and_metrics(agent)
    beat = until(lambda: plant.store.head(fleet_key("box1")) and plant.store.get(fleet_key("box1")))
    assert Heartbeat.from_json(beat).device_id == "box1"

    agent.stop(signal.SIGKILL)  # a power cut, and the network does not come back with the power
    plant.store_folder.rename(plant.root / "away")
    again = AgentProcess(config)
    agents.append(again)
    back = again.wait_for(lambda s: s["ready"] and s["store"]["error"])
    assert back["model"]["version"] == "line/2"
    assert len(again.request("/v1/audit?kind=model")[1]) == 5
    before = again.status()["cameras"]["cam1"]
    assert again.stop() == 0
    assert before["balanced"] and before["processed"] > 0
    check_spool(plant)


def check_pictures_and_metrics(agent: AgentProcess) -> None:
    status, page = agent.request("/")
    assert status == 200 and b"page.js" in page and b"http" not in page.replace(b"http-equiv", b"")
    for file in ("page.js", "page.css", "icon.svg"):
        status, content = agent.request(f"/page/{file}")
        assert status == 200 and b"//cdn" not in content and b"https://" not in content
    assert agent.request("/page/../agent.py")[0] == 404
    status, jpeg = agent.request("/v1/cameras/cam1/snapshot.jpg")
    assert status == 200 and jpeg[:2] == b"\xff\xd8"
    status, frame = agent.request("/v1/cameras/cam1/latest?after=-1&wait=1")
    assert status == 200 and frame["image"].startswith("data:image/jpeg") and frame["model_version"].startswith("line/")
    status, newer = agent.request(f"/v1/cameras/cam1/latest?after={frame['sequence']}&wait=5")
    assert newer["sequence"] > frame["sequence"]
    assert agent.request("/v1/cameras/nobody/snapshot.jpg")[0] == 404
    text = agent.request("/metrics")[1].decode()
    samples = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
    assert samples['yolo_edge_frames_total{camera="cam1",outcome="processed"}'] > 0
    assert samples['yolo_edge_swap_total{result="committed"}'] == 3
    assert samples['yolo_edge_swap_total{result="rolled_back"}'] == 1
    assert any(name.startswith("yolo_edge_inference_seconds_bucket{") for name in samples)
    assert any(name.startswith("yolo_edge_model_info{") and 'role="previous"' in name for name in samples)
    for name in ("yolo_edge_spool_bytes", "yolo_edge_last_result_age_seconds", "yolo_edge_inflight"):
        assert any(sample.startswith(name) for sample in samples), name


def check_spool(plant: Plant) -> None:
    """Every record keeps the contract, every picture that is promised is there, every sealed hour adds up."""
    records = plant.records()
    paths = [record["image_path"] for record in records]
    assert len(set(paths)) == len(paths) > 0
    for document in records:
        record = DetectionRecord.from_json(orjson.dumps(document))
        assert record.device_id == "box1" and record.camera_id is not None and record.captured_at is not None
        assert record.width and record.height and record.quality and record.inference_ms is not None
        assert record.model_version.startswith(f"{MODEL}/")
        assert (plant.spool / record.image_path).exists() == record.image_saved
        assert record.image_path.split("/")[1] == Hour.of(record.captured_at).key
    seals, in_time = plant.seals(), plant.records("records.ndjson")
    for (camera, hour), seal in seals.items():
        mine = [record for record in in_time if record["image_path"].startswith(f"{camera}/{hour}/")]
        assert seal.records == seal.processed == len(mine)
        assert seal.captured == seal.processed + sum(seal.dropped.values())
        assert seal.frames == sum(record["image_saved"] for record in mine)


def test_files_become_sealed_hours_and_the_agent_ends_by_itself(plant: Plant, agents: list[AgentProcess]) -> None:
    plant.register("1")
    plant.promote("1")
    video = write_video(plant.root / "line.mp4", frames=30)
    broken = plant.photos("broken", 3)
    (broken / "001.png").write_bytes((broken / "001.png").read_bytes()[:200])
    agent = AgentProcess(
        plant.config_file(
            [
                photos(plant),
                photos(plant, camera_id="cam2", path=str(broken)),
                {"kind": "video", "camera_id": "cam3", "path": str(video), "start": "2026-01-02T03:59:58.500Z"},
            ],
            exit_when_done=True,
            batch_id="B7",
        )
    )
    agents.append(agent)
    assert agent.process.wait(60) == 0, agent.log.read_text()
    check_spool(plant)
    seals = plant.seals()
    assert {key: (seal.captured, seal.processed, seal.dropped) for key, seal in seals.items()} == {
        ("cam1", "20260102_03"): (3, 3, {}),
        ("cam1", "20260102_04"): (3, 3, {}),
        ("cam2", "20260102_03"): (3, 2, {"unreadable": 1}),
        ("cam3", "20260102_03"): (15, 15, {}),
        ("cam3", "20260102_04"): (15, 15, {}),
    }
    assert {record["batch_id"] for record in plant.records()} == {"B7"}


def test_simulated_hours_are_sealed_as_their_time_passes_and_truth_lies_outside(
    plant: Plant, agents: list[AgentProcess]
) -> None:
    plant.register("1")
    plant.promote("1")
    start = Hour.of(datetime.now(UTC) - timedelta(days=2))
    agent = AgentProcess(
        plant.config_file(
            [
                {
                    "kind": "simulated",
                    "camera_ids": ["lineA_cam01", "lineA_cam02"],
                    "fps": 8,
                    "width": 160,
                    "height": 128,
                    "clock": {"start": start.start.isoformat(), "speed": 1800},
                    "truth": str(plant.root / "truth"),
                }
            ],
            sampling={"normal_every": 1},
        )
    )
    agents.append(agent)
    status = agent.wait_for(lambda s: s["spool"]["sealed_hours"] >= 4)
    assert all(camera["simulated"] for camera in status["cameras"].values())
    assert agent.stop() == 0
    check_spool(plant)
    records = plant.records()
    assert {camera for camera, _ in plant.seals()} == {"lineA_cam01", "lineA_cam02"}
    assert all(record["batch_id"].startswith("B") for record in records)
    truth = [orjson.loads(line) for file in (plant.root / "truth").rglob("*.ndjson") for line in file.open("rb")]
    kept = {record["image_path"] for record in records if record["image_saved"]}
    assert {line["image_path"] for line in truth} == kept and len(truth) == len(kept)
    assert not list(plant.spool.rglob("*truth*"))


def test_sigterm_finishes_what_waits(plant: Plant, agents: list[AgentProcess]) -> None:
    plant.register("slow", "slow")
    plant.promote("slow")
    agent = AgentProcess(plant.config_file([live(plant, fps=200, policy="latest")], queue_size=4))
    agents.append(agent)
    status = agent.wait_for(lambda s: s["cameras"]["cam1"]["dropped"].get("stale", 0) > 5)
    assert status["cameras"]["cam1"]["balanced"] and status["totals"]["balanced"]
    begin = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - begin < 20
    hours = {path.name for path in (plant.spool / "cam1").iterdir()}
    assert hours  # the hour that is not over stays open, and every frame of it has a record or a noted drop
    records = plant.records()
    drops = sum(len(path.read_bytes().splitlines()) for path in plant.spool.rglob("drops.log"))
    sequences = {record["sequence"] for record in records}
    assert len(sequences) == len(records) and max(sequences) < len(records) + drops


def test_sigterm_is_heard_when_the_model_of_the_start_was_freed(plant: Plant, agents: list[AgentProcess]) -> None:
    """At a start from the cache the main thread loads, which also hears signals; the second switch frees that model."""
    config = plant.config_file([live(plant)], engine={"kind": "openvino"})
    plant.register("1")
    plant.promote("1")
    fetching = AgentProcess(config)
    agents.append(fetching)
    fetching.wait_for(lambda s: s["ready"])
    assert fetching.stop() == 0
    agent = AgentProcess(config)
    agents.append(agent)
    agent.wait_for(lambda s: s["ready"])
    for version in "23":
        plant.register(version)
        plant.promote(version)
        agent.wait_for(lambda s, version=version: s["model"]["version"] == f"line/{version}")
    time.sleep(1)  # what was freed is gone
    assert agent.stop() == 0


def refusal(config: Path, code: int = 1) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "yolo_assets.cli.main", "edge", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_what_the_agent_refuses_to_start_with(plant: Plant) -> None:
    """One process for the command line's form; the other causes are tested where they arise."""
    plant.register("1")
    (plant.root / "broken.mp4").write_bytes(b"no video")
    broken = {"kind": "video", "camera_id": "cam1", "path": str(plant.root / "broken.mp4")}
    assert "cannot read the video" in refusal(plant.config_file([broken]))
    assert "'a/b' is not a camera id" in refusal(plant.config_file([photos(plant, camera_id="a/b")]), code=2)
    blocked = plant.root / "blocked"
    blocked.write_text("a file where a folder should be")
    assert "cannot write the spool" in refusal(plant.config_file([photos(plant)], spool=str(blocked)))


def test_the_agent_loads_neither_dagster_nor_torch_nor_tables() -> None:
    code = (
        "import sys, yolo_assets.edge.agent, yolo_assets.edge.cameras.video, yolo_assets.edge.cameras.simulated;"
        "print([m for m in ('dagster','torch','onnx','polars','pyarrow','duckdb','ultralytics') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
