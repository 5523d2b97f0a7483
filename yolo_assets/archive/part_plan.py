"""The plan of one part: which files, as they were, under which key. On disk before the first byte is sent.

Belongs here: the plan's life cycle (``.archiving.json``, then ``.uploaded[.pN].members``) and what earlier parts cover.
Does not belong here: moving bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from yolo_assets import __version__
from yolo_assets.archive.packing.format import CODEC, CODECS, open_unchanged
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import PARTS, PLAN, ArchiveName, uploaded_name
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.spool import ArchivePlan, PlanMember
from yolo_assets.contracts.times import utc_now
from yolo_assets.runtime.files import fsync_folder
from yolo_assets.spool.files import SpoolFullError, native_name, portable_name, write_atomic
from yolo_assets.spool.hours import COVERED, SpoolHour, SpoolMember

PART_SIZE = 8 << 20
WHOLE = 112 << 20
"""An hour up to this size goes as one put: 500 GB a day from 200 cameras are 104 MB a camera-hour."""
_MOST_PARTS = 9_000  # S3 takes 10,000; members are a little longer in the archive than on disk


def part_size_for(total: int, part_size: int = PART_SIZE, whole: int = WHOLE) -> int:
    """Bytes of an upload part for members of ``total`` bytes.

    Up to ``whole`` the hour is one part: one request. Beyond, parts of ``part_size``; they grow when there would be
    too many.
    """
    if total + total // 64 <= whole:
        return max(whole, part_size)
    while total // part_size > _MOST_PARTS:
        part_size *= 2
    return part_size


def make_plan(hour: SpoolHour, part: int, members: Sequence[SpoolMember], part_size: int) -> ArchivePlan:
    """A plan of exactly these members, sent in parts of ``part_size``."""
    return ArchivePlan(
        camera_id=hour.camera_id,
        hour=hour.hour.key,
        part=part,
        archive_key=ArchiveName(hour.camera_id, hour.hour, part).archive_key,
        members=tuple(PlanMember(name=portable_name(m.name), size=m.size, mtime_ns=m.mtime_ns) for m in members),
        part_size=part_size,
        codec=CODEC,
        writer_version=__version__,
        created_at=utc_now(),
    )


def save_plan(hour: SpoolHour, plan: ArchivePlan) -> bool:
    """Write ``.archiving.json``, durable when this returns.

    Returns:
        False when the disk has no room for it. Archiving is what makes room, so it continues without: what is lost is
        resuming the upload after a crash, and never a file.
    """
    return _written(_notes(hour) / PLAN, plan.to_json())


def load_plan(hour: SpoolHour) -> ArchivePlan | None:
    """The plan that an interrupted run left, or None. One that cannot be read counts as none: it is written anew."""
    path = hour.notes / PLAN
    try:
        plan = ArchivePlan.from_json(path.read_bytes(), str(path))
    except (FileNotFoundError, BadInputError):
        return None
    return plan if (plan.camera_id, plan.hour) == (hour.camera_id, hour.hour.key) else None


def still_holds(hour: SpoolHour, plan: ArchivePlan) -> bool:
    """Whether a plan can be carried on: of a codec that this version has, and every file as it was."""
    there = {portable_name(m.name): (m.size, m.mtime_ns) for m in hour.members()}
    return plan.codec in CODECS and all(there.get(m.name) == (m.size, m.mtime_ns) for m in plan.members)


def discard_plan(hour: SpoolHour) -> None:
    """Forget the plan; a missing one is no error."""
    (hour.notes / PLAN).unlink(missing_ok=True)
    (hour.notes / PARTS).unlink(missing_ok=True)


def mark_uploaded(hour: SpoolHour, receipt: Receipt, plan: ArchivePlan) -> bool:
    """Leave the receipt's copy and what it covers in the hour. A crash between the two is healed by ``adopt``.

    Returns:
        False when the disk has no room for them. The store knows the same; they are written when there is room.
    """
    done = _written(_notes(hour) / uploaded_name(receipt.part), receipt.to_json())
    done = done and _written(_covered_path(hour, receipt.part), plan.to_json())
    fsync_folder(hour.notes)
    return done


def covered_by(hour: SpoolHour, receipt: Receipt) -> set[SpoolMember] | None:
    """Files that a part holds, as they were, by the plan that stayed in the hour.

    Returns:
        None when the hour does not know this very receipt, or its list is gone or damaged: ``adopt`` finds out.
    """
    path = _covered_path(hour, receipt.part)
    try:
        if (hour.notes / uploaded_name(receipt.part)).read_bytes() != receipt.to_json():
            return None
        plan = ArchivePlan.from_json(path.read_bytes(), str(path))
        if (plan.camera_id, plan.hour, plan.part) != (hour.camera_id, hour.hour.key, receipt.part):
            return None
        return members_of(plan)
    except (FileNotFoundError, BadInputError):
        return None


def adopt(hour: SpoolHour, receipt: Receipt, rows: Sequence[IndexRow]) -> tuple[set[SpoolMember], bool]:
    """Mark a part that this spool does not know, archived before a crash or from elsewhere: its files by content.

    Returns:
        The local files that the part covers, and what ``mark_uploaded`` returned.
    """
    index = {row.name: row for row in rows}
    same = [
        member
        for member in hour.members()
        if (row := index.get(portable_name(member.name))) is not None and holds(hour.path / member.name, row)
    ]
    return set(same), mark_uploaded(hour, receipt, make_plan(hour, receipt.part, same, PART_SIZE))


def members_of(plan: ArchivePlan) -> set[SpoolMember]:
    """The files of a plan, as they were."""
    return {SpoolMember(native_name(member.name), member.size, member.mtime_ns) for member in plan.members}


def forget_covered(hour: SpoolHour, part: int) -> None:
    """Drop the list of a part whose files were deleted; it is as long as the hour had files."""
    _covered_path(hour, part).unlink(missing_ok=True)


def holds(path: Path, row: IndexRow) -> bool:
    """Whether a local file is, now, byte for byte what a row of an index says."""
    try:
        descriptor, before = open_unchanged(path)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if before.st_size != row.size:
            return False
        digest = hashlib.file_digest(file, "sha256").digest()
        after = os.fstat(file.fileno())
    return digest == row.sha256 and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def _notes(hour: SpoolHour) -> Path:
    """The folder to note something in; made where it is not the hour itself."""
    if hour.notes != hour.path:
        hour.notes.mkdir(parents=True, exist_ok=True)
    return hour.notes


def _written(path: Path, data: bytes) -> bool:
    try:
        write_atomic(path, data)
    except SpoolFullError:
        return False
    return True


def _covered_path(hour: SpoolHour, part: int) -> Path:
    return hour.notes / f"{uploaded_name(part)}{COVERED}"
