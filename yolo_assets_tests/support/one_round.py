"""One round of the archiver over a spool, without the counters and the schedule of ``archive.service.rounds``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from yolo_assets.archive.archiving.options import ArchiveOptions
from yolo_assets.archive.service.run import Archiver, HourResult, closed_hours
from yolo_assets.contracts.signing import Signer, TrustedKeys
from yolo_assets.contracts.times import Hour, utc_now
from yolo_assets.storage.base import ObjectStore


def run_archiver(
    spool: Path,
    archive: ObjectStore,
    signer: Signer,
    *,
    camera: str | None = None,
    hour: Hour | None = None,
    grace_seconds: float = 300,
    options: ArchiveOptions | None = None,
    keep_local: bool = False,
    hot_hours: float = 0,
    trusted: TrustedKeys | None = None,
    now: datetime | None = None,
    report: Callable[[HourResult], None] = lambda _: None,
) -> list[HourResult]:
    """Archive every closed hour, then delete locally what is safe in the store.

    Args:
        spool: the spool folder.
        archive: the archive root.
        signer: the archiver's key.
        camera: only this one.
        hour: only this one.
        grace_seconds: quiet time that closes an hour without a seal; 0 closes every past hour.
        options: how to archive; default: the defaults.
        keep_local: archive only, delete nothing.
        hot_hours: how long after its end an hour stays here as well.
        trusted: keys whose receipts count; default: the signer's own.
        now: the present; for tests.
        report: called after each hour.

    Returns:
        One result per hour, oldest first.
    """
    moment = now or utc_now()
    keys, how = trusted or TrustedKeys.of(signer), options or ArchiveOptions()
    archiver = Archiver(archive, signer, keys, how, None if keep_local else hot_hours)
    archiver.retire(spool, camera, moment)
    found = closed_hours(spool, camera=camera, hour=hour, grace_seconds=grace_seconds, now=moment)
    results = []
    for one in found.ready:
        result = archiver.work_on(one, moment)
        report(result)
        results.append(result)
    return results
