"""How far the second place is behind, by the catalog and by what the last run wrote down; opening both places.

Belongs here: the question, for the command, the check in Dagster and the metrics. Does not belong here: copying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from yolo_assets.archive.options import VerifyHow
from yolo_assets.catalog.read import NoCatalogError, ask, open_catalog
from yolo_assets.contracts.copies import CopyLag, CopyState, copy_id_of
from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.names import ArchiveName
from yolo_assets.contracts.settings import Settings
from yolo_assets.contracts.times import Hour
from yolo_assets.replication.copying import Copier
from yolo_assets.replication.replicate import read_state
from yolo_assets.storage.base import ObjectStore, Pace
from yolo_assets.storage.open import open_store
from yolo_assets.transparency.held import trusted_archive


def open_copier(settings: Settings, to: str, keys: Sequence[Path], *, pace: Pace, verify: VerifyHow) -> Copier:
    """The archive root of an installation and its second place, opened to copy.

    Args:
        settings: of the installation.
        to: URL of the second place.
        keys: files of the public keys that may have signed receipts.
        pace: waits until so many bytes may be sent.
        verify: how what arrived is verified.

    Raises:
        UsageError: the two are one place, or one lies in the other.
        StoreUnavailableError: a place cannot be opened.
    """
    first, copy = settings.archive_url.rstrip("/"), to.rstrip("/")
    if first == copy or first.startswith(f"{copy}/") or copy.startswith(f"{first}/"):
        raise UsageError(f"--to {to} and the archive {settings.archive_url} overlap; give a place of its own")
    folder = settings.copying / copy_id_of(first, copy)
    source = open_store(settings.archive_url, create=False, memory=settings.known_stores, remember=False)
    target = open_store(to, memory=settings.known_stores, pace=pace)
    folder.mkdir(parents=True, exist_ok=True)
    first, second = (trusted_archive(store, keys, settings) for store in (source, target))
    return Copier(first, second, folder, verify)


def late_archives(root: ObjectStore, cache: Path | None) -> Callable[[datetime], Iterable[ArchiveName]]:
    """A function that says, by the newest catalog, what was archived since a moment; nothing without a catalog.

    Args:
        root: the store root.
        cache: see ``open_catalog``.
    """

    def since(moment: datetime) -> list[ArchiveName]:
        try:
            with open_catalog(root, cache=cache) as connection:
                rows = ask(
                    connection,
                    "SELECT camera_id, hour, part FROM archives WHERE verified_at >= ? ORDER BY hour, camera_id, part",
                    [moment],
                )
        except NoCatalogError:
            return []
        return [ArchiveName(camera, Hour(hour), part) for camera, hour, part in rows.iter_rows()]

    return since


def copy_lag(root: ObjectStore, settings: Settings) -> CopyLag | None:
    """How far the copy that the settings name is behind; None: they name none.

    Args:
        root: the store root.
        settings: of the installation.
    """
    if settings.archive_copy_url is None:
        return None
    state = read_state(root, copy_id_of(settings.archive_url, settings.archive_copy_url))
    return lag_of(root, state, settings.home / "cache" / "catalog")


def lag_of(root: ObjectStore, state: CopyState | None, cache: Path | None) -> CopyLag:
    """How far a copy is behind: what was archived since its last complete run, by the catalog.

    Args:
        root: the store root.
        state: of the copy; None: nothing was copied yet.
        cache: see ``open_catalog``.
    """
    since = None if state is None else state.complete_at
    failed = 0 if state is None else state.failed_count
    newest = None if state is None else state.newest_hour
    sql = "SELECT count(*), coalesce(sum(archive_size), 0)::BIGINT, min(verified_at) FROM archives"
    try:
        with open_catalog(root, cache=cache) as connection:
            rows = ask(connection, sql) if since is None else ask(connection, f"{sql} WHERE verified_at >= ?", [since])
    except NoCatalogError:
        return CopyLag(archives=failed, bytes=0, oldest=since, newest_hour=newest, failed=failed)
    archives, size, oldest = rows.row(0)
    return CopyLag(archives=archives + failed, bytes=size, oldest=oldest, newest_hour=newest, failed=failed)
