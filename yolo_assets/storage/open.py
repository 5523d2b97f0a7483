"""From a store's URL to the store. The only place that knows which kinds there are."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

from yolo_assets.contracts.errors import UsageError
from yolo_assets.storage.base import ObjectStore
from yolo_assets.storage.body import Pace
from yolo_assets.storage.folder import FolderStore
from yolo_assets.storage.keys import check_key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


def open_store(url: str, *, pace: Pace | None = None) -> ObjectStore:
    """Open the store that a URL names.

    A folder is created when its parent exists. S3 is not contacted here: a machine without network can open its store
    and learns about the network from the first call.

    Args:
        url: ``file:///absolute/path`` (special characters percent-encoded) or ``s3://bucket/prefix``. Credentials,
            region and endpoint of S3 come from the standard AWS environment variables and files alone.
        pace: waits until so many bytes may be written; default: no limit.

    Raises:
        UsageError: not such a URL.
        StoreUnavailableError: the folder cannot be opened or created.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "file":
        return FolderStore(parse_file_url(url), url, pace)
    if separator and scheme == "s3":
        bucket, prefix = parse_s3_url(url)
        # boto3 takes a third of a second to import: whoever works on folders does not pay for it.
        from yolo_assets.storage.s3 import S3Store
        from yolo_assets.storage.s3_client import make_client

        return S3Store(bucket, prefix, make_client(), url.rstrip("/"), pace)
    hint = "" if separator else f"; for a folder write {Path(rest or url).absolute().as_uri()}"
    shown = f"{scheme}://…" if separator else repr(url)
    raise UsageError(f"{shown} is not a store; use file:///absolute/path or s3://bucket/prefix{hint}")


def parse_file_url(url: str) -> Path:
    """The absolute path that a ``file://`` URL names.

    Raises:
        UsageError: relative, on another host, or with an unencoded ``?`` or ``#`` that would silently cut it.
    """
    host, slash, encoded = url.removeprefix("file://").partition("/")
    if not slash or host not in ("", "localhost"):
        raise UsageError(f"{url!r} does not name an absolute path; write it like file:///srv/archive")
    if "?" in encoded or "#" in encoded:
        raise UsageError(f"{url!r} holds '?' or '#'; write them as %3F and %23")
    try:
        path = unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{url!r} is not UTF-8 after percent-decoding") from None
    if "\0" in path or ".." in path.split("/"):
        raise UsageError(f"{url!r} holds '..' or NUL; write the path in full")
    return Path("/" + path)


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
