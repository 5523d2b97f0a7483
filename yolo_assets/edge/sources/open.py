"""From configured cameras to sources. The only place that knows which kinds there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from yolo_assets.edge.camera_config import FolderCamera, Policy, SimulatedCameras, VideoCamera
from yolo_assets.edge.config import AgentConfig
from yolo_assets.edge.sources.base import Source


@dataclass(frozen=True)
class ConfiguredSource:
    """A source with what the capture thread must know about it."""

    source: Source
    policy: Policy
    kind: Literal["simulated", "video", "folder", "stream"]


def open_sources(config: AgentConfig) -> list[ConfiguredSource]:
    """One source for each camera, checked as far as that is possible without waiting.

    Raises:
        BadInputError: a source can never work as configured.
    """
    found: list[ConfiguredSource] = []
    for camera in config.cameras:
        # Imported here: a box without simulated cameras loads no simulator, one without video no decoder.
        if isinstance(camera, SimulatedCameras):
            from yolo_assets.edge.sources.simulated import simulated_sources

            sources: list[Source] = [*simulated_sources(camera)]
        elif isinstance(camera, VideoCamera):
            from yolo_assets.edge.sources.video import VideoSource

            sources = [VideoSource(camera)]
        elif isinstance(camera, FolderCamera):
            from yolo_assets.edge.sources.folder import FolderSource

            sources = [FolderSource(camera)]
        else:
            from yolo_assets.edge.sources.video import StreamSource

            sources = [StreamSource(camera)]
        for source in sources:
            source.check()
        found += [ConfiguredSource(source, camera.policy, camera.kind) for source in sources]
    return found
