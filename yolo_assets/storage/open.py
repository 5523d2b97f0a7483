"""From a store's URL to the store: which kinds there are, and which decorators go around them."""

from __future__ import annotations

import re
from pathlib import Path

from yolo_assets.contracts.errors import UsageError
from yolo_assets.contracts.locations import location_url, parse_file_url
from yolo_assets.storage.base import ObjectStore, Pace, StoreUnavailableError
from yolo_assets.storage.decorators import LazyStore, MountGuard, ThrottledStore
from yolo_assets.storage.folder import FolderStore
from yolo_assets.storage.keys import check_key
from yolo_assets.storage.retrying import RetryBounds, RetryingStore

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def open_store(
    url: str,
    *,
    create: bool = True,
    lazy: bool = False,
    memory: Path | None = None,
    remember: bool = True,
    pace: Pace | None = None,
    retries: RetryBounds | None = None,
) -> ObjectStore:
    """Open the store that a URL names. It retries by itself, see ``storage.retrying``.

    S3 is not contacted here: a machine without network can open its store and learns about the network from the first
    call.

    Args:
        url: ``file:///absolute/path`` (special characters percent-encoded) or ``s3://bucket/prefix``. Credentials,
            region and endpoint of S3 come from the standard AWS environment variables and files alone.
        create: make a folder when its parent exists; else one that is not there cannot be opened.
        lazy: look at a folder when it is first needed, because looking at a dead share may take for ever.
        memory: folder in which this machine remembers which folder store it met under a path, and by which an unmounted
            disk is noticed, see ``MountGuard``; default: nothing is remembered.
        remember: whether a store that was not met before is remembered there.
        pace: waits until so many bytes may be written; default: no limit.
        retries: how long to try again; default: ``RetryBounds()``.

    Raises:
        UsageError: not such a URL.
        StoreUnavailableError: the folder cannot be opened or created, or is another store than the one remembered.
    """
    folder = folder_of(url)

    def opened() -> ObjectStore:
        if folder is not None and not create and not folder.is_dir():
            raise StoreUnavailableError(
                f"the store's folder {folder} does not exist; mount it, or make it on the centre"
            )
        if folder is None or memory is None:
            return open_backend(url)
        return MountGuard(folder, memory, lambda: open_backend(url), remember=remember)

    store = LazyStore(url, opened) if lazy and folder is not None else opened()
    if pace is not None:
        store = ThrottledStore(store, pace)
    return RetryingStore(store, retries)


def open_backend(url: str) -> ObjectStore:
    """The store itself, without any decorator: each request is made once. For everything else: ``open_store``.

    Raises:
        UsageError: not the URL of a store.
        StoreUnavailableError: the folder cannot be opened or created.
    """
    if url.startswith("file://"):
        return FolderStore(parse_file_url(url), url)
    if url.startswith("s3://"):
        bucket, prefix = parse_s3_url(url)
        # boto3 takes a third of a second to import: a process that works on folders does not pay for it.
        from yolo_assets.storage.s3 import S3Store
        from yolo_assets.storage.s3_client import make_client

        return S3Store(bucket, prefix, make_client(), url.rstrip("/"))
    raise UsageError(f"{location_url(url)} is the URL of this folder; write that")


def folder_of(url: str) -> Path | None:
    """The folder behind a ``file://`` store; None for any other store.

    Raises:
        UsageError: it begins with ``file://`` and names no absolute path.
    """
    return parse_file_url(url) if url.startswith("file://") else None


def parse_s3_url(url: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes around it, may be empty) of an ``s3://`` URL, taken literally.

    Raises:
        UsageError: no bucket, an impossible prefix, or credentials inside the URL (which are not repeated).
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if "@" in bucket or ":" in bucket:
        raise UsageError(
            "an s3:// URL holds neither credentials nor a host; use s3://bucket/prefix and set "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL_S3"
        )
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{url!r} does not name a bucket; write it like s3://bucket/prefix")
    prefix = prefix.rstrip("/")
    return bucket, check_key(prefix) if prefix else ""
