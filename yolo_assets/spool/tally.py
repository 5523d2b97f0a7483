"""A small file that counts the frames of each camera across restarts; a killed process loses no count.

The spool's own files say what became of a frame; only this file knows of a frame that was captured and left no trace
before the process was killed, or whose note found no room on a full disk. It names these frames by number, because
counts alone cannot tell which of them a file in the spool is about. Its room is taken when it is opened, so a disk that
fills later does not hurt it. Lost, counts begin at 0; what was captured and left no trace is then not known.

Belongs here: the file. Does not belong here: what is done about frames that are missing (``edge.ledger``).

Layout: for each camera two slots of ``SLOT`` bytes, written in turn: CRC-32 as eight hex digits, a blank, a JSON
object, a newline; what follows it is of earlier writes. A power cut in the middle of a write leaves the other slot.
"""

from __future__ import annotations

import logging
import os
import threading
import zlib
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import SpoolFullError, write_atomic
from yolo_assets.spool.runs import Runs

log = logging.getLogger(__name__)
SLOT = 16384
_ROOM = SLOT - len("00000000 \n")


@dataclass(frozen=True)
class Batch:
    """Frames dropped for one reason that wait for one note.

    Attributes:
        count: how many.
        claims: what a crash left of them, as ``accounting.read_traces`` names it.
    """

    count: int = 0
    claims: tuple[str, ...] = ()

    def plus(self, claims: tuple[str, ...] = ()) -> Batch:
        """With one more frame."""
        return Batch(self.count + 1, (*self.claims, *claims))


Waiting = dict[tuple[str, int], Batch]
"""By reason and number of the first frame: the note that is written later carries that number."""


@dataclass
class Unsettled:
    """What an hour's files do not say yet.

    Attributes:
        frames: numbers of those without an outcome.
        unnoted: frames whose drop no disk holds yet.
    """

    frames: Runs = field(default_factory=Runs)
    unnoted: Waiting = field(default_factory=dict)


@dataclass
class Row:
    """One camera since this file began.

    Attributes:
        captured: frames.
        next: sequence number of the next one.
        processed: frames with a record.
        dropped: frames without one, by reason.
        hours: what is not settled yet, by the hour's key; an hour without anything is not there.
    """

    captured: int = 0
    next: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    hours: dict[str, Unsettled] = field(default_factory=dict)

    @property
    def open(self) -> int:
        """Frames without an outcome."""
        return self.captured - self.processed - sum(self.dropped.values())


