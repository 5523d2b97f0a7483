"""Gets archived files back onto a disk: by camera, time, production batch, class and confidence; every hash checked.

Files land under ``<out>/<camera>/<hour>/<name>``, the layout of a spool; see ``placing`` for names that collide. A plan
(``plan``) is carried out hour by hour. Run again, it continues where it stopped: files that are there with the right
hash are skipped. What is damaged is reported, and the rest is restored. Archives in a cold tier are requested, and a
later run restores them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from yolo_assets.archive.archive import Archive, in_order
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.part import ArchivedPart, PartContents
from yolo_assets.archive.restore.filter import FrameFilter
from yolo_assets.archive.restore.matching import Extract, take_out
from yolo_assets.archive.restore.placing import OutFolder, PlaceError, Places
from yolo_assets.archive.restore.plan import (
    ColdArchive,
    HourPlan,
    RestorePlan,
    RestoreReport,
    Thaw,
    load_indexes,
    object_problem,
    place_all,
    plan_restore,
    request_thaw,
)
from yolo_assets.contracts.errors import IntegrityError, UserError
from yolo_assets.spool.files import portable_name
from yolo_assets.storage.base import ColdObjectError, ObjectNotFoundError, StoreUnavailableError

_HOURS_AT_A_TIME = 3
_SPARE = 64 << 20
"""Bytes that a restore leaves free on the disk."""
_MOST_PROBLEMS = 20
"""Damaged files of one archive that are named; the rest is counted."""


def check_room(plan: RestorePlan, out: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        UserError: there is not enough room.
    """
    free = OutFolder(out).free()
    if plan.missing and plan.missing + _SPARE > free:
        raise UserError(
            f"restoring takes {plan.missing} bytes and {out} has {free} free; free some space, choose another folder, "
            "or restore less"
        )


def carry_out(
    archive: Archive,
    plan: RestorePlan,
    out: Path,
    *,
    thaw: Thaw | None = None,
    report: Callable[[str, int], None] = lambda _name, _size: None,
) -> RestoreReport:
    """Write what a plan selected.

    Args:
        archive: the archive.
        plan: of ``plan_restore``.
        out: folder to write into, made when missing.
        thaw: how to ask for archives in a cold tier; None: as ``Thaw()``.
        report: called, from several threads, with the relative path of each file that is there now, and its bytes.

    Raises:
        UserError: the disk is full or refuses us; what was written is good, run again to continue.
        StoreUnavailableError: the store does not answer; the same.
    """
    done = RestoreReport(problems=list(plan.problems))
    if not plan.hours:
        return done
    folder = OutFolder(out)
    folder.make()
    writer = HourWriter(archive, plan.selection, folder, folder.folds_case(), thaw or Thaw(), report)
    for hour in in_order(plan.hours, writer.write, _HOURS_AT_A_TIME):
        done.archives += hour.archives
        done.files += hour.files
        done.bytes += hour.bytes
        done.skipped += hour.skipped
        done.problems += hour.problems
        done.waiting += hour.waiting
    return done


def restore(
    archive: Archive,
    camera: str | None,
    start: datetime,
    end: datetime,
    out: Path,
    *,
    batch: str | None = None,
    class_name: str | None = None,
    min_confidence: float | None = None,
    frames_only: bool = False,
    part_id: str | None = None,
    thaw: Thaw | None = None,
    report: Callable[[str, int], None] = lambda _name, _size: None,
) -> RestoreReport:
    """Restore what one camera, or all of them, saw in ``[start, end)``: plan, check for room, carry out.

    Arguments and errors as in ``FrameFilter``, ``plan_restore``, ``check_room`` and ``carry_out``.
    """
    selection = FrameFilter(start, end, camera, batch, class_name, min_confidence, frames_only, part_id)
    thaw = thaw or Thaw()
    plan = plan_restore(archive, selection, out, thaw=thaw)
    check_room(plan, out)
    return carry_out(archive, plan, out, thaw=thaw, report=report)


