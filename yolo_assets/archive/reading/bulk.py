"""Many small reads at once, in order and with a bound: with receipts of a few kilobytes the network's delay counts.

Belongs here: doing many at once, and finding out which there are. One bad receipt is a line, never the end of the
others. Does not belong here: what makes one receipt believable (``read``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

from yolo_assets.archive.reading.parts import with_missing
from yolo_assets.archive.reading.read import list_archives, load_receipt
from yolo_assets.archive.retry import retry
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ARCHIVES, INDEXES, RECEIPTS, ArchiveName, check_id
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour, hours_between
from yolo_assets.storage.base import ObjectStore, StoreUnavailableError

T = TypeVar("T")
R = TypeVar("R")

READERS = 8
"""Small reads in flight."""
_AHEAD = 4
_FEW_HOURS = timedelta(hours=6)
"""Up to here one camera is listed hour by hour; beyond, a listing of whole days takes fewer requests."""
_MANY_DAYS = 366
"""Beyond, the days that exist are looked up before they are listed."""


@dataclass(frozen=True)
class FoundReceipt:
    """A receipt, or why it cannot be believed.

    Attributes:
        name: the archive it belongs to.
        receipt: its signature checked; None when it cannot be believed.
        problem: one line; None when all is well.
    """

    name: ArchiveName
    receipt: Receipt | None
    problem: str | None = None


def in_order(items: Iterable[T], work: Callable[[T], R], workers: int = READERS) -> Iterator[R]:
    """``map`` by a few threads: results in the order of ``items``, which are taken only a few ahead.

    The first error that ``work`` raises ends it; what had not begun by then does not begin.
    """
    going: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="archive")
    try:
        for item in items:
            going.append(pool.submit(work, item))
            if len(going) >= workers * _AHEAD:
                yield going.popleft().result()
        while going:
            yield going.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_receipts(
    archive: ObjectStore, names: Iterable[ArchiveName], trusted: TrustedKeys, readers: int = READERS
) -> Iterator[FoundReceipt]:
    """Receipts of many archives, signatures checked, in the order of ``names``.

    Raises:
        StoreUnavailableError: the store stopped answering. An object that it refuses for good is a line like others.
    """

    def read(name: ArchiveName) -> FoundReceipt:
        try:
            return FoundReceipt(name, load_receipt(archive, name, trusted))
        except UserError as error:
            if isinstance(error, StoreUnavailableError) and error.transient:
                raise
            return FoundReceipt(name, None, str(error))

    return in_order(names, read, readers)


def archives_between(
    archive: ObjectStore, start: datetime | None = None, end: datetime | None = None, *, camera_id: str | None = None
) -> Iterator[ArchiveName]:
    """Names of the archives whose hour has a moment in ``[start, end)``, by hour, camera and part.

    Those that have a receipt, and parts that must have one because a later part of their hour does: whoever reads them
    finds the original, or learns that it is missing.

    Args:
        archive: the archive root.
        start: None: from the first.
        end: None: to the last.
        camera_id: only this one.

    Raises:
        BadInputError: not a camera id.
    """
    if camera_id is not None:
        check_id(camera_id)
    for names in _listings(archive, start, end, camera_id):
        yield from (name for name in with_missing(names) if _touches(name, start, end))


def listed_archives(archive: ObjectStore, *, camera_id: str | None = None) -> Iterator[ArchiveName]:
    """Names of the archives whose receipt is listed, of all or of one camera: what is missing is not among them."""
    for names in _listings(archive, None, None, camera_id):
        yield from names


def archives_there(
    archive: ObjectStore, start: datetime, end: datetime, *, camera_id: str | None = None
) -> list[ArchiveName]:
    """As ``archives_between``, and the archives of the range that have no receipt at all.

    For whoever says that an answer is whole: a receipt that was lost, or is hidden by a delete marker, is in no listing
    of receipts. Cost beside that: one request per thousand archives of the camera, or of all, in the range.
    """
    names = list(archives_between(archive, start, end, camera_id=camera_id))
    others = retry(lambda: set(_stored(archive, start, end, camera_id))).difference(names)
    return with_missing([*names, *others])


def _stored(archive: ObjectStore, start: datetime, end: datetime, camera_id: str | None) -> Iterator[ArchiveName]:
    """Names by what lies beside the receipts: the archives of a camera, or the indexes of all."""
    prefix = INDEXES if camera_id is None else f"{ARCHIVES}camera={camera_id}/"
    last = Hour.of(end).date
    for info in archive.list(prefix, start_after=f"{prefix}date={Hour.of(start).date}"):
        if info.key.removeprefix(prefix).removeprefix("date=")[: len(last)] > last:
            return
        try:
            name = ArchiveName.parse(info.key)
        except BadInputError:
            continue
        if info.key in (name.archive_key, name.index_key) and _touches(name, start, end):
            yield name


def _touches(name: ArchiveName, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or name.hour.end > start) and (end is None or name.hour.start < end)


def _listings(
    archive: ObjectStore, start: datetime | None, end: datetime | None, camera_id: str | None
) -> Iterator[list[ArchiveName]]:
    if start is not None and end is not None and camera_id is not None and end - start <= _FEW_HOURS:
        return in_order(
            hours_between(start, end),
            lambda hour: retry(lambda: list(list_archives(archive, camera_id=camera_id, hour=hour))),
        )
    return in_order(
        _days(archive, start, end),
        lambda day: retry(lambda: list(list_archives(archive, camera_id=camera_id, date=day))),
    )


def _days(archive: ObjectStore, start: datetime | None, end: datetime | None) -> Iterator[str]:
    """The days of the range that may have archives, in order."""
    first = Hour.of(start).date if start is not None else ""
    if start is not None and end is not None and end - start <= timedelta(days=_MANY_DAYS):
        # A listing of a day without archives costs no more than asking whether there is such a day.
        for ordinal in range(Hour.of(start).start.toordinal(), Hour.of(end).start.toordinal() + 1):
            yield date.fromordinal(ordinal).isoformat()
        return
    last = Hour.of(end).date if end is not None else "9999-12-31"
    for folder in folders(archive, RECEIPTS, after=f"date={first}" if first else ""):
        day = folder.removeprefix("date=")
        try:
            date.fromisoformat(day)
        except ValueError:
            continue  # somebody else's folder
        if first <= day <= last:
            yield day


def folders(archive: ObjectStore, prefix: str, after: str = "") -> Iterator[str]:
    """Names of the folders directly below ``prefix``, in key order: one request for each, whatever lies in them.

    Args:
        archive: the store.
        prefix: ends with ``/``.
        after: begin with the first folder whose name is this or comes later.
    """
    position = prefix + after
    while True:
        start = position
        info = retry(lambda start=start: next(iter(archive.list(prefix, start_after=start)), None))
        if info is None:
            return
        folder, slash, _ = info.key.removeprefix(prefix).partition("/")
        if slash:
            yield folder
        # "0" is the character after "/": everything in the folder is passed.
        position = f"{prefix}{folder}0" if slash else info.key
