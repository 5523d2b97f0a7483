"""Which hours of the spool changed since they were reported: pure, so that the sensor is only glue.

An hour changed when a camera's closed hour holds files that no receipt covers and that were not reported as they are
now. Reclaiming an hour is therefore no change, and neither is archiving one camera before another.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from yolo_assets.contracts.times import Hour
from yolo_assets.defs.cursors import SensorCursor
from yolo_assets.defs.lanes import is_live
from yolo_assets.runtime.backoff import Backoff

RETRY_AFTER = timedelta(hours=3)
"""An hour that is not archived, and that nothing has tried for so long, is requested again.

Longer than the longest pause of ``recovery``: what that still requests is not requested here too.
"""
LONGEST_PAUSE = timedelta(days=1)
"""The pauses of an hour double up to this."""
_PAUSES = Backoff(RETRY_AFTER.total_seconds(), LONGEST_PAUSE.total_seconds())


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


class ReportedHour(BaseModel):
    """What was reported of one hour.

    Attributes:
        cameras: what of each camera waited for the archive then, twelve digits of a hash.
        reported_at: when it was reported, or tried or requested last.
        asked: how often it was requested again.
    """

    model_config = ConfigDict(extra="ignore")

    cameras: dict[str, str] = Field(default_factory=dict)
    reported_at: datetime
    asked: int = Field(default=0, ge=0)

    @property
    def pause(self) -> timedelta:
        """After which it is overdue."""
        return timedelta(seconds=_PAUSES.seconds(self.asked + 1))


class SpoolCursor(SensorCursor):
    """What was reported. Losing it costs a repeated report, never an hour, and no run: the data versions are equal."""

    hours: dict[str, ReportedHour] = Field(default_factory=dict)

    def noting(self, tried: Mapping[Hour, datetime], asked: Iterable[Hour], now: datetime) -> SpoolCursor:
        """This memory after a tick.

        Args:
            tried: overdue hours of which a run was created since they were reported, and when.
            asked: overdue hours that are requested now.
            now: aware.
        """
        hours = dict(self.hours)
        for hour, at in tried.items():
            hours[hour.key] = hours[hour.key].model_copy(update={"reported_at": at})
        for hour in asked:
            known = hours[hour.key]
            hours[hour.key] = known.model_copy(update={"reported_at": now, "asked": known.asked + 1})
        return SpoolCursor(hours=hours)


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
