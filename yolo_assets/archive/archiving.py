"""Archives one spool hour, from whatever state a crash left it in: plan, pack and upload, verify, commit.

The steps, each safe to repeat: lock the hour, learn from the store which parts exist, mark what they cover, plan the
rest, pack and upload, verify, index, receipt, marker. Nothing here deletes a frame. Does not belong here: which hours
are due (``service``), and deleting local files (``reclaim``).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.commit import RecordSummary, commit, ensure_protected
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.packing.pack import IndexRow, MemberChangedError, Packing
from yolo_assets.archive.part_plan import (
    adopt,
    covered_by,
    discard_plan,
    load_plan,
    make_plan,
    mark_uploaded,
    members_of,
    part_size_for,
    save_plan,
    still_holds,
)
from yolo_assets.archive.upload import KeyTakenError, UploadJournal, upload, verify_stored
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import SEALED_LIST, SEALED_SIGNATURE, ArchiveName, is_frame
from yolo_assets.contracts.receipt import Custody, Receipt
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.spool import ArchivePlan
from yolo_assets.runtime.files import lock_folder
from yolo_assets.spool.files import native_name
from yolo_assets.spool.hours import SpoolHour, SpoolMember, SpoolProblem, is_note
from yolo_assets.spool.records import read_records
from yolo_assets.spool.sealing import check_custody
from yolo_assets.storage.base import StoreUnavailableError, UploadGoneError
from yolo_assets.storage.retrying import PROCESS_COUNTS

Status = Literal["archived", "adopted", "nothing"]
_ATTEMPTS = 8


@dataclass(frozen=True)
class ArchiveOutcome:
    """What archiving one hour did.

    Attributes:
        camera_id: the camera.
        hour: ``YYYYMMDD_HH``.
        status: ``archived``: a new part; ``adopted``: the store held all of it, written by another archiver or before a
            crash; ``nothing``: nothing was left to archive.
        receipt: of the newest part, if there is one.
        bytes: of the files that were archived.
        seconds: how long it took.
        sent_parts: upload parts that travelled.
        resumed_parts: upload parts that were in the store already.
        left: what remains in the spool, and why.
        retries: requests that were made again, by all threads of this process meanwhile.
    """

    camera_id: str
    hour: str
    status: Status
    receipt: Receipt | None
    bytes: int
    seconds: float
    sent_parts: int
    resumed_parts: int
    left: tuple[SpoolProblem, ...]
    retries: int = 0


@contextmanager
def hour_lock(hour: SpoolHour) -> Generator[None]:
    """Hold an hour: no other archiver works on it, and no writer has it open.

    Raises:
        FolderBusyError: one does.
    """
    descriptor = lock_folder(hour.path, f"hour {hour.name} is held by its writer or by another archiver; try later")
    try:
        yield
    finally:
        os.close(descriptor)


def archive_hour(
    hour: SpoolHour, archive: Archive, signer: Signer, options: ArchiveOptions | None = None
) -> ArchiveOutcome:
    """Archive what no part of the hour holds yet. The caller decides that the hour is closed.

    Args:
        hour: a spool hour.
        archive: where to; receipts signed by the keys it trusts count as archived.
        signer: the archiver's key.
        options: how; default: the defaults.

    Raises:
        UserError: it could not be finished; nothing is lost, the hour is taken up again by the next call.
    """
    begun = time.monotonic()
    if not hour.path.is_dir():
        return ArchiveOutcome(hour.camera_id, hour.hour.key, "nothing", None, 0, 0.0, 0, 0, ())
    with hour_lock(hour):
        return _HourArchiving(hour, archive, signer, options or ArchiveOptions()).run(begun)


class _HourArchiving:
    def __init__(self, hour: SpoolHour, archive: Archive, signer: Signer, options: ArchiveOptions) -> None:
        self.hour = hour
        self.archive = archive
        self.signer = signer
        self.options = options
        self.left: dict[str, str] = {}
        self.covered: set[SpoolMember] = set()  # by a part; kept here because a full disk may not take a marker
        self.full = False

    def run(self, begun: float) -> ArchiveOutcome:
        retried = PROCESS_COUNTS.retries
        self._check_names()
        receipts = self.archive.receipts(self.hour.camera_id, self.hour.hour)
        adopted = sum([self._learn(receipt) for receipt in receipts])
        next_part = max((receipt.part for receipt in receipts), default=0) + 1
        new: Receipt | None = None
        packed = sent = resumed = 0
        left_behind = load_plan(self.hour) is not None
        for _ in range(_ATTEMPTS):
            plan = self._plan(next_part)
            if plan is None:
                break
            packing = self._packing(plan)
            try:
                journal = UploadJournal.of(self.hour, plan)
                uploaded = upload(self.archive.store, plan.archive_key, plan.upload_id, packing, journal)
            except MemberChangedError as error:
                # The file changes while it is read: it stays for the next part, and what was sent is forgotten.
                self.left[native_name(error.name)] = error.reason
                self._give_up(load_plan(self.hour) or plan)
                continue
            except KeyTakenError:
                self._give_up(load_plan(self.hour) or plan)
                next_part = plan.part + 1
                continue
            except UploadGoneError:
                continue
            info = verify_stored(
                self.archive.store, plan.archive_key, packing, uploaded, full=self.options.verify == "full"
            )
            name = ArchiveName.parse(plan.archive_key)
            earlier = [*receipts, *([new] if new else [])]
            summary = self._summary(plan, earlier)
            summary.custody = self._custody(packing, earlier)
            new = commit(self.archive.store, self.signer, name, packing, info, summary, self.options)
            self.full |= not mark_uploaded(self.hour, new, plan)
            self.covered |= members_of(plan)
            discard_plan(self.hour)
            packed, sent, resumed = packed + packing.total, sent + uploaded.sent, resumed + uploaded.resumed
            if not left_behind:
                break
            # The plan was an interrupted run's: what came since then is the next part.
            next_part, left_behind = new.part + 1, False
        else:
            raise StoreUnavailableError(
                f"{self.hour.name}: gave up after {_ATTEMPTS} starts, files or uploads keep changing; it stays queued"
            )
        latest = new or (receipts[-1] if receipts else None)
        status: Status = "archived" if new else "adopted" if adopted else "nothing"
        left = [SpoolProblem(self.hour.path / name, reason) for name, reason in self.left.items()]
        if self.full:
            left.append(SpoolProblem(self.hour.path, "the disk is full: what is archived could not be noted here"))
        return ArchiveOutcome(
            self.hour.camera_id,
            self.hour.hour.key,
            status,
            latest,
            packed,
            time.monotonic() - begun,
            sent,
            resumed,
            (*self.hour.oddities(), *left),
            PROCESS_COUNTS.retries - retried,
        )

    def _check_names(self) -> None:
        """Refuse to work where the archiver could not note what it does."""
        for odd in self.hour.oddities():
            if is_note(odd.path.name):
                raise BadInputError(
                    f"{odd.path} is not a regular file, and the archiver needs this name for a file of its own; "
                    "move it away"
                )

    def _learn(self, receipt: Receipt) -> int:
        """Note which files a part covers; returns how many of them had to be compared with the store."""
        covered = covered_by(self.hour, receipt)
        if covered is not None:
            self.covered |= covered
            return 0
        ensure_protected(self.archive, receipt, self.options)
        same, marked = adopt(self.hour, receipt, self.archive.part(receipt).index())
        self.covered |= same
        self.full |= not marked
        return len(same)

    def _plan(self, next_part: int) -> ArchivePlan | None:
        """The plan to carry out, on disk; None when nothing is left to archive."""
        plan = load_plan(self.hour)
        if plan is not None:
            if plan.part >= next_part and still_holds(self.hour, plan) and not self._names_left(plan):
                return self._resumable(plan)
            self._give_up(plan)
        discard_plan(self.hour)
        todo = [m for m in self.hour.members() if m not in self.covered and m.name not in self.left]
        if not todo:
            return None
        part_size = part_size_for(sum(m.size for m in todo), self.options.part_size, self.options.whole)
        plan = make_plan(self.hour, next_part, todo, part_size)
        self.full |= not save_plan(self.hour, plan)
        return plan

    def _resumable(self, plan: ArchivePlan) -> ArchivePlan:
        """The plan of an interrupted run, in parts when it was one big put: what breaks once may break again."""
        part_size = part_size_for(sum(m.size for m in plan.members), self.options.part_size, whole=0)
        if plan.upload_id is not None or plan.part_size <= part_size:
            return plan
        plan = plan.model_copy(update={"part_size": part_size})
        save_plan(self.hour, plan)
        return plan

    def _names_left(self, plan: ArchivePlan) -> bool:
        return any(native_name(member.name) in self.left for member in plan.members)

    def _give_up(self, plan: ArchivePlan) -> None:
        """Forget a plan that cannot be carried out, and the upload it had begun."""
        if plan.upload_id is not None:
            self.archive.store.abort_upload(plan.archive_key, plan.upload_id)
        discard_plan(self.hour)

    def _packing(self, plan: ArchivePlan) -> Packing:
        members, buffers = plan.members, self.options.buffers
        return Packing(self.hour.path, plan.camera_id, self.hour.hour, members, plan.part_size, buffers, plan.codec)

    def _custody(self, packing: Packing, earlier: Sequence[Receipt]) -> Custody | None:
        """Whether this part and the earlier ones hold what the device sealed; None without a signature in this part.

        Looked at once the part is in the store: what is read here is what was packed, or it counts as changed.
        """
        rows = {row.name: row for row in packing.rows}
        signature = self._packed(rows.get(SEALED_SIGNATURE))
        if signature is None:
            return None
        every = [row for receipt in reversed(earlier) for row in self.archive.part(receipt).index()] + packing.rows
        held = {row.name: (row.size, row.sha256.hex()) for row in every}
        return check_custody(signature, self._packed(rows.get(SEALED_LIST)), held)

    def _packed(self, row: IndexRow | None) -> bytes | None:
        if row is None:
            return None
        data = (self.hour.path / native_name(row.name)).read_bytes()
        return data if hashlib.sha256(data).digest() == row.sha256 else b""

    def _summary(self, plan: ArchivePlan, earlier: Sequence[Receipt]) -> RecordSummary:
        """What the receipt of a part says about its records, which may be of pictures in earlier parts."""
        planned = {native_name(member.name) for member in plan.members}
        files = (file for file in self.hour.record_files() if file.name in planned)
        frames = [name for name in planned if is_frame(name)]
        summary = RecordSummary.of(self.hour.hour, frames, read_records(files, self.hour.folder()))
        for receipt in earlier if summary.missing else ():
            try:
                summary.found_earlier(native_name(row.name) for row in self.archive.part(receipt).index())
            except UserError as error:
                if isinstance(error, StoreUnavailableError) and error.transient:
                    raise
                summary.complete = False  # a damaged index keeps no later part from its receipt
        return summary
