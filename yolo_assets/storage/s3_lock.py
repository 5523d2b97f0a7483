"""Retention, legal hold and versions of S3: single requests. What is made of them is ``archive.retention``.

How stores report that nothing is set, measured: AWS and ministack ``NoSuchObjectLockConfiguration``, Ceph 16.2
``ObjectLockConfigurationNotFoundError``. A bucket without object lock is ``InvalidRequest`` for all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.base import NoObjectLockError, ObjectInfo, Retention
from yolo_assets.storage.keys import check_prefix, key_problem
from yolo_assets.storage.s3_bucket import S3Bucket, bare_etag, error_code, http_status

_NOT_SET = {"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"}
_ABSENT = {"NoSuchKey", "NoSuchVersion"}
_NO_LOCK = {"InvalidRequest", "NotImplemented", "MethodNotAllowed", "InvalidBucketState"}


class S3Lock:
    """The ``ObjectLock`` of a bucket."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket

    def get_retention(self, key: str, version_id: str | None) -> Retention | None:
        """The retention of one version."""
        with self._asking_lock(key, version_id):
            try:
                found = self._bucket.client.get_object_retention(**self._bucket.at(key, version_id)).get(
                    "Retention", {}
                )
            except ClientError as error:
                if error_code(error) in _NOT_SET:
                    return None
                raise
        if "RetainUntilDate" not in found:
            return None
        mode = "compliance" if found.get("Mode") == "COMPLIANCE" else "governance"
        return Retention(found["RetainUntilDate"].astimezone(UTC), mode)

    def set_retention(self, key: str, version_id: str | None, retention: Retention) -> None:
        """Ask for a retention, its end rounded up to the second."""
        until = retention.until.astimezone(UTC)
        whole = until if not until.microsecond else until.replace(microsecond=0) + timedelta(seconds=1)
        terms = {"Mode": retention.mode.upper(), "RetainUntilDate": whole}
        with self._asking_lock(key, version_id):
            self._bucket.client.put_object_retention(**self._bucket.at(key, version_id), Retention=terms)

    def get_legal_hold(self, key: str, version_id: str | None) -> bool:
        """Whether one version is held."""
        with self._asking_lock(key, version_id):
            try:
                answer = self._bucket.client.get_object_legal_hold(**self._bucket.at(key, version_id))
            except ClientError as error:
                if error_code(error) in _NOT_SET:
                    return False
                raise
        return answer.get("LegalHold", {}).get("Status") == "ON"

    def set_legal_hold(self, key: str, version_id: str | None, on: bool) -> None:
        """Hold one version, or release it."""
        status = {"Status": "ON" if on else "OFF"}
        with self._asking_lock(key, version_id):
            self._bucket.client.put_object_legal_hold(**self._bucket.at(key, version_id), LegalHold=status)

    def versions(self, key: str) -> list[ObjectInfo]:
        """Every version and delete marker of one key, newest first."""
        found: list[tuple[bool, ObjectInfo]] = []
        for page in self._version_pages(key, self._bucket.at(key)["Key"]):
            listed = self._entries(page)
            found += [(latest, info) for latest, info in listed if info.key == key]
            if any(info.key != key for _, info in listed):
                break  # the listing has come to longer keys that begin like ours
        # boto3 gives versions and markers apart, each newest first; within one second the order between the two is
        # lost, and a marker is then taken to lie over the version: that is reported, the reverse would be silent.
        found.sort(key=lambda entry: (not entry[0], -entry[1].modified_at.timestamp(), not entry[1].deleted))
        return [info for _, info in found]

    def hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """The delete markers that hide a key with ``prefix``."""
        check_prefix(prefix)
        for page in self._version_pages(prefix, self._bucket.prefix + prefix):
            for latest, info in self._entries(page):
                if latest and info.deleted and key_problem(info.key) is None:
                    yield info

    def _version_pages(self, key: str, prefix: str) -> Iterator[Any]:
        pages = iter(
            self._bucket.client.get_paginator("list_object_versions").paginate(Bucket=self._bucket.name, Prefix=prefix)
        )
        while True:
            with self._bucket.explained(key):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _entries(self, page: Any) -> list[tuple[bool, ObjectInfo]]:
        """What a page of versions lists: whether it is the newest of its key, and what is known about it."""
        return [
            (
                entry.get("IsLatest", False),
                ObjectInfo(
                    entry["Key"][len(self._bucket.prefix) :],
                    entry.get("Size", 0),
                    bare_etag(entry.get("ETag", "")),
                    entry["LastModified"].astimezone(UTC),
                    entry["VersionId"],
                    storage_class=entry.get("StorageClass"),
                    deleted=deleted,
                ),
            )
            for kind, deleted in (("Versions", False), ("DeleteMarkers", True))
            for entry in page.get(kind, ())
        ]

    @contextmanager
    def _asking_lock(self, key: str, version_id: str | None) -> Iterator[None]:
        with self._bucket.explained(key):
            try:
                yield
            except ClientError as error:
                code = error_code(error)
                if code in _NO_LOCK or http_status(error) == 501:
                    raise NoObjectLockError(
                        f"the bucket of {self._bucket.url} has no object lock; only a bucket made with object lock can "
                        "keep objects unalterable (yolo-assets storage init makes one)"
                    ) from None
                # An id that never was is malformed for AWS. A date in the past has that code too, but is set, not got.
                odd_version = version_id is not None and code == "InvalidArgument" and "Get" in error.operation_name
                if code in _ABSENT or odd_version:
                    raise self._bucket.missing(key, version_id) from None
                raise
