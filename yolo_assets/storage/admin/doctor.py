"""Examines the archive root and the store root, and judges them together."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_assets.storage.admin.findings import Examined, Finding, Role, unsafe
from yolo_assets.storage.admin.probe_folder import examine_folder
from yolo_assets.storage.open import parse_file_url, parse_s3_url


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        roots: the archive root, then the store root when it was asked for.
        unsafe: combinations in which something would be lost; empty means that these roots can be used.
    """

    roots: tuple[Examined, ...]
    unsafe: tuple[Finding, ...]


def examine(archive_url: str, store_url: str | None, retention_days: int) -> Examination:
    """Try what the roots enforce.

    Args:
        archive_url: of the archive root.
        store_url: of the store root; None: not examined.
        retention_days: what the operator asks for; 0: nothing.

    Raises:
        UserError: a root cannot be reached.
    """
    archive = _examine(archive_url, "archive")
    store = None if store_url is None else _examine(store_url, "store")
    wrong = unsafe(archive.facts, None if store is None else store.facts, retention_days)
    return Examination((archive,) if store is None else (archive, store), tuple(wrong))


def _examine(url: str, role: Role) -> Examined:
    if url.startswith("s3://"):
        # boto3 takes a third of a second to import: whoever works on folders does not pay for it.
        from yolo_assets.storage.admin.probe_s3 import probe_s3
        from yolo_assets.storage.s3_client import make_client

        bucket, prefix = parse_s3_url(url)
        return probe_s3(make_client(), bucket, prefix, role, url)
    return examine_folder(parse_file_url(url), role, url)
