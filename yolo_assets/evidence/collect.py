"""Fetches one camera-hour into a pack: record files, the frames that fit, index and receipts; every hash checked.

An hour is taken whole or reported as unavailable, with nothing of it left but its receipts: half an hour would be an
answer that nobody can check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from yolo_assets.archive.reading.lookup import read_index
from yolo_assets.archive.reading.read import read_members
from yolo_assets.contracts.errors import UserError
from yolo_assets.evidence.find import CameraHour
from yolo_assets.evidence.findings import Derived, Finding, HourPart, derive, wanted
from yolo_assets.evidence.manifest import HourState, Query, index_path, receipt_path
from yolo_assets.runtime.files import write_all
from yolo_assets.storage.base import ObjectStore, StoreUnavailableError

OnFrame = Callable[[Finding, bytes], None]


class TooManyFramesError(UserError):
    """More frames fit than a pack may hold."""


@dataclass(frozen=True)
class Collected:
    """One camera-hour in the pack."""

    state: HourState
    findings: Sequence[Finding] = ()


def collect_hour(
    archive: ObjectStore, query: Query, found: CameraHour, folder: Path, room: int, on_frame: OnFrame
) -> Collected:
    """Take what fits out of one camera-hour.

    Args:
        archive: the archive root.
        query: what was asked.
        found: the camera-hour.
        folder: the pack being made.
        room: frames that may still come.
        on_frame: called with each frame's finding and bytes, after they were written.

    Raises:
        TooManyFramesError: more than ``room`` frames fit.
        StoreUnavailableError: the store does not answer; trying later may help.
    """
    base = HourState(
        camera_id=found.camera_id,
        hour=found.hour.key,
        archives=tuple(name.stem for name in found.names),
        state="searched",
    )
    for proven in found.receipts:
        write(folder / receipt_path(proven.name.stem), [proven.data])
    if found.problem is not None:
        return Collected(base.model_copy(update={"state": "unavailable", "reason": found.problem}))
    if not wanted(query).may_hold([proven.receipt for proven in found.receipts]):
        return Collected(base.model_copy(update={"state": "excluded"}))
    try:
        derived, left_out = _fetch(archive, query, found, folder, room, on_frame)
    except TooManyFramesError:
        raise
    except UserError as error:
        if isinstance(error, StoreUnavailableError) and error.transient:
            raise
        _forget(folder, found)
        return Collected(base.model_copy(update={"state": "unavailable", "reason": str(error)}))
    return Collected(
        base.model_copy(update={"findings": len(derived.findings), "left_out": left_out}), derived.findings
    )


def _fetch(
    archive: ObjectStore, query: Query, found: CameraHour, folder: Path, room: int, on_frame: OnFrame
) -> tuple[Derived, int]:
    parts: list[HourPart] = []
    for proven in found.receipts:
        data, rows = read_index(archive, proven.receipt)
        part = HourPart(proven, rows)
        parts.append(part)
        write(folder / index_path(part.stem), [data])
        for row, pieces in read_members(archive, proven.receipt, part.record_rows()):
            write(folder / part.records_path(row), pieces)
    derived = derive(query, parts, opener(folder))
    if sum(len(rows) for rows in derived.frames.values()) > room:
        raise TooManyFramesError("more frames fit than --max-frames allows")
    left_out = 0
    for part in parts:
        for path in {part.records_path(row) for row in part.record_rows()} - derived.needed:
            (folder / path).unlink()
            left_out += 1
    by_path = {finding.frame.path: finding for finding in derived.findings if finding.frame is not None}
    for part in parts:
        for row, pieces in read_members(archive, part.proven.receipt, derived.frames.get(part.stem, [])):
            data = b"".join(pieces)
            path = part.frame_path(row)
            write(folder / path, [data])
            on_frame(by_path[path], data)
    return derived, left_out


def opener(folder: Path) -> Callable[[str], IO[bytes] | None]:
    """Opens files of a pack by their path in it; None for those that are not there."""

    def opened(path: str) -> IO[bytes] | None:
        try:
            return (folder / path).open("rb")
        except FileNotFoundError:
            return None

    return opened


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file, its folder too; never follow or replace what is there. ``make`` makes it durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        for piece in pieces:
            write_all(descriptor, piece)
    finally:
        os.close(descriptor)


def _forget(folder: Path, found: CameraHour) -> None:
    """Take back what was written of an hour, but for its receipts."""
    for name in found.names:
        (folder / index_path(name.stem)).unlink(missing_ok=True)
        for kind in ("frames", "annotated", "records"):
            inside = folder / kind / name.stem
            if inside.is_dir():
                for path in inside.iterdir():
                    path.unlink()
                inside.rmdir()
