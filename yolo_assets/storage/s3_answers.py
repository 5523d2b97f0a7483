"""The interface's terms for boto3, and what boto3's answers hold in them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from yolo_assets.storage.base import ObjectInfo, PacedBytes, Payload
from yolo_assets.storage.body import Body
from yolo_assets.storage.s3_checksums import full_object_crc


def content_md5(data: bytes | memoryview, md5: str | None = None) -> str:
    """The ``Content-MD5`` header: the server refuses bytes that were damaged on the way. ``md5``: when it is known."""
    digest = hashlib.md5(data, usedforsecurity=False).digest() if md5 is None else bytes.fromhex(md5)
    return base64.b64encode(digest).decode()


def body_of(data: Payload) -> bytes | Body:
    """What boto3 takes as a body, handed out at the payload's pace."""
    if isinstance(data, PacedBytes):
        return Body(data.data, data.pace)
    return Body(data) if isinstance(data, memoryview) else data


def bare_etag(etag: str) -> str:
    """An etag as the interface has it."""
    return etag.strip('"')


def version_of(answer: Mapping[str, Any]) -> str | None:
    """The version id, None where the bucket keeps no versions."""
    version = answer.get("VersionId")
    return version if version not in (None, "", "null") else None


def status_of(answer: Mapping[str, Any]) -> int:
    """The HTTP status of an answer that is no error."""
    return answer["ResponseMetadata"]["HTTPStatusCode"]


def date_of(answer: Mapping[str, Any]) -> datetime:
    """The server's clock; a write does not return the object's own time, which is this to the second."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).astimezone(UTC)


def info_of(key: str, answer: Mapping[str, Any]) -> ObjectInfo:
    """What the answer to a GET or to a HEAD says about the object."""
    total = answer.get("ContentRange", "").rpartition("/")[2]  # of a GET of a range
    return ObjectInfo(
        key,
        int(total) if total else answer["ContentLength"],
        bare_etag(answer["ETag"]),
        answer["LastModified"].astimezone(UTC),
        version_of(answer),
        answer.get("StorageClass", "STANDARD"),  # S3 names every class but this
        full_object_crc(answer),
    )
