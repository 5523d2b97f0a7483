"""One camera-hour of a restore: looking what of it is wanted, and writing that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.reading.lookup import load_index
from yolo_assets.archive.reading.read import hour_records, read_members
from yolo_assets.archive.restoring.placing import OutFolder, PlaceError, Places
from yolo_assets.archive.restoring.plan import HourPlan, RestoreReport, Thaw, Waiting
from yolo_assets.archive.restoring.wanted import Wanted
from yolo_assets.contracts.detection import DetectionRecord
from yolo_assets.contracts.errors import BadInputError, IntegrityError, UserError
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import native_name, portable_name
from yolo_assets.spool.records import frame_stem
from yolo_assets.storage.base import ColdObjectError, ObjectNotFoundError, ObjectStore, StoreUnavailableError
from yolo_assets.storage.cold import come_back

_MOST_PROBLEMS = 20
"""Damaged files of one archive that are named; the rest is counted."""


@dataclass(frozen=True)
class HourLook:
    """Finds out what of an hour is wanted. Used by several threads."""

    archive: ObjectStore
    trusted: TrustedKeys
    wanted: Wanted
    out: OutFolder
    thaw: Thaw | None

    def hour(self, receipts: tuple[Receipt, ...]) -> HourPlan:
        """Plan one hour.

        Args:
            receipts: of its parts, by part.

        Raises:
            BadInputError: a symbolic link in the folder leads out of it, or no such retrieval from that tier.
            StoreUnavailableError: the store does not answer.
        """
        hour = Hour.from_key(receipts[0].hour)
        plan = HourPlan(receipts[0].camera_id, hour, receipts)
        if not self.wanted.everything:
            try:
                plan = replace(plan, matching=self._matching(plan))
            except ColdObjectError:
                asked = (ask(self.archive, receipt, self.thaw) for receipt in receipts)
                return replace(plan, waiting=tuple(one for one in asked if one is not None))
            except UserError as error:
                return replace(plan, problems=(f"{plan.camera} {hour} cannot be searched: {lasting(error)}",))
            if not plan.matching:
                return plan
        parts, problems = load_parts(self.archive, receipts)
        chosen = self.wanted.chosen(parts, hour, plan.matching)
        there = 0
        if self.out.path.exists():
            placed = place_all(Places(), receipts, parts)
            folders = (plan.camera, hour.key)
            there = sum(
                row.size
                for places, rows in zip(placed, chosen, strict=True)
                for row in rows
                if self.out.holds((*folders, *places[row]), row, size_only=True)
            )
        return replace(
            plan,
            archives=sum(map(bool, chosen)),
            files=sum(map(len, chosen)),
            bytes=sum(row.size for rows in chosen for row in rows),
            there=there,
            problems=tuple(problems),
        )

    def _matching(self, plan: HourPlan) -> frozenset[str]:
        records = hour_records(self.archive, plan.camera, plan.hour, self.trusted)
        return frozenset(
            frame_stem(record.image_path)
            for record in records
            if isinstance(record, DetectionRecord) and self.wanted.fits(record)
        )


@dataclass(frozen=True)
class HourWork:
    """Writes what is wanted of an hour. Used by several threads."""

    archive: ObjectStore
    wanted: Wanted
    out: OutFolder
    folds_case: bool
    thaw: Thaw
    report: Callable[[str, int], None]

    def hour(self, plan: HourPlan) -> RestoreReport:
        """Carry out the plan of one hour; what is damaged is told, and the rest is written.

        Raises:
            UserError: the disk is full or refuses us.
            StoreUnavailableError: the store does not answer.
        """
        done = RestoreReport(waiting=list(plan.waiting))
        if plan.waiting:
            return done
        parts, _ = load_parts(self.archive, plan.receipts)  # its problems are in the plan
        placed = place_all(Places(self.folds_case), plan.receipts, parts)
        chosen = self.wanted.chosen(parts, plan.hour, plan.matching)
        for receipt, rows, places in zip(plan.receipts, chosen, placed, strict=True):
            whole = {row: (plan.camera, plan.hour.key, *places[row]) for row in rows}
            missing: list[IndexRow] = []
            problems: list[str] = []
            for row in rows:
                if self.out.holds(whole[row], row):
                    done.skipped += 1
                    self._told(whole[row], row)
                    continue
                try:
                    self.out.check_free(whole[row])
                    missing.append(row)
                except PlaceError as error:
                    problems.append(str(error))
            done.archives += bool(rows)
            problems += self._part(receipt, missing, whole, done)
            if len(problems) > _MOST_PROBLEMS:
                problems[_MOST_PROBLEMS:] = [f"{receipt.archive_key}: {len(problems) - _MOST_PROBLEMS} more files"]
            done.problems += problems
        return done

    def _part(
        self, receipt: Receipt, missing: list[IndexRow], places: dict[IndexRow, tuple[str, ...]], done: RestoreReport
    ) -> list[str]:
        problems: list[str] = []
        try:
            for row, pieces in read_members(self.archive, receipt, missing):
                try:
                    self.out.write(places[row], pieces)
                except PlaceError as error:
                    problems.append(str(error))
                    continue
                except IntegrityError as error:
                    problems.append(f"{receipt.archive_key}: {error}")
                    continue
                done.files += 1
                done.bytes += row.size
                self._told(places[row], row)
        except ColdObjectError:
            waiting = ask(self.archive, receipt, self.thaw)
            # Read a moment ago and cold now: it is asked for by the next run.
            done.waiting.append(waiting or Waiting(receipt.archive_key, False, "at once"))
        except ObjectNotFoundError as error:
            problems.append(f"{receipt.archive_key} is not in the store: {error}")
        except StoreUnavailableError as error:
            problems.append(f"{receipt.archive_key} cannot be read: {lasting(error)}")
        return problems

    def _told(self, place: tuple[str, ...], row: IndexRow) -> None:
        self.report(portable_name("/".join(place)), row.size)


def load_parts(archive: ObjectStore, receipts: Sequence[Receipt]) -> tuple[list[list[IndexRow]], list[str]]:
    """The index of each part, without the rows whose name is no file's name; and what is wrong, a line each."""
    parts: list[list[IndexRow]] = []
    problems: list[str] = []
    for receipt in receipts:
        rows: list[IndexRow] = []
        try:
            for row in load_index(archive, receipt):
                try:
                    native_name(row.name)
                    rows.append(row)
                except BadInputError as error:
                    problems.append(f"{receipt.index_key}: {error}")
        except UserError as error:
            problems.append(lasting(error))
        parts.append(rows)
    return parts, problems


