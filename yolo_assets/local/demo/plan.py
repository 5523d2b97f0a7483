"""The demo's script in numbers: how many cameras, how fast, how long, how much is labelled. Small on purpose.

Simulated time runs faster than real time, so that hours close while somebody watches. The line changes on the hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from yolo_assets.contracts.times import Hour, utc_now


@dataclass(frozen=True)
class Plan:
    """All numbers of one run.

    Attributes:
        cameras: of the line.
        seed: of the line; the same seed shows the same plates.
        first: the hour that is recorded before there is a model.
        starter_frames: of each camera in that hour.
        fps: of each camera, frames a second of real time.
        speed: simulated seconds per second.
        starter_labels: frames labelled for the starter model.
        changed_labels: frames labelled after the change.
    """

    first: Hour
    cameras: int = 3
    seed: int = 7
    starter_frames: int = 200
    fps: float = 6.0
    speed: float = 120.0
    starter_labels: int = 540
    changed_labels: int = 300

    @classmethod
    def now(cls) -> Plan:
        """Starts twelve hours ago: enough simulated time for the slowest machine, and never in the future."""
        return cls(first=Hour.of(utc_now()).next(-12))

    @property
    def agent_start(self) -> datetime:
        """Simulated time at which the agent begins: the hour after the recorded one."""
        return self.first.next().start

    @property
    def change_at(self) -> datetime:
        """The line changes one hour later."""
        return self.first.next(2).start

    @property
    def hour_seconds(self) -> float:
        """Real seconds that a simulated hour takes."""
        return timedelta(hours=1).total_seconds() / self.speed