class Tally:
    """Thread-safe; one process at a time (its owner holds the lock of the folder)."""

    def __init__(self, path: Path, cameras: Iterable[str]) -> None:
        """Read the file and take room for every camera. A file that cannot be read begins anew, and says so."""
        self._lock = threading.Lock()
        self._generation = 0
        self._file = -1
        self._rows = {camera: Row() for camera in cameras}
        self._rows |= self._read(path)
        self._slots = {camera: number for number, camera in enumerate(self._rows)}
        self._turn = dict.fromkeys(self._rows, 0)
        whole = b"".join(self._slot(camera).ljust(SLOT) * 2 for camera in self._rows)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, whole)
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, SpoolFullError) as error:
            log.warning("the counts of frames do not outlive this run: cannot write %s: %s", path, error)

    def row(self, camera: str) -> Row:
        """A copy."""
        with self._lock:
            return deepcopy(self._rows[camera])

    def skip(self, camera: str, sequence: int) -> None:
        """Numbers below this one were used already, by a run that this file knows nothing of."""
        with self._lock:
            if self._rows[camera].next < sequence:
                self._rows[camera].next = sequence
                self._write(camera)

    def captured(self, camera: str, hour: Hour, sequence: int) -> None:
        """Count a frame that was captured; from here on it waits for its outcome."""
        with self._lock:
            row = self._rows[camera]
            row.captured += 1
            row.next = max(row.next, sequence + 1)
            row.hours.setdefault(hour.key, Unsettled()).frames.add(sequence)
            self._write(camera)

    def processed(self, camera: str, hour: Hour, sequence: int) -> None:
        """Count a frame that got its record."""
        with self._lock:
            self._rows[camera].processed += 1
            self._settled(camera, hour, sequence)
            self._write(camera)

    def dropped(
        self,
        camera: str,
        hour: Hour,
        sequence: int,
        reason: str,
        *,
        unnoted: int | None = None,
        claims: tuple[str, ...] = (),
    ) -> None:
        """Count a frame that got none.

        Args:
            camera: the camera.
            hour: of its capture.
            sequence: its number.
            reason: why.
            unnoted: no disk holds its note; the first of those that wait with it for one.
            claims: with ``unnoted``, what a crash left of it.
        """
        with self._lock:
            row = self._rows[camera]
            row.dropped[reason] = row.dropped.get(reason, 0) + 1
            if unnoted is not None:
                waiting = row.hours.setdefault(hour.key, Unsettled()).unnoted
                waiting[reason, unnoted] = waiting.get((reason, unnoted), Batch()).plus(claims)
            self._settled(camera, hour, sequence)
            self._write(camera)

    def noted(self, camera: str, hour: Hour, reason: str, first: int) -> None:
        """The note of frames that were counted before is in the spool."""
        with self._lock:
            if hour.key in self._rows[camera].hours:
                self._rows[camera].hours[hour.key].unnoted.pop((reason, first), None)
                self._settled(camera, hour, first)
                self._write(camera)

    def sync(self) -> None:
        """Make it durable against a power cut.

        Raises:
            OSError: the disk fails.
        """
        if self._file >= 0:
            os.fsync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _settled(self, camera: str, hour: Hour, sequence: int) -> None:
        hours = self._rows[camera].hours
        if (found := hours.get(hour.key)) is not None:
            found.frames.discard(sequence)
            if not found.frames and not found.unnoted:
                del hours[hour.key]

    def _write(self, camera: str) -> None:
        if self._file < 0:
            return
        self._generation += 1
        self._turn[camera] ^= 1  # its own: with one turn for all, cameras in step would use one slot each
        place = (self._slots[camera] * 2 + self._turn[camera]) * SLOT
        try:
            os.pwrite(self._file, self._slot(camera), place)
        except OSError as error:
            log.error("the counts of frames do not outlive this run any more: %s", error)
            os.close(self._file)
            self._file = -1

    def _slot(self, camera: str) -> bytes:
        row = self._rows[camera]
        document = {
            "camera": camera,
            "generation": self._generation,
            "captured": row.captured,
            "next": row.next,
            "processed": row.processed,
            "dropped": row.dropped,
            "hours": {
                key: [found.frames.steps(), [[*of, batch.count, batch.claims] for of, batch in found.unnoted.items()]]
                for key, found in row.hours.items()
            },
        }
        while len(data := orjson.dumps(document)) > _ROOM:  # hundreds of hours on a full disk: the newest are kept
            del document["hours"][min(document["hours"])]
        return b"%08x %s\n" % (zlib.crc32(data), data)

    def _read(self, path: Path) -> dict[str, Row]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            log.warning("the counts of frames begin anew: cannot read %s: %s", path, error)
            return {}
        newest: dict[str, tuple[int, Row]] = {}
        for at in range(0, len(data), SLOT):
            found = _parse(data[at : at + SLOT])
            if found is not None and found[1] >= newest.get(found[0], (-1,))[0]:
                newest[found[0]] = found[1:]
        if not newest:
            log.warning("the counts of frames begin anew: %s holds none that can be read", path)
        self._generation = max((generation for generation, _ in newest.values()), default=0) + 1
        return {camera: row for camera, (_, row) in newest.items()}


def _parse(slot: bytes) -> tuple[str, int, Row] | None:
    """Camera, generation and row of a slot; None when it is torn or strange."""
    crc, _, data = slot.partition(b"\n")[0].partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(data):
            return None
        found = orjson.loads(data)
        hours = {
            key: Unsettled(
                Runs.from_steps(frames),
                {(reason, first): Batch(count, tuple(claims)) for reason, first, count, claims in unnoted},
            )
            for key, (frames, unnoted) in found["hours"].items()
        }
        row = Row(found["captured"], found["next"], found["processed"], found["dropped"], hours)
        return found["camera"], found["generation"], row
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
