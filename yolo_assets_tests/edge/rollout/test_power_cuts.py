"""kill -9 of a real agent: during staging, during the watch window, with the store gone and the cache damaged."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.model import ONNX
from yolo_assets.edge.rollout.state import EdgeState
from yolo_assets_tests.edge.plant import AgentProcess, Plant
from yolo_assets_tests.edge.rollout.box import camera


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    running: list[AgentProcess] = []
    yield running
    for agent in running:
        agent.stop(signal.SIGKILL)


def state(plant: Plant) -> EdgeState:
    path = plant.root / "edge" / "box1" / "state.json"
    return EdgeState.from_json(path.read_bytes(), str(path))


def start(plant: Plant, agents: list[AgentProcess], config: Path) -> AgentProcess:
    agents.append(AgentProcess(config))
    return agents[-1]


def serves(version: str, state: str | None = None) -> Any:
    def found(status: dict[str, Any]) -> bool:
        model = status["model"]
        return model["version"] == f"line/{version}" and (state is None or bool(model[state]))

    return found


@pytest.mark.soak
def test_a_candidate_that_dies_twice_in_staging_is_quarantined(plant: Plant, agents: list[AgentProcess]) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    slow = {"frames": 100_000, "seconds": 600}  # a shadow run long enough to be killed in
    config = plant.config_file([camera(plant, fps=20)], shadow=slow)
    agent = start(plant, agents, config)
    agent.wait_for(serves("1"))
    pointer = plant.promote("2")
    for deaths in (1, 2):
        agent.wait_for(serves("1", "preparing"))
        agent.wait_for(lambda status: (status["model"]["shadow"] or {"frames": 0})["frames"] > 0)
        agent.stop(signal.SIGKILL)
        left = state(plant)
        assert left.prepared is not None and left.prepared.attempts == deaths and left.primary.model is not None
        assert left.primary.model.version == "1"
        agent = start(plant, agents, config)
    status = agent.wait_for(serves("1", "quarantine"))
    assert status["model"]["quarantine"][0]["version"] == "2" and status["model"]["preparing"] is None
    assert "died 2 times while this release was being prepared" in status["model"]["quarantine"][0]["reason"]
    assert state(plant).quarantined(pointer.manifest_sha256, pointer.release)


def test_a_model_that_dies_twice_on_trial_is_reverted_without_a_network(
    plant: Plant, agents: list[AgentProcess]
) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    config = plant.config_file([camera(plant, fps=20)], watch={"seconds": 600})
    agent = start(plant, agents, config)
    agent.wait_for(serves("1"))
    plant.promote("2")
    agent.wait_for(serves("2", "trial"))
    assert agent.stop() == 0  # a clean stop does not count, and the trial begins again
    assert state(plant).primary.on_trial and state(plant).primary.attempts == 0
    away = plant.store_folder.rename(plant.root / "away")
    for deaths in (1, 2):
        agent = start(plant, agents, config)
        agent.wait_for(serves("2", "trial"))
        agent.stop(signal.SIGKILL)
        primary = state(plant).primary
        assert primary.on_trial and primary.attempts == deaths
    agent = start(plant, agents, config)
    status = agent.wait_for(serves("1", "quarantine"))
    assert "died 2 times while this release was on trial" in status["model"]["quarantine"][0]["reason"]
    assert ("line/1", "reverted") in [(event["target"], event["result"]) for event in status["swaps"]]
    away.rename(plant.store_folder)
    agent.wait_for(lambda status: serves("1")(status) and status["store"]["error"] is None)
    primary = state(plant).primary
    assert primary.model is not None and primary.model.version == "1" and primary.release == 2


@pytest.mark.soak
def test_a_damaged_cache_leads_to_the_model_before(plant: Plant, agents: list[AgentProcess]) -> None:
    for version in "12":
        plant.register(version)
    plant.promote("1")
    config = plant.config_file([camera(plant, fps=20)])
    agent = start(plant, agents, config)
    agent.wait_for(serves("1"))
    plant.promote("2")
    manifest = plant.register("2")
    agent.wait_for(serves("2"))
    agent.stop(signal.SIGKILL)
    plant.store_folder.rename(plant.root / "away")
    blob = plant.root / "edge" / "box1" / "models" / "blobs" / manifest.files[ONNX].sha256
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    agent = start(plant, agents, config)
    status = agent.wait_for(serves("1"))
    failed = next(event for event in status["swaps"] if event["result"] == "failed")
    assert failed["target"] == "line/2" and "not as it was released" in failed["reason"]
