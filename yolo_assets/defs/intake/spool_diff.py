"""Which hours of the spool changed since they were reported: pure, so that the sensor is only glue.

An hour changed when a camera's closed hour holds files that no receipt covers and that were not reported as they are
now. Reclaiming an hour is therefore no change, and neither is archiving one camera before another.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.intake.memory import ReportedHour, SpoolCursor
from yolo_assets.defs.lanes import is_live


@dataclass(frozen=True)
class ClosedHour:
    """One camera's closed hour.

    Attributes:
        fingerprint: of all files present.
        uncovered: of the files that no local receipt covers; empty when all are covered.
        frames: frames present.
        size: bytes present.
    """

    camera_id: str
    hour: Hour
    fingerprint: str
    uncovered: str
    frames: int
    size: int


@dataclass(frozen=True)
class ChangedHour:
    """An hour to report."""

    hour: Hour
    cameras: tuple[ClosedHour, ...]

    @property
    def data_version(self) -> str:
        """Hash of the closed set: cameras and the fingerprints of their files."""
        text = "\n".join(f"{camera.camera_id} {camera.fingerprint}" for camera in self.cameras)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class SpoolDiff:
    """What one tick found in the spool.

    Attributes:
        changed: hours to report as materialized.
        overdue: hours reported long ago whose files are still not archived, as far as the memory knows untried.
        cursor: for the next tick, once both are acted on.
        waiting: changed hours that were left for the next tick.
    """

    changed: tuple[ChangedHour, ...]
    overdue: tuple[Hour, ...]
    cursor: SpoolCursor
    waiting: int


def find_changes(
    closed: Iterable[ClosedHour],
    cursor: SpoolCursor,
    now: datetime,
    limit: int,
    unread: Collection[Hour] = (),
) -> SpoolDiff:
    """Compare the closed hours of the spool with what was reported.

    Args:
        closed: every closed camera-hour that still holds files.
        cursor: what earlier ticks reported.
        now: aware.
        limit: hours reported at most in one tick, live ones first, then oldest first, so that a first start does not
            flood the queue.
        unread: hours of which not every folder was read yet; they wait.
    """
    by_hour: dict[Hour, list[ClosedHour]] = defaultdict(list)
    for item in closed:
        by_hour[item.hour].append(item)

    changed: list[ChangedHour] = []
    overdue: list[Hour] = []
    memory: dict[str, ReportedHour] = {}
    waiting = 0
    for hour in sorted(by_hour, key=lambda hour: (not is_live(hour, now), hour)):
        cameras = tuple(sorted(by_hour[hour], key=lambda item: item.camera_id))
        known = cursor.hours.get(hour.key)
        # Twelve digits keep the cursor small; they only have to differ from what the same camera had before.
        pending = {item.camera_id: item.uncovered[:12] for item in cameras if item.uncovered}
        differs = known is None or any(known.cameras.get(camera) != print_ for camera, print_ in pending.items())
        if differs:
            if len(changed) == limit or hour in unread:
                waiting += 1
                if known is not None:
                    memory[hour.key] = known
                continue
            changed.append(ChangedHour(hour, cameras))
            earlier = {} if known is None else known.cameras
            memory[hour.key] = ReportedHour(cameras={**earlier, **pending}, reported_at=now)
        elif known is not None:
            if pending and now - known.reported_at >= known.pause:
                overdue.append(hour)
            memory[hour.key] = known
    return SpoolDiff(tuple(changed), tuple(overdue), SpoolCursor(hours=memory), waiting)
