"""The archiver's round: every closed hour of a spool, a failing one never stops the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from yolo_assets.archive.archiving.hour import ArchiveOutcome, archive_hour
from yolo_assets.archive.archiving.options import ArchiveOptions
from yolo_assets.archive.archiving.plan import load_plan
from yolo_assets.archive.archiving.reclaim import ReclaimReport, reclaim_hour, retire_hour
from yolo_assets.archive.service.metrics import failure_class
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.spool.files import FolderBusyError
from yolo_assets.spool.hours import SpoolHour, SpoolProblem, scan
from yolo_assets.storage.base import ObjectStore


@dataclass(frozen=True)
class HourResult:
    """One hour of a round.

    Attributes:
        camera_id: the camera.
        hour: ``YYYYMMDD_HH``.
        status: of the archiving; ``busy``: another process holds the hour; ``failed``: it stays queued.
        outcome: what archiving did; None when it failed.
        reclaimed: what was deleted locally; None when that was not asked for or not reached.
        reason: one line for ``busy`` and ``failed``.
        failure: for ``failed``, one of ``contracts.archiver_figures.FAILURES``.
    """

    camera_id: str
    hour: str
    status: Literal["archived", "adopted", "nothing", "busy", "failed"]
    outcome: ArchiveOutcome | None = None
    reclaimed: ReclaimReport | None = None
    reason: str | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Archiver:
    """Where hours go, and how: what is the same for every hour.

    Attributes:
        archive: the archive root.
        signer: the archiver's key.
        trusted: keys whose receipts count.
        options: how to archive.
        hot_hours: how long after its end an hour stays here as well; None: archive only, delete nothing.
    """

    archive: ObjectStore
    signer: Signer
    trusted: TrustedKeys
    options: ArchiveOptions = field(default_factory=ArchiveOptions)
    hot_hours: float | None = 0

    def work_on(self, hour: SpoolHour, now: datetime) -> HourResult:
        """Archive one hour and delete what is safe in the store; what goes wrong is in the result."""
        camera, key = hour.camera_id, hour.hour.key
        outcome = None
        try:
            outcome = archive_hour(hour, self.archive, self.signer, self.options, trusted=self.trusted)
            reclaimed = None
            if self.hot_hours is not None:
                reclaimed = reclaim_hour(hour, self.archive, self.trusted, hot_hours=self.hot_hours, now=now)
            return HourResult(camera, key, outcome.status, outcome, reclaimed)
        except FolderBusyError as error:
            return HourResult(camera, key, "busy", outcome, reason=str(error))
        except (UserError, OSError) as error:
            told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
            reason = " ".join(told.split())
            return HourResult(camera, key, "failed", outcome, reason=reason, failure=failure_class(error))

    def retire(self, spool: Path, camera: str | None, now: datetime) -> list[SpoolProblem]:
        """Remove folders of hours that were archived long ago; returns what could not be removed."""
        problems = []
        for one in scan(spool, camera).hours if self.hot_hours is not None else ():
            try:
                retire_hour(one, now)
            except OSError as error:
                problems.append(SpoolProblem(one.path, f"cannot be removed: {error.strerror}"))
        return problems


def closed_hours(
    spool: Path, *, camera: str | None = None, hour: Hour | None = None, grace_seconds: float = 300, now: datetime
) -> tuple[list[SpoolHour], list[SpoolProblem]]:
    """The hours a round works on, oldest first, and what in the spool is no hour.

    Those that hold files and are closed, or that an interrupted archiver had begun.
    """
    found = scan(spool, camera)
    problems = list(found.problems)
    ready = []
    for one in found.hours:
        if hour is not None and one.hour != hour:
            continue
        if one.hour.start > now:
            problems.append(SpoolProblem(one.path, "an hour that has not begun yet; set the clock of whoever wrote it"))
            continue
        try:
            if one.members() and (one.is_closed(now, grace_seconds) or load_plan(one) is not None):
                ready.append(one)
        except (UserError, OSError):
            ready.append(one)  # whoever works on it says what is wrong; the others go on
    return sorted(ready, key=lambda one: (one.hour, one.camera_id)), problems
