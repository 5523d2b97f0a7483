"""The verdict on each camera, from what is known of the last day: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from yolo_assets.contracts.times import Hour

WINDOW = 24
"""Closed hours that are looked at, besides the hour that runs."""
REMEMBERED = timedelta(days=7)
"""For so long a camera is shown that is not listed in ``plant.yaml`` and sends nothing any more."""
SETTLED = timedelta(minutes=10)
"""After its end an hour of a spool at hand is complete."""

Status = Literal["absent", "failed", "sick", "unknown", "late", "good"]
WORST_FIRST: tuple[Status, ...] = ("absent", "failed", "sick", "unknown", "late", "good")
ReasonKey = Literal["never", "absent", "stopped", "failed", "unread", "late", "missing", "sick", "good"]

CameraHour = tuple[str, Hour]


@dataclass(frozen=True)
class SpooledHour:
    """A camera-hour in the spool.

    Attributes:
        frames: that lie there now.
        last_at: capture time of the newest; None: its name does not tell.
    """

    frames: int
    last_at: datetime | None


@dataclass(frozen=True)
class Failure:
    """Work that failed and was not done since.

    Attributes:
        what: the asset.
        reason: one line.
        run_id: of the newest run that failed.
        at: when that run ended.
        camera_id: None: it is not of one camera.
        hour: None: it is not of one hour.
        again: it is requested again by itself.
    """

    what: str
    reason: str
    run_id: str
    at: datetime
    camera_id: str | None = None
    hour: Hour | None = None
    again: bool = False


@dataclass(frozen=True)
class PlantFacts:
    """What was read of a plant.

    Attributes:
        now: aware.
        expected: cameras of ``plant.yaml``.
        spooled: camera-hours with frames in the spool.
        archived: camera-hours that have a receipt.
        counted: frames by archived camera-hour, where the catalog knows them already.
        first_hours: the first hour of each camera in the catalog.
        last_hours: the last one.
        seen: when something last came of a camera, by heartbeats and tables.
        sick: what is wrong with the picture of a camera and nobody has acknowledged, by camera.
        failures: work that failed and was not done since; None: not known, without Dagster's instance.
        unread: what could not be read, and why.
    """

    now: datetime
    expected: tuple[str, ...] = ()
    spooled: Mapping[CameraHour, SpooledHour] = field(default_factory=dict)
    archived: Collection[CameraHour] = frozenset()
    counted: Mapping[CameraHour, int] = field(default_factory=dict)
    first_hours: Mapping[str, Hour] = field(default_factory=dict)
    last_hours: Mapping[str, Hour] = field(default_factory=dict)
    seen: Mapping[str, datetime] = field(default_factory=dict)
    sick: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[Failure, ...] | None = None
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """When something is wrong; see ``alerts`` of ``plant.yaml``."""

    absent_after: timedelta = timedelta(hours=2)
    archived_within: timedelta = timedelta(hours=3)


@dataclass(frozen=True)
class Reason:
    """Why a camera has its status: a sentence of ``texts.toml`` and what fills it."""

    key: ReasonKey
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CameraToday:
    """One row.

    Attributes:
        camera_id: the camera.
        status: ``absent``: it should send frames, and does not; ``failed``: work on its frames failed; ``sick``: its
            picture needs maintenance; ``unknown``: something could not be read; ``late``: hours are missing or not
            archived in time; ``good``.
        frames: of the last 24 closed hours and of the one that runs.
        last_at: capture time of the newest frame that is known, to the hour where only that is known.
        archived: closed hours of the last 24 that are archived.
        missing: those without any frame.
        late: hours that are not archived in time, oldest first; those before the last 24 too.
        failed: hours in which work on its frames failed.
        reason: the cause.
    """

    camera_id: str
    status: Status
    frames: int
    last_at: datetime | None
    archived: int
    missing: tuple[Hour, ...]
    late: tuple[Hour, ...]
    failed: tuple[Hour, ...]
    reason: Reason


@dataclass(frozen=True)
class Today:
    """The plant now.

    Attributes:
        now: when it was looked at.
        cameras: worst first, then by id.
        failures: failed work of one camera each.
        troubles: failed work that is not of one camera.
        unread: see ``PlantFacts``.
        sick: see ``PlantFacts``; of cameras that are absent or failed, too.
        knows_runs: whether Dagster's instance was looked at.
    """

    now: datetime
    cameras: tuple[CameraToday, ...]
    failures: tuple[Failure, ...]
    troubles: tuple[Failure, ...]
    unread: Mapping[str, str]
    knows_runs: bool
    sick: Mapping[str, str] = field(default_factory=dict)

    def having(self, *statuses: Status) -> list[CameraToday]:
        """The cameras of some statuses."""
        return [camera for camera in self.cameras if camera.status in statuses]


def window_of(now: datetime) -> list[Hour]:
    """The closed hours that are looked at, oldest first."""
    running = Hour.of(now)
    return [running.next(-back) for back in range(WINDOW, 0, -1)]


def summarise(facts: PlantFacts, limits: Limits | None = None) -> Today:
    """Every camera that is expected, or of which anything is known of the last week.

    Args:
        facts: what was read.
        limits: when something is wrong; the defaults without.
    """
    limits = limits or Limits()
    by_camera = _by_camera(facts)
    failures = facts.failures or ()
    recent = facts.now - REMEMBERED
    cameras = {
        *facts.expected,
        *(camera for camera, hours in by_camera.items() if hours),
        *(camera for camera, hour in facts.last_hours.items() if hour.end > recent),
        *(camera for camera, moment in facts.seen.items() if moment > recent),
        *(failure.camera_id for failure in failures if failure.camera_id is not None),
    }
    rows = [_row(camera, sorted(by_camera.get(camera, ())), facts, limits) for camera in cameras]
    return Today(
        now=facts.now,
        cameras=tuple(sorted(rows, key=lambda row: (WORST_FIRST.index(row.status), row.camera_id))),
        failures=tuple(failure for failure in failures if failure.camera_id is not None),
        troubles=tuple(failure for failure in failures if failure.camera_id is None),
        unread=facts.unread,
        knows_runs=facts.failures is not None,
        sick=facts.sick,
    )


def _by_camera(facts: PlantFacts) -> dict[str, set[Hour]]:
    """Hours of which there are or were frames, by camera."""
    found: dict[str, set[Hour]] = {}
    for hours in (facts.spooled, facts.archived, facts.counted):
        for camera, hour in hours:
            found.setdefault(camera, set()).add(hour)
    return found


def _row(camera: str, hours: list[Hour], facts: PlantFacts, limits: Limits) -> CameraToday:
    window, running = window_of(facts.now), Hour.of(facts.now)
    there = set(hours)
    spooled = {hour: facts.spooled[camera, hour] for hour in hours if (camera, hour) in facts.spooled}
    archived = [hour for hour in hours if (camera, hour) in facts.archived or (camera, hour) in facts.counted]
    last_at = _last(camera, hours, spooled, facts)
    first = min((hour for hour in (facts.first_hours.get(camera), *hours[:1]) if hour is not None), default=None)
    settled = SETTLED if spooled else limits.archived_within
    missing = tuple(
        hour
        for hour in window
        if hour not in there and first is not None and hour > first and facts.now - hour.end >= settled
    )
    late = tuple(
        hour
        for hour in sorted(spooled.keys() - set(archived))
        if hour < running and facts.now - hour.end >= limits.archived_within
    )
    failures = sorted((f for f in facts.failures or () if f.camera_id == camera), key=lambda f: f.at)
    counts = {
        hour: max(facts.counted.get((camera, hour), 0), spooled[hour].frames if hour in spooled else 0)
        for hour in (*window, running)
    }
    status, reason = _verdict(camera, last_at, missing, late, failures, facts, limits)
    return CameraToday(
        camera_id=camera,
        status=status,
        frames=sum(counts.values()),
        last_at=last_at,
        archived=sum(hour in window for hour in archived),
        missing=missing,
        late=late,
        failed=tuple(sorted({failure.hour for failure in failures if failure.hour is not None})),
        reason=reason,
    )


def _last(camera: str, hours: list[Hour], spooled: Mapping[Hour, SpooledHour], facts: PlantFacts) -> datetime | None:
    """When the newest frame was captured, as far as it is known; of an hour of which no more is known its end."""
    moments = [item.last_at for item in spooled.values() if item.last_at is not None]
    if camera in facts.seen:
        moments.append(facts.seen[camera])
    known = facts.last_hours.get(camera)
    ended = [*hours, known] if known is not None else hours
    newest = max(ended, key=lambda hour: hour.start, default=None)
    if newest is not None and not any(moment >= newest.start for moment in moments):
        moments.append(min(newest.end, facts.now))
    return max(moments, default=None)


def _verdict(
    camera: str,
    last_at: datetime | None,
    missing: Collection[Hour],
    late: Collection[Hour],
    failures: list[Failure],
    facts: PlantFacts,
    limits: Limits,
) -> tuple[Status, Reason]:
    expected = camera in facts.expected
    silent = last_at is None or facts.now - last_at >= limits.absent_after
    if silent and facts.unread:
        return "unknown", Reason("unread", {"what": ", ".join(sorted(facts.unread))})
    if silent and expected:
        return "absent", Reason("never") if last_at is None else Reason("absent", {"since": last_at})
    if failures:
        newest, hours = failures[-1], len({failure.hour for failure in failures})
        fields = {"what": newest.what, "hours": hours, "hour": newest.hour, "reason": newest.reason}
        return "failed", Reason("failed", fields)
    if not silent and camera in facts.sick:
        return "sick", Reason("sick", {"what": facts.sick[camera]})
    if facts.unread and (missing or late):
        return "unknown", Reason("unread", {"what": ", ".join(sorted(facts.unread))})
    if silent:
        return "late", Reason("stopped", {"since": last_at})
    if late:
        return "late", Reason("late", {"hours": len(late), "oldest": min(late)})
    if missing:
        return "late", Reason("missing", {"hours": len(missing), "ranges": ranges(missing)})
    return "good", Reason("good")


def ranges(hours: Iterable[Hour]) -> str:
    """Hours of a day as people write them: ``02:00-05:00, 07:00-08:00``; the end is the first moment after."""
    found: list[list[Hour]] = []
    for hour in sorted(hours):
        if found and found[-1][1].end == hour.start:
            found[-1][1] = hour
        else:
            found.append([hour, hour])
    return ", ".join(f"{first.hh}:00-{last.end:%H}:00" for first, last in found)
