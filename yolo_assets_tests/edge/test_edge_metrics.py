"""What Prometheus scrapes: names as the ecosystem has them, checked by Prometheus' own tool."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from yolo_assets_tests.edge.plant import TOKEN, AgentProcess, Plant


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """After a swap and a rollback under load."""
    plant = Plant(tmp_path_factory.mktemp("plant"))
    for version in "12":
        plant.register(version)
    plant.promote("1")
    photos = plant.photos("photos", 4)
    camera = {"kind": "folder", "path": str(photos), "loop": True, "pace": "realtime", "fps": 20}
    agent = AgentProcess(plant.config_file([camera | {"camera_id": "cam1"}, camera | {"camera_id": "cam2"}]))
    try:
        agent.wait_for(lambda status: status["ready"])
        plant.promote("2")
        agent.wait_for(lambda status: status["model"]["version"] == "line/2")
        assert agent.request("/rollback", "POST", token=TOKEN)[0] == 200
        agent.wait_for(lambda status: status["cameras"]["cam2"]["processed"] > 20)
        yield agent.request("/metrics")[1].decode()
    finally:
        agent.stop()


def test_promtool_accepts_them(scraped: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have promtool")
        pytest.skip("promtool is not installed (Debian: package prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=scraped, text=True, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_promised_series_are_there(scraped: str) -> None:
    found = {
        (sample.name, tuple(sorted(sample.labels))): sample
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
    }
    for name, labels in (
        ("yolo_edge_frames_total", ("camera", "outcome")),
        ("yolo_edge_inference_seconds_bucket", ("le", "slot", "stage")),
        ("yolo_edge_model_info", ("engine", "model_version", "role")),
        ("yolo_edge_swap_total", ("result",)),
        ("yolo_edge_swap_seconds_bucket", ("le", "stage")),
        ("yolo_edge_inflight", ("role", "slot")),
        ("yolo_edge_spool_bytes", ()),
        ("yolo_edge_last_result_age_seconds", ("camera",)),
        ("yolo_edge_ready", ()),
        ("yolo_edge_audit_lines_total", ()),
        ("yolo_edge_audit_unshipped_lines", ()),
        ("yolo_edge_disk_used_ratio", ()),
        ("yolo_edge_build_info", ("version",)),
        ("yolo_edge_store_requests_total", ("kind", "operation")),
        ("process_resident_memory_bytes", ()),
        ("process_cpu_seconds_total", ()),
    ):
        assert (name, labels) in found, name
    assert found["yolo_edge_ready", ()].value == 1
    assert found["process_resident_memory_bytes", ()].value > 30e6


def test_the_figures_add_up(scraped: str) -> None:
    """Captured frames are processed, dropped for a reason, or in flight: also as Prometheus sees it."""
    frames: dict[str, dict[str, float]] = {}
    flying: dict[str, float] = {}
    swaps: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            if sample.name == "yolo_edge_frames_total":
                frames.setdefault(sample.labels["camera"], {})[sample.labels["outcome"]] = sample.value
            elif sample.name == "yolo_edge_frames_in_flight":
                flying[sample.labels["camera"]] = sample.value
            elif sample.name == "yolo_edge_swap_total":
                swaps[sample.labels["result"]] = sample.value
            elif sample.name == "yolo_edge_swap_seconds_count":
                seconds[sample.labels["stage"]] = sample.value
    for camera, outcomes in frames.items():
        captured = outcomes.pop("captured")
        assert captured == sum(outcomes.values()) + flying[camera] > 20, camera
    assert (swaps["committed"], swaps["rolled_back"], swaps["failed"]) == (2, 1, 0)
    assert seconds["switch"] == 3 and seconds["golden"] == 2
