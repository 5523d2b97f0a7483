"""Tries what an S3 bucket really enforces, with small objects of its own that it removes again where it may.

Belongs here: which questions, in which order, and what a refusal to answer means. The questions are ``s3_transfer`` and
``s3_keeping``; what the answers mean together is ``findings.unsafe``.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from yolo_assets.storage.admin import s3_keeping, s3_transfer
from yolo_assets.storage.admin.findings import Examined, Role
from yolo_assets.storage.admin.s3_asking import Asking
from yolo_assets.storage.s3_bucket import error_code, refused, unreachable

_FIRST = ("put, head, get, list", "resumable multipart upload")


def probe_s3(client: Any, bucket: str, prefix: str, role: Role, url: str) -> Examined:
    """Ask everything.

    Args:
        client: of ``s3_client.make_client``.
        bucket: its name.
        prefix: of the root, without slashes around it; may be empty.
        role: what the root is used for.
        url: as a person wrote it.

    Raises:
        UserError: the bucket cannot be reached at all, in words.
    """
    asking = Asking(client, bucket, prefix, role, url)
    try:
        s3_transfer.reach(asking)
    except ClientError as error:
        raise refused(error, url=url, bucket=bucket, endpoint=asking.endpoint, key="the bucket") from None
    except BotoCoreError as error:
        raise unreachable(error, endpoint=asking.endpoint) from None
    archive = role == "archive"
    for question, ask in (  # they build on each other
        (_FIRST[0], s3_transfer.round_trip),
        (_FIRST[1], s3_transfer.multipart),
        ("wrong Content-MD5", s3_transfer.wrong_digest),
        ("wrong x-amz-checksum-crc32", s3_transfer.wrong_checksum),
        ("versioning", s3_keeping.versioning),
        ("put-if-absent on a taken key", s3_transfer.conditional_put),
        ("overwrite", s3_keeping.overwrite) if archive else ("compare-and-swap", s3_transfer.swap),
        ("object lock", s3_keeping.object_lock),
        *([("retention", s3_keeping.retention)] if archive else []),
        ("deletion", s3_keeping.deletion),
        ("encryption at rest", s3_keeping.encryption),
        ("abandoned uploads", s3_keeping.abandoned),
    ):
        try:
            ask(asking)
        except (ClientError, BotoCoreError) as error:
            code = error_code(error) if isinstance(error, ClientError) else type(error).__name__
            needed = question != "encryption at rest" and (role == "store" or question in _FIRST)
            asking.found(question, f"refused: {code}", "unsafe" if needed else "note")
    asking.clean_up()
    return asking.examined
