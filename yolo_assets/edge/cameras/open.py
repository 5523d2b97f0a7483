"""From configured cameras to sources. The only place that knows which kinds there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from yolo_assets.edge.box_clock import BoxClock
from yolo_assets.edge.cameras.backoff import Backoff
from yolo_assets.edge.cameras.base import Source
from yolo_assets.edge.cameras.live import live_source, stall_seconds
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.cameras import FolderCamera, Policy, SimulatedCameras, VideoCamera


@dataclass(frozen=True)
class ConfiguredSource:
    """A source with what the capture thread must know about it.

    Attributes:
        backoff: how long to wait before it is tried again.
        clock: the clock of the box, where captures carry its time; None where the source has a time of its own.
        stall_s: silence of a live camera that is called a stall; None for sources that have their own pace.
    """

    source: Source
    policy: Policy
    kind: Literal["simulated", "video", "folder", "stream", "usb"]
    backoff: Backoff = field(default_factory=Backoff)
    stall_s: float | None = None
    clock: BoxClock | None = None


def open_sources(config: AgentConfig, clock: BoxClock) -> list[ConfiguredSource]:
    """One source for each camera, checked as far as that is possible without waiting.

    Raises:
        BadInputError: a source can never work as configured.
    """
    found: list[ConfiguredSource] = []
    for camera in config.cameras:
        # Imported here: a box without simulated cameras loads no simulator, one without video no decoder.
        if isinstance(camera, SimulatedCameras):
            from yolo_assets.edge.cameras.simulated import simulated_sources

            sources: list[Source] = [*simulated_sources(camera, clock.now)]
        elif isinstance(camera, VideoCamera):
            from yolo_assets.edge.cameras.video import VideoSource

            sources = [VideoSource(camera)]
        elif isinstance(camera, FolderCamera):
            from yolo_assets.edge.cameras.folder import FolderSource

            sources = [FolderSource(camera, clock.now)]
        else:
            source = live_source(camera, clock)
            source.check()
            backoff = Backoff(last_s=camera.reconnect_max_s)
            found.append(ConfiguredSource(source, camera.policy, camera.kind, backoff, stall_seconds(camera), clock))
            continue
        for source in sources:
            source.check()
        ours = clock if isinstance(camera, SimulatedCameras) and camera.clock is None else None
        found += [ConfiguredSource(source, camera.policy, camera.kind, clock=ours) for source in sources]
    return found
