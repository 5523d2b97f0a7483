"""A release in waves over real agents: one is silent, one joins late, and one release is bad on the canary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from yolo_assets.contracts.releasing import RolloutRecord, RolloutSettings
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import utc_now
from yolo_assets.models.fleet_status import fleet_status, read_heartbeats
from yolo_assets.models.promotion import ReleaseRequest
from yolo_assets.models.registry import Registry
from yolo_assets.models.rollout import Rollouts, release_in_waves
from yolo_assets_tests.edge.plant import MODEL, AgentProcess, Plant, until
from yolo_assets_tests.models.release_support import promoter_of

SETTINGS = RolloutSettings(canary=("box1",), waves=(0.6,), settle_seconds=2, timeout_seconds=20)


class Hall:
    """Real agents on one store, and the platform's look at them."""

    def __init__(self, plant: Plant, agents: list[AgentProcess]) -> None:
        self.plant, self.agents = plant, agents
        registry = Registry(plant.store, TrustedKeys.of(plant.signer))
        self.promoter = promoter_of(registry, plant.signer)
        self.rollouts = Rollouts(self.promoter, MODEL, "stable")
        self.photos = plant.photos("photos")

    def start(self, device: str) -> AgentProcess:
        camera = {"kind": "folder", "camera_id": f"cam_{device}", "path": str(self.photos), "loop": True, "fps": 2}
        home = self.plant.root / device
        home.mkdir(exist_ok=True)
        places: dict[str, Any] = {"device_id": device, "spool": str(home / "spool"), "state": str(home / "state")}
        places |= {"store": str(self.plant.store_folder), "trusted_keys": [str(self.plant.root / "keys/promotion.pub")]}
        path = self.plant.config_file([camera], **places)
        agent = AgentProcess(Path(path.rename(home / "edge.yaml")))
        self.agents.append(agent)
        return agent

    def release(self, version: str) -> None:
        release_in_waves(self.promoter, SETTINGS)(ReleaseRequest(MODEL, version, "stable", "anna", "better"))

    def look(self) -> RolloutRecord:
        record = self.rollouts.look(read_heartbeats(self.plant.store).heartbeats, utc_now())
        assert record is not None
        return record

    def runs(self) -> dict[str, str | None]:
        return {beat.device_id: beat.model_version for beat in read_heartbeats(self.plant.store).heartbeats}


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_silent_a_late_and_a_bad_device(plant: Plant, agents: list[AgentProcess], capsys) -> None:
    for version in ("1", "2"):
        plant.register(version)
    plant.register("3", variant="blind")
    plant.promote("1")
    hall = Hall(plant, agents)
    for device in ("box1", "box2", "box3"):
        hall.start(device)
    until(lambda: set(hall.runs().values()) == {"line/1"} and len(hall.runs()) == 3, 120)

    hall.release("2")
    until(lambda: hall.runs()["box1"] == "line/2", 60)
    assert {hall.runs()["box2"], hall.runs()["box3"]} == {"line/1"}
    hall.start("box4")
    until(lambda: hall.runs().get("box4") == "line/1", 60)  # a late joiner has what the others have
    silent = next(device for device in ("box2", "box3") if device in (hall.rollouts.newest() or hall.look()).waves[1])
    gone = agents[int(silent[-1]) - 1]
    gone.process.kill()
    until(lambda: hall.look().wave == 1, 60)
    until(lambda: hall.look().state == "paused", 60)
    failed = hall.look().failed
    assert set(failed) == {silent}
    hall.rollouts.resume("ben", f"{silent} is in repair", utc_now())
    until(lambda: hall.look().state == "done", 90)
    hall.start(silent)
    until(lambda: set(hall.runs().values()) == {"line/2"} and len(hall.runs()) == 4, 90)
    pointer = hall.promoter.registry.channel(MODEL, "stable").pointer()
    assert pointer is not None
    devices = fleet_status(read_heartbeats(plant.store), pointer, utc_now()).devices
    took = [one.took.total_seconds() for one in devices if one.took]

    hall.release("3")
    until(lambda: hall.look().state == "paused", 60)
    assert set(hall.look().failed) == {"box1"} and "golden frame" in hall.look().failed["box1"]
    hall.rollouts.abort("anna", "finds nothing", utc_now())
    until(lambda: set(hall.runs().values()) == {"line/2"}, 60)
    record = hall.rollouts.newest()
    assert record is not None and record.state == "aborted"
    with capsys.disabled():
        print(f"\n{silent}: {failed[silent]}; seconds from the last wave: {took}")
        print([step.what for step in record.steps])
