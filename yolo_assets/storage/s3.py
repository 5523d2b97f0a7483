"""The store on S3 and its relatives (MinIO, Ceph RGW, Aliyun OSS), through a boto3 client.

Belongs here: reading, listing and writing whole objects. Multipart is ``s3_uploads``, retention, legal hold and
versions ``s3_lock``, cold tiers ``s3_cold``. The client is made in ``s3_client``, errors become words in ``s3_errors``.
Does not belong here: retries, which are ``storage.retrying``.

What relatives do differently, measured on Ceph 16.2:

* In a bucket that keeps versions (an object-lock bucket always does) ``If-None-Match`` is ignored and ``If-Match``
  always fails. There a put-if-absent is only as exclusive as the HEAD before it: of writers racing for a key several
  may believe they won, all versions stay readable by their ids, and a compare-and-swap never succeeds. Pointers belong
  in a plain bucket.
* ``If-Match`` wants the etag without quotes; AWS takes it with them.
* The loser of a race for a conditional write may get a 500 that says ``UnknownError``, and Complete of an unknown
  upload a 500 as well: what is stored then tells which it was.
* Complete ignores ``If-None-Match`` and may return no etag; a HEAD before and after makes up for both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.base import (
    CasConflictError,
    ObjectChangedError,
    ObjectInfo,
    ObjectLock,
    ObjectNotFoundError,
    ObjectStream,
    Payload,
    StoreUnavailableError,
    unpaced,
)
from yolo_assets.storage.checks import check_range
from yolo_assets.storage.keys import check_prefix, key_problem
from yolo_assets.storage.s3_answers import bare_etag, body_of, content_md5, date_of, info_of, status_of, version_of
from yolo_assets.storage.s3_checksums import header_of, text_of
from yolo_assets.storage.s3_client import is_aws
from yolo_assets.storage.s3_cold import S3Cold
from yolo_assets.storage.s3_errors import error_code, http_status
from yolo_assets.storage.s3_lock import S3Lock
from yolo_assets.storage.s3_uploads import S3Uploads

_ABSENT = {"NoSuchKey", "NoSuchVersion"}


class S3Store(S3Uploads, S3Lock, S3Cold):
    """An ``ObjectStore`` under a prefix of a bucket, with its versions, locks and cold tiers.

    boto3 clients may be shared by threads, so may this.
    """

    @property
    def object_lock(self) -> ObjectLock:
        """The versions and locks of the bucket."""
        return self

    def _open(self, key: str, version_id: str | None, **more: str) -> Any:
        """The answer to a GET, body unread."""
        version = {"VersionId": version_id} if version_id is not None else {}
        try:
            return self._client.get_object(**self._at(key), **version, **more)
        except ClientError as error:
            # A version id that never was: AWS calls it malformed; that of a delete marker may not be read.
            odd_version = version_id is not None and (
                error_code(error) == "InvalidArgument" or http_status(error) == 405
            )
            if error_code(error) not in _ABSENT and not odd_version:
                raise
            what = f"{key} version {version_id}" if version_id is not None else key
            raise ObjectNotFoundError(f"there is no object {what} in {self._url}") from None

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        """The whole object."""
        with self._explained(key), closing(self._open(key, version_id)["Body"]) as body:
            return body.read()

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Bytes and their etag, from one answer."""
        with self._explained(key):
            answer = self._open(key, None)
            with closing(answer["Body"]) as body:
                return body.read(), info_of(key, answer)

    def get_range(self, key: str, start: int, length: int, *, version_id: str | None = None) -> bytes:
        """``length`` bytes from ``start`` in one request; fewer at the end."""
        check_range(start, length)
        with self._explained(key):
            # HTTP has no empty range: ask for one byte, so that a missing object is still noticed, and drop it.
            last = start + max(length, 1) - 1
            try:
                answer = self._open(key, version_id, Range=f"bytes={start}-{last}")
            except ClientError as error:
                if http_status(error) != 416:  # starts at or after the end
                    raise
                return b""
            with closing(answer["Body"]) as body:
                if status_of(answer) == 206:
                    return body.read()[:length]
        raise self._without_ranges()

    def stream(
        self,
        key: str,
        *,
        version_id: str | None = None,
        chunk_size: int = 1 << 20,
        start: int = 0,
        etag: str | None = None,
    ) -> ObjectStream:
        """The object in chunks; a missing one is reported by this call, not by the first chunk."""
        check_range(start, chunk_size)
        with self._explained(key):
            from_start = {"Range": f"bytes={start}-"} if start else {}
            try:
                answer = self._open(key, version_id, **from_start)
            except ClientError as error:
                if http_status(error) == 416:  # it is shorter than that
                    raise self._changed(key) from None
                raise
            info = info_of(key, answer)
        body = answer["Body"]
        if etag not in (None, info.etag):
            body.close()
            raise self._changed(key)
        if start and status_of(answer) != 206:
            body.close()
            raise self._without_ranges()

        def chunks() -> Iterator[bytes]:
            with closing(body):
                while True:
                    with self._explained(key):
                        chunk = body.read(chunk_size)
                    if not chunk:
                        return
                    yield chunk

        return ObjectStream(info, chunks())

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(f"{key} in {self._url} was replaced while it was read; read it again")

    def _without_ranges(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self._endpoint} ignores byte ranges; use a store that honours them", transient=False
        )

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in UTF-8 order, a thousand a request."""
        check_prefix(prefix)
        request = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
        if start_after:
            request["StartAfter"] = self._prefix + start_after
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(**request))
        while True:
            with self._explained(prefix):
                page = next(pages, None)
                found = [] if page is None else [self._listed(entry) for entry in page.get("Contents", ())]
            if page is None:
                return
            yield from (info for info in found if key_problem(info.key) is None)

    def _listed(self, entry: Mapping[str, Any]) -> ObjectInfo:
        moment, tier = entry["LastModified"].astimezone(UTC), entry.get("StorageClass")
        key = entry["Key"][len(self._prefix) :]
        return ObjectInfo(key, entry["Size"], bare_etag(entry["ETag"]), moment, storage_class=tier)

    def _put(self, key: str, data: Payload, md5: str | None = None, **conditions: str) -> ObjectInfo:
        crc = {"ChecksumCRC32": header_of(unpaced(data))} if self._checksums else {}
        sent = {"Body": body_of(data), "ContentMD5": content_md5(unpaced(data), md5)}
        answer = self._client.put_object(**self._at(key), **sent, **crc, **conditions)
        return ObjectInfo(
            key,
            len(data),
            bare_etag(answer["ETag"]),
            date_of(answer),
            version_of(answer),
            checksum_crc32=text_of(answer.get("ChecksumCRC32")),  # of one put, a checksum is always of all of it
        )

    def put(self, key: str, data: Payload) -> ObjectInfo:
        """Write, replacing what was there."""
        with self._explained(key):
            return self._put(key, data)

    def _put_if(
        self, key: str, data: Payload, expected: str | None, md5: str | None = None, **condition: str
    ) -> ObjectInfo | None:
        """Write under a condition; None when it does not hold. ``expected`` is the etag it asks for."""
        with self._explained(key):
            try:
                return self._put(key, data, md5, **condition)
            except ClientError as error:
                if http_status(error) == 412 or (expected is not None and error_code(error) in _ABSENT):
                    return None
                if http_status(error) != 409 and error_code(error) != "UnknownError":
                    raise
                # Another write was under way. Only somebody else's bytes prove that ours are not there and will not be.
                found = self.head(key)
                etag = None if found is None else found.etag
                if etag in (expected, hashlib.md5(unpaced(data), usedforsecurity=False).hexdigest()):
                    raise StoreUnavailableError(
                        f"{key} in {self._url} is being written by another; run again"
                    ) from error
                return None

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """Write unless the key is taken. The HEAD first is for stores that ignore the condition."""
        if self.head(key) is None and (info := self._put_if(key, data, None, md5, IfNoneMatch="*")):
            return info
        raise self._taken(key)

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """Replace the object whose etag is ``etag``; None means it must not exist."""
        if etag is None:
            info = None if self.head(key) else self._put_if(key, data, None, IfNoneMatch="*")
        else:
            info = self._put_if(key, data, etag, IfMatch=f'"{etag}"' if is_aws(self._endpoint) else etag)
        if info is None:
            raise CasConflictError(f"{key} in {self._url} was changed by another writer; read it again")
        return info

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""
        with self._explained(key):
            self._client.delete_object(**self._at(key))
