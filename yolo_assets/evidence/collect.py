"""Finds the camera-hours that a question touches, and fetches each into a pack; every hash is checked.

The receipts in the archive decide. The catalog only saves reading the receipts that it holds; it cannot hide one,
because receipts that are not in it are read. An hour is taken whole or reported as unavailable, with nothing of it kept
but its receipts: half an hour would be an answer that no one can check. Frames in the folder of the hour next to
theirs are found by their time (``archive.near_hours``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.near_hours import archives_holding
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.times import Hour, hours_between
from yolo_assets.evidence.custody import DeviceSeal, collect_custody
from yolo_assets.evidence.findings import Derived, Finding, HourPart, derive, selection
from yolo_assets.evidence.manifest import (
    Gap,
    HourState,
    PackProblem,
    Query,
    index_path,
    receipt_path,
    receipt_signature_path,
    seal_path,
    signed_path,
)
from yolo_assets.evidence.signing import ProvenReceipt, prove
from yolo_assets.runtime.files import write_all
from yolo_assets.storage.base import StoreUnavailableError

_READERS = 8

CatalogedBatches = Mapping[str, bool]
"""Receipt key → whether that receipt names the batch, for the receipts that are in the catalog."""


@dataclass(frozen=True)
class CameraHour:
    """One camera-hour with its receipts; ``problem`` when one of them cannot be read or is untrusted."""

    camera_id: str
    hour: Hour
    receipts: tuple[ProvenReceipt, ...]
    names: tuple[ArchiveName, ...]
    problem: str | None = None


def camera_hours(
    archive: Archive,
    query: Query,
    cataloged: CatalogedBatches | None = None,
    report: Callable[[], object] = lambda: None,
) -> list[CameraHour]:
    """Every archived camera-hour that may answer the question, by hour and camera.

    Args:
        archive: where they lie.
        query: names a camera, a batch, a part or several of them.
        cataloged: what the catalog has of batch and part; only receipts that are not in it are read to learn it.
        report: called for each receipt read.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    names = archives_holding(archive, query.start, query.end, camera_id=query.camera_id)
    loaded: dict[ArchiveName, ProvenReceipt | str] = {}

    def load(names: Iterable[ArchiveName]) -> None:
        missing = [name for name in names if name not in loaded]
        with ThreadPoolExecutor(_READERS, thread_name_prefix="receipts") as pool:
            for name, receipt in zip(missing, pool.map(lambda name: _load(archive, name), missing), strict=True):
                loaded[name] = receipt
                report()

    if query.camera_id is None:
        # A receipt that does not name the batch by the catalog is not read; one that is not in the catalog is.
        load(name for name in names if (cataloged or {}).get(name.receipt_key, True))
        hours = {
            (name.hour, name.camera_id)
            for name, receipt in loaded.items()
            if isinstance(receipt, str) or query.may_be_among(receipt.receipt.batch_ids, receipt.receipt.part_ids)
        }
        names = [name for name in names if (name.hour, name.camera_id) in hours]
    load(names)
    grouped: dict[tuple[Hour, str], list[ArchiveName]] = {}
    for name in names:
        grouped.setdefault((name.hour, name.camera_id), []).append(name)
    return [
        CameraHour(
            camera,
            hour,
            tuple(receipt for name in parts if isinstance(receipt := loaded[name], ProvenReceipt)),
            tuple(parts),
            next((problem for name in parts if isinstance(problem := loaded[name], str)), None),
        )
        for (hour, camera), parts in grouped.items()
    ]


def gaps(query: Query, camera_hours: Sequence[CameraHour], now: datetime) -> list[Gap]:
    """Times of the range, as far as it is past, without any archive of the camera.

    None are known when no camera was named.
    """
    if query.camera_id is None:
        return []
    archived = {item.hour for item in camera_hours}
    missing: list[Gap] = []
    for hour in hours_between(query.start, min(query.end, now)):
        if hour in archived:
            continue
        start, end = max(hour.start, query.start), min(hour.end, query.end, now)
        if missing and missing[-1].end == start:
            start = missing.pop().start
        missing.append(Gap(start=start, end=end))
    return missing


OnFrame = Callable[[Finding, bytes], None]
_MOST_NAMED = 100
"""Records of an hour that could not be read, and files of other kinds, that are named one by one."""


class TooManyFramesError(UserError):
    """More frames fit than a pack may hold."""


@dataclass(frozen=True)
class Collected:
    """One camera-hour in the pack."""

    state: HourState
    findings: Sequence[Finding] = ()
    problems: Sequence[PackProblem] = ()
    seals: Sequence[DeviceSeal] = ()


