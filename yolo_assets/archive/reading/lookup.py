"""Finds one member in an archive's index with two small reads: the footer, then one row group.

Nothing is believed unchecked: the footer has its hash in the signed receipt, the row group its hash in the footer.
Belongs here: which row. Does not belong here: parsing (``packing.index``), and the member's own bytes (``read``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

from yolo_assets.archive.packing.index import RowGroup, parse_footer, parse_group, parse_index
from yolo_assets.archive.packing.pack import IndexRow
from yolo_assets.archive.retry import retry
from yolo_assets.archive.write_once.versions import original_index
from yolo_assets.contracts.errors import IntegrityError
from yolo_assets.contracts.names import parse_frame_name
from yolo_assets.contracts.receipt import Receipt
from yolo_assets.storage.base import ObjectNotFoundError, ObjectStore, StoreUnavailableError

SMALL = 48 << 10
"""An index up to this size is read at once: one request instead of two. A thousand members have about so much."""


def load_index(archive: ObjectStore, receipt: Receipt) -> list[IndexRow]:
    """The member index of an archive, all of it, checked against its receipt; the original, where it was overwritten.

    Raises:
        IntegrityError: it is not the index that the receipt was written for.
    """
    return read_index(archive, receipt)[1]


def read_index(archive: ObjectStore, receipt: Receipt) -> tuple[bytes, list[IndexRow]]:
    """As ``load_index``, with the bytes as stored.

    Raises:
        IntegrityError: see ``load_index``.
    """
    try:
        data = retry(archive.get, receipt.index_key)
        return data, check_index(data, receipt)
    except (ObjectNotFoundError, IntegrityError):
        try:
            original = original_index(archive, receipt)
        except StoreUnavailableError:
            original = None  # perhaps without the right to list versions
        if original is None:
            raise
        return original[0], check_index(original[0], receipt)


def check_index(data: bytes, receipt: Receipt) -> list[IndexRow]:
    """The rows of an index out of its bytes, wherever they come from. Not parsed before its hash fits.

    Raises:
        IntegrityError: see ``load_index``.
    """
    if hashlib.sha256(data).hexdigest() != receipt.index_sha256:
        raise IntegrityError(f"{receipt.index_key} is not what its receipt says; it was changed or damaged")
    return parse_index(data, receipt.index_key)


def find_member(archive: ObjectStore, receipt: Receipt, name: str) -> IndexRow | None:
    """The row of one member, by its portable name; None when the archive does not hold it.

    Raises:
        IntegrityError: see ``load_index``.
    """
    for rows in _groups(archive, receipt, lambda group: group.first <= name <= group.last):
        for row in rows:
            if row.name == name:
                return row
    return None


def newest_frame(archive: ObjectStore, receipt: Receipt, moment: datetime) -> tuple[datetime, IndexRow] | None:
    """When the newest frame captured at or before ``moment`` was taken, and its row; None when there is none.

    Raises:
        IntegrityError: see ``load_index``.
    """
    # Frame names begin with their time, and a name that lacks the "_n" of a taken one sorts before it.
    bound = f"{moment:%Y%m%d_%H%M%S}_{moment.microsecond // 1000:03d}~"
    for rows in _groups(archive, receipt, lambda group: group.first <= bound, newest_first=True):
        taken = ((parse_frame_name(row.name), row) for row in rows)
        earlier = [(time, row) for time, row in taken if time is not None and time <= moment]
        if earlier:
            return max(earlier, key=lambda pair: (pair[0], pair[1].name))
    return None


def _groups(
    archive: ObjectStore, receipt: Receipt, wanted: Callable[[RowGroup], bool], *, newest_first: bool = False
) -> Iterator[list[IndexRow]]:
    """The rows of the row groups that are wanted, one group after the other."""
    key, size, tail = receipt.index_key, receipt.index_size, receipt.index_footer_size
    if size is None or tail is None or receipt.index_footer_sha256 is None or size <= SMALL:
        yield load_index(archive, receipt)
        return
    footer = retry(archive.get_range, key, size - tail, tail)
    groups = parse_footer(footer, size, key) if _fits(footer, receipt.index_footer_sha256) else None
    if groups is None:  # of an older writer, or overwritten: what reads all of it finds the original
        yield load_index(archive, receipt)
        return
    numbered = [(number, group) for number, group in enumerate(groups) if wanted(group)]
    for number, group in sorted(numbered, key=lambda pair: pair[1].last, reverse=newest_first):
        data = retry(archive.get_range, key, group.start, group.length)
        if not _fits(data, group.sha256):
            yield load_index(archive, receipt)
            return
        yield parse_group(footer, size, number, group.start, data, key)


def _fits(data: bytes, sha256: str) -> bool:
    return hashlib.sha256(data).hexdigest() == sha256
