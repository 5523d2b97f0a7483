"""The agent's ``/metrics`` shows what the archiver of the same device counted, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from yolo_assets.archive.service.metrics import ArchiverCounters
from yolo_assets.contracts.archiver_figures import FIGURES, PREFIX
from yolo_assets.edge.agent import Agent
from yolo_assets_tests.edge.plant import Plant


@pytest.mark.parametrize("named", [False, True])
def test_the_archiver_of_the_device_is_in_the_agents_metrics(plant: Plant, named: bool, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere" if named else plant.spool.parent
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    agent = Agent(plant.config([camera], **({"archiver_home": str(home)} if named else {})))
    try:
        client = TestClient(agent.app, "http://127.0.0.1", client=("127.0.0.1", 50000))

        def samples() -> dict[str, float]:
            families = text_string_to_metric_families(client.get("/metrics").text)
            return {sample.name: sample.value for family in families for sample in family.samples}

        assert not any(name.startswith(PREFIX) for name in samples()), "no archiver, no figures"
        tally = ArchiverCounters(home / FIGURES)
        tally.add("archives", 7, "cam1")
        tally.stands(waiting=2)
        tally.flush()
        found = samples()
        assert (found[f"{PREFIX}archives_total"], found[f"{PREFIX}waiting_camera_hours"]) == (7, 2)
        assert "yolo_edge_spool_bytes" in found
        tally.add("archives", 1, "cam1")
        tally.flush()
        assert samples()[f"{PREFIX}archives_total"] == 8
        (home / FIGURES).write_bytes(b"{")
        assert not any(name.startswith(PREFIX) for name in samples()), (
            "damage to the archiver's file is not the agent's"
        )
    finally:
        agent.stop()