def place_all(
    places: Places, receipts: Sequence[Receipt], parts: Sequence[Sequence[IndexRow]]
) -> list[dict[IndexRow, tuple[str, ...]]]:
    """The place of every member of an hour, part by part, wanted or not: places do not depend on what is wanted."""
    places.reserve(native_name(row.name) for rows in parts for row in rows)
    return [{row: places.of(row, receipt.part) for row in rows} for receipt, rows in zip(receipts, parts, strict=True)]


def lasting(error: UserError) -> str:
    """The line of an error that concerns one object; one that concerns the store goes on its way."""
    if isinstance(error, StoreUnavailableError) and error.transient:
        raise error
    return str(error)


def ask(archive: ObjectStore, receipt: Receipt, thaw: Thaw | None) -> Waiting | None:
    """Ask for an archive in a cold tier, once; None when it can be read.

    Args:
        archive: the archive root.
        receipt: of the archive.
        thaw: how to ask; None: only look.

    Raises:
        BadInputError: the tier is never left that fast.
        StoreUnavailableError: the store does not answer, or may not be asked for this.
    """
    key, version = receipt.archive_key, receipt.version_id
    state = archive.restore_state(key, version)
    if state.readable:
        return None
    if state.status == "requested" or thaw is None:
        return Waiting(key, False, str(state))
    state = archive.request_restore(key, version, days=thaw.days, retrieval=thaw.tier)
    return None if state.readable else Waiting(key, True, come_back(state.tier, thaw.tier))
