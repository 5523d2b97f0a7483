"""When the spool's disk will be full, from how its free space changed; and whether that lifts the bandwidth limit.

A limit protects the network, but a full disk loses frames. Belongs here: measuring and deciding. Does not belong here:
what is done about it (``limiter``). Figures are those of the disk, whatever fills it.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from yolo_assets.contracts.settings import Settings
from yolo_assets.spool.files import SpoolFullError, write_atomic

SPAN = 600.0
"""Seconds that samples must span before anything is said."""
WINDOW = 4 * 3600.0
"""Seconds back that count: a shift, not last week."""
_STEP = 60.0
_SCARCE = 0.03


@dataclass(frozen=True)
class DiskSample:
    """Free bytes of the disk at a moment (seconds since 1970)."""

    at: float
    free: int


@dataclass(frozen=True)
class DiskOutlook:
    """What is to be expected of the disk.

    Attributes:
        hours: until it is full at the rate measured; None when it does not fill, or too little is known.
        scarce: so little is free that no measurement is awaited.
    """

    hours: float | None
    scarce: bool


def hours_until_full(samples: Sequence[DiskSample]) -> float | None:
    """Hours until no byte is free, by the line of least squares through the samples.

    Returns:
        None when they span less than ten minutes, or the free space does not shrink.
    """
    if len(samples) < 2 or samples[-1].at - samples[0].at < SPAN:
        return None
    slope = statistics.linear_regression([s.at for s in samples], [s.free for s in samples]).slope
    return None if slope >= 0 else max(0.0, samples[-1].free / -slope / 3600)


def must_lift(outlook: DiskOutlook, threshold: float, lifted: bool) -> bool:
    """Whether the limit is to be lifted; once it is, it stays so until there is twice the time again."""
    if outlook.scarce:
        return True
    return outlook.hours is not None and outlook.hours < threshold * (2 if lifted else 1)


class DiskWatch:
    """Free space of the disk that holds the spool, kept over time in a small file."""

    def __init__(self, spool: Path, file: Path) -> None:
        """Watch the disk of ``spool``; ``file`` keeps the samples between runs."""
        self._spool = spool
        self._file = file
        self._unwritten: list[DiskSample] = []

    @classmethod
    def of(cls, settings: Settings) -> DiskWatch:
        """The disk of the operator's spool."""
        return cls(settings.spool, settings.home / "metrics" / "disk.json")

    def sample(self, now: float) -> DiskOutlook:
        """Take a sample, one a minute at most, and say what is to be expected.

        Raises:
            OSError: the disk cannot be asked.
        """
        status = os.statvfs(self._spool)
        free = status.f_bavail * status.f_frsize
        recorded = {*self._read(), *self._unwritten}
        samples = sorted((s for s in recorded if now - WINDOW <= s.at <= now), key=lambda sample: sample.at)
        if not samples or now - samples[-1].at >= _STEP:
            samples.append(DiskSample(now, free))
            self._write(samples)
        whole = status.f_blocks * status.f_frsize
        return DiskOutlook(hours_until_full([*samples, DiskSample(now, free)]), free < _SCARCE * whole)

    def _write(self, samples: list[DiskSample]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, orjson.dumps([[s.at, s.free] for s in samples]), durable=False)
            self._unwritten = []
        except (OSError, SpoolFullError):  # perhaps just this disk is full: then it matters most to know how fast
            self._unwritten = samples

    def _read(self) -> list[DiskSample]:
        try:
            return [DiskSample(float(at), int(free)) for at, free in orjson.loads(self._file.read_bytes())]
        except (OSError, ValueError, TypeError):
            return []  # not there yet, or damaged: the outlook begins anew
