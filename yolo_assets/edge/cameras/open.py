"""From configured cameras to sources. The only place that knows which kinds there are."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from yolo_assets.edge.cameras.live import live_source, stall_seconds
from yolo_assets.edge.cameras.source import Source
from yolo_assets.edge.clock import DeviceClock
from yolo_assets.edge.config.agent import AgentConfig
from yolo_assets.edge.config.cameras import (
    DropFolderCamera,
    FolderCamera,
    OneCamera,
    Policy,
    SimulatedCameras,
    VideoCamera,
)
from yolo_assets.runtime.backoff import Backoff

if TYPE_CHECKING:
    from yolo_assets.edge.cameras.drop_journal import DropJournal


@dataclass
class ReconnectWaits:
    """How long to wait before a camera is tried again: doubles from try to try, with jitter.

    Cameras behind one switch do not all come at once, and only a camera that stayed for ``healthy_s`` begins from the
    start again: one that gives a picture and fails, again and again, is not hammered.

    Attributes:
        first_s: the first wait, more or less.
        last_s: no wait is longer.
        healthy_s: how long pictures must flow.
        draw: gives a number from 0 to 1.
    """

    first_s: float = 0.5
    last_s: float = 30.0
    healthy_s: float = 10.0
    draw: Callable[[], float] = field(default=random.random, repr=False)

    def __post_init__(self) -> None:
        # From a half to one and a half of a wait: two thirds of the longest are left to chance.
        self._backoff = Backoff(1.5 * self.first_s, 1.5 * max(self.first_s, self.last_s), 2 / 3, self.draw)

    def after(self, lived_s: float) -> float:
        """Seconds to wait after a failure.

        Args:
            lived_s: how long pictures had flowed before it; 0 when none came.
        """
        if lived_s >= self.healthy_s:
            self._backoff.succeeded()
        return min(self.last_s, self._backoff.failed())

    def longest(self) -> float:
        """The wait where nothing but another configuration can help."""
        self._backoff.failures += 1
        return self.last_s


@dataclass(frozen=True)
class ConfiguredSource:
    """A source with what the capture thread needs to know.

    Attributes:
        waits: how long to wait before it is tried again.
        clock: the device's clock, where captures carry its time; None where the source has a time of its own.
        frozen_after_s: how long it may show the same picture; 0: for ever.
        stall_s: silence of a live camera that is called a stall; None for sources that have their own pace.
    """

    source: Source
    policy: Policy
    kind: Literal["simulated", "video", "folder", "drop_folder", "stream", "snapshot", "usb", "genicam"]
    waits: ReconnectWaits = field(default_factory=ReconnectWaits)
    stall_s: float | None = None
    clock: DeviceClock | None = None
    frozen_after_s: float = 0.0


def open_sources(config: AgentConfig, clock: DeviceClock, *, look_only: bool = False) -> list[ConfiguredSource]:
    """One source for each camera, checked as far as that is possible without waiting.

    Args:
        config: names them.
        clock: of the device.
        look_only: read nothing for good: files that are dropped stay where they are.

    Raises:
        BadInputError: a source can never work as configured.
    """
    configured: list[ConfiguredSource] = []
    for camera in config.cameras:
        if isinstance(camera, SimulatedCameras):
            # Imported here: a device without simulated cameras loads no simulator, one without video no decoder.
            from yolo_assets.edge.cameras.simulated import simulated_sources

            ours = clock if camera.clock is None else None
            for source in simulated_sources(camera, clock.now):
                after = camera.frozen_after_s
                configured.append(
                    ConfiguredSource(source, camera.policy, camera.kind, clock=ours, frozen_after_s=after)
                )
        else:
            journal = None
            if isinstance(camera, DropFolderCamera) and not look_only:
                from yolo_assets.edge.cameras.drop_journal import DropJournal

                file = config.state_dir / "drop_folders" / f"{camera.camera_id}.ndjson"
                journal = DropJournal(file, config.spool, camera.camera_id)
            configured.append(open_camera(camera, clock, journal))
    for one in configured:
        one.source.check()
    return configured


def open_camera(camera: OneCamera, clock: DeviceClock, journal: DropJournal | None = None) -> ConfiguredSource:
    """The source of one real camera; opens nothing and checks nothing.

    Args:
        camera: its section.
        clock: of the device.
        journal: what was read of a drop folder; None: look only.
    """
    if isinstance(camera, VideoCamera):
        from yolo_assets.edge.cameras.video import VideoSource

        return ConfiguredSource(VideoSource(camera, clock.now), camera.policy, camera.kind)
    if isinstance(camera, FolderCamera):
        from yolo_assets.edge.cameras.folder import FolderSource

        return ConfiguredSource(FolderSource(camera, clock.now), camera.policy, camera.kind)
    waits = ReconnectWaits(last_s=camera.reconnect_max_s)
    if isinstance(camera, DropFolderCamera):
        from yolo_assets.edge.cameras.drop_folder import DropFolderSource

        return ConfiguredSource(DropFolderSource(camera, clock.now, journal), "every", camera.kind, waits)
    source = live_source(camera, clock)
    return ConfiguredSource(
        source, camera.policy, camera.kind, waits, stall_seconds(camera), clock, camera.frozen_after_s
    )
