"""What the folders of the spool hold, read again only where something may have changed.

A folder whose modification time did not move is not listed again: no file was added, deleted or renamed. A file that is
rewritten in place moves nothing; it is seen when its folder has its turn in the slow sweep, which reads those again
that were not read for the longest time. What is known lives in the process, and in a file of the home for the next one.

Belongs here: reading folders, and remembering what was read. Does not belong here: what was reported of it
(``spool_diff``).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from yolo_assets.contracts.names import is_frame
from yolo_assets.contracts.times import Hour
from yolo_assets.defs.intake.spool_diff import ClosedHour
from yolo_assets.runtime.files import write_atomic

if TYPE_CHECKING:
    from yolo_assets.spool.hours import SpoolHour

log = logging.getLogger(__name__)
READ_SECONDS = 20.0
"""A tick reads new and changed folders for so long; the others have their turn in the next one."""
SWEEP_SECONDS = 0.1
_SETTLED_NS = 2_000_000_000
"""A folder that changed a moment before it was read may have changed again in the same tick of the file system."""
_SAVED_EVERY = 60.0
_FORMAT = 1


@dataclass(frozen=True)
class _Folder:
    """A camera-hour as it was read.

    Attributes:
        stamp: modification time of the folder in nanoseconds, and its inode.
        read_at: when, seconds since 1970.
        closes_at: when an hour that is not closed will be, if nothing comes; None: it is closed, or empty.
        closed: what it holds; None while it is not closed, or empty.
    """

    stamp: tuple[int, int]
    read_at: float
    closes_at: float | None
    closed: ClosedHour | None

    def holds(self, stamp: tuple[int, int], now: datetime) -> bool:
        """Whether it need not be read again."""
        settled = self.stamp[0] + _SETTLED_NS < self.read_at * 1e9
        return stamp == self.stamp and settled and (self.closes_at is None or now.timestamp() < self.closes_at)


@dataclass(frozen=True)
class SpoolLook:
    """What a tick knows of the spool.

    Attributes:
        closed: the closed camera-hours that hold files.
        unread: hours of which not every folder was read yet.
        problems: one line for each folder that cannot be read.
        read: folders that were read in this tick.
    """

    closed: list[ClosedHour]
    unread: set[Hour]
    problems: list[str]
    read: int


@dataclass
class Folders:
    """The folders of one spool, as far as this process or one before it knows them.

    Attributes:
        file: where they are remembered.
        grace_seconds: with which they were judged.
    """

    file: Path
    grace_seconds: float
    _known: dict[Path, _Folder] = field(default_factory=dict)
    _saved: float = 0.0

    def look(self, hours: Sequence[SpoolHour], now: datetime) -> SpoolLook:
        """What the hours hold now: new and changed folders are read, and a few of the others.

        Args:
            hours: of the spool, those that are read first in front.
            now: aware.
        """
        began, problems, unread = time.perf_counter(), [], set[Hour]()
        known, fresh = self._known, dict[Path, _Folder]()
        missed: list[SpoolHour] = []
        for hour in hours:
            try:
                status = hour.path.stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"{hour.path}: {error.strerror}; make it readable")
                continue
            before = known.get(hour.path)
            if before is not None and before.holds((status.st_mtime_ns, status.st_ino), now):
                fresh[hour.path] = before
            else:
                missed.append(hour)
        read = 0
        for hour in missed:
            if time.perf_counter() - began > READ_SECONDS:
                unread.add(hour.hour)
                continue
            read += self._read(hour, now, fresh, problems)
        read += self._sweep(hours, now, fresh, problems)
        self._known = fresh
        if read:
            self._save()
        closed = [folder.closed for folder in fresh.values() if folder.closed is not None]
        return SpoolLook(closed, unread, problems, read)

    def _read(self, hour: SpoolHour, now: datetime, fresh: dict[Path, _Folder], problems: list[str]) -> int:
        try:
            status = hour.path.stat()  # before it is listed: what comes meanwhile moves it
            closed, closes_at = describe(hour, now, self.grace_seconds)
            stamp = (status.st_mtime_ns, status.st_ino)
            fresh[hour.path] = _Folder(stamp, time.time(), closes_at, closed)
        except Exception as error:  # the next hour is another camera's
            fresh.pop(hour.path, None)
            problems.append(f"{hour.path}: {getattr(error, 'strerror', None) or error}; make it readable")
            return 0
        return 1

    def _sweep(self, hours: Sequence[SpoolHour], now: datetime, fresh: dict[Path, _Folder], problems: list[str]) -> int:
        """Read again what was not read for the longest time: one folder at least, and more while there is time."""
        began, read = time.perf_counter(), 0
        for hour in sorted((hour for hour in hours if hour.path in fresh), key=lambda hour: fresh[hour.path].read_at):
            if read and time.perf_counter() - began > SWEEP_SECONDS:
                break
            read += self._read(hour, now, fresh, problems)
        return read

    def _save(self) -> None:
        if time.monotonic() - self._saved < _SAVED_EVERY:
            return
        self._saved = time.monotonic()
        rows = [
            [str(path), *folder.stamp, folder.read_at, folder.closes_at, _row(folder.closed)]
            for path, folder in self._known.items()
        ]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.file, orjson.dumps([_FORMAT, self.grace_seconds, rows]))
        except OSError as error:
            log.warning("%s: %s; the spool is read anew by the next process", self.file, error.strerror)

    @classmethod
    def of(cls, file: Path, spool: Path, grace_seconds: float) -> Folders:
        """Those of this process; at its first look those that the process before it remembered.

        Args:
            file: where they are remembered.
            spool: whose folders.
            grace_seconds: as set; with another one everything is read anew.
        """
        there = _IN_PROCESS.get((file, spool))
        if there is None or there.grace_seconds != grace_seconds:
            there = _IN_PROCESS[file, spool] = cls(file, grace_seconds, _load(file, grace_seconds))
        return there


_IN_PROCESS: dict[tuple[Path, Path], Folders] = {}


def describe(hour: SpoolHour, now: datetime, grace_seconds: float) -> tuple[ClosedHour | None, float | None]:
    """What the sensor compares of an hour; and, of one that is not closed, when it will be if nothing comes.

    Args:
        hour: of the spool.
        now: aware.
        grace_seconds: without a new file, after which an hour without a seal is closed.
    """
    members = hour.members()
    if not members:
        return None, None
    if not hour.is_closed(now, grace_seconds, members):
        newest = max((m.mtime_ns / 1e9 for m in members if m.mtime_ns / 1e9 <= now.timestamp()), default=0.0)
        return None, max(hour.hour.end.timestamp(), newest) + grace_seconds
    uncovered = hour.uncovered_members(members)
    listing = "\0".join(f"{member.name!r} {member.size} {member.mtime_ns}" for member in uncovered)
    described = ClosedHour(
        camera_id=hour.camera_id,
        hour=hour.hour,
        fingerprint=hour.fingerprint(members),
        uncovered=hashlib.sha256(listing.encode()).hexdigest() if uncovered else "",
        frames=sum(is_frame(member.name) for member in members),
        size=sum(member.size for member in members),
    )
    return described, None


def describe_all(hours: Iterable[SpoolHour], now: datetime, grace_seconds: float) -> tuple[list[ClosedHour], list[str]]:
    """Those of some hours that are closed and hold files, and a line for each that cannot be read.

    Args:
        hours: of the spool.
        now: aware.
        grace_seconds: see ``describe``.
    """
    found: list[ClosedHour] = []
    problems: list[str] = []
    for hour in hours:
        try:
            closed, _ = describe(hour, now, grace_seconds)
        except Exception as error:  # the next hour is another camera's
            problems.append(f"{hour.path}: {getattr(error, 'strerror', None) or error}; make it readable")
            continue
        if closed is not None:
            found.append(closed)
    return found, problems


def _row(closed: ClosedHour | None) -> list[Any] | None:
    if closed is None:
        return None
    return [closed.camera_id, closed.hour.key, closed.fingerprint, closed.uncovered, closed.frames, closed.size]


def _load(file: Path, grace_seconds: float) -> dict[Path, _Folder]:
    try:
        form, grace, rows = orjson.loads(file.read_bytes())
        if form != _FORMAT or grace != grace_seconds:
            return {}
        known: dict[Path, _Folder] = {}
        for path, mtime, inode, read_at, closes_at, row in rows:
            closed = None if row is None else ClosedHour(row[0], Hour.from_key(row[1]), *row[2:])
            known[Path(path)] = _Folder((mtime, inode), read_at, closes_at, closed)
    except (OSError, ValueError, TypeError):  # missing or damaged: the spool tells it again
        return {}
    return known
