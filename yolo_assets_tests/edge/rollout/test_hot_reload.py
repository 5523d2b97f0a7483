"""Thirty model changes under full load: no frame lost, none twice, none under another model's name.

Version ``v<n>`` reports at most ``n`` boxes and every picture holds more, so the number of boxes in a record shows
which model really processed it.
"""

from __future__ import annotations

from collections import Counter

from yolo_assets.edge.agent import Agent
from yolo_assets_tests.edge.plant import MODEL, Plant, until

VERSIONS = {f"v{most}": most for most in (4, 5, 6, 7)}
SWAPS = 30


def test_no_frame_is_lost_doubled_or_misattributed(plant: Plant) -> None:
    for version, most in VERSIONS.items():
        plant.register(version, most=most)
    cameras = [
        {
            "kind": "folder",
            "camera_id": f"cam{number}",
            "path": str(plant.photos("photos", 8, blobs=8, width=640, height=480)),
            "loop": True,
            "pace": "as_fast",
            "fps": 20,
            "start": f"2026-01-02T0{number}:00:00Z",
        }
        for number in (1, 2, 3)
    ]
    config = plant.config(
        cameras,
        engine={"kind": "onnxruntime", "workers": 2},
        sampling={"normal_every": 0, "detections_every": 50},
        poll_seconds=0.05,
    )
    plant.promote("v4")
    agent = Agent(config)
    agent.start()
    try:
        until(lambda: agent.control.serving)
        names = list(VERSIONS)
        for number in range(1, SWAPS + 1):
            if number % 5 == 0:
                agent.control.roll_back("test")
                agent.control.unpin()
            version = names[number % len(names)]
            plant.promote(version)
            until(lambda version=version: agent.control.serving and agent.control.serving.identity.version == version)
            until(lambda: agent.swaps.swaps()[-1].first_result_at)  # each one sees frames
        until(lambda: all(swap.lost is not None for swap in agent.swaps.swaps() if swap.switch_seconds is not None))
    finally:
        clean = agent.stop()
    assert clean

    swaps = [swap for swap in agent.swaps.swaps() if swap.event.result in ("committed", "rolled_back")]
    assert len(swaps) >= SWAPS
    assert {swap.lost for swap in swaps} == {0}
    switches = sorted(swap.switch_seconds or 0 for swap in swaps)
    assert switches[len(switches) // 2] < 0.001  # one assignment, whatever the load

    records = plant.records()
    assert {record["model_version"] for record in records} == {f"{MODEL}/{version}" for version in VERSIONS}
    for record in records:
        expected = VERSIONS[record["model_version"].removeprefix(f"{MODEL}/")]
        assert len(record["detections"]) == expected, f"{record['image_path']} was seen by another model"

    drops = Counter[str]()
    counts = agent.recorder.journal.counts()
    for camera, count in counts.items():
        sequences = [record["sequence"] for record in records if record["camera_id"] == camera]
        assert len(set(sequences)) == len(sequences) == count.processed > SWAPS
        assert count.balanced and count.in_flight == 0
        drops.update(count.dropped)
        if not count.dropped:
            assert sorted(sequences) == list(range(count.captured))
    assert set(drops) <= {"stopped"}, drops  # a source that can wait loses nothing but what the stop caught
    assert len({record["image_path"] for record in records}) == len(records)
    assert [role for role, _ in agent.control.slots.loaded()] == []
