"""Receipts out of an archive root, in bulk: listed, fetched, verified. A bad one is reported, never believed.

Belongs here: doing many at once in bounded memory. Does not belong here: what makes one receipt believable
(``archive.reading.read``) and tables (``rows``, ``build``).

A receipt that should be there and is not is listed too, as one that cannot be believed: a part before one that has a
receipt, and what a delete marker hides where the store keeps versions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import TypeVar

from yolo_assets.archive.reading.parts import missing_parts, no_receipt
from yolo_assets.archive.reading.read import load_receipt
from yolo_assets.archive.write_once.protect import hidden_archives
from yolo_assets.catalog.rows import FoundReceipt, unstorable
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName, receipts_prefix
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectInfo, ObjectNotFoundError, ObjectStore, StoreUnavailableError

T = TypeVar("T")

READERS = 8
"""Reads in flight, unless told otherwise; a receipt is two kilobytes, so over a network its delay is what counts."""
MISSING, HIDDEN = "missing", "hidden:"
"""In place of an etag: no receipt is there; a delete marker hides it, whose version id follows."""
BATCH = 2_000
"""Receipts that are in memory at one time."""


@dataclass(frozen=True)
class Problem:
    """An object among the receipts that is no receipt to be believed."""

    key: str
    etag: str
    problem: str


def list_receipts(archive: ObjectStore, dates: Collection[str] | None = None) -> Iterator[ObjectInfo]:
    """Every object among the receipts of these dates (``YYYY-MM-DD``), or of all time; and what should be among them.

    One request per thousand receipts: 200 cameras make 4,800 a day; as many again where the store keeps versions.
    """
    for date in [None] if dates is None else sorted(set(dates)):
        hidden = {marker.key: replace(marker, etag=f"{HIDDEN}{marker.version_id}") for marker in _hidden(archive, date)}
        # By hour: parts of an hour lie in one folder, and a listing of all time does not fit into memory.
        for _, infos in groupby(archive.list(receipts_prefix(date=date)), key=lambda info: info.key.rpartition("/")[0]):
            hour = {info.key: info for info in infos}
            yield from hour.values()
            for name in missing_parts(_names(hour)):
                if name.receipt_key not in hidden:
                    yield replace(next(iter(hour.values())), key=name.receipt_key, etag=MISSING)
        yield from hidden.values()


def fetch_receipts(
    archive: ObjectStore, wanted: Iterable[tuple[str, str]], trusted: TrustedKeys, readers: int = READERS
) -> Iterator[list[FoundReceipt | Problem]]:
    """Fetch and verify receipts, several at a time, in the order of ``wanted``; a batch is in memory at once.

    One that is gone meanwhile is left out; the next run will not list it.

    Args:
        archive: archive root.
        wanted: key and etag, as listed.
        trusted: keys of the archivers.
        readers: reads in flight.

    Raises:
        StoreUnavailableError: the store failed, which says nothing about a receipt.
    """

    def fetch(listed: tuple[str, str]) -> FoundReceipt | Problem | None:
        key, etag = listed
        try:
            name = ArchiveName.parse(key)
            if name.receipt_key != key:
                raise BadInputError(f"{key} is not where the receipt of {name.stem} belongs; it was moved or copied")
            if etag == MISSING:
                return Problem(key, etag, no_receipt(name))
            if etag.startswith(HIDDEN):
                marker = etag.removeprefix(HIDDEN)
                return Problem(key, etag, f"{key} was deleted: delete marker {marker} hides it; remove the marker")
            # Where something was written over a receipt, the original is read, as all readers do.
            receipt = load_receipt(archive, name, trusted)
            if problem := unstorable(receipt):
                raise BadInputError(f"{key} is not a valid Receipt: {problem}")
        except ObjectNotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except UserError as error:
            return Problem(key, etag, str(error))
        assert receipt.signature is not None  # it was just verified
        return FoundReceipt(key, etag, receipt, receipt.signature.key_id)

    with ThreadPoolExecutor(readers, thread_name_prefix="receipts") as pool:
        for batch in batches(wanted, BATCH):
            yield [found for found in pool.map(fetch, batch) if found is not None]


def _hidden(archive: ObjectStore, date: str | None) -> Iterator[ObjectInfo]:
    try:
        for _, marker in hidden_archives(archive, date=date):
            yield marker
    except StoreUnavailableError as error:
        if error.transient:
            raise
        # Without the right to list versions, what is hidden stays hidden.


def _names(keys: Iterable[str]) -> Iterator[ArchiveName]:
    for key in keys:
        try:
            name = ArchiveName.parse(key)
        except BadInputError:
            continue
        if name.receipt_key == key:
            yield name


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to ``size`` items."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
