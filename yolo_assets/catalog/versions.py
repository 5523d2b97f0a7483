"""Published catalog files and the pointer to the newest: reading it, moving it, pruning what is old.

Belongs here: everything that touches ``catalog/`` in the store, and copies of it on this machine. Does not belong
here: what is in a file (``update``).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from yolo_assets.catalog.schema import CatalogPointer
from yolo_assets.contracts.errors import BadInputError, IntegrityError
from yolo_assets.contracts.names import CATALOG_POINTER, catalog_key
from yolo_assets.contracts.times import utc_now
from yolo_assets.storage.base import CasConflictError, ObjectInfo, ObjectNotFoundError, ObjectStore, UploadedPart

KEPT_VERSIONS = 8
"""Catalogs kept for readers that still have them open."""

_CATALOGS = "catalog/"
_PART = 16 << 20
"""Bytes of an upload part; a smaller catalog is put at once."""
_SENDERS = 4
_CHUNK = 1 << 20


def read_pointer(store: ObjectStore) -> tuple[CatalogPointer, str] | None:
    """The pointer and its etag, or None when nothing was published yet.

    Raises:
        IntegrityError: it is damaged; the catalog must be rebuilt.
    """
    pointer, etag = pointer_state(store)
    if etag is not None and pointer is None:
        raise IntegrityError(
            f"{CATALOG_POINTER} in {store.url} is damaged; rebuild the catalog with: yolo-assets catalog rebuild"
        )
    return None if pointer is None or etag is None else (pointer, etag)


def pointer_state(store: ObjectStore) -> tuple[CatalogPointer | None, str | None]:
    """The pointer, None when it is damaged or not there; and its etag, None when it is not there."""
    try:
        data, info = store.get_with_info(CATALOG_POINTER)
    except ObjectNotFoundError:
        return None, None
    try:
        return CatalogPointer.from_json(data, CATALOG_POINTER), info.etag
    except BadInputError:
        return None, info.etag


def cached_path(cache: Path, pointer: CatalogPointer) -> Path:
    """Where a catalog lies in a cache folder, if it is there."""
    return cache / f"{pointer.version}.duckdb"


def fetch_catalog(store: ObjectStore, pointer: CatalogPointer, path: Path, cache: Path | None = None) -> bool:
    """Write the catalog file to ``path``; False when it is gone or not what the pointer promises.

    Args:
        store: store root.
        pointer: which.
        path: where to.
        cache: folder where it may be already; a wrong copy there is replaced from the store.
    """
    if cache is not None:
        with suppress(OSError):
            if _copy(_file_chunks(cached_path(cache, pointer)), path) == pointer.sha256:
                return True
    try:
        return _copy(store.stream(pointer.key), path) == pointer.sha256
    except ObjectNotFoundError:
        return False


def keep_in_cache(cache: Path, pointer: CatalogPointer, path: Path) -> Path:
    """Put a copy of a catalog file into a cache folder, in place of older ones, and return where it lies.

    A reader that has an older one open keeps it, the name alone goes.
    """
    cache.mkdir(parents=True, exist_ok=True)
    target = cached_path(cache, pointer)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(path, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    for other in cache.glob("*.duckdb"):
        if other != target:
            other.unlink(missing_ok=True)
    return target


def upload_catalog(store: ObjectStore, path: Path, counts: tuple[int, int], current: str | None) -> CatalogPointer:
    """Publish a local file: the file, then the pointer; then delete what is too old.

    Args:
        store: store root.
        path: a finished catalog.
        counts: rows in ``archives`` and in ``problems``.
        current: etag of the pointer, read before the catalog was built; None when there was none.

    Raises:
        CasConflictError: another publisher moved the pointer; our file is deleted again.
    """
    digest = hashlib.sha256()
    for chunk in _file_chunks(path):
        digest.update(chunk)
    now = utc_now()
    version = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"
    pointer = CatalogPointer(
        version=version,
        key=catalog_key(version),
        sha256=digest.hexdigest(),
        size=path.stat().st_size,
        archives=counts[0],
        problems=counts[1],
        created_at=now,
    )
    written = _send(store, pointer.key, path)
    try:
        store.compare_and_swap(CATALOG_POINTER, pointer.to_json(), current)
    except CasConflictError:
        # A swap whose answer was lost looks like a lost race: never delete what the pointer names.
        if pointer_state(store)[0] != pointer:
            store.delete(pointer.key)
            raise
    _prune(store, written)
    return pointer


def _send(store: ObjectStore, key: str, path: Path) -> ObjectInfo:
    """The file under its key, at most a few parts of it in memory."""
    size = path.stat().st_size
    if size <= _PART:
        return store.put_if_absent(key, path.read_bytes())
    upload_id = store.create_upload(key)

    def send(number: int) -> UploadedPart:
        with path.open("rb") as file:
            file.seek((number - 1) * _PART)
            return store.upload_part(key, upload_id, number, file.read(_PART))

    try:
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="catalog") as pool:
            parts = list(pool.map(send, range(1, -(-size // _PART) + 1)))
        return store.complete_upload(key, upload_id, parts)
    except BaseException:
        # The first error is the one to report; an upload of a killed publisher expires by the store's rule.
        with suppress(Exception):
            store.abort_upload(key, upload_id)
        raise


def _prune(store: ObjectStore, published: ObjectInfo) -> None:
    """Delete all but the newest files older than the one just published.

    Older by the store's clock: a publisher that may still win read the pointer after our swap, so its file is younger
    than ours; every older file that is not the pointer's can never become it.
    """
    files = [info for info in store.list(_CATALOGS) if info.key.endswith(".duckdb")]
    older = sorted((f for f in files if f.modified_at < published.modified_at), key=lambda f: f.modified_at)
    for info in older[: max(0, len(older) - KEPT_VERSIONS + 1)]:
        store.delete(info.key)


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _copy(chunks: Iterator[bytes], path: Path) -> str:
    """Write chunks to a file and return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
