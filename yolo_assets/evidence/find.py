"""Which camera-hours a question touches: by the receipts in the archive.

The catalog may spare reading a receipt that it knows. It cannot hide one: what it does not know is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from yolo_assets.archive.reading.bulk import archives_there
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, hours_between
from yolo_assets.evidence.manifest import Gap, Query
from yolo_assets.evidence.proof import Proven, load_proven
from yolo_assets.storage.base import ObjectStore, StoreUnavailableError

_READERS = 8

KnownBatches = Mapping[str, bool]
"""Receipt key → whether that receipt names the batch, for the receipts that the catalog knows."""


@dataclass(frozen=True)
class CameraHour:
    """One camera-hour with its receipts; ``problem`` when one of them cannot be had or believed."""

    camera_id: str
    hour: Hour
    receipts: tuple[Proven, ...]
    names: tuple[ArchiveName, ...]
    problem: str | None = None


def camera_hours(
    archive: ObjectStore,
    query: Query,
    trusted: TrustedKeys,
    known: KnownBatches | None = None,
    report: Callable[[], object] = lambda: None,
) -> list[CameraHour]:
    """Every archived camera-hour that may answer the question, by hour and camera.

    Args:
        archive: the archive root.
        query: names a camera, a batch or both.
        trusted: keys that may have signed receipts.
        known: what the catalog tells of the batch; only receipts that it does not know are read to learn it.
        report: called for each receipt read.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    names = archives_there(archive, query.start, query.end, camera_id=query.camera_id)
    loaded: dict[ArchiveName, Proven | str] = {}

    def load(wanted: Iterable[ArchiveName]) -> None:
        missing = [name for name in wanted if name not in loaded]
        with ThreadPoolExecutor(_READERS, thread_name_prefix="receipts") as pool:
            for name, found in zip(missing, pool.map(lambda name: _load(archive, name, trusted), missing), strict=True):
                loaded[name] = found
                report()

    if query.camera_id is None:
        # A receipt of the catalog's that does not name the batch is not even read; one it does not know is.
        load(name for name in names if (known or {}).get(name.receipt_key, True))
        hours = {
            (name.hour, name.camera_id)
            for name, found in loaded.items()
            if isinstance(found, str) or query.batch in found.receipt.batch_ids
        }
        names = [name for name in names if (name.hour, name.camera_id) in hours]
    load(names)
    grouped: dict[tuple[Hour, str], list[ArchiveName]] = {}
    for name in names:
        grouped.setdefault((name.hour, name.camera_id), []).append(name)
    return [
        CameraHour(
            camera,
            hour,
            tuple(found for name in parts if isinstance(found := loaded[name], Proven)),
            tuple(parts),
            next((str(found) for name in parts if isinstance(found := loaded[name], str)), None),
        )
        for (hour, camera), parts in grouped.items()
    ]


def gaps(query: Query, found: Sequence[CameraHour]) -> list[Gap]:
    """Times of the range without any archive of the camera; none are known when no camera was named."""
    if query.camera_id is None:
        return []
    there = {item.hour for item in found}
    missing: list[Gap] = []
    for hour in hours_between(query.start, query.end):
        if hour in there:
            continue
        start, end = max(hour.start, query.start), min(hour.end, query.end)
        if missing and missing[-1].end == start:
            start = missing.pop().start
        missing.append(Gap(start=start, end=end))
    return missing


def _load(archive: ObjectStore, name: ArchiveName, trusted: TrustedKeys) -> Proven | str:
    """The receipt, or why it is not to be had or believed."""
    try:
        return load_proven(archive, name, trusted)
    except StoreUnavailableError as error:
        if error.transient:
            raise
        return str(error)
    except UserError as error:
        return str(error)
