"""What an archive holds, from listings alone: parts by time, camera and number; hours; sweeps over all of them.

A listing reads no receipt, so it costs one request per thousand parts; names are enough to see that something was
added, because a receipt is written once and never changed. Only ``read_hours`` reads receipts, those of hours already
listed. Does not belong here: one receipt (``archive``), and what follows from a difference (``defs``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

from yolo_assets.archive.archive import READERS, Archive, in_order
from yolo_assets.archive.missing import missing_parts, no_receipt, with_missing
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ARCHIVES, INDEXES, RECEIPTS, ArchiveName, check_id, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.times import Hour, hours_between
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, StoreUnavailableError

_FEW_HOURS = timedelta(hours=6)
"""Up to here one camera is listed hour by hour; beyond, a listing of whole days takes fewer requests."""
_MANY_DAYS = 366
"""Beyond, the days that exist are looked up before they are listed."""
_ENDING = ".receipt.json"


def archives_between(
    archive: Archive, start: datetime | None = None, end: datetime | None = None, *, camera_id: str | None = None
) -> Iterator[ArchiveName]:
    """Names of the archives whose hour has a moment in ``[start, end)``, by hour, camera and part.

    Those that have a receipt, and parts that must have one because a later part of their hour does: reading them
    finds the original, or reports that it is missing.

    Args:
        archive: the archive.
        start: None: from the first.
        end: None: to the last.
        camera_id: only this one.

    Raises:
        BadInputError: not a camera id.
    """
    if camera_id is not None:
        check_id(camera_id)
    for names in _listings(archive, start, end, camera_id):
        yield from (name for name in with_missing(names) if _overlaps(name, start, end))


def listed_archives(archive: Archive, *, camera_id: str | None = None) -> Iterator[ArchiveName]:
    """Names of the archives whose receipt is listed, of all or of one camera: what is missing is not among them."""
    for names in _listings(archive, None, None, camera_id):
        yield from names


def archives_there(
    archive: Archive, start: datetime, end: datetime, *, camera_id: str | None = None
) -> list[ArchiveName]:
    """As ``archives_between``, and the archives of the range that have no receipt at all.

    For answers that must be complete: a receipt that was lost, or is hidden by a delete marker, is in no listing of
    receipts. It costs one more request per thousand archives of the camera, or of all, in the range.
    """
    names = list(archives_between(archive, start, end, camera_id=camera_id))
    others = set(_stored(archive, start, end, camera_id)).difference(names)
    return with_missing([*names, *others])


def _stored(archive: Archive, start: datetime, end: datetime, camera_id: str | None) -> Iterator[ArchiveName]:
    """Names by what else lies in the store than receipts: the archives of a camera, or the indexes of all."""
    prefix = INDEXES if camera_id is None else f"{ARCHIVES}camera={camera_id}/"
    last = Hour.nearest(end).date
    for info in archive.store.list(prefix, start_after=f"{prefix}date={Hour.nearest(start).date}"):
        if info.key.removeprefix(prefix).removeprefix("date=")[: len(last)] > last:
            return
        try:
            name = ArchiveName.parse(info.key)
        except BadInputError:
            continue
        if info.key in (name.archive_key, name.index_key) and _overlaps(name, start, end):
            yield name


def _overlaps(name: ArchiveName, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or name.hour.end > start) and (end is None or name.hour.start < end)


def _listings(
    archive: Archive, start: datetime | None, end: datetime | None, camera_id: str | None
) -> Iterator[list[ArchiveName]]:
    if start is not None and end is not None and camera_id is not None and end - start <= _FEW_HOURS:
        return in_order(hours_between(start, end), lambda hour: list(archive.names(camera_id=camera_id, hour=hour)))
    return in_order(_days(archive, start, end), lambda day: list(archive.names(camera_id=camera_id, date=day)))


def _days(archive: Archive, start: datetime | None, end: datetime | None) -> Iterator[str]:
    """The days of the range that may have archives, in order."""
    first = Hour.nearest(start).date if start is not None else ""
    if start is not None and end is not None and end - start <= timedelta(days=_MANY_DAYS):
        # A listing of a day without archives costs no more than asking whether there is such a day.
        for ordinal in range(Hour.nearest(start).start.toordinal(), Hour.nearest(end).start.toordinal() + 1):
            yield date.fromordinal(ordinal).isoformat()
        return
    last = Hour.nearest(end).date if end is not None else "9999-12-31"
    for folder in folders(archive, RECEIPTS, after=f"date={first}" if first else ""):
        day = folder.removeprefix("date=")
        try:
            date.fromisoformat(day)
        except ValueError:
            continue  # a folder that is not ours
        if first <= day <= last:
            yield day


def folders(archive: Archive, prefix: str, after: str = "") -> Iterator[str]:
    """Names of the folders directly below ``prefix``, in key order: one request for each, whatever lies in them.

    Args:
        archive: the archive.
        prefix: ends with ``/``.
        after: begin with the first folder whose name is this or comes later.
    """
    position = prefix + after
    while True:
        start = position
        info = next(iter(archive.store.list(prefix, start_after=start)), None)
        if info is None:
            return
        folder, slash, _ = info.key.removeprefix(prefix).partition("/")
        if slash:
            yield folder
        # "0" is the character after "/": everything in the folder is passed.
        position = f"{prefix}{folder}0" if slash else info.key


def stored_archives(archive: Archive, camera_id: str) -> list[ArchiveName]:
    """The archives of one camera that lie in the store, with or without a receipt: one request per thousand.

    Raises:
        BadInputError: not a camera id.
    """
    prefix = f"{ARCHIVES}camera={check_id(camera_id)}/"
    names: set[ArchiveName] = set()
    for info in archive.store.list(prefix):
        try:
            name = ArchiveName.parse(info.key)
        except BadInputError:
            continue
        if name.archive_key == info.key:
            names.add(name)
    return sorted(names)


def archived_hours(archive: Archive, camera_id: str) -> list[Hour]:
    """The hours of one camera for which an archive lies in the store, in order; see ``stored_archives``."""
    return sorted({name.hour for name in stored_archives(archive, camera_id)})


def parts_version(stems: Iterable[str]) -> str:
    """Sixteen digits that differ when the parts of an hour do; ``""`` for no part."""
    ordered = sorted(stems)
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest()[:16] if ordered else ""


@dataclass(frozen=True)
class ListedHour:
    """The parts of one hour, all cameras, as the archive root lists them. None of them was read.

    Attributes:
        stems: file names of the receipts without their ending, in order.
    """

    hour: Hour
    stems: tuple[str, ...]

    @property
    def version(self) -> str:
        """See ``parts_version``."""
        return parts_version(self.stems)


@dataclass(frozen=True)
class RefusedReceipt:
    """A receipt that failed its verification, or is missing."""

    key: str
    reason: str


@dataclass(frozen=True)
class HourReceipts:
    """What the receipts of one hour say.

    Attributes:
        receipts: those with a good signature by a trusted key, by camera and part.
        untrusted: the others, with the reason.
    """

    hour: Hour
    receipts: tuple[Receipt, ...]
    untrusted: tuple[RefusedReceipt, ...]

    @property
    def version(self) -> str:
        """``parts_version`` of the receipts that are verified."""
        return parts_version(ArchiveName.parse(receipt.archive_key).stem for receipt in self.receipts)


@dataclass(frozen=True)
class Sweep:
    """A piece of the way through all receipts.

    Attributes:
        hours: complete hours, in order.
        position: where to continue; ``""`` when the end was reached and the next sweep begins at the start.
    """

    hours: tuple[ListedHour, ...]
    position: str


def list_hour(archive: Archive, hour: Hour) -> ListedHour:
    """The parts of one hour."""
    hours = list(_by_hour(archive.store.list(receipts_prefix(hour))))
    return hours[0] if hours else ListedHour(hour, ())


def list_day(archive: Archive, date: str) -> list[ListedHour]:
    """The hours of a day (``YYYY-MM-DD``) that have receipts, in order."""
    return list(_by_hour(archive.store.list(receipts_prefix(date=date))))


def sweep(archive: Archive, position: str, before: Hour, seconds: float) -> Sweep:
    """The next hours after ``position``, for as long as the time lasts, at least one.

    Args:
        archive: the archive.
        position: of the sweep before; ``""`` begins at the first receipt there is. Anything else that is not a place
            among the receipts begins there too.
        before: the sweep ends at this hour.
        seconds: roughly how long it may take.
    """
    deadline, end = time.monotonic() + seconds, receipts_prefix(before)
    start = position if position.startswith(RECEIPTS) else None
    hours: list[ListedHour] = []
    for listed in _by_hour(_until(archive.store.list(RECEIPTS, start_after=start), end)):
        hours.append(listed)
        if time.monotonic() >= deadline:
            return Sweep(tuple(hours), after(listed.hour))
    return Sweep(tuple(hours), "")


def after(hour: Hour) -> str:
    """The position behind all receipts of an hour."""
    return receipts_prefix(hour) + "~"  # sorts after every character of a name


def read_hours(archive: Archive, listed: Sequence[ListedHour]) -> Iterator[HourReceipts]:
    """Read and verify every receipt of these hours, several at a time, an hour after the other.

    A receipt that is gone meanwhile is left out. A part before one that has a receipt counts as untrusted if it has
    none.

    Raises:
        StoreUnavailableError: the store failed, which says nothing about a receipt.
    """

    def read(stem: str) -> Receipt | RefusedReceipt | None:
        key = f"{receipts_prefix(hour.hour)}{stem}{_ENDING}"
        try:
            name = ArchiveName.parse(stem)
            if name.receipt_key != key:
                raise BadInputError(f"{key} is not where the receipt of {name.stem} belongs; it was moved or copied")
            return archive.receipt(name)
        except ObjectNotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except UserError as error:
            return RefusedReceipt(key, str(error))

    with ThreadPoolExecutor(READERS, thread_name_prefix="receipts") as pool:
        for hour in listed:
            results = list(pool.map(read, hour.stems))
            receipts = [result for result in results if isinstance(result, Receipt)]
            untrusted = [result for result in results if isinstance(result, RefusedReceipt)]
            missing = missing_parts(_names(hour))
            untrusted += [RefusedReceipt(name.receipt_key, no_receipt(name)) for name in missing]
            receipts.sort(key=lambda receipt: (receipt.camera_id, receipt.part))
            yield HourReceipts(hour.hour, tuple(receipts), tuple(untrusted))


def _names(hour: ListedHour) -> Iterator[ArchiveName]:
    for stem in hour.stems:
        try:
            name = ArchiveName.parse(stem)
        except BadInputError:
            continue
        if name.hour == hour.hour:
            yield name


def _until(infos: Iterable[ObjectInfo], end: str) -> Iterator[str]:
    for info in infos:
        if info.key >= end:
            return
        yield info.key


def _by_hour(listing: Iterable[ObjectInfo | str]) -> Iterator[ListedHour]:
    """Grouped by folder. What is no hour's folder or no receipt is passed over: the catalog reports it."""
    keys = (item if isinstance(item, str) else item.key for item in listing)
    for folder, group in groupby(keys, key=lambda key: key.rpartition("/")[0]):
        hour = _hour_of(folder)
        stems = [key[len(folder) + 1 :].removesuffix(_ENDING) for key in group if key.endswith(_ENDING)]
        if hour is not None and stems:
            yield ListedHour(hour, tuple(stems))


def _hour_of(folder: str) -> Hour | None:
    parts = folder.removeprefix(RECEIPTS).split("/")
    try:
        date, hh = (part.partition("=")[2] for part in parts)
        hour = Hour.from_key(f"{date.replace('-', '')}_{hh}")
    except (ValueError, BadInputError):
        return None
    return hour if receipts_prefix(hour) == folder + "/" else None
