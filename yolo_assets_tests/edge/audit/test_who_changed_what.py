"""Settings, privacy masks and batches in the audit log: who, when, from what, to what; no secret is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yolo_assets.contracts.device_audit import AuditEntry
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.audit.log import RECENT_LINES, AuditLog
from yolo_assets.edge.lots.book import Lot
from yolo_assets_tests.edge.plant import Plant

MASK: dict[str, Any] = {"polygons": [[[0, 0], [0.2, 0], [0.2, 0.2]]]}
STREAM = {"kind": "stream", "camera_id": "cam2", "url": "rtsp://10.0.0.9/one"}
HOOK = {"kind": "webhook", "name": "mes", "url": "https://mes.plant.example/secret-of-the-hook"}


def started(plant: Plant, mask: dict[str, Any] | None, url: str, hook: str = HOOK["url"], **options: Any) -> list[Any]:
    """The lines that a start with this configuration adds."""
    camera = {"kind": "folder", "camera_id": "cam1", "path": str(plant.photos("photos", 1))}
    cameras = [camera | ({"mask": mask} if mask else {}), STREAM | {"url": url}]
    agent = Agent(plant.config(cameras, outputs=[HOOK | {"url": hook}], **options))
    try:
        if mask is None and not options:
            agent.lots.change("cam1", Lot(batch_id="LOT-1", part_id="SN-1"), "token holder at 10.1.1.1")
            agent.lots.change("cam1", Lot(batch_id="LOT-1", part_id="SN-2"), "token holder at 10.1.1.1")
            agent.lots.change("cam1", Lot(batch_id="LOT-2"), "token holder at 10.1.1.2")
        return [line for line in agent.audit.recent() if line.kind != "begin"]
    finally:
        agent.stop()


def test_settings_masks_and_batches_are_told(tmp_path: Path) -> None:
    plant = Plant(tmp_path)
    lines = started(plant, None, "rtsp://10.0.0.9/one")
    batches = [(line.kind, line.who, line.source, line.target, line.reason) for line in lines]
    assert batches == [
        ("lot", "token holder at 10.1.1.1", None, "LOT-1", "batch in front of cam1"),
        ("lot", "token holder at 10.1.1.2", "LOT-1", "LOT-2", "batch in front of cam1"),
    ]
    assert started(plant, MASK, "rtsp://10.0.0.9/one")[2:][0].kind == "mask"
    wider = {"polygons": [[[0, 0], [0.9, 0], [0.9, 0.9]]]}
    lines = started(plant, wider, "rtsp://10.0.0.9/two", HOOK["url"] + "2", queue_size=16)[3:]
    mask, settings = lines
    assert (mask.kind, mask.who, mask.reason) == ("mask", "the configuration file", "privacy mask of cam1")
    assert mask.source and mask.target and mask.source != mask.target
    assert settings.kind == "settings" and "queue_size: 8 → 16" in settings.reason
    assert "cameras.cam2.url: (" in settings.reason and "outputs.mes.url: (" in settings.reason
    kept = (plant.config([STREAM]).state_dir / "settings.json").read_text()
    for secret in ("rtsp:", "secret-of-the-hook", "a-token-for-tests"):
        assert secret not in settings.reason and secret not in kept
    assert started(plant, wider, "rtsp://10.0.0.9/two", HOOK["url"] + "2", queue_size=16)[5:] == []


def test_many_batches_do_not_push_out_changes_of_the_model(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "box1")
    for number in range(RECENT_LINES + 20):
        kind = "model" if number == 0 else "lot"
        log.append(AuditEntry(at=utc_now(), kind=kind, who="x", target=f"{number}", result="changed", reason="x"))
    for opened in (log, AuditLog(tmp_path, "box1")):
        lines = opened.recent()
        assert [line.target for line in lines if line.kind == "model"] == ["0"]
        assert [line.sequence for line in lines] == sorted(line.sequence for line in lines)
        assert len(lines) == RECENT_LINES + 2
