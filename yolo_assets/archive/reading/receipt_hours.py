"""The archive hour by hour: which parts an hour has, told by listing alone; and what its receipts say, verified.

Belongs here: looking at many hours cheaply. A listing reads no receipt, so it costs a request a thousand parts; names
are enough to see that something was added, because a receipt is written once and never changed. Does not belong here:
one receipt (``archive.reading.read``), and what somebody makes of the news (``defs``).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from yolo_assets.archive.reading.parts import missing_parts, no_receipt
from yolo_assets.archive.reading.read import load_receipt
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import RECEIPTS, ArchiveName, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore, StoreUnavailableError

_READERS = 8
"""Reads in flight; a receipt is a few kilobytes, so the network's delay is all that counts."""
_ENDING = ".receipt.json"


def parts_version(stems: Iterable[str]) -> str:
    """Sixteen digits that differ when the parts of an hour do; ``""`` for no part."""
    listed = sorted(stems)
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16] if listed else ""


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
class Refused:
    """A receipt that is there and not to be believed, or is missing."""

    key: str
    reason: str


@dataclass(frozen=True)
class HourReceipts:
    """What the receipts of one hour say.

    Attributes:
        receipts: those with a good signature by a trusted key, by camera and part.
        refused: the others, with the reason.
    """

    hour: Hour
    receipts: tuple[Receipt, ...]
    refused: tuple[Refused, ...]

    @property
    def version(self) -> str:
        """``parts_version`` of the receipts that are believed."""
        return parts_version(ArchiveName.parse(receipt.archive_key).stem for receipt in self.receipts)


@dataclass(frozen=True)
class Sweep:
    """A piece of the way through all receipts.

    Attributes:
        hours: complete hours, in order.
        position: where to go on; ``""`` when the end was reached and the next sweep begins at the start.
    """

    hours: tuple[ListedHour, ...]
    position: str


def list_hour(archive: ObjectStore, hour: Hour) -> ListedHour:
    """The parts of one hour."""
    found = list(_hours(archive.list(receipts_prefix(hour))))
    return found[0] if found else ListedHour(hour, ())


def list_day(archive: ObjectStore, date: str) -> list[ListedHour]:
    """The hours of a day (``YYYY-MM-DD``) that have receipts, in order."""
    return list(_hours(archive.list(receipts_prefix(date=date))))


def sweep(archive: ObjectStore, position: str, before: Hour, seconds: float) -> Sweep:
    """The next hours after ``position``, for as long as the time lasts, at least one.

    Args:
        archive: the archive root.
        position: of the sweep before; ``""`` begins at the first receipt there is. Anything else that is not a place
            among the receipts begins there too.
        before: the sweep ends at this hour.
        seconds: roughly how long it may take.
    """
    deadline, end = time.monotonic() + seconds, receipts_prefix(before)
    start = position if position.startswith(RECEIPTS) else None
    hours: list[ListedHour] = []
    for listed in _hours(_until(archive.list(RECEIPTS, start_after=start), end)):
        hours.append(listed)
        if time.monotonic() >= deadline:
            return Sweep(tuple(hours), after(listed.hour))
    return Sweep(tuple(hours), "")


def after(hour: Hour) -> str:
    """The position behind all receipts of an hour."""
    return receipts_prefix(hour) + "~"  # sorts after every character of a name


def read_hours(archive: ObjectStore, listed: Sequence[ListedHour], trusted: TrustedKeys) -> Iterator[HourReceipts]:
    """Read and verify every receipt of these hours, several at a time, an hour after the other.

    A receipt that is gone meanwhile is left out. A part before one that has a receipt counts as refused if it has none.

    Raises:
        StoreUnavailableError: the store failed, which says nothing about a receipt.
    """

    def read(stem: str) -> Receipt | Refused | None:
        key = f"{receipts_prefix(hour.hour)}{stem}{_ENDING}"
        try:
            name = ArchiveName.parse(stem)
            if name.receipt_key != key:
                raise BadInputError(f"{key} is not where the receipt of {name.stem} belongs; it was moved or copied")
            return load_receipt(archive, name, trusted)
        except ObjectNotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except UserError as error:
            return Refused(key, str(error))

    with ThreadPoolExecutor(_READERS, thread_name_prefix="receipts") as pool:
        for hour in listed:
            found = list(pool.map(read, hour.stems))
            receipts = [one for one in found if isinstance(one, Receipt)]
            refused = [one for one in found if isinstance(one, Refused)]
            refused += [Refused(name.receipt_key, no_receipt(name)) for name in missing_parts(_names(hour))]
            receipts.sort(key=lambda receipt: (receipt.camera_id, receipt.part))
            yield HourReceipts(hour.hour, tuple(receipts), tuple(refused))


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


def _hours(listing: Iterable[ObjectInfo | str]) -> Iterator[ListedHour]:
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
