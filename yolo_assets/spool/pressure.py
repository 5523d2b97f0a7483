"""How full the spool's disk may be, and what is given up first: pure decisions, nothing is measured or written here.

Belongs here: marks, stages, and when a stage begins and ends. Does not belong here: measuring a disk and acting on a
stage (the agent's ``maintenance`` and ``sampling``), and deleting, which only the archiver does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from pydantic import ByteSize, TypeAdapter

from yolo_assets.contracts.errors import BadInputError

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_DECIMAL = re.compile(r"[\d. ]+[kmgt]?b\s*", re.IGNORECASE)  # GiB is refused: 30 of them would not be 30 GB
_SIZE: TypeAdapter[ByteSize] = TypeAdapter(ByteSize)
_FREE_AGAIN = 1.25
_RESERVE_SHARE_MOST = 1e9


class Stage(IntEnum):
    """What is given up, in this order. Records are written in every stage; inference never notices."""

    NORMAL = 0
    """All as configured."""
    FEWER = 1
    """Fewer pictures of frames without a detection."""
    RECORDS = 2
    """Of frames without a detection the record only; pictures with a detection are kept."""
    NO_IMAGES = 3
    """No picture at all, records only: said loudly."""


@dataclass(frozen=True)
class Mark:
    """An amount of disk: ``share`` of the whole disk, 0 to 1, or ``size`` in bytes; one of them is None."""

    share: float | None = None
    size: float | None = None

    def of(self, total: int) -> float:
        """In bytes, on a disk of ``total`` bytes."""
        return self.share * total if self.share is not None else float(self.size or 0)


@dataclass(frozen=True)
class Level:
    """The disk at one moment, in bytes: what the spool holds, what is free for this user, how large the disk is."""

    spool: int
    free: int
    total: int


@dataclass(frozen=True)
class Watermarks:
    """Where the stages begin.

    Attributes:
        low: below it everything is as configured again.
        high: bytes of the spool at which ``FEWER`` begins.
        records: bytes of the spool at which ``RECORDS`` begins.
        images: bytes of the spool at which ``NO_IMAGES`` begins.
        reserve: free bytes of the disk, whatever fills it: below three times as much ``FEWER`` begins, below twice
            ``RECORDS``, below it ``NO_IMAGES``. As a share it is at most 1 GB: a large disk needs no more.
    """

    low: Mark
    high: Mark
    records: Mark
    images: Mark
    reserve: Mark


def parse_mark(text: str | int) -> Mark:
    """A mark as configured: ``30%``, ``20GB``, or bytes as a number.

    Raises:
        BadInputError: anything else, or more than 100 per cent.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return Mark(size=text)
    share = _SHARE.fullmatch(text) if isinstance(text, str) else None
    if share is None:
        try:
            if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
                raise ValueError("no decimal unit")
            return Mark(size=_SIZE.validate_python(text))
        except ValueError:
            raise BadInputError(f"{text!r} is not an amount of disk space; write it like 30% or 20GB") from None
    if float(share[1]) > 100:
        raise BadInputError(f"{text!r} is more than the whole disk; give at most 100%")
    return Mark(share=float(share[1]) / 100)


def next_stage(stage: Stage, level: Level, marks: Watermarks) -> Stage:
    """The stage after a measurement.

    A stage begins at its mark at once, also when stages are skipped. It ends only when the spool has shrunk below the
    mark by the ratio of ``low`` to ``high``, and a quarter more is free than what began it; so a level that trembles
    around a mark changes the stage once.
    """
    begun = max((s for s in Stage if s and _begins(s, level, marks)), default=Stage.NORMAL)
    if begun > stage:
        return begun
    while stage and _ended(stage, level, marks):
        stage = Stage(stage - 1)
    return stage


def reason(stage: Stage, level: Level, marks: Watermarks) -> str:
    """Why a stage holds, for operators."""
    if not stage:
        return ""
    free, spool, total = (f"{value / 1e9:.1f} GB" for value in (level.free, level.spool, level.total))
    if level.free < _needed(stage, level, marks) * _FREE_AGAIN:
        return f"only {free} of the disk's {total} are free"
    return f"the spool holds {spool} of a disk of {total}"


def _needed(stage: Stage, level: Level, marks: Watermarks) -> float:
    reserve = marks.reserve.of(level.total)
    if marks.reserve.share is not None:
        reserve = min(reserve, _RESERVE_SHARE_MOST)
    return reserve * (4 - stage)


def _mark(stage: Stage, marks: Watermarks) -> Mark:
    return {Stage.FEWER: marks.high, Stage.RECORDS: marks.records, Stage.NO_IMAGES: marks.images}[stage]


def _begins(stage: Stage, level: Level, marks: Watermarks) -> bool:
    return level.spool >= _mark(stage, marks).of(level.total) or level.free < _needed(stage, level, marks)


def _ended(stage: Stage, level: Level, marks: Watermarks) -> bool:
    high = marks.high.of(level.total)
    ratio = min(1.0, marks.low.of(level.total) / high) if high else 1.0
    small = level.spool < _mark(stage, marks).of(level.total) * ratio
    return small and level.free >= _needed(stage, level, marks) * _FREE_AGAIN
