"""Gets archived files back onto a disk: by camera, time, production batch, class and confidence; every hash checked.

Files land under ``<out>/<camera>/<hour>/<name>``, the layout of a spool. Where two parts hold different files of one
name, the later one lands under ``part<N>/`` beside it: nothing is overwritten with other bytes. Run again, it goes on
where it stopped: files that are there with the right hash are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from yolo_assets.archive.pack import IndexRow
from yolo_assets.archive.plan import holds
from yolo_assets.archive.read import find_receipts, hour_records, list_archives, load_index, read_members
from yolo_assets.archive.retry import retry
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import check_id, is_frame, is_record_file, parse_frame_name
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, format_time, hours_between
from yolo_assets.spool.files import TEMPORARY, native_name, write_all
from yolo_assets.spool.records import frame_stem
from yolo_assets.storage.base import ObjectStore

_LONG = timedelta(days=31)
"""A range beyond this is looked up in one listing of all receipts instead of one listing an hour."""


@dataclass(frozen=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        archives: parts that hold something wanted.
        files: written.
        bytes: written.
        skipped: files that were there already, with the right hash.
    """

    archives: int
    files: int
    bytes: int
    skipped: int


@dataclass(frozen=True)
class Wanted:
    """Which frames of the time range are wanted; every condition that is given must hold for one detection record."""

    batch: str | None = None
    class_name: str | None = None
    min_confidence: float | None = None

    @property
    def everything(self) -> bool:
        """Whether no condition is given."""
        return self.batch is None and self.class_name is None and self.min_confidence is None

    def fits(self, record: DetectionRecord) -> bool:
        """Whether a record meets the conditions; class and confidence by one and the same detection."""
        if self.batch is not None and record.batch_id != self.batch:
            return False
        if self.class_name is None and self.min_confidence is None:
            return True
        return any(
            (self.class_name is None or found.class_name == self.class_name)
            and found.confidence >= (self.min_confidence or 0)
            for found in record.detections
        )


def restore(
    archive: ObjectStore,
    trusted: TrustedKeys,
    camera: str,
    start: datetime,
    end: datetime,
    out: Path,
    *,
    batch: str | None = None,
    class_name: str | None = None,
    min_confidence: float | None = None,
    frames_only: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> RestoreReport:
    """Restore what one camera saw in ``[start, end)``.

    Frames outside the range or not matching are left out; a frame without a time in its name counts as of its whole
    hour. Record files and the rest of an hour come along unless ``frames_only``.

    Args:
        archive: the archive root.
        trusted: keys that may have signed the receipts.
        camera: camera id.
        start: first moment.
        end: first moment after the range.
        out: folder to write into, made when missing.
        batch: only frames whose record names this production batch.
        class_name: only frames with a detection of this class.
        min_confidence: only frames with a detection of at least this confidence.
        frames_only: no record files.
        report: called with the relative path of each file written.

    Raises:
        BadInputError: the range is empty, or a path would leave ``out``.
        IntegrityError, SignatureError: what the store holds is not what was archived; what was written is good.
    """
    if end <= start:
        raise BadInputError(f"the range from {format_time(start)} to {format_time(end)} is empty; --to must be later")
    check_id(camera)
    wanted = Wanted(batch, class_name, min_confidence)
    archives = files = size = skipped = 0
    for hour in _hours(archive, camera, start, end):
        receipts = find_receipts(archive, camera, hour, trusted)
        names = None if wanted.everything or not receipts else _matching(archive, camera, hour, trusted, wanted)
        taken: dict[str, bytes] = {}
        for receipt in receipts:
            rows = [
                row
                for row in load_index(archive, receipt)
                if _is_wanted(row, start, end, names, frames_only=frames_only)
            ]
            targets = {row.offset: _target(out / camera / hour.key, receipt, row, taken) for row in rows}
            for folder in {target.parent for target in targets.values()}:
                _make_folder(out, folder)
            missing = [row for row in rows if not holds(targets[row.offset], row)]
            archives += bool(rows)
            skipped += len(rows) - len(missing)
            for row, pieces in read_members(archive, receipt, missing):
                target = targets[row.offset]
                _write(target, pieces)
                report(str(target.relative_to(out)))
                files, size = files + 1, size + row.size
    return RestoreReport(archives, files, size, skipped)


def _hours(archive: ObjectStore, camera: str, start: datetime, end: datetime) -> Iterable[Hour]:
    """The hours of the range that may hold something, in order."""
    if end - start <= _LONG:
        return hours_between(start, end)
    first = Hour.of(start)
    names = retry(lambda: list(list_archives(archive, camera_id=camera)))
    return sorted({name.hour for name in names if name.hour >= first and name.hour.start < end})


def _matching(archive: ObjectStore, camera: str, hour: Hour, trusted: TrustedKeys, wanted: Wanted) -> set[str]:
    """Names, without their ending, of the frames whose record meets the conditions."""
    records = hour_records(archive, camera, hour, trusted)
    return {
        frame_stem(record.image_path)
        for record in records
        if isinstance(record, DetectionRecord) and wanted.fits(record)
    }


def _is_wanted(row: IndexRow, start: datetime, end: datetime, names: set[str] | None, *, frames_only: bool) -> bool:
    name = native_name(row.name)
    if is_frame(name):
        moment = parse_frame_name(name)
        in_range = moment is None or start <= moment < end
        return in_range and (names is None or frame_stem(name) in names)
    if frames_only:
        return False
    return names is None or is_record_file(name)


def _target(folder: Path, receipt: Receipt, row: IndexRow, taken: dict[str, bytes]) -> Path:
    """Where a member goes. The index is signed for, yet ``native_name`` still refuses anything but a file's name."""
    name = native_name(row.name)
    if taken.setdefault(name, row.sha256) != row.sha256:
        folder = folder / f"part{receipt.part}"
    return folder / name


def _make_folder(out: Path, folder: Path) -> None:
    """Make ``folder`` below ``out``; a symbolic link on the way could lead out of it and is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() != out.resolve() / folder.relative_to(out):
        raise BadInputError(f"{folder} leads out of {out} by a symbolic link; remove the link or choose another folder")


def _write(target: Path, pieces: Iterator[bytes]) -> None:
    """Write a file whole, its hash checked by ``pieces``, or not at all."""
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            for piece in pieces:
                write_all(descriptor, piece)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(
                f"cannot write {target}: {error.strerror}; free some room or choose another folder"
            ) from None
        raise
