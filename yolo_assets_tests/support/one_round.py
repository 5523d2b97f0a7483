"""One round of the archiver over a spool, without the counters and the schedule of ``archive.service.loop``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.options import ArchiveOptions
from yolo_assets.archive.service.archiver import Archiver, HourAttempt, closed_hours
from yolo_assets.contracts.signing import Signer
from yolo_assets.contracts.times import Hour, utc_now


def run_archiver(
    spool: Path,
    archive: Archive,
    signer: Signer,
    *,
    camera: str | None = None,
    hour: Hour | None = None,
    grace_seconds: float = 300,
    options: ArchiveOptions | None = None,
    keep_local: bool = False,
    hot_hours: float = 0,
    now: datetime | None = None,
    report: Callable[[HourAttempt], None] = lambda _: None,
) -> list[HourAttempt]:
    """Archive every closed hour, then delete locally what is safe in the store.

    Args:
        spool: the spool folder.
        archive: the archive; receipts signed by the keys it trusts count.
        signer: the archiver's key.
        camera: only this one.
        hour: only this one.
        grace_seconds: quiet time that closes an hour without a seal; 0 closes every past hour.
        options: how to archive; default: the defaults.
        keep_local: archive only, delete nothing.
        hot_hours: how long after its end an hour stays here as well.
        now: the present; for tests.
        report: called after each hour.

    Returns:
        One result per hour, oldest first.
    """
    moment = now or utc_now()
    archiver = Archiver(archive, signer, options or ArchiveOptions(), None if keep_local else hot_hours)
    archiver.retire(spool, camera, moment)
    due = closed_hours(spool, camera=camera, hour=hour, grace_seconds=grace_seconds, now=moment)
    results = []
    for ready in due.ready:
        result = archiver.work_on(ready, moment)
        report(result)
        results.append(result)
    return results
