"""The kinds of store that are known, and what each is known to support.

What a store enforces is tried (``bucket_examination``); a profile says what can be expected of it at all: which storage
classes its lifecycle knows, from which day, and what its API lacks. Sources: the vendors' documentation; Ceph 16.2 and
ministack 1.5 by trying.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from yolo_assets.storage.s3_client import is_aws

_CEPH_REQUEST = re.compile(r"tx[0-9a-f]{20,}-[0-9a-f]+-[0-9a-f]+-")

ProfileName = Literal["aws", "ceph", "minio", "oss", "folder", "generic"]


@dataclass(frozen=True)
class StoreProfile:
    """What a kind of store supports.

    Attributes:
        name: of the kind.
        object_lock: through the S3 API.
        encryption: a default encryption of the bucket can be set through the S3 API.
        policy: takes a bucket policy; ``basic``: only with conditions that Ceph 16.2 knows.
        lifecycle: expiry and abort rules through the S3 API.
        infrequent: storage class for the tier "infrequent"; None: the operator must name one that was set up.
        cold: storage class for the tier "cold", with instant access; None as above.
        infrequent_from: first day on which the store moves an object to its infrequent class.
        infrequent_for: days an object stays in it before it may go on.
        least_size: smaller objects are not worth moving, or not moved, in bytes.
        size_filter: rules may filter by size.
    """

    name: ProfileName
    object_lock: bool = True
    encryption: bool = True
    policy: Literal["full", "basic", "none"] = "full"
    lifecycle: bool = True
    infrequent: str | None = None
    cold: str | None = None
    infrequent_from: int = 0
    infrequent_for: int = 0
    least_size: int = 0
    size_filter: bool = False


AWS = StoreProfile(
    "aws",
    infrequent="STANDARD_IA",
    cold="GLACIER_IR",
    infrequent_from=30,
    infrequent_for=30,
    least_size=128 << 10,
    size_filter=True,
)
CEPH = StoreProfile("ceph", encryption=False, policy="basic")
MINIO = StoreProfile("minio")
# Aliyun's S3 API has neither object lock nor S3 policies nor lifecycle; its own API and console have.
OSS = StoreProfile("oss", object_lock=False, encryption=False, policy="none", lifecycle=False)
GENERIC = StoreProfile("generic", encryption=False, policy="basic")
FOLDER = StoreProfile("folder", object_lock=False, encryption=False, policy="none", lifecycle=False)
PROFILES: dict[ProfileName, StoreProfile] = {
    profile.name: profile for profile in (AWS, CEPH, MINIO, OSS, GENERIC, FOLDER)
}


def profile_of(endpoint: str | None, headers: Mapping[str, str] | None = None) -> StoreProfile:
    """The profile of a store.

    Args:
        endpoint: its URL; None is AWS.
        headers: of an answer, names in lower case. Ceph's gateway sends no ``Server`` but has request numbers of its
            own kind.
    """
    if endpoint is None or is_aws(endpoint):
        return AWS
    if (urlsplit(endpoint).hostname or "").endswith(".aliyuncs.com"):
        return OSS
    server = (headers or {}).get("server", "").lower()
    for word, profile in (("ceph", CEPH), ("minio", MINIO), ("aliyunoss", OSS), ("amazons3", AWS)):
        if word in server:
            return profile
    return CEPH if _CEPH_REQUEST.match((headers or {}).get("x-amz-request-id", "")) else GENERIC
