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
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.spool.hours import AHEAD_SECONDS, SpoolHour, SpoolProblem, changed_ahead, scan
from yolo_assets.storage.base import ObjectStore

_SET_CLOCK = "set the clock of whoever wrote it"


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
            return HourResult(camera, key, "failed", outcome, reason=_reason(error), failure=failure_class(error))

    def retire(self, spool: Path, camera: str | None, now: datetime) -> list[SpoolProblem]:
        """Remove folders of hours that were archived long ago; returns what could not be removed."""
        problems = []
        for one in scan(spool, camera).hours if self.hot_hours is not None else ():
            try:
                retire_hour(one, now)
            except OSError as error:
                problems.append(SpoolProblem(one.path, f"cannot be removed: {error.strerror}"))
        return problems


@dataclass(frozen=True)
class Waiting:
    """What a round finds in a spool.

    Attributes:
        ready: the hours to work on, oldest first: those that hold files and are closed, or that an interrupted archiver
            had begun; and those that cannot be looked at, because whoever works on one says why.
        ahead: hours of the future: none of them closes before it is over, which may be never.
        problems: what is no hour, and clocks that are wrong.
    """

    ready: list[SpoolHour]
    ahead: list[SpoolHour]
    problems: list[SpoolProblem]


def _reason(error: Exception) -> str:
    """One line."""
    told = str(error)
    if isinstance(error, OSError) and error.filename:
        told = f"{error.filename}: {error.strerror}"
    return " ".join(told.split())


def closed_hours(
    spool: Path, *, camera: str | None = None, hour: Hour | None = None, grace_seconds: float = 300, now: datetime
) -> Waiting:
    """What waits in a spool; an hour that cannot be looked at never hides the others."""
    found = scan(spool, camera)
    ready, ahead, problems = [], [], list(found.problems)
    for one in found.hours:
        if hour is not None and one.hour != hour:
            continue
        try:
            members = one.members()
            if members and (one.is_closed(now, grace_seconds, members) or load_plan(one) is not None):
                ready.append(one)
            elif members and (one.hour.start - now).total_seconds() > AHEAD_SECONDS:
                ahead.append(one)
                problems.append(SpoolProblem(one.path, f"an hour of the future; {_SET_CLOCK}"))
            if changed_ahead(members, now):
                problems.append(
                    SpoolProblem(one.path, f"times in the future; the hour closes without them, {_SET_CLOCK}")
                )
        except (UserError, OSError):
            ready.append(one)
    return Waiting(sorted(ready, key=lambda one: (one.hour, one.camera_id)), ahead, problems)
