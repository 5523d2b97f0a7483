"""Deletes local files that the archive holds: the only place in the system that deletes a frame.

A file is deleted when a receipt with a good signature names an index with the right hash, that index has a row with the
file's name and size, the file's own SHA-256 is the row's *now*, the archive is in the store with its size and ETag (or,
where the ETag changed, with its SHA-256), and the hot retention is over. The walk follows the index file by file, never
what happens to be in the folder. Late files that no index holds stay; symlinks and folders are never touched.

The receipts' copies (``.uploaded``, ``.uploaded.p2`` …) stay, so that producer and archiver know that the hour was
archived. Once nothing else has been in the hour for ``MARKER_DAYS`` they are deleted with the empty folder; the
receipts in the store say the same.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import hour_lock
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import ArchivedPart
from yolo_assets.archive.part_plan import forget_covered, holds
from yolo_assets.archive.upload import stored_sha256
from yolo_assets.contracts.names import SEALED
from yolo_assets.runtime.files import FolderBusyError, fsync_folder
from yolo_assets.spool.files import portable_name
from yolo_assets.spool.hours import SpoolHour, SpoolProblem, is_note, is_unfinished

MARKER_DAYS = 7
_STALE_SECONDS = 3600


@dataclass(frozen=True)
class ReclaimReport:
    """What reclaiming one hour did.

    Attributes:
        camera_id: the camera.
        hour: ``YYYYMMDD_HH``.
        files: deleted.
        bytes: freed.
        kept: files that remain.
        problems: why, for files and archives that should have been deletable.
        reason: one line when the hour as a whole was left alone.
    """

    camera_id: str
    hour: str
    files: int = 0
    bytes: int = 0
    kept: int = 0
    problems: tuple[SpoolProblem, ...] = ()
    reason: str | None = None


def reclaim_hour(hour: SpoolHour, archive: Archive, *, hot_hours: float, now: datetime) -> ReclaimReport:
    """Delete the files of one hour that are safely archived.

    Args:
        hour: a spool hour; one without a folder has nothing to reclaim.
        archive: the archive.
        hot_hours: how long after the hour's end its files stay here.
        now: the present.

    Raises:
        FolderBusyError: a writer or an archiver holds the hour.
        SignatureError, IntegrityError: a receipt or an index is not what it should be; nothing was deleted for it.
        StoreUnavailableError: the store cannot be asked; nothing is deleted unasked.
    """
    if not hour.path.is_dir():
        return ReclaimReport(hour.camera_id, hour.hour.key)
    with hour_lock(hour):
        _sweep(hour, now)
        if not hour.members():
            return ReclaimReport(hour.camera_id, hour.hour.key)
        if now < hour.hour.end + timedelta(hours=hot_hours):
            kept = len(hour.members())
            return ReclaimReport(hour.camera_id, hour.hour.key, kept=kept, reason=f"hot for {hot_hours:g} hours")
        files = freed = 0
        problems: list[SpoolProblem] = []
        differing: set[str] = set()
        for part in archive.parts(hour.camera_id, hour.hour):
            problem = _not_stored(archive, part)
            if problem is not None:
                problems.append(SpoolProblem(hour.path, problem))
                continue
            done = _delete_covered(hour, part.index())
            files, freed = files + done[0], freed + done[1]
            differing |= done[2]
            # What remains under this part's names is not what it holds: compared by content again, it becomes a late
            # part.
            forget_covered(hour, part.receipt.part)
        problems += [
            SpoolProblem(hour.path / name, "not what was archived under this name; it becomes another part")
            for name in sorted(differing & {member.name for member in hour.members()})
        ]
        fsync_folder(hour.path)
        return ReclaimReport(hour.camera_id, hour.hour.key, files, freed, len(hour.members()), tuple(problems))


def _not_stored(archive: Archive, part: ArchivedPart) -> str | None:
    receipt = part.receipt
    info = part.store.head(receipt.archive_key, version_id=receipt.version_id)
    if info is None and part.name.stem in archive.copied:  # the archive moved here, where versions are others
        info = part.store.head(receipt.archive_key, version_id=archive.copied[part.name.stem].version_id)
    if info is None:
        return f"{receipt.archive_key} is not in the store although it has a receipt; nothing deleted"
    if info.size == receipt.archive_size and info.etag == receipt.etag:
        return None
    # Moving a store to other disks changes a folder's ETags, but not the bytes.
    same_size = info.size == receipt.archive_size
    if not same_size or stored_sha256(part.store, receipt.archive_key, info.version_id) != receipt.sha256:
        return f"{receipt.archive_key} is not the object its receipt was written for; nothing deleted"
    return None


def _delete_covered(hour: SpoolHour, rows: list[IndexRow]) -> tuple[int, int, set[str]]:
    """Files and bytes deleted, and names of files that differ and stay."""
    there = {portable_name(member.name): member for member in hour.members()}
    files = freed = 0
    differ: set[str] = set()
    # The seal goes last: until then the folder itself says what the hour was.
    for row in sorted(rows, key=lambda row: row.name == SEALED):
        member = there.get(row.name)
        if member is None:
            continue
        path = hour.path / member.name
        if not holds(path, row):
            differ.add(member.name)
            continue
        path.unlink(missing_ok=True)
        files, freed = files + 1, freed + row.size
    return files, freed, differ


def _sweep(hour: SpoolHour, now: datetime) -> None:
    """Remove what crashed writers left unfinished."""
    with os.scandir(hour.path) as entries:
        found = [entry for entry in entries if is_unfinished(entry.name) and entry.is_file(follow_symlinks=False)]
    for entry in found:
        try:
            age = now.timestamp() - entry.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            continue  # a late frame that is whole by now
        if age > _STALE_SECONDS:
            (hour.path / entry.name).unlink(missing_ok=True)


def retire_hour(hour: SpoolHour, now: datetime) -> bool:
    """Remove the markers and the folder of an hour that has held nothing else for ``MARKER_DAYS``.

    Returns:
        Whether the folder is gone.
    """
    long_ago = now.timestamp() - MARKER_DAYS * 86400
    try:
        if hour.path.stat().st_mtime > long_ago:  # any file that came or went touches the folder
            return False
        with hour_lock(hour):
            if hour.members() or hour.oddities():
                return False
            _sweep(hour, now)
            for path in hour.path.iterdir():
                if is_note(path.name):
                    path.unlink()
            hour.path.rmdir()  # fails when a file came meanwhile, or is on its way
    except (FolderBusyError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