@dataclass(frozen=True)
class HourWriter:
    """Writes what is selected of an hour. Used by several threads."""

    archive: Archive
    selection: FrameFilter
    out: OutFolder
    folds_case: bool
    thaw: Thaw
    report: Callable[[str, int], None]

    def write(self, plan: HourPlan) -> RestoreReport:
        """Carry out the plan of one hour; what is damaged is reported, and the rest is written.

        Raises:
            UserError: the disk is full or refuses us.
            StoreUnavailableError: the store does not answer.
        """
        done = RestoreReport(waiting=list(plan.waiting))
        if plan.waiting:
            return done
        parts = [self.archive.part(receipt) for receipt in plan.receipts]
        indexes, _ = load_indexes(parts)  # its problems are in the plan
        places_taken = Places(self.folds_case)
        placed = place_all(places_taken, plan.receipts, indexes)
        chosen = plan.chosen(self.selection, indexes)
        extracted = plan.match.extracted_parts if plan.match is not None else frozenset[int]()
        for number, (part, rows, places) in enumerate(zip(parts, chosen, placed, strict=True)):
            whole = {row: (plan.camera, plan.hour.key, *places[row]) for row in rows}
            missing: list[IndexRow] = []
            problems: list[str] = []
            for row in rows:
                if self.out.holds(whole[row], row):
                    done.skipped += 1
                    self._report(whole[row], row)
                    continue
                try:
                    self.out.check_free(whole[row])
                    missing.append(row)
                except PlaceError as error:
                    problems.append(str(error))
            done.archives += bool(rows) or number in extracted
            problems += self._write_part(part, missing, whole, done)
            if len(problems) > _MOST_PROBLEMS:
                problems[_MOST_PROBLEMS:] = [f"{part.receipt.archive_key}: {len(problems) - _MOST_PROBLEMS} more files"]
            done.problems += problems
        if plan.match is not None and plan.match.extracts and not done.waiting:
            contents = [part.contents(rows) for part, rows in zip(parts, indexes, strict=True)]
            self._write_extracts(plan, plan.match.extracts, contents, places_taken, done)
        return done

    def _write_extracts(
        self,
        plan: HourPlan,
        extracts: Sequence[Extract],
        contents: Sequence[PartContents],
        places: Places,
        done: RestoreReport,
    ) -> None:
        """Write records that share their archived file with others."""
        try:
            taken = take_out(extracts, contents)
        except UserError as error:
            done.problems.append(f"records of {plan.camera} {plan.hour} cannot be read: {object_problem(error)}")
            return
        for extract, data in taken:
            sha256 = hashlib.sha256(data).digest()
            row = extract.row(sha256)
            place = (plan.camera, plan.hour.key, *plan.place(places, extract, sha256))
            try:
                if self.out.holds(place, row):
                    done.skipped += 1
                else:
                    self.out.check_free(place)
                    self.out.write(place, [data])
                    done.files, done.bytes = done.files + 1, done.bytes + row.size
            except PlaceError as error:
                done.problems.append(str(error))
                continue
            self._report(place, row)

    def _write_part(
        self, part: ArchivedPart, missing: list[IndexRow], places: dict[IndexRow, tuple[str, ...]], done: RestoreReport
    ) -> list[str]:
        problems: list[str] = []
        key = part.receipt.archive_key
        try:
            for row, pieces in part.read_many(missing):
                try:
                    self.out.write(places[row], pieces)
                except PlaceError as error:
                    problems.append(str(error))
                    continue
                except IntegrityError as error:
                    problems.append(f"{key}: {error}")
                    continue
                done.files += 1
                done.bytes += row.size
                self._report(places[row], row)
        except ColdObjectError:
            cold = request_thaw(part, self.thaw)
            # Read a moment ago and cold now: it is asked for by the next run.
            done.waiting.append(cold or ColdArchive(key, False, "at once"))
        except ObjectNotFoundError as error:
            problems.append(f"{key} is not in the store: {error}")
        except StoreUnavailableError as error:
            problems.append(f"{key} cannot be read: {object_problem(error)}")
        return problems

    def _report(self, place: tuple[str, ...], row: IndexRow) -> None:
        self.report(portable_name("/".join(place)), row.size)