def collect_hour(
    archive: Archive, query: Query, camera_hour: CameraHour, folder: Path, remaining: int, on_frame: OnFrame
) -> Collected:
    """Take what fits out of one camera-hour.

    Args:
        archive: where it lies.
        query: the question.
        camera_hour: the camera-hour.
        folder: the pack being made.
        remaining: frames that the pack may still take.
        on_frame: called with each frame's finding and bytes, after they were written.

    Raises:
        TooManyFramesError: more than ``remaining`` frames fit.
        StoreUnavailableError: the store does not answer; trying later may help.
    """
    base = HourState(
        camera_id=camera_hour.camera_id,
        hour=camera_hour.hour.key,
        archives=tuple(name.stem for name in camera_hour.names),
        state="searched",
    )
    for proven in camera_hour.receipts:
        stem = proven.name.stem
        write(folder / receipt_path(stem), [proven.data])
        write(folder / signed_path(stem), [proven.signed])
        write(folder / receipt_signature_path(stem, proven.signed_by), [proven.signature])
    if camera_hour.problem is not None:
        return Collected(base.model_copy(update={"state": "unavailable", "reason": camera_hour.problem}))
    if not selection(query).may_hold([proven.receipt for proven in camera_hour.receipts]):
        return Collected(base.model_copy(update={"state": "excluded"}))
    try:
        derived, left_out, seals = _fetch(archive, query, camera_hour, folder, remaining, on_frame)
    except TooManyFramesError:
        raise
    except UserError as error:
        if isinstance(error, StoreUnavailableError) and error.transient:
            raise
        _remove(folder, camera_hour)
        return Collected(base.model_copy(update={"state": "unavailable", "reason": str(error)}))
    counts = {"findings": len(derived.findings), "left_out": left_out, "unread": len(derived.unread)}
    return Collected(base.model_copy(update=counts), derived.findings, _problems(query, derived), seals)


def _problems(query: Query, derived: Derived) -> list[PackProblem]:
    """What of an hour is not shown: records that are none, and files of other kinds where everything was asked for."""
    unread = [
        PackProblem(kind="record_not_read", path=bad.source, reason=bad.reason) for bad in derived.unread[:_MOST_NAMED]
    ]
    if more := derived.unread[_MOST_NAMED:]:
        unread.append(
            PackProblem(kind="record_not_read", path=more[0].source, reason=f"And {len(more):,} from there on.")
        )
    if not selection(query).everything:
        return unread
    return unread + [PackProblem(kind="other_file", path=path) for path in derived.other[:_MOST_NAMED]]


def _fetch(
    archive: Archive, query: Query, camera_hour: CameraHour, folder: Path, remaining: int, on_frame: OnFrame
) -> tuple[Derived, int, list[DeviceSeal]]:
    parts: list[HourPart] = []
    for proven in camera_hour.receipts:
        archived = archive.part(proven.receipt)
        data, rows = archived.read_index()
        part = HourPart(proven, rows)
        parts.append(part)
        write(folder / index_path(part.stem), [data])
        for row, pieces in archived.read_many(part.record_rows()):
            write(folder / part.records_path(row), pieces)
    derived = derive(query, parts, opener(folder))
    if sum(len(rows) for rows in derived.frames.values()) > remaining:
        raise TooManyFramesError("more frames match than --max-frames allows")
    left_out = 0
    for part in parts:
        for path in {part.records_path(row) for row in part.record_rows()} - derived.needed:
            (folder / path).unlink()
            left_out += 1
    by_path = {finding.frame.path: finding for finding in derived.findings if finding.frame is not None}
    for part in parts:
        for row, pieces in archive.part(part.proven.receipt).read_many(derived.frames.get(part.stem, [])):
            data = b"".join(pieces)
            path = part.frame_path(row)
            write(folder / path, [data])
            on_frame(by_path[path], data)
    seals, files = collect_custody(archive, parts, derived.frames)
    for path, data in files.items():
        if path.startswith("seals/"):
            write(folder / path, [data])
    return derived, left_out, seals


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


def _remove(folder: Path, camera_hour: CameraHour) -> None:
    """Remove what was written of an hour, except its receipts."""
    for name in camera_hour.names:
        (folder / index_path(name.stem)).unlink(missing_ok=True)
        (folder / seal_path(name.stem)).unlink(missing_ok=True)
        for kind in ("frames", "annotated", "records", "seals"):
            inside = folder / kind / name.stem
            if inside.is_dir():
                for path in inside.iterdir():
                    path.unlink()
                inside.rmdir()


def _load(archive: Archive, name: ArchiveName) -> ProvenReceipt | str:
    """The receipt, or why it cannot be read or is untrusted."""
    try:
        return prove(archive.read_receipt(name)[0], name, archive.trusted)
    except StoreUnavailableError as error:
        if error.transient:
            raise
        return str(error)
    except UserError as error:
        return str(error)
