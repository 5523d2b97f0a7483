"""Published catalog files and the pointer to the newest: reading it, moving it, pruning what is old.

Belongs here: everything that touches ``catalog/`` in the store. Does not belong here: what is in a file (``build``).
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from yolo_assets.catalog.schema import CatalogPointer
from yolo_assets.contracts.names import CATALOG_POINTER, catalog_key
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import CasConflictError, ObjectInfo, ObjectNotFoundError, ObjectStore

KEPT_VERSIONS = 8
"""Catalogs kept for readers that are still on them."""

_CATALOGS = "catalog/"


def read_pointer(store: ObjectStore) -> tuple[CatalogPointer, str] | None:
    """The pointer and its etag, or None when nothing was published yet."""
    try:
        data, info = store.get_with_info(CATALOG_POINTER)
    except ObjectNotFoundError:
        return None
    return CatalogPointer.from_json(data, CATALOG_POINTER), info.etag


def fetch_catalog(store: ObjectStore, pointer: CatalogPointer, path: Path) -> bool:
    """Write the catalog file to ``path``; False when it is gone or not what the pointer promises."""
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for chunk in store.stream(pointer.key):
                digest.update(chunk)
                file.write(chunk)
    except ObjectNotFoundError:
        return False
    return digest.hexdigest() == pointer.sha256


def upload_catalog(
    store: ObjectStore, path: Path, counts: tuple[int, int], current: tuple[CatalogPointer, str] | None
) -> CatalogPointer:
    """Publish a local file: the file, then the pointer; then delete what is too old.

    Args:
        store: store root.
        path: a finished catalog.
        counts: rows in ``archives`` and in ``problems``.
        current: of ``read_pointer``, read before the catalog was built; None when there was none.

    Raises:
        CasConflictError: somebody else moved the pointer; our file is gone again.
    """
    data, now = path.read_bytes(), utc_now()
    version = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"
    pointer = CatalogPointer(
        version=version,
        key=catalog_key(version),
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        archives=counts[0],
        problems=counts[1],
        created_at=now,
    )
    written = store.put_if_absent(pointer.key, data)
    try:
        store.compare_and_swap(CATALOG_POINTER, pointer.to_json(), current[1] if current else None)
    except CasConflictError:
        # A lost answer that was asked again looks like a lost race: never delete what the pointer names.
        newest = read_pointer(store)
        if newest is None or newest[0] != pointer:
            store.delete(pointer.key)  # known to nobody
            raise
    _prune(store, written)
    return pointer


def _prune(store: ObjectStore, published: ObjectInfo) -> None:
    """Delete all but the newest files older than the one just published.

    Older by the store's clock: a publisher that may still win read the pointer after our swap, so its file is younger
    than ours; every older file that is not the pointer's can never become it.
    """
    files = [info for info in store.list(_CATALOGS) if info.key.endswith(".duckdb")]
    older = sorted((f for f in files if f.modified_at < published.modified_at), key=lambda f: f.modified_at)
    for info in older[: max(0, len(older) - KEPT_VERSIONS + 1)]:
        store.delete(info.key)
