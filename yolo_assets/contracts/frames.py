"""The identity of one captured frame, the same from the camera to the archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from yolo_assets.contracts.times import Hour


@dataclass(frozen=True)
class FrameId:
    """Which frame: no two captures of a device ever share one.

    Attributes:
        camera_id: the camera.
        sequence: counts the captures of that camera; continues after a restart and is never given twice.
        captured_at: aware, UTC, whole milliseconds.
    """

    camera_id: str
    sequence: int
    captured_at: datetime

    @cached_property
    def hour(self) -> Hour:
        """The spool hour that the frame belongs to."""
        return Hour.of(self.captured_at)
