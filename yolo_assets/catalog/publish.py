"""Publish a catalog: update a copy of the newest one from the receipts, move the pointer to it.

Safe under any number of publishers: the pointer moves by compare-and-swap, and a publisher that loses the race starts
again from what the winner published. Publishers of one machine also share a lock, which saves work and proves nothing:
a lock that cannot be taken (another user's, a file system without locks, a hung holder) delays a publisher and never
stops it. After a kill at any moment the pointer names a complete file; a file that no pointer names is pruned later.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from yolo_assets.archive.archive import Archive
from yolo_assets.catalog.database import remove_abandoned, scratch_folder
from yolo_assets.catalog.receipts import READERS, ReceiptProblem
from yolo_assets.catalog.schema import CatalogPointer
from yolo_assets.catalog.update import AppliedChange, Report, StoreDifferences, apply, create, prepare
from yolo_assets.catalog.versions import fetch_catalog, keep_in_cache, pointer_state, upload_catalog
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.times import check_date
from yolo_assets.runtime.backoff import Backoff
from yolo_assets.runtime.files import lock
from yolo_assets.storage.base import CasConflictError, ObjectStore

LOCK_WAIT = 120.0
"""Seconds to wait for another publisher of this machine before working at the same time as it."""
_ATTEMPTS = 60


class CatalogBusyError(UserError):
    """Other publishers won every race."""

    may_pass = True


@dataclass(frozen=True)
class CatalogVersion:
    """The newest catalog after publishing, and what changed in it.

    Attributes:
        pointer: of the newest catalog.
        changed: False when everything was already in it and nothing was written.
        added: receipts that were new or had changed.
        removed: rows whose receipt is gone or no longer trusted.
        problems: untrusted receipts, at most a thousand of them; ``pointer.problems`` counts all.
    """

    pointer: CatalogPointer
    changed: bool
    added: int
    removed: int
    problems: tuple[ReceiptProblem, ...]

    @property
    def version(self) -> str:
        """Name of the newest catalog."""
        return self.pointer.version

    @property
    def archives(self) -> int:
        """Rows in its ``archives``."""
        return self.pointer.archives


def publish(
    store: ObjectStore,
    archive: Archive,
    *,
    dates: Collection[str] | None = None,
    from_receipts: bool = False,
    cache: Path | None = None,
    readers: int = READERS,
    report: Report = lambda done, total: None,
) -> CatalogVersion:
    """Bring the catalog up to date with the receipts.

    Cost: receipts are listed (one request per thousand), only new ones are fetched; the newest catalog is copied and
    the copy uploaded, about 220 bytes a receipt. With ``dates``, which an hourly run should give, five requests list a
    day of 200 cameras; without, a million receipts take a thousand. Memory is bounded, whatever there is.

    Args:
        store: store root.
        archive: only read. Rows signed by a key that it does not trust are verified again.
        dates: compare only receipts and detection tables of these dates (``YYYY-MM-DD``); rows of others stay as they
            are. Everything without.
        from_receipts: build anew, whatever is published now. The receipts are the only truth: the catalog may be lost
            at any time. Running publishers and readers may continue meanwhile.
        cache: folder for a copy of the newest catalog, so that the next command need not fetch it from a bucket.
        readers: receipts read at one time.
        report: called after each batch of receipts read.

    Raises:
        CatalogBusyError: lost against other publishers too often; run it again.
        BadInputError: not a date.
        UserError: no space for the work in the temporary folder.
    """
    if dates is not None:
        dates = [check_date(date) for date in dates]
    remove_abandoned()
    try:
        return _publish(store, archive, dates, from_receipts, cache, readers, report)
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the catalog cannot be written: {reason}; make space in {tempfile.gettempdir()} or set TMPDIR"
        ) from None


def _publish(
    store: ObjectStore,
    archive: Archive,
    dates: Collection[str] | None,
    from_receipts: bool,
    cache: Path | None,
    readers: int,
    report: Report,
) -> CatalogVersion:
    with scratch_folder() as folder, closing(StoreDifferences(folder)) as differences:
        path, backoff = folder / "catalog.duckdb", Backoff(first_s=0.02, longest_s=1.0, jitter=1.0)
        for attempt in range(_ATTEMPTS):
            with ExitStack() as locks:
                if attempt:  # another publisher was faster: from now on one after another
                    locks.enter_context(publish_lock(store))
                # The pointer is read before anything is listed: a receipt that another publisher found and we did not
                # comes with a pointer that moved, and then our swap fails.
                # A damaged pointer is swapped like any other: the catalog may be lost at any time.
                current, etag = pointer_state(store)
                based = not from_receipts and current is not None and fetch_catalog(store, current, path, cache)
                if not (based and prepare(differences.connection, path)):
                    based = False
                    path.unlink(missing_ok=True)
                    create(differences.connection, path)
                # Without a base the dates would be all that is in the catalog: then everything is listed.
                differences.list_stores(store, archive, dates if based else None)
                differences.compare(path, archive)
                differences.read_receipts(archive, readers, report)
                if not attempt:
                    locks.enter_context(publish_lock(store))
                    if pointer_state(store)[1] != etag:
                        continue
                change = apply(differences, path, archive.url)
                if current is not None and based and not change.changed:
                    return CatalogVersion(current, False, 0, 0, change.reported)
                try:
                    pointer = upload_catalog(store, path, (change.archives, change.problems), etag)
                except CasConflictError:
                    time.sleep(backoff.failed())
                    continue
            return _published(pointer, change, path, cache)
    raise CatalogBusyError(f"other publishers moved the catalog {_ATTEMPTS} times meanwhile; run it again")


def _published(pointer: CatalogPointer, change: AppliedChange, path: Path, cache: Path | None) -> CatalogVersion:
    if cache is not None:
        with suppress(OSError):  # a full cache, or another user's, costs a download, no more
            keep_in_cache(cache, pointer, path)
    return CatalogVersion(pointer, True, change.added, change.removed, change.reported)


@contextmanager
def publish_lock(store: ObjectStore, wait: float | None = None) -> Iterator[bool]:
    """Hold the publish lock of this machine for a store; the kernel releases it also after ``kill -9``.

    Args:
        store: store root.
        wait: seconds; ``LOCK_WAIT`` without.

    Yields:
        False when it could not be had in that time.
    """
    # The user is part of the name: in a shared temporary folder another user's file cannot be opened.
    digest = hashlib.sha256(store.url.encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"yolo-catalog-{os.getuid()}-{digest}.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            locked = lock(fd, wait_s=LOCK_WAIT if wait is None else wait)
        except OSError:
            locked = False
        yield locked
    finally:
        with suppress(OSError):
            os.close(fd)
