"""Gets archived files back onto a disk: by camera, time, production batch, class and confidence; every hash checked.

Files land under ``<out>/<camera>/<hour>/<name>``, the layout of a spool; see ``placing`` for names that collide. First
it is looked what is to come (``plan_restore``), then it is written. Run again, it goes on where it stopped: files that
are there with the right hash are skipped. What is damaged is named, and costs nothing else. Archives in a cold tier are
asked for, and come with a later run. One hour's work is ``hour``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import groupby
from pathlib import Path

from yolo_assets.archive.reading.bulk import FoundReceipt, archives_there, in_order, read_receipts
from yolo_assets.archive.restoring.hour import HourLook, HourWork, ask
from yolo_assets.archive.restoring.placing import OutFolder
from yolo_assets.archive.restoring.plan import RestorePlan, RestoreReport, Thaw, Waiting
from yolo_assets.archive.restoring.wanted import Wanted
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectStore

_LOOKING, _WRITING = 6, 3
"""Hours looked at, and hours written, at a time."""
_SPARE = 64 << 20
"""Bytes that a restore leaves free on the disk."""


def plan_restore(
    archive: ObjectStore, trusted: TrustedKeys, wanted: Wanted, out: Path, *, thaw: Thaw | None = None
) -> RestorePlan:
    """Find out what a restore would do. Nothing is written.

    Args:
        archive: the archive root.
        trusted: keys that may have signed the receipts.
        wanted: what.
        out: folder it would go to; need not be there.
        thaw: how to ask for archives whose records must be read first and that are cold; None: do not ask.

    Raises:
        BadInputError: a symbolic link in ``out`` leads out of it.
        StoreUnavailableError: the store does not answer.
    """
    plan = RestorePlan(wanted)
    names = archives_there(archive, wanted.start, wanted.end, camera_id=wanted.camera)

    def hours() -> Iterator[tuple[Receipt, ...]]:
        found = read_receipts(archive, names, trusted)
        for _, parts in groupby(found, key=lambda one: (one.name.hour, one.name.camera_id)):
            receipts = tuple(_believed(parts, plan))
            if receipts and wanted.may_hold(receipts):
                yield receipts

    look = HourLook(archive, trusted, wanted, OutFolder(out), thaw)
    for one in in_order(hours(), look.hour, _LOOKING):
        plan.problems += one.problems
        if one.files or one.waiting:
            plan.hours.append(one)
    return plan


def cold_archives(archive: ObjectStore, plan: RestorePlan) -> list[Waiting]:
    """The archives of a plan that cannot be read at once; nothing is asked for.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    receipts = (receipt for one in plan.hours for receipt in one.receipts)
    found = in_order(receipts, lambda receipt: ask(archive, receipt, None))
    return [one for one in found if one is not None]


def check_room(plan: RestorePlan, out: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        UserError: there is not enough room.
    """
    free = OutFolder(out).free()
    if plan.missing and plan.missing + _SPARE > free:
        raise UserError(
            f"restoring takes {plan.missing} bytes and {out} has {free} free; free some room, choose another folder, "
            "or restore less"
        )


def carry_out(
    archive: ObjectStore,
    plan: RestorePlan,
    out: Path,
    *,
    thaw: Thaw | None = None,
    report: Callable[[str, int], None] = lambda *_: None,
) -> RestoreReport:
    """Write what a plan found.

    Args:
        archive: the archive root.
        plan: of ``plan_restore``.
        out: folder to write into, made when missing.
        thaw: how to ask for archives in a cold tier; None: as ``Thaw()``.
        report: called, from several threads, with the relative path of each file that is there now, and its bytes.

    Raises:
        UserError: the disk is full or refuses us; what was written is good, run again to go on.
        StoreUnavailableError: the store does not answer; the same.
    """
    done = RestoreReport(problems=list(plan.problems))
    if not plan.hours:
        return done
    folder = OutFolder(out)
    folder.make()
    work = HourWork(archive, plan.wanted, folder, folder.folds_case(), thaw or Thaw(), report)
    for one in in_order(plan.hours, work.hour, _WRITING):
        done.archives += one.archives
        done.files += one.files
        done.bytes += one.bytes
        done.skipped += one.skipped
        done.problems += one.problems
        done.waiting += one.waiting
    return done


def restore(
    archive: ObjectStore,
    trusted: TrustedKeys,
    camera: str | None,
    start: datetime,
    end: datetime,
    out: Path,
    *,
    batch: str | None = None,
    class_name: str | None = None,
    min_confidence: float | None = None,
    frames_only: bool = False,
    thaw: Thaw | None = None,
    report: Callable[[str, int], None] = lambda *_: None,
) -> RestoreReport:
    """Restore what one camera, or all of them, saw in ``[start, end)``: plan, look for room, carry out.

    Arguments and errors as in ``Wanted``, ``plan_restore``, ``check_room`` and ``carry_out``.
    """
    wanted = Wanted(start, end, camera, batch, class_name, min_confidence, frames_only)
    thaw = thaw or Thaw()
    plan = plan_restore(archive, trusted, wanted, out, thaw=thaw)
    check_room(plan, out)
    return carry_out(archive, plan, out, thaw=thaw, report=report)


def _believed(parts: Iterator[FoundReceipt], plan: RestorePlan) -> Iterator[Receipt]:
    for one in parts:
        if one.receipt is None:
            plan.problems.append(f"{one.name.stem}: {one.problem}")
            continue
        plan.offered.add(one.receipt)
        yield one.receipt
