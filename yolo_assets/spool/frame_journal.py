"""Frame accounting: captured = processed + dropped by reason + in flight, in memory and on disk.

One object has two views of the same frames. *Since the start*, in memory: counts of each camera and of each hour that
is not sealed, and which frames are in flight. *Across restarts*, in a small file: counts of each camera, and by number
the frames whose outcome the files of the spool do not show yet. The spool's own files say what became of a frame; only
this file knows of a frame that was captured and left no trace before the process was killed, or whose drop found no
space on a full disk. It names these frames by number, because counts alone cannot tell which of them a file in the
spool is about. Its space is allocated when it is opened, so a disk that fills later does not hurt it. If it is lost,
counts begin at 0, and frames that were captured and left no trace stay unknown.

Belongs here: counting. Does not belong here: the files of an hour (``writer``), and what is done about frames that are
missing (``edge.pipeline.recorder``).

Layout of the file: for each camera two slots of ``SLOT`` bytes, written in turn: CRC-32 as eight hex digits, a blank, a
JSON object, a newline; what follows it is of earlier writes. A power cut during a write leaves the other slot.
"""

from __future__ import annotations

import logging
import os
import threading
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from yolo_assets.contracts.frames import FrameId
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import SpoolFullError, write_atomic

log = logging.getLogger(__name__)
SLOT = 16384
_ROOM = SLOT - len("00000000 \n")
_NEVER_OFFERED = ("unreadable", "overrun", "no_model")


class AccountingError(RuntimeError):
    """A frame was counted or closed twice: a bug, never a matter for the operator."""


@dataclass(frozen=True)
class FrameCounts:
    """The frames of one camera, or of one hour of one camera, at one moment."""

    captured: int = 0
    processed: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    in_flight: int = 0

    @property
    def offered(self) -> int:
        """Frames that could reach a worker; a camera that has only others does not hang and asks for no time."""
        return self.captured - sum(self.dropped.get(reason, 0) for reason in _NEVER_OFFERED)

    @property
    def balanced(self) -> bool:
        """The invariant that everything else rests on."""
        return self.captured == self.processed + sum(self.dropped.values()) + self.in_flight


