"""Agents in this process: one with a single photograph, for how models come in, one on live frames for what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yolo_assets.contracts.fleet import SwapEvent
from yolo_assets.edge.agent import Agent
from yolo_assets.edge.rollout.state import EdgeState
from yolo_assets_tests.edge.plant import Plant, until
from yolo_assets_tests.support.tiny_model import blob_frame

BLOBS = 8


def camera(plant: Plant, camera_id: str = "cam1", fps: int = 40, folder: str = "busy") -> dict[str, Any]:
    """A live camera: pictures with many blobs, for ever."""
    path = plant.photos(folder, 4, blobs=BLOBS, width=640, height=480)
    return {
        "kind": "folder",
        "camera_id": camera_id,
        "path": str(path),
        "loop": True,
        "pace": "realtime",
        "fps": fps,
        "start": "2026-01-02T00:00:00Z",
    }


class AnyBox:
    """What both show."""

    agent: Agent

    @property
    def state(self) -> EdgeState:
        return self.agent.control.state

    @property
    def serving(self) -> str | None:
        serving = self.agent.control.serving
        return serving.identity.version if serving else None

    def events(self) -> list[tuple[str, str]]:
        return [(event.target, event.result) for event in self.agent.swaps.events()]


class Box(AnyBox):
    """Its camera is one photograph, and ends."""

    def __init__(self, plant: Plant, **options: Any) -> None:
        photos = plant.photos("photos", 1)
        self.agent = Agent(plant.config([{"kind": "folder", "camera_id": "cam1", "path": str(photos)}], **options))
        self.agent.start()

    def predicts(self) -> bool:
        with self.agent.control.slots.acquire() as slot:
            return len(slot.model.predictor.predict(blob_frame(0)[0])) > 0

    def wait_serving(self, version: str) -> None:
        until(lambda: self.serving == version and self.agent.stager.idle())

    def wait_events(self, count: int) -> None:
        until(lambda: len(self.agent.swaps.events()) >= count)

    def close(self) -> None:
        self.agent.stop()


class LiveBox(AnyBox):
    """Started on entry, stopped on exit."""

    def __init__(self, plant: Plant, cameras: list[dict[str, Any]] | None = None, **options: Any) -> None:
        sampling = {"normal_every": 0, "detections_every": 1000}
        config = plant.config(cameras or [camera(plant)], sampling=sampling, **options)
        self.agent = Agent(config)

    def __enter__(self) -> LiveBox:
        self.agent.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.stop()

    def wait_event(self, result: str, seconds: float = 30) -> SwapEvent:
        """The first event with this result."""
        return until(lambda: next((e for e in self.agent.swaps.events() if e.result == result), None), seconds)

    def serve(self, version: str, ready: Callable[[], object] = lambda: True) -> None:
        """Wait until this version serves and enough of its frames were seen to compare with."""
        until(lambda: self.serving == version and self.agent.stager.idle() and ready())
        until(lambda: len(self.agent.stager.preparer.tap.milliseconds(f"line/{version}")) >= 30)
