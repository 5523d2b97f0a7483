"""What a plant shows of the last day, read cheaply: names in folders and listings, never a picture or an archive.

For 200 cameras: the folders of hours that are not archived, two days of the listing of receipts, two queries to the
catalog, a heartbeat of each device. What cannot be read is named and does not stop the rest.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName, check_id, frame_time, frames_key, is_frame, receipts_prefix
from yolo_assets.contracts.spool import Seal
from yolo_assets.contracts.times import Hour
from yolo_assets.models.fleet_status import FleetHeartbeats, read_heartbeats
from yolo_assets.monitoring.states import camera_states, picture_faults
from yolo_assets.spool.hours import SpoolHour
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError
from yolo_assets.today.summary import CameraHour, Failure, PlantFacts, SpooledHour, window_of

T = TypeVar("T")
BACKLOG = 72
"""Hours back in which a spool is searched for what is not archived."""
COUNT_SECONDS = 1.0
"""For counting frames in folders without a seal; the rest is known to be there, and not counted."""
_TAIL = 1 << 16
"""Bytes at the end of a Parquet file that hold its statistics."""
_READERS = 8


def read_plant(
    spool: Path,
    archive: Callable[[], ObjectStore],
    store: Callable[[], ObjectStore],
    now: datetime,
    *,
    expected: Collection[str] = (),
    failures: Iterable[Failure] | None = None,
    cache: Path | None = None,
) -> tuple[PlantFacts, FleetHeartbeats]:
    """What is known of a plant now.

    Args:
        spool: of this machine; it need not exist.
        archive: opens the archive root.
        store: opens the store root.
        now: aware.
        expected: cameras of ``plant.yaml``.
        failures: see ``PlantFacts``.
        cache: where a bucket's newest catalog is kept.
    """
    unread: dict[str, str] = {}
    away: dict[str, str] = {}

    def read(what: str, where: str, function: Callable[[], T], otherwise: T) -> T:
        """What a function reads; of a root that was away a moment ago nothing is read: each try takes seconds."""
        try:
            if where not in away:
                return function()
            unread[what] = away[where]
        except (UserError, OSError) as error:
            unread[what] = " ".join(str(error).split())
            if isinstance(error, StoreUnavailableError):
                away[where] = unread[what]
        return otherwise

    counted, first, last = read("the catalog", "store", lambda: _catalog(store(), now, cache), ({}, {}, {}))
    archived = read("the archive", "archive", lambda: _receipts(archive(), now), set()) | counted.keys()
    spooled = read("the spool", "spool", lambda: read_spool(spool, archived, now), {})
    fleet = read("the heartbeats", "store", lambda: read_heartbeats(store()), FleetHeartbeats(()))
    states = read("the verdicts on cameras", "store", lambda: camera_states(store()), None)
    seen = {
        camera: state.last_result_at
        for beat in fleet.heartbeats
        for camera, state in beat.cameras.items()
        if state.last_result_at is not None
    }
    known = {camera: hour for camera, hour in _newest(archived).items() if (camera, hour) not in spooled}
    unseen = {camera: hour for camera, hour in known.items() if seen.get(camera, hour.start) < hour.end}
    for camera, moment in read("the tables", "store", lambda: _from_tables(store(), unseen), {}).items():
        seen[camera] = max(moment, seen.get(camera, moment))
    return (
        PlantFacts(
            now=now,
            expected=tuple(expected),
            spooled=spooled,
            archived=archived,
            counted=counted,
            first_hours=first,
            last_hours=last,
            seen=seen,
            sick=picture_faults(states) if states is not None else {},
            failures=None if failures is None else tuple(failures),
            unread=unread,
        ),
        fleet,
    )


def _catalog(
    store: ObjectStore, now: datetime, cache: Path | None
) -> tuple[dict[CameraHour, int], dict[str, Hour], dict[str, Hour]]:
    """Frames by camera-hour of the last days, and the first and the last hour of each camera."""
    from yolo_assets.catalog.read import NoCatalogError, ask, open_catalog

    try:
        with open_catalog(store, cache=cache) as connection:
            recent = ask(
                connection,
                "SELECT camera_id, hour, sum(frame_count)::BIGINT FROM archives WHERE hour >= ? GROUP BY ALL",
                [now - timedelta(hours=BACKLOG + 1)],
            )
            ends = ask(connection, "SELECT camera_id, min(hour), max(hour) FROM archives GROUP BY camera_id")
    except NoCatalogError:
        return {}, {}, {}
    return (
        {(camera, _hour(moment)): frames for camera, moment, frames in recent.iter_rows()},
        {camera: _hour(first) for camera, first, _ in ends.iter_rows()},
        {camera: _hour(last) for camera, _, last in ends.iter_rows()},
    )


@lru_cache(maxsize=1000)
def _hour(moment: datetime) -> Hour:
    return Hour(moment)


def _receipts(archive: ObjectStore, now: datetime) -> set[CameraHour]:
    """Camera-hours of the last day that have a receipt; the catalog may not know the newest yet."""
    found: set[CameraHour] = set()
    for day in sorted({hour.date for hour in window_of(now)}):
        for info in archive.list(receipts_prefix(date=day)):
            try:
                name = ArchiveName.parse(info.key)
            except BadInputError:
                continue  # not ours
            found.add((name.camera_id, name.hour))
    return found


def read_spool(spool: Path, archived: Collection[CameraHour], now: datetime) -> dict[CameraHour, SpooledHour]:
    """Camera-hours with frames in the spool: those of the last three days that are not archived, and each newest one.

    Args:
        spool: the folder; it need not exist.
        archived: hours that need no look, but for a camera's newest.
        now: aware.

    Raises:
        OSError: the spool cannot be listed. A camera whose folder cannot is passed over.
    """
    running = Hour.of(now)
    keys = {running.next(-back).key: running.next(-back) for back in range(BACKLOG + 1)}
    deadline = time.monotonic() + COUNT_SECONDS
    found: dict[CameraHour, SpooledHour] = {}
    try:
        cameras = [entry.name for entry in os.scandir(spool) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return found
    for camera in cameras:
        try:
            check_id(camera)
            names = sorted(keys.keys() & {entry.name for entry in os.scandir(spool / camera)}, reverse=True)
        except (BadInputError, OSError):
            continue  # the spool sensor and the archiver report it
        for number, name in enumerate(names):
            hour = keys[name]
            newest = number == 0 or hour >= running.next(-1)
            if newest or (camera, hour) not in archived:
                seen = _spooled(SpoolHour.of(spool, camera, hour), newest, deadline)
                if seen is not None:
                    found[camera, hour] = seen
    return found


def _spooled(hour: SpoolHour, newest: bool, deadline: float) -> SpooledHour | None:
    """What lies in an hour; None without a frame."""
    if not newest:
        try:
            seal: Seal | None = hour.seal()
        except (BadInputError, OSError):
            seal = None
        if seal is not None:
            return SpooledHour(seal.frames, None) if seal.frames else None
    try:
        with os.scandir(hour.path) as entries:
            names = (entry.name for entry in entries)
            if time.monotonic() > deadline and not newest:
                return SpooledHour(0, None) if any(map(is_frame, names)) else None
            frames = [name for name in names if is_frame(name)]
    except OSError:
        return None
    return SpooledHour(len(frames), frame_time(max(frames))) if frames else None


def _newest(hours: Iterable[CameraHour]) -> Mapping[str, Hour]:
    newest: dict[str, Hour] = {}
    for camera, hour in hours:
        newest[camera] = max(hour, newest.get(camera, hour))
    return newest


def _from_tables(store: ObjectStore, hours: Mapping[str, Hour]) -> dict[str, datetime]:
    """Capture time of the last frame in the table of each camera's newest hour, from the statistics of its file."""
    with ThreadPoolExecutor(_READERS) as pool:
        moments = pool.map(lambda item: _last_captured(store, frames_key(item[1], item[0])), hours.items())
        return {camera: moment for camera, moment in zip(hours, moments, strict=True) if moment is not None}


def _last_captured(store: ObjectStore, key: str) -> datetime | None:
    from pyarrow import ArrowException
    from pyarrow import parquet as pq

    info = store.head(key)
    if info is None:
        return None
    try:
        start = max(0, info.size - _TAIL)
        footer = pq.read_metadata(io.BytesIO(store.get_range(key, start, info.size - start)))
    except (ObjectNotFoundError, ArrowException):  # replaced meanwhile, or longer than statistics usually are
        return None
    names = [footer.schema.column(number).name for number in range(footer.num_columns)]
    if "captured_at" not in names:
        return None
    column = names.index("captured_at")
    statistics = [footer.row_group(number).column(column).statistics for number in range(footer.num_row_groups)]
    return max((each.max for each in statistics if each is not None and each.has_min_max), default=None)