class SequenceSet:
    """A set of numbers that mostly follow each other, small when written down: runs ``[first, last]``.

    Adding the next and removing the oldest cost nothing.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._runs: list[list[int]] = []
        for number in numbers:
            self.add(number)

    @classmethod
    def from_steps(cls, steps: list[int]) -> SequenceSet:
        """What ``steps`` gave.

        Raises:
            ValueError, TypeError: these are no steps.
        """
        runs, end = cls(), -2
        for gap, length in zip(steps[::2], steps[1::2], strict=True):
            if gap < 1 or length < 1:
                raise ValueError("no steps of runs")
            first, end = end + 1 + gap, end + gap + length
            runs._runs.append([first, end])
        return runs

    def add(self, number: int) -> None:
        """Put one in; it may be there already."""
        at = bisect_right(self._runs, number, key=lambda run: run[0])
        before = self._runs[at - 1] if at else None
        if before is not None and number <= before[1]:
            return
        if before is not None and number == before[1] + 1:
            before[1] = number
        else:
            before = [number, number]
            self._runs.insert(at, before)
            at += 1
        if at < len(self._runs) and self._runs[at][0] == number + 1:
            before[1] = self._runs.pop(at)[1]

    def discard(self, number: int) -> None:
        """Take one out; it may be missing."""
        at = bisect_right(self._runs, number, key=lambda run: run[0]) - 1
        if at < 0 or number > self._runs[at][1]:
            return
        first, last = self._runs[at]
        self._runs[at : at + 1] = [run for run in ([first, number - 1], [number + 1, last]) if run[0] <= run[1]]

    def steps(self) -> list[int]:
        """For each run how many numbers were left out before it, and its length; the first is counted from -1."""
        steps, end = list[int](), -2
        for first, last in self._runs:
            steps += [first - end - 1, last - first + 1]
            end = last
        return steps

    def __iter__(self) -> Iterator[int]:
        for first, last in self._runs:
            yield from range(first, last + 1)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SequenceSet) and self._runs == other._runs

    def __repr__(self) -> str:
        return f"SequenceSet({list(self)})"

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class PendingDrop:
    """Frames dropped for one reason whose note in the spool is still to be written, as one note.

    Attributes:
        count: how many.
        claims: what a crash left of them, as ``traces.read_traces`` names it.
    """

    count: int = 0
    claims: tuple[str, ...] = ()

    def plus(self, claims: tuple[str, ...] = ()) -> PendingDrop:
        """With one more frame."""
        return PendingDrop(self.count + 1, (*self.claims, *claims))


PendingDrops = dict[tuple[str, int], PendingDrop]
"""By reason and number of the first frame: the note that is written later carries that number."""


@dataclass
class UnsettledHour:
    """What an hour's files do not say yet.

    Attributes:
        frames: numbers of those without an outcome.
        drops: frames whose drop no disk holds yet.
    """

    frames: SequenceSet = field(default_factory=SequenceSet)
    drops: PendingDrops = field(default_factory=PendingDrops)


@dataclass
class CameraTotals:
    """One camera since the file began.

    Attributes:
        captured: frames.
        next: sequence number of the next one.
        processed: frames with a record.
        dropped: frames without one, by reason.
        hours: what is not settled yet, by the hour's key; an hour without anything is absent.
    """

    captured: int = 0
    next: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    hours: dict[str, UnsettledHour] = field(default_factory=dict[str, UnsettledHour])

    @property
    def open(self) -> int:
        """Frames without an outcome."""
        return self.captured - self.processed - sum(self.dropped.values())


class _Counters:
    __slots__ = ("captured", "dropped", "in_flight", "processed")

    def __init__(self) -> None:
        self.captured = 0
        self.processed = 0
        self.in_flight = 0
        self.dropped: Counter[str] = Counter()

    def counts(self) -> FrameCounts:
        return FrameCounts(self.captured, self.processed, dict(self.dropped), self.in_flight)


class FrameJournal:
    """Thread-safe; one process at a time (its owner holds the lock of the folder).

    Each frame is captured once and closed once, by its identity. Closing a frame that is not in flight is a bug in the
    agent and raises: it would mean a frame lost or counted twice. Reading counts never waits for a disk.
    """

    def __init__(self, cameras: Iterable[str], path: Path | None = None) -> None:
        """Read the file and allocate space for every camera. A file that cannot be read begins anew and is reported.

        Args:
            cameras: every camera that will be counted.
            path: the file; None keeps the counts in memory only.
        """
        cameras = tuple(cameras)
        self._lock = threading.Lock()
        self._cameras = {camera: _Counters() for camera in cameras}
        self._hours: dict[tuple[str, Hour], _Counters] = {}
        self._open: dict[tuple[str, int], Hour] = {}
        self._file_lock = threading.Lock()
        self._generation = 0
        self._file = -1
        self._totals = {camera: CameraTotals() for camera in cameras}
        if path is not None:
            self._open_file(path)

    def captured(self, frame: FrameId) -> None:
        """Count a frame that was captured; from here on it is in flight until it is closed.

        Raises:
            AccountingError: the frame is in flight already.
        """
        hour = frame.hour
        with self._lock:
            key = (frame.camera_id, frame.sequence)
            if key in self._open:
                raise AccountingError(f"frame {frame.sequence} of {frame.camera_id} was captured twice")
            self._open[key] = hour
            for counters in self._counters(frame.camera_id, hour):
                counters.captured += 1
                counters.in_flight += 1
        with self._file_lock:
            totals = self._totals[frame.camera_id]
            totals.captured += 1
            totals.next = max(totals.next, frame.sequence + 1)
            totals.hours.setdefault(hour.key, UnsettledHour()).frames.add(frame.sequence)
            self._write(frame.camera_id)

    def processed(self, frame: FrameId) -> None:
        """Close a frame whose record is in the spool.

        Raises:
            AccountingError: the frame is not in flight.
        """
        self.settle_processed(frame)
        with self._lock:
            for counters in self._close(frame):
                counters.processed += 1

    def dropped(self, frame: FrameId, reason: str, *, pending: int | None = None, claims: tuple[str, ...] = ()) -> None:
        """Close a frame that has no record; for ``pending`` and ``claims`` see ``settle_dropped``.

        Raises:
            AccountingError: the frame is not in flight.
        """
        self.settle_dropped(frame, reason, pending=pending, claims=claims)
        self.dropped_without_trace(frame, reason)

    def dropped_without_trace(self, frame: FrameId, reason: str) -> None:
        """Close a frame in memory only: the next start finds that it has no outcome.

        Raises:
            AccountingError: the frame is not in flight.
        """
        with self._lock:
            for counters in self._close(frame):
                counters.dropped[reason] += 1

    def settle_processed(self, frame: FrameId) -> None:
        """Write down that a frame, of this run or an earlier one, has its record."""
        with self._file_lock:
            self._totals[frame.camera_id].processed += 1
            self._settle(frame.camera_id, frame.hour, frame.sequence)
            self._write(frame.camera_id)

    def settle_dropped(
        self,
        frame: FrameId,
        reason: str,
        *,
        pending: int | None = None,
        claims: tuple[str, ...] = (),
    ) -> None:
        """Write down that a frame, of this run or an earlier one, has no record.

        Args:
            frame: which.
            reason: why.
            pending: no disk holds its note; number of the first of those that wait with it for one.
            claims: with ``pending``, what a crash left of it.
        """
        with self._file_lock:
            totals, hour = self._totals[frame.camera_id], frame.hour
            totals.dropped[reason] = totals.dropped.get(reason, 0) + 1
            if pending is not None:
                drops = totals.hours.setdefault(hour.key, UnsettledHour()).drops
                drops[reason, pending] = drops.get((reason, pending), PendingDrop()).plus(claims)
            self._settle(frame.camera_id, hour, frame.sequence)
            self._write(frame.camera_id)

    def noted(self, camera: str, hour: Hour, reason: str, first: int) -> None:
        """The note of drops that were settled before is in the spool."""
        with self._file_lock:
            if hour.key in self._totals[camera].hours:
                self._totals[camera].hours[hour.key].drops.pop((reason, first), None)
                self._settle(camera, hour, first)
                self._write(camera)

    def counts(self) -> dict[str, FrameCounts]:
        """All cameras since the start, at one moment."""
        with self._lock:
            return {camera: counters.counts() for camera, counters in self._cameras.items()}

    def hour(self, camera: str, hour: Hour) -> FrameCounts:
        """One hour of one camera since the start."""
        with self._lock:
            counters = self._hours.get((camera, hour))
            return counters.counts() if counters else FrameCounts()

    def hours(self, camera: str) -> list[Hour]:
        """Hours of a camera that are not forgotten, oldest first."""
        with self._lock:
            return sorted(hour for owner, hour in self._hours if owner == camera)

    def add_hour(self, camera: str, hour: Hour) -> None:
        """Begin to count an hour that an earlier run left open: it is to be sealed, even without another frame."""
        with self._lock:
            self._hours.setdefault((camera, hour), _Counters())

    def forget_hour(self, camera: str, hour: Hour) -> bool:
        """Drop the hour's own counts once it is sealed; the camera's counts stay.

        Returns:
            False when frames of that hour are in flight again (a clock that jumped back): the counts are kept.
        """
        with self._lock:
            counters = self._hours.get((camera, hour))
            if counters is not None and counters.in_flight:
                return False
            self._hours.pop((camera, hour), None)
            return True

    def in_flight(self) -> frozenset[tuple[str, int]]:
        """Camera and number of the frames that have no outcome now."""
        with self._lock:
            return frozenset(self._open)

    def still_open(self, frames: Iterable[tuple[str, int]]) -> int:
        """How many of these frames, by camera and number, have no outcome yet."""
        with self._lock:
            return sum(frame in self._open for frame in frames)

    def totals(self, camera: str) -> CameraTotals:
        """A copy of a camera's counts across restarts."""
        with self._file_lock:
            return deepcopy(self._totals[camera])

    def skip_to(self, camera: str, sequence: int) -> None:
        """Numbers below this one were used already, by a run that the file does not know of."""
        with self._file_lock:
            if self._totals[camera].next < sequence:
                self._totals[camera].next = sequence
                self._write(camera)

    def sync(self) -> None:
        """Make the file durable against a power cut.

        Raises:
            OSError: the disk fails.
        """
        if self._file >= 0:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file; counting continues in memory."""
        with self._file_lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _counters(self, camera: str, hour: Hour) -> tuple[_Counters, _Counters]:
        return self._cameras[camera], self._hours.setdefault((camera, hour), _Counters())

    def _close(self, frame: FrameId) -> tuple[_Counters, _Counters]:
        hour = self._open.pop((frame.camera_id, frame.sequence), None)
        if hour is None:
            raise AccountingError(f"frame {frame.sequence} of {frame.camera_id} was closed but is not in flight")
        closed = self._counters(frame.camera_id, hour)
        for counters in closed:
            counters.in_flight -= 1
        return closed

    def _settle(self, camera: str, hour: Hour, sequence: int) -> None:
        hours = self._totals[camera].hours
        if (unsettled := hours.get(hour.key)) is not None:
            unsettled.frames.discard(sequence)
            if not unsettled.frames and not unsettled.drops:
                del hours[hour.key]

    def _open_file(self, path: Path) -> None:
        self._totals |= self._read(path)
        self._slots = {camera: number for number, camera in enumerate(self._totals)}
        self._turn = dict.fromkeys(self._totals, 0)
        whole = b"".join(self._slot(camera).ljust(SLOT) * 2 for camera in self._totals)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, whole)
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, SpoolFullError) as error:
            log.warning("the frame counts will be lost when this run ends: cannot write %s: %s", path, error)

    def _write(self, camera: str) -> None:
        if self._file < 0:
            return
        self._generation += 1
        self._turn[camera] ^= 1  # its own: with one turn for all, cameras in step would use one slot each
        place = (self._slots[camera] * 2 + self._turn[camera]) * SLOT
        try:
            os.pwrite(self._file, self._slot(camera), place)
        except OSError as error:
            log.error("the frame counts will be lost when this run ends: %s", error)
            os.close(self._file)
            self._file = -1

    def _slot(self, camera: str) -> bytes:
        totals = self._totals[camera]
        hours: dict[str, list[Any]] = {
            key: [hour.frames.steps(), [[*of, drop.count, drop.claims] for of, drop in hour.drops.items()]]
            for key, hour in totals.hours.items()
        }
        document = {
            "camera": camera,
            "generation": self._generation,
            "captured": totals.captured,
            "next": totals.next,
            "processed": totals.processed,
            "dropped": totals.dropped,
            "hours": hours,
        }
        while len(data := orjson.dumps(document)) > _ROOM:  # hundreds of hours on a full disk: the newest are kept
            del hours[min(hours)]
        return b"%08x %s\n" % (zlib.crc32(data), data)

    def _read(self, path: Path) -> dict[str, CameraTotals]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.warning("the frame counts start again at 0: cannot read %s: %s", path, error)
            return {}
        newest: dict[str, tuple[int, CameraTotals]] = {}
        for at in range(0, len(data), SLOT):
            parsed = _parse_slot(data[at : at + SLOT])
            if parsed is not None and parsed[1] >= newest.get(parsed[0], (-1,))[0]:
                newest[parsed[0]] = parsed[1:]
        if not newest:
            log.warning("the frame counts start again at 0: %s holds none that can be read", path)
        self._generation = max((generation for generation, _ in newest.values()), default=0) + 1
        return {camera: totals for camera, (_, totals) in newest.items()}


def _parse_slot(slot: bytes) -> tuple[str, int, CameraTotals] | None:
    """Camera, generation and totals of a slot; None when it is torn or foreign."""
    crc, _, data = slot.partition(b"\n")[0].partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(data):
            return None
        document = orjson.loads(data)
        hours = {
            key: UnsettledHour(
                SequenceSet.from_steps(frames),
                {(reason, first): PendingDrop(count, tuple(claims)) for reason, first, count, claims in drops},
            )
            for key, (frames, drops) in document["hours"].items()
        }
        captured, following, processed = (int(document[name]) for name in ("captured", "next", "processed"))
        dropped = {reason: int(count) for reason, count in document["dropped"].items()}
        totals = CameraTotals(captured, following, processed, dropped, hours)
        return str(document["camera"]), int(document["generation"]), totals
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
