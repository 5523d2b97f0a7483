"""Publish a catalog: merge new receipts into the newest one, write an immutable file, move the pointer.

Safe under any number of publishers, without a lock: the pointer moves by compare-and-swap, and who loses merges again
into what the winner published. Killed at any moment, the pointer names a complete file; a file that nobody points to
is pruned later.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from yolo_assets.catalog.build import Base, Change, write_catalog
from yolo_assets.catalog.receipts import FoundReceipt, Problem, fetch_receipts, list_receipts
from yolo_assets.catalog.schema import CatalogPointer
from yolo_assets.catalog.versions import fetch_catalog, read_pointer, upload_catalog
from yolo_assets.contracts.errors import UserError
from yolo_assets.contracts.signing import TrustedKeys
from yolo_assets.contracts.times import Hour
from yolo_assets.detections.scan import parse_table_key
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
        problems: receipts that are there and not believed.
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
) -> CatalogVersion:
    """Bring the catalog up to date with the receipts.

    Cost: receipts are listed (one request per thousand), only new ones are fetched. At 200 cameras and half a year a
    full listing is about 900 requests; with ``dates`` it is five a day, which is what an hourly run should give.

    Args:
        store: store root.
        archive: archive root; read only.
        trusted: public keys of the archivers. Rows signed by a key that is no longer here are judged again.
        dates: look only at receipts and detection tables of these dates (``YYYY-MM-DD``); rows of others stay as they
            are. Everything without.
        from_receipts: build anew, whatever is published now; see ``rebuild``.

    Raises:
        CatalogBusyError: lost against other publishers too often; run it again.
    """
    fetched: dict[tuple[str, str], FoundReceipt | Problem] = {}  # a lost race costs no second fetch
    for attempt in range(_ATTEMPTS):
        # The pointer is read before anything is listed: a receipt that another publisher saw and we did not comes with
        # a pointer that moved, and then our swap fails.
        current = read_pointer(store)
        with tempfile.TemporaryDirectory(prefix="yolo-catalog-") as folder:
            base = None
            if current is not None and not from_receipts:
                base = _base(store, current[0], Path(folder), dates)
            # Without a base the dates would be all that is in the catalog: then everything is looked at.
            change = _change(store, archive, trusted, dates if base else None, base, fetched)
            if current is not None and base is not None and _says_nothing_new(change, base):
                return CatalogVersion(current[0], False, 0, 0, tuple(change.problems))
            path = Path(folder) / "catalog.duckdb"
            counts = write_catalog(path, base.path if base else None, change)
            try:
                pointer = upload_catalog(store, path, counts, current)
            except CasConflictError:
                time.sleep(random.uniform(0, min(0.02 * 2**attempt, 1.0)))
                continue
        removed = len(set(change.dropped) - {found.key for found in change.added})
        return CatalogVersion(pointer, True, len(change.added), removed, tuple(change.problems))
    raise CatalogBusyError(f"other publishers moved the catalog {_ATTEMPTS} times meanwhile; run it again")


def _base(store: ObjectStore, pointer: CatalogPointer, folder: Path, dates: Collection[str] | None) -> Base | None:
    """The newest catalog; None when it cannot be merged into."""
    path = folder / "base.duckdb"
    return Base.read(path, dates) if fetch_catalog(store, pointer, path) else None


def _change(
    store: ObjectStore,
    archive: ObjectStore,
    trusted: TrustedKeys,
    dates: Collection[str] | None,
    base: Base | None,
    fetched: dict[tuple[str, str], FoundReceipt | Problem],
) -> Change:
    """Compare the receipts of ``dates`` with the base; ``fetched`` remembers what was read before and grows."""
    known = base.known if base else {}
    found = list_receipts(archive, dates)
    kept = {key for key, etag in found.items() if _holds(known.get(key), etag, trusted)}
    wanted = [key for key in found if key not in kept]
    missing = [key for key in wanted if (key, found[key]) not in fetched]
    for result in fetch_receipts(archive, found, missing, trusted):
        fetched[result.key, result.etag] = result
    results = [fetched[key, found[key]] for key in wanted if (key, found[key]) in fetched]
    problems = [result for result in results if isinstance(result, Problem)]
    if base is not None and dates is not None:
        problems += [problem for problem in base.problems if _date(problem.key) not in dates]
    return Change(
        dates=dates,
        dropped=known.keys() - kept,
        added=[result for result in results if isinstance(result, FoundReceipt)],
        problems=sorted(problems, key=lambda problem: problem.key),
        hours=_hours_with_tables(store, dates),
    )


def _says_nothing_new(change: Change, base: Base) -> bool:
    same = tuple(change.problems) == base.problems and change.hours == base.hours
    return same and not change.added and not change.dropped


def _holds(known: tuple[str, str] | None, etag: str, trusted: TrustedKeys) -> bool:
    return known is not None and known[0] == etag and known[1] in trusted.keys


def _date(receipt_key: str) -> str:
    """Date of a receipt's folder; a problem's key may be anything, so only its folder is looked at."""
    return receipt_key.split("date=", 1)[-1].split("/", 1)[0]


def _hours_with_tables(store: ObjectStore, dates: Collection[str] | None) -> frozenset[tuple[str, Hour]]:
    prefixes = ["detections/"] if dates is None else [f"detections/date={date}/" for date in sorted(set(dates))]
    parsed = (parse_table_key(info.key) for prefix in prefixes for info in store.list(prefix))
    return frozenset((camera_id, hour) for hour, camera_id in filter(None, parsed))
