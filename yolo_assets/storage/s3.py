"""The store on S3 and its relatives (MinIO, Ceph RGW, Aliyun OSS), through a boto3 client.

Belongs here: reading, listing and writing whole objects, fetching them from cold tiers. Multipart is ``s3_uploads``,
retention, legal hold and versions ``s3_lock``. The client is made in ``s3_client``, errors become messages in
``s3_bucket``. Does not belong here: retries, which are ``storage.retrying``.

What relatives do differently, measured on Ceph 16.2:

* In a bucket that keeps versions (an object-lock bucket always does) ``If-None-Match`` is ignored and ``If-Match``
  always fails. There a put-if-absent is only as exclusive as the HEAD before it: of writers racing for a key several
  may believe they won, all versions stay readable by their ids, and a compare-and-swap never succeeds. Pointers belong
  in a plain bucket.
* ``If-Match`` wants the etag without quotes; AWS takes it with them.
* The loser of a race for a conditional write may get a 500 with the code ``UnknownError``, and Complete of an unknown
  upload a 500 as well: what is stored then shows which it was.
* Complete ignores ``If-None-Match`` and may return no etag; a HEAD before and after makes up for both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.base import (
    CasConflictError,
    ObjectChangedError,
    ObjectInfo,
    ObjectLock,
    ObjectStream,
    Payload,
    StoreUnavailableError,
    UploadedPart,
    unpaced,
)
from yolo_assets.storage.cold import RestoreState, Retrieval, check_request, check_retrieval
from yolo_assets.storage.keys import check_prefix, check_range, key_problem
from yolo_assets.storage.s3_bucket import (
    S3Bucket,
    bare_etag,
    body_of,
    content_md5,
    date_of,
    error_code,
    header_of,
    http_status,
    info_of,
    status_of,
    text_of,
    version_of,
)
from yolo_assets.storage.s3_client import is_aws
from yolo_assets.storage.s3_lock import S3Lock
from yolo_assets.storage.s3_uploads import S3Uploads

_ABSENT = {"NoSuchKey", "NoSuchVersion"}
_COLD_CLASSES = {"GLACIER", "DEEP_ARCHIVE"}
_EXPIRY = re.compile(r'expiry-date="([^"]*)"')


class S3Store:
    """An ``ObjectStore`` under a prefix of a bucket, with its versions, locks and cold tiers.

    boto3 clients may be shared by threads, so may this.
    """

    def __init__(self, bucket: str, prefix: str, client: Any, url: str) -> None:
        """Wrap a client; nothing is asked of the server.

        Args:
            bucket: its name.
            prefix: without slashes around it; may be empty.
            client: a boto3 S3 client, best made with ``s3_client.client_config``: with retries of its own a dead
                connection is noticed late, with its own checksums some relatives of S3 refuse every write. Paced bytes
                need a client of ``s3_client.make_client``.
            url: the root as a person wrote it.
        """
        self._bucket = S3Bucket(bucket, prefix, client, url)
        self._lock = S3Lock(self._bucket)
        self._uploads = S3Uploads(self._bucket)

    @property
    def url(self) -> str:
        """The root as a person wrote it."""
        return self._bucket.url

    @property
    def object_lock(self) -> ObjectLock:
        """The versions and locks of the bucket."""
        return self._lock

    def _open(self, key: str, version_id: str | None, **more: str) -> Any:
        """The answer to a GET, body unread."""
        try:
            return self._bucket.client.get_object(**self._bucket.at(key, version_id), **more)
        except ClientError as error:
            # A version id that never was: AWS calls it malformed; that of a delete marker may not be read.
            odd_version = version_id is not None and (
                error_code(error) == "InvalidArgument" or http_status(error) == 405
            )
            if error_code(error) not in _ABSENT and not odd_version:
                raise
            raise self._bucket.missing(key, version_id) from None

    def get(self, key: str, *, version_id: str | None = None) -> bytes:
        """The whole object."""
        with self._bucket.explained(key), closing(self._open(key, version_id)["Body"]) as body:
            return body.read()

    def get_with_info(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Bytes and their etag, from one answer."""
        with self._bucket.explained(key):
            answer = self._open(key, None)
            with closing(answer["Body"]) as body:
                return body.read(), info_of(key, answer)

    def get_range(self, key: str, start: int, length: int, *, version_id: str | None = None) -> bytes:
        """``length`` bytes from ``start`` in one request; fewer at the end."""
        check_range(start, length)
        with self._bucket.explained(key):
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
        with self._bucket.explained(key):
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
                    with self._bucket.explained(key):
                        chunk = body.read(chunk_size)
                    if not chunk:
                        return
                    yield chunk

        return ObjectStream(info, chunks())

    def _changed(self, key: str) -> ObjectChangedError:
        return ObjectChangedError(f"{key} in {self._bucket.url} was replaced while it was read; read it again")

    def _without_ranges(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{self._bucket.endpoint} ignores byte ranges; use a store that honours them", transient=False
        )

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """Information, or None when there is no such object or version."""
        return self._bucket.head(key, version_id=version_id)

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, in UTF-8 order, a thousand a request."""
        check_prefix(prefix)
        request = {"Bucket": self._bucket.name, "Prefix": self._bucket.prefix + prefix}
        if start_after:
            request["StartAfter"] = self._bucket.prefix + start_after
        pages = iter(self._bucket.client.get_paginator("list_objects_v2").paginate(**request))
        while True:
            with self._bucket.explained(prefix):
                page = next(pages, None)
                found = [] if page is None else [self._listed(entry) for entry in page.get("Contents", ())]
            if page is None:
                return
            yield from (info for info in found if key_problem(info.key) is None)

    def _listed(self, entry: Mapping[str, Any]) -> ObjectInfo:
        moment, tier = entry["LastModified"].astimezone(UTC), entry.get("StorageClass")
        key = entry["Key"][len(self._bucket.prefix) :]
        return ObjectInfo(key, entry["Size"], bare_etag(entry["ETag"]), moment, storage_class=tier)

    def _put(self, key: str, data: Payload, md5: str | None = None, **conditions: str) -> ObjectInfo:
        crc = {"ChecksumCRC32": header_of(unpaced(data))} if self._bucket.checksums else {}
        sent = {"Body": body_of(data), "ContentMD5": content_md5(unpaced(data), md5)}
        answer = self._bucket.client.put_object(**self._bucket.at(key), **sent, **crc, **conditions)
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
        with self._bucket.explained(key):
            return self._put(key, data)

    def _put_if(
        self, key: str, data: Payload, expected: str | None, md5: str | None = None, **condition: str
    ) -> ObjectInfo | None:
        """Write under a condition; None when it does not hold. ``expected`` is the etag it asks for."""
        with self._bucket.explained(key):
            try:
                return self._put(key, data, md5, **condition)
            except ClientError as error:
                if http_status(error) == 412 or (expected is not None and error_code(error) in _ABSENT):
                    return None
                if http_status(error) != 409 and error_code(error) != "UnknownError":
                    raise
                # Another write was under way. Only other bytes than ours prove that ours are not there and will not be.
                stored = self._bucket.head(key)
                etag = None if stored is None else stored.etag
                if etag in (expected, hashlib.md5(unpaced(data), usedforsecurity=False).hexdigest()):
                    raise StoreUnavailableError(
                        f"{key} in {self._bucket.url} is being written by another writer; run again"
                    ) from error
                return None

    def put_if_absent(self, key: str, data: Payload, *, md5: str | None = None) -> ObjectInfo:
        """Write unless the key is taken. The HEAD first is for stores that ignore the condition."""
        if self._bucket.head(key) is None and (info := self._put_if(key, data, None, md5, IfNoneMatch="*")):
            return info
        raise self._bucket.taken(key)

    def compare_and_swap(self, key: str, data: Payload, etag: str | None) -> ObjectInfo:
        """Replace the object whose etag is ``etag``; None means it must not exist."""
        if etag is None:
            info = None if self._bucket.head(key) else self._put_if(key, data, None, IfNoneMatch="*")
        else:
            info = self._put_if(key, data, etag, IfMatch=f'"{etag}"' if is_aws(self._bucket.endpoint) else etag)
        if info is None:
            raise CasConflictError(f"{key} in {self._bucket.url} was changed by another writer; read it again")
        return info

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""
        with self._bucket.explained(key):
            self._bucket.client.delete_object(**self._bucket.at(key))

    def create_upload(self, key: str) -> str:
        """Begin a multipart upload, with a CRC-32 of the whole object where the store keeps one."""
        return self._uploads.create(key)

    def upload_part(
        self, key: str, upload_id: str, number: int, data: Payload, *, digest: str | None = None
    ) -> UploadedPart:
        """Send part ``number``; all but the last at least 5 MiB. What names it is the store's own etag."""
        return self._uploads.send_part(key, upload_id, number, data)

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts the store holds, by number."""
        return self._uploads.list_parts(key, upload_id)

    def complete_upload(
        self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None
    ) -> ObjectInfo:
        """Join the parts under ``key`` unless the key is taken."""
        return self._uploads.complete(key, upload_id, parts, crc32)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload; an unknown one is no error."""
        self._uploads.abort(key, upload_id)

    def restore_state(self, key: str, version_id: str | None) -> RestoreState:
        """Whether an object can be read now, by one HEAD."""
        answer = self._bucket.head_answer(key, version_id)
        if answer is None:
            raise self._bucket.missing(key, version_id)
        return _state_of(answer)

    def request_restore(
        self, key: str, version_id: str | None, *, days: int, retrieval: Retrieval = "standard"
    ) -> RestoreState:
        """Ask for an object in a cold tier; does nothing for one that can be read or is on its way."""
        check_request(days, retrieval)
        state = self.restore_state(key, version_id)
        if state.status in ("available", "requested"):
            return state
        check_retrieval(key, state.tier, retrieval)
        order: dict[str, Any] = {"GlacierJobParameters": {"Tier": retrieval.capitalize()}}
        if state.tier in _COLD_CLASSES:  # within INTELLIGENT_TIERING the object itself moves, and days are refused
            order["Days"] = days
        with self._bucket.explained(key):
            try:
                answer = self._bucket.client.restore_object(**self._bucket.at(key, version_id), RestoreRequest=order)
            except ClientError as error:
                if error_code(error) == "RestoreAlreadyInProgress":
                    return RestoreState("requested", state.tier)
                if error_code(error) == "ObjectAlreadyInActiveTierError":
                    return RestoreState("available", state.tier)
                raise
        if status_of(answer) == 200:  # it was readable; only the end of that has moved
            return self.restore_state(key, version_id)
        return RestoreState("requested", state.tier)


def _state_of(answer: Any) -> RestoreState:
    """What the answer to a HEAD means for reading the object."""
    storage_class = answer.get("StorageClass")
    tier = answer.get("ArchiveStatus") or storage_class
    restore = answer.get("Restore") or ""
    if 'ongoing-request="true"' in restore:
        return RestoreState("requested", tier)
    if 'ongoing-request="false"' in restore:
        return RestoreState("restored", tier, _expiry_of(restore))
    cold = storage_class in _COLD_CLASSES or answer.get("ArchiveStatus") is not None
    return RestoreState("cold" if cold else "available", tier)


def _expiry_of(restore: str) -> datetime | None:
    found = _EXPIRY.search(restore)
    try:
        return parsedate_to_datetime(found[1]).astimezone(UTC) if found else None
    except ValueError:
        return None
