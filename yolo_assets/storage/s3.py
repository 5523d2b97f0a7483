"""The store on S3 and its relatives (MinIO, Ceph RGW, Aliyun OSS), through a boto3 client.

Belongs here: the interface over single S3 requests. The client is made in ``s3_client``, errors become words in
``s3_errors``. Does not belong here: retries, which are the caller's.

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
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.base import (
    AlreadyExistsError,
    CasConflictError,
    ObjectInfo,
    ObjectNotFoundError,
    StoreUnavailableError,
    UploadedPart,
    UploadGoneError,
)
from yolo_assets.storage.checks import check_part_number, check_parts, check_range
from yolo_assets.storage.keys import check_prefix, key_problem
from yolo_assets.storage.s3_answers import bare_etag, content_md5, date_of, info_of, status_of, version_of
from yolo_assets.storage.s3_client import is_aws
from yolo_assets.storage.s3_errors import error_code, http_status
from yolo_assets.storage.s3_location import S3Location

_ABSENT = {"NoSuchKey", "NoSuchVersion"}
# Ceph answers NoSuchKey to ListParts of an upload it does not know; InvalidPart: it lost a part or holds other bytes.
_UPLOAD_GONE = {"NoSuchUpload", "NoSuchKey", "InvalidPart"}


class S3Store(S3Location):
    """An ``ObjectStore`` under a prefix of a bucket. boto3 clients may be shared by threads, so may this."""

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
        raise StoreUnavailableError(
            f"{self._endpoint} ignores byte ranges; use a store that honours them", transient=False
        )

    def stream(self, key: str, *, version_id: str | None = None, chunk_size: int = 1 << 20) -> Iterator[bytes]:
        """The object in chunks; a missing one is reported by this call, not by the first chunk."""
        with self._explained(key):
            body = self._open(key, version_id)["Body"]

        def chunks() -> Iterator[bytes]:
            with closing(body):
                while True:
                    with self._explained(key):
                        chunk = body.read(chunk_size)
                    if not chunk:
                        return
                    yield chunk

        return chunks()

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
            if page is None:
                return
            for entry in page.get("Contents", ()):
                key = entry["Key"][len(self._prefix) :]
                if key_problem(key) is None:
                    yield ObjectInfo(
                        key, entry["Size"], bare_etag(entry["ETag"]), entry["LastModified"].astimezone(UTC)
                    )

    def _put(self, key: str, data: bytes, **conditions: str) -> ObjectInfo:
        answer = self._client.put_object(**self._at(key), Body=data, ContentMD5=content_md5(data), **conditions)
        return ObjectInfo(key, len(data), bare_etag(answer["ETag"]), date_of(answer), version_of(answer))

    def put(self, key: str, data: bytes) -> ObjectInfo:
        """Write, replacing what was there."""
        with self._explained(key):
            return self._put(key, data)

    def _put_if(self, key: str, data: bytes, expected: str | None, **condition: str) -> ObjectInfo | None:
        """Write under a condition; None when it does not hold. ``expected`` is the etag it asks for."""
        with self._explained(key):
            try:
                return self._put(key, data, **condition)
            except ClientError as error:
                if http_status(error) == 412 or (expected is not None and error_code(error) in _ABSENT):
                    return None
                if http_status(error) != 409 and error_code(error) != "UnknownError":
                    raise
                # Another write was under way. Only somebody else's bytes prove that ours are not there and will not be.
                found = self.head(key)
                etag = None if found is None else found.etag
                if etag in (expected, hashlib.md5(data, usedforsecurity=False).hexdigest()):
                    raise StoreUnavailableError(
                        f"{key} in {self._url} is being written by another; run again"
                    ) from error
                return None

    def put_if_absent(self, key: str, data: bytes) -> ObjectInfo:
        """Write unless the key is taken. The HEAD first is for stores that ignore the condition."""
        if self.head(key) is None and (info := self._put_if(key, data, None, IfNoneMatch="*")):
            return info
        raise self._taken(key)

    def compare_and_swap(self, key: str, data: bytes, etag: str | None) -> ObjectInfo:
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

    def create_upload(self, key: str) -> str:
        """Begin a multipart upload."""
        with self._explained(key):
            return self._client.create_multipart_upload(**self._at(key))["UploadId"]

    def upload_part(self, key: str, upload_id: str, number: int, data: bytes) -> UploadedPart:
        """Send part ``number``; all but the last at least 5 MiB."""
        check_part_number(key, number)
        with self._explained(key), self._upload_gone(key, upload_id):
            answer = self._client.upload_part(
                **self._at(key), UploadId=upload_id, PartNumber=number, Body=data, ContentMD5=content_md5(data)
            )
            return UploadedPart(number, len(data), bare_etag(answer["ETag"]))

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts the store holds, by number."""
        with self._explained(key), self._upload_gone(key, upload_id):
            pages = self._client.get_paginator("list_parts").paginate(**self._at(key), UploadId=upload_id)
            parts = [
                UploadedPart(part["PartNumber"], part["Size"], bare_etag(part["ETag"]))
                for page in pages
                for part in page.get("Parts", ())
            ]
        return sorted(parts, key=lambda part: part.number)

    def complete_upload(self, key: str, upload_id: str, parts: Sequence[UploadedPart]) -> ObjectInfo:
        """Join the parts under ``key`` unless the key is taken."""
        if self.head(key) is not None:
            raise self._taken(key)
        check_parts(key, parts)
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        with self._explained(key):
            try:
                # botocore turns a 200 with an error in its body into the ClientError it should have been.
                self._client.complete_multipart_upload(
                    **self._at(key), UploadId=upload_id, MultipartUpload={"Parts": listed}, IfNoneMatch="*"
                )
            except ClientError as error:
                if http_status(error) == 412 or self.head(key) is not None:
                    raise self._taken(key) from None
                if http_status(error) == 409 or error_code(error) in _UPLOAD_GONE:
                    raise self._gone(key, upload_id) from None  # 409: AWS wants the whole upload again
                if http_status(error) == 500:
                    self.list_parts(key, upload_id)  # says whether the upload is unknown
                raise
        info = self.head(key)
        if info is None:
            raise StoreUnavailableError(f"{self._endpoint} joined {key} but does not show it yet; run again")
        return info

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an upload; an unknown one is no error."""
        with self._explained(key):
            try:
                self._client.abort_multipart_upload(**self._at(key), UploadId=upload_id)
            except ClientError as error:
                if error_code(error) not in _UPLOAD_GONE:
                    raise

    @contextmanager
    def _upload_gone(self, key: str, upload_id: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if error_code(error) in _UPLOAD_GONE:
                raise self._gone(key, upload_id) from None
            raise

    def _gone(self, key: str, upload_id: str) -> UploadGoneError:
        return UploadGoneError(
            f"the upload {upload_id} of {key} is unknown to {self._url} or incomplete; start it again"
        )

    def _taken(self, key: str) -> AlreadyExistsError:
        return AlreadyExistsError(f"{key} already exists in {self._url} and is left as it is")
