"""Cameras of the simulated factory line. Everything from here is simulated, and the page says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from threading import Event
from typing import Any

from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.times import utc_now
from yolo_assets.edge.cameras.source import Ticker
from yolo_assets.edge.config.cameras import SimulatedCameras
from yolo_assets.edge.types import Capture
from yolo_assets.simulator.sim_clock import SimClock
from yolo_assets.simulator.weld_line import Change, LineConfig, WeldLine

_CAMERAS = 99


class SimulatedSource:
    """One camera of the line."""

    live = True

    def __init__(
        self, camera_id: str, line: WeldLine, now: Callable[[], datetime], fps: float, frames: int | None
    ) -> None:
        self.camera_id = camera_id
        self._line = line
        self._now = now
        self._fps = fps
        self._remaining = frames

    def check(self) -> None:
        """Nothing to check: the line can draw every moment."""

    def now(self) -> datetime:
        """Simulated time, or the device's clock."""
        return self._now()

    def facts(self) -> dict[str, Any]:
        """How it draws."""
        return {"fps": self._fps}

    def captures(self, stop: Event) -> Iterator[Capture]:
        """Draw a frame at every tick."""
        ticker = Ticker(self._fps)
        while self._remaining is None or self._remaining > 0:
            if not ticker.wait(stop):
                return
            moment = self.now()
            moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
            scene = self._line.draw(self.camera_id, moment)
            if self._remaining is not None:
                self._remaining -= 1
            yield Capture(moment, scene.image, scene.batch_id, scene.truth)


def simulated_sources(config: SimulatedCameras, now: Callable[[], datetime] = utc_now) -> list[SimulatedSource]:
    """The configured cameras of one line, on one clock that starts now.

    Raises:
        BadInputError: the line or its clock cannot be so, or the line has no such camera.
    """
    names = LineConfig(cameras=_CAMERAS).camera_ids
    for camera in config.camera_ids:
        if camera not in names:
            raise BadInputError(f"the simulated line has no camera {camera}; it has {names[0]} to {names[-1]}")
    planned = config.changes
    changes: list[Change] = []
    if planned.line_change_at is not None:
        changes.append(Change("line_change", planned.line_change_at))
    if planned.dirty_lens_at is not None:
        changes.append(Change("dirty_lens", planned.dirty_lens_at, planned.dirty_camera))
    line = WeldLine(
        LineConfig(
            seed=config.seed,
            cameras=max(names.index(camera) for camera in config.camera_ids) + 1,
            width=config.width,
            height=config.height,
            changes=tuple(changes),
        )
    )
    if config.clock is not None:
        now = SimClock(config.clock.start, config.clock.speed).now
    return [SimulatedSource(camera, line, now, config.fps, config.frames) for camera in config.camera_ids]
