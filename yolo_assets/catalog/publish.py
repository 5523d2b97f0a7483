"""Publish a catalog: change a copy of the newest one to what the receipts say now, move the pointer to it.

Safe under any number of publishers: the pointer moves by compare-and-swap, and who loses looks again, now at what the
winner published. Publishers of one machine also take turns, so that they do not work in vain. Killed at any moment,
the pointer names a complete file; a file that nobody points to is pruned later.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Collection
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from yolo_assets.catalog.build import Change, apply, create, prepare
from yolo_assets.catalog.look import Look, Report
from yolo_assets.catalog.receipts import READERS, Problem
from yolo_assets.catalog.schema import CatalogPointer
from yolo_assets.catalog.scratch import scratch_folder, sweep
from yolo_assets.catalog.turns import turn
from yolo_assets.catalog.versions import fetch_catalog, keep_in_cache, pointer_state, upload_catalog
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import check_date
from yolo_assets.storage.base import CasConflictError, ObjectStore

_ATTEMPTS = 60


class CatalogBusyError(UserError):
    """Other publishers kept winning."""


@dataclass(frozen=True)
class CatalogVersion:
    """What publishing came to.

    Attributes:
        pointer: of the newest catalog.
        changed: False when everything was already in it and nothing was written.
        added: receipts that were new or had changed.
        removed: rows whose receipt is gone or no longer believed.
        problems: receipts that are there and not believed, at most a thousand of them; ``pointer.problems`` counts all.
    """

    pointer: CatalogPointer
    changed: bool
    added: int
    removed: int
    problems: tuple[Problem, ...]

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
    archive: ObjectStore,
    *,
    trusted: TrustedKeys,
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
        archive: archive root; read only.
        trusted: public keys of the archivers. Rows signed by a key that is no longer here are judged again.
        dates: look only at receipts and detection tables of these dates (``YYYY-MM-DD``); rows of others stay as they
            are. Everything without.
        from_receipts: build anew, whatever is published now; see ``rebuild``.
        cache: folder for a copy of the newest catalog, so that a bucket's is not fetched again by who comes next.
        readers: receipts read at one time.
        report: told of each batch of receipts read.

    Raises:
        CatalogBusyError: lost against other publishers too often; run it again.
        BadInputError: not a date.
        UserError: no room for the work in the temporary folder.
    """
    if dates is not None:
        dates = [check_date(date) for date in dates]
    sweep()
    try:
        return _publish(store, archive, trusted, dates, from_receipts, cache, readers, report)
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the catalog cannot be written: {reason}; make room in {tempfile.gettempdir()} or set TMPDIR"
        ) from None


def _publish(
    store: ObjectStore,
    archive: ObjectStore,
    trusted: TrustedKeys,
    dates: Collection[str] | None,
    from_receipts: bool,
    cache: Path | None,
    readers: int,
    report: Report,
) -> CatalogVersion:
    with scratch_folder() as folder, closing(Look(folder)) as look:
        path = folder / "catalog.duckdb"
        for attempt in range(_ATTEMPTS):
            with ExitStack() as mine:
                if attempt:  # somebody was faster: from now on in turn
                    mine.enter_context(turn(store))
                # The pointer is read before anything is listed: a receipt that another publisher saw and we did not
                # comes with a pointer that moved, and then our swap fails.
                # A damaged pointer is swapped like any other: the catalog may be lost at any time.
                current, etag = pointer_state(store)
                based = not from_receipts and current is not None and fetch_catalog(store, current, path, cache)
                if not (based and prepare(look.connection, path)):
                    based = False
                    path.unlink(missing_ok=True)
                    create(look.connection, path)
                # Without a base the dates would be all that is in the catalog: then everything is looked at.
                look.list(store, archive, dates if based else None)
                look.compare(path, trusted)
                look.read(archive, trusted, readers, report)
                if not attempt:
                    mine.enter_context(turn(store))
                    if pointer_state(store)[1] != etag:
                        continue
                change = apply(look, path)
                if current is not None and based and not change.changed:
                    return CatalogVersion(current, False, 0, 0, change.reported)
                try:
                    pointer = upload_catalog(store, path, (change.archives, change.problems), etag)
                except CasConflictError:
                    time.sleep(random.uniform(0, min(0.02 * 2**attempt, 1.0)))
                    continue
            return _published(pointer, change, path, cache)
    raise CatalogBusyError(f"other publishers moved the catalog {_ATTEMPTS} times meanwhile; run it again")


def _published(pointer: CatalogPointer, change: Change, path: Path, cache: Path | None) -> CatalogVersion:
    if cache is not None:
        with suppress(OSError):  # a full or foreign cache costs a download, no more
            keep_in_cache(cache, pointer, path)
    return CatalogVersion(pointer, True, change.added, change.removed, change.reported)
