"""The archiver's round: archives every closed hour of a spool; one that fails never stops the others."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.archiving import ArchiveOutcome, archive_hour
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.part_plan import load_plan
from yolo_assets.archive.reclaim import ReclaimReport, reclaim_hour, retire_hour
from yolo_assets.archive.service.metrics import failure_class
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour
from yolo_assets.runtime.files import FolderBusyError
from yolo_assets.spool.hours import AHEAD_SECONDS, SpoolHour, SpoolProblem, changed_ahead, scan

_SET_CLOCK = "set the clock of the device that wrote it"


@dataclass(frozen=True)
class HourAttempt:
    """One attempt at an hour, in a round.

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
        archive: where to; receipts signed by the keys it trusts count.
        signer: the archiver's key.
        options: how to archive.
        hot_hours: how long after its end an hour stays here as well; None: archive only, delete nothing.
    """

    archive: Archive
    signer: Signer
    options: ArchiveOptions = field(default_factory=ArchiveOptions)
    hot_hours: float | None = 0

    def work_on(self, hour: SpoolHour, now: datetime) -> HourAttempt:
        """Archive one hour and delete what is safe in the store; what goes wrong is in the result."""
        camera, key = hour.camera_id, hour.hour.key
        outcome = None
        try:
            outcome = archive_hour(hour, self.archive, self.signer, self.options)
            reclaimed = None
            if self.hot_hours is not None:
                reclaimed = reclaim_hour(hour, self.archive, hot_hours=self.hot_hours, now=now)
            return HourAttempt(camera, key, outcome.status, outcome, reclaimed)
        except FolderBusyError as error:
            return HourAttempt(camera, key, "busy", outcome, reason=str(error))
        except Exception as error:  # the one guard of an hour: whatever is wrong with it, the next one is archived
            reason = one_line_reason(error, hour.path)
            return HourAttempt(camera, key, "failed", outcome, reason=reason, failure=failure_class(error))

    def retire(self, spool: Path, camera: str | None, now: datetime) -> list[SpoolProblem]:
        """Remove folders of hours that were archived long ago; returns what could not be removed."""
        problems: list[SpoolProblem] = []
        for hour in scan(spool, camera).hours if self.hot_hours is not None else ():
            try:
                retire_hour(hour, now)
            except (UserError, OSError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                problems.append(SpoolProblem(hour.path, f"cannot be removed: {reason}"))
        return problems


@dataclass(frozen=True)
class DueHours:
    """What a round finds in a spool.

    Attributes:
        ready: the hours to work on, oldest first: those that hold files and are closed, or that an interrupted archiver
            had begun; and those that cannot be read, because working on one reports why.
        ahead: hours of the future: none of them closes before it is over, which may be never.
        problems: what is no hour, and clocks that are wrong.
    """

    ready: list[SpoolHour]
    ahead: list[SpoolHour]
    problems: list[SpoolProblem]


def one_line_reason(error: Exception, path: Path) -> str:
    """Why work on ``path`` failed, in a line that names a path or a key, also where the operating system named none."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        text = f"{error.filename or path}: {error.strerror or error}"
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and not os.access(path, os.W_OK):
            text += "; to archive an hour that cannot be written, and delete nothing, use --keep-local"
    else:
        text = f"{path}: {type(error).__name__}: {error}; this is a defect, please report it"
    return " ".join(text.split())


def closed_hours(
    spool: Path,
    *,
    camera: str | None = None,
    hour: Hour | None = None,
    grace_seconds: float = 300,
    now: datetime,
    elsewhere: Path | None = None,
) -> DueHours:
    """What waits in a spool; an hour that cannot be read never hides the others."""
    scanned = scan(spool, camera, elsewhere)
    ready: list[SpoolHour] = []
    ahead: list[SpoolHour] = []
    problems = list(scanned.problems)
    for spool_hour in scanned.hours:
        if hour is not None and spool_hour.hour != hour:
            continue
        try:
            members = spool_hour.members()
            if members and (spool_hour.is_closed(now, grace_seconds, members) or load_plan(spool_hour) is not None):
                ready.append(spool_hour)
            elif not members:
                problems += spool_hour.oddities()  # an hour without files is never worked on, which would name them
            elif (spool_hour.hour.start - now).total_seconds() > AHEAD_SECONDS:
                ahead.append(spool_hour)
                problems.append(SpoolProblem(spool_hour.path, f"an hour in the future; {_SET_CLOCK}"))
            if changed_ahead(members, now):
                problems.append(
                    SpoolProblem(spool_hour.path, f"times in the future; the hour closes without them, {_SET_CLOCK}")
                )
        except Exception:  # working on it says what is wrong
            ready.append(spool_hour)
    return DueHours(sorted(ready, key=lambda spool_hour: (spool_hour.hour, spool_hour.camera_id)), ahead, problems)
