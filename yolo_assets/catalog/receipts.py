"""Receipts out of an archive root, in bulk: listed, fetched, verified. A bad one is reported, never believed.

Belongs here: doing many at once. Does not belong here: what makes one receipt believable (``archive.read``) and
tables (``build``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from yolo_assets.archive.read import load_receipt
from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.contracts.names import ArchiveName, receipts_prefix
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError

_READERS = 8
"""Reads in flight; a receipt is a few kilobytes, so the network's delay is all that counts."""


@dataclass(frozen=True)
class FoundReceipt:
    """A receipt that proved itself."""

    key: str
    etag: str
    receipt: Receipt
    signed_by: str


@dataclass(frozen=True)
class Problem:
    """An object among the receipts that is no receipt to be believed."""

    key: str
    etag: str
    problem: str


def list_receipts(archive: ObjectStore, dates: Collection[str] | None = None) -> dict[str, str]:
    """Key to etag of every receipt of these dates (``YYYY-MM-DD``), or of all time.

    One request per thousand receipts: 200 cameras make 4,800 a day.
    """
    prefixes = [receipts_prefix()] if dates is None else [receipts_prefix(date=date) for date in sorted(set(dates))]
    return {info.key: info.etag for prefix in prefixes for info in archive.list(prefix)}


def fetch_receipts(
    archive: ObjectStore, found: Mapping[str, str], keys: Iterable[str], trusted: TrustedKeys
) -> Iterator[FoundReceipt | Problem]:
    """Fetch and verify receipts, several at a time, in the order of ``keys``.

    One that is gone meanwhile is left out; the next run will not list it.

    Args:
        archive: archive root.
        found: of ``list_receipts``.
        keys: which of them.
        trusted: keys of the archivers.

    Raises:
        StoreUnavailableError: the store failed, which says nothing about a receipt.
    """

    def fetch(key: str) -> FoundReceipt | Problem | None:
        try:
            name = ArchiveName.parse(key)
            if name.receipt_key != key:
                raise BadInputError(f"{key} is not where the receipt of {name.stem} belongs; it was moved or copied")
            receipt = load_receipt(archive, name, trusted)
        except ObjectNotFoundError:
            return None
        except StoreUnavailableError:
            raise
        except UserError as error:
            return Problem(key, found[key], str(error))
        assert receipt.signature is not None  # it was just verified
        return FoundReceipt(key, found[key], receipt, receipt.signature.key_id)

    with ThreadPoolExecutor(_READERS) as pool:
        for result in pool.map(fetch, keys):
            if result is not None:
                yield result
