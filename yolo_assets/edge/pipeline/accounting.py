"""Where every frame went: captured = processed + dropped by reason + in flight, by camera and by hour.

One object holds the books of the whole agent; each frame is entered once and closed once, by its sequence number.
Closing a frame that is not open is a bug in the agent and raises: it would mean a frame lost or counted twice.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from yolo_assets.contracts.times import Hour
from yolo_assets.edge.types import DropReason

_UNSEEN: tuple[DropReason, ...] = ("unreadable", "overrun", "no_model")

FrameKey = tuple[str, int]
"""``(camera_id, sequence)``."""


class AccountingError(RuntimeError):
    """A frame was entered or closed twice: a bug, never a matter for the operator."""


@dataclass(frozen=True)
class Counts:
    """The books of one camera, or of one hour of one camera, at one moment."""

    captured: int = 0
    processed: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0

    @property
    def offered(self) -> int:
        """Frames that could reach a worker; a line that has only others does not hang and asks for no time."""
        return self.captured - sum(self.dropped.get(reason, 0) for reason in _UNSEEN)

    @property
    def balanced(self) -> bool:
        """The invariant that everything else rests on."""
        return self.captured == self.processed + sum(self.dropped.values()) + self.in_flight


class _Book:
    __slots__ = ("captured", "dropped", "in_flight", "processed")

    def __init__(self) -> None:
        self.captured = 0
        self.processed = 0
        self.in_flight = 0
        self.dropped: Counter[str] = Counter()

    def counts(self) -> Counts:
        return Counts(self.captured, self.processed, dict(self.dropped), self.in_flight)


class Accounting:
    """Thread-safe books of all cameras."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._cameras = {camera: _Book() for camera in cameras}
        self._hours: dict[tuple[str, Hour], _Book] = {}
        self._open: dict[FrameKey, Hour] = {}

    def captured(self, camera: str, sequence: int, hour: Hour) -> None:
        """Enter a frame. From here on it is in flight until it is closed.

        Raises:
            AccountingError: the frame is open already.
        """
        with self._lock:
            key = (camera, sequence)
            if key in self._open:
                raise AccountingError(f"frame {sequence} of {camera} was entered twice")
            self._open[key] = hour
            for book in self._books(camera, hour):
                book.captured += 1
                book.in_flight += 1

    def processed(self, camera: str, sequence: int) -> None:
        """Close a frame whose record is in the spool."""
        with self._lock:
            for book in self._close(camera, sequence):
                book.processed += 1

    def dropped(self, camera: str, sequence: int, reason: DropReason) -> None:
        """Close a frame that has no record, and say why."""
        with self._lock:
            for book in self._close(camera, sequence):
                book.dropped[reason] += 1

    def counts(self) -> dict[str, Counts]:
        """All cameras, at one moment."""
        with self._lock:
            return {camera: book.counts() for camera, book in self._cameras.items()}

    def hour(self, camera: str, hour: Hour) -> Counts:
        """One hour of one camera since the agent started."""
        with self._lock:
            book = self._hours.get((camera, hour))
            return book.counts() if book else Counts()

    def hours(self, camera: str) -> list[Hour]:
        """Hours of a camera that are not forgotten, oldest first."""
        with self._lock:
            return sorted(hour for owner, hour in self._hours if owner == camera)

    def know(self, camera: str, hour: Hour) -> None:
        """Begin a book for an hour that an earlier run left open: it is to be sealed, also without another frame."""
        with self._lock:
            self._hours.setdefault((camera, hour), _Book())

    def forget_hour(self, camera: str, hour: Hour) -> bool:
        """Drop the hour's own book once it is sealed; the camera's totals stay.

        Returns:
            False when frames of that hour are in flight again (a clock that jumped back): the book is kept.
        """
        with self._lock:
            book = self._hours.get((camera, hour))
            if book is not None and book.in_flight:
                return False
            self._hours.pop((camera, hour), None)
            return True

    def in_flight(self) -> frozenset[FrameKey]:
        """The frames that are open now."""
        with self._lock:
            return frozenset(self._open)

    def still_open(self, keys: Iterable[FrameKey]) -> int:
        """How many of these frames have no outcome yet."""
        with self._lock:
            return sum(key in self._open for key in keys)

    def _books(self, camera: str, hour: Hour) -> tuple[_Book, _Book]:
        return self._cameras[camera], self._hours.setdefault((camera, hour), _Book())

    def _close(self, camera: str, sequence: int) -> tuple[_Book, _Book]:
        hour = self._open.pop((camera, sequence), None)
        if hour is None:
            raise AccountingError(f"frame {sequence} of {camera} was closed but is not open")
        books = self._books(camera, hour)
        for book in books:
            book.in_flight -= 1
        return books
