"""Two places against each other: by listings with sizes and checksums, or by every byte of both.

Belongs here: which objects differ, and how that was seen. Does not belong here: copying what is missing
(``replicate``), and an archive against its receipt (``archive.audit.verification``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from yolo_assets.archive.archive import Archive
from yolo_assets.archive.upload import stored_sha256
from yolo_assets.contracts.copies import CopiedArchive
from yolo_assets.contracts.errors import BadInputError
from yolo_assets.contracts.names import (
    ARCHIVES,
    AUDIT,
    CHECKPOINTS,
    COPIES,
    DEVICE_KEYS,
    INDEXES,
    RECEIPTS,
    ArchiveName,
)
from yolo_assets.storage.base import ColdObjectError, ObjectInfo

_MD5 = re.compile(r"[0-9a-f]{32}(-\d+)?")
_SHARED = (AUDIT, DEVICE_KEYS)
"""Below these the second place also holds objects of the store root: one that only it has is no difference."""
_NAMED = 1000
"""Keys of each kind that are kept; all are counted."""


@dataclass
class Found:
    """Keys of one kind: how many, and the first of them."""

    count: int = 0
    keys: list[str] = field(default_factory=list[str])

    def add(self, key: str) -> None:
        """One more."""
        self.count += 1
        if len(self.keys) < _NAMED:
            self.keys.append(key)


@dataclass
class Comparison:
    """How two places compare.

    Attributes:
        first: URL.
        copy: URL.
        deep: every byte of both was read.
        same: objects that are alike in both.
        by_checksum: of these, seen by a checksum: equal hashes, equal MD5 ETags, or the copy's ETag in its statement.
        by_size: of these, seen by their size alone: the stores report no checksum that can be compared.
        bytes_read: of both places.
        missing_in_copy: keys that the second place lacks.
        missing_in_first: keys that the first place lacks.
        different: keys whose objects differ.
        cold: keys in a tier that cannot be read, compared by size.
        unfinished: objects of archives without a receipt, which are never copied.
    """

    first: str
    copy: str
    deep: bool
    same: int = 0
    by_checksum: int = 0
    by_size: int = 0
    bytes_read: int = 0
    missing_in_copy: Found = field(default_factory=Found)
    missing_in_first: Found = field(default_factory=Found)
    different: Found = field(default_factory=Found)
    cold: Found = field(default_factory=Found)
    unfinished: int = 0

    @property
    def ok(self) -> bool:
        """Whether both hold the same objects."""
        return not (self.missing_in_copy.count or self.missing_in_first.count or self.different.count)


def pairs(
    first: Iterable[ObjectInfo], copy: Iterable[ObjectInfo]
) -> Iterator[tuple[ObjectInfo | None, ObjectInfo | None]]:
    """Two listings in key order as one: what both places report of each key. Bounded memory."""
    left, right = iter(first), iter(copy)
    here, there = next(left, None), next(right, None)
    while here is not None or there is not None:
        if there is None or (here is not None and here.key < there.key):
            yield here, None
            here = next(left, None)
        elif here is None or there.key < here.key:
            yield None, there
            there = next(right, None)
        else:
            yield here, there
            here, there = next(left, None), next(right, None)


def compare(first: Archive, copy: Archive, *, deep: bool, seen: Callable[[int], None] = lambda _: None) -> Comparison:
    """Compare two places.

    Args:
        first: the place that was copied.
        copy: the second place.
        deep: read every byte of both.
        seen: called with how many objects were compared since the last call.

    Raises:
        StoreUnavailableError: one of them stopped answering.
    """
    done = Comparison(first.url, copy.url, deep)
    for prefix in (ARCHIVES, INDEXES, RECEIPTS, CHECKPOINTS, COPIES, *_SHARED):
        for here, there in pairs(first.store.list(prefix), copy.store.list(prefix)):
            if here is None:
                if there is not None and prefix not in _SHARED:
                    done.missing_in_first.add(there.key)
            elif there is None:
                if _is_unfinished(first, here.key):
                    done.unfinished += 1
                else:
                    done.missing_in_copy.add(here.key)
            else:
                _compare_objects(first, copy, here, there, done)
            seen(1)
    return done


def _is_unfinished(first: Archive, key: str) -> bool:
    """Whether an object belongs to an archive that has no receipt."""
    try:
        name = ArchiveName.parse(key)
    except BadInputError:
        return False
    return key in (name.archive_key, name.index_key) and first.store.head(name.receipt_key) is None


def _compare_objects(first: Archive, copy: Archive, here: ObjectInfo, there: ObjectInfo, done: Comparison) -> None:
    proven: bool | None = None
    if here.size != there.size:
        proven = False
    elif done.deep:
        try:
            digests = [stored_sha256(place.store, here.key, None) for place in (first, copy)]
        except ColdObjectError:
            done.cold.add(here.key)
        else:
            proven = digests[0] == digests[1]
            done.bytes_read += 2 * here.size
    else:
        proven = _by_etag(here, there, copy.copied)
    if proven is False:
        done.different.add(here.key)
        return
    done.same += 1
    done.by_checksum += proven is True
    done.by_size += proven is None


def _by_etag(here: ObjectInfo, there: ObjectInfo, copied: dict[str, CopiedArchive]) -> bool | None:
    """Whether ETags prove that two objects of one size are alike; None: they say nothing."""
    if here.key.startswith(ARCHIVES):
        stated = copied.get(here.key.rpartition("/")[2].removesuffix(".tar.gz"))
        if stated is not None and stated.etag == there.etag:
            return True
    if not (_MD5.fullmatch(here.etag) and _MD5.fullmatch(there.etag)):
        return None
    if here.etag == there.etag:
        return True
    return None if "-" in here.etag or "-" in there.etag else False
