"""Multipart uploads to S3: single requests, each part with one checksum that the store refuses it by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from yolo_assets.storage.base import (
    ObjectInfo,
    Payload,
    StoreUnavailableError,
    UploadedPart,
    UploadGoneError,
    unpaced,
)
from yolo_assets.storage.keys import check_part_number, check_parts
from yolo_assets.storage.s3_bucket import (
    S3Bucket,
    UploadChecksum,
    bare_etag,
    body_of,
    content_md5,
    crc_header,
    error_code,
    header_from,
    header_of,
    http_status,
    text_of,
    upload_checksum,
)

# Ceph answers NoSuchKey to ListParts of an upload it does not know; InvalidPart: it lost a part or holds other bytes.
# BadDigest comes to Complete when the parts, each right, do not make the object that was meant.
_UPLOAD_GONE = {"NoSuchUpload", "NoSuchKey", "InvalidPart"}
_WRONG_WHOLE = {"BadDigest", "XAmzContentChecksumMismatch"}


class S3Uploads:
    """The unfinished uploads of a bucket; methods as in ``ObjectStore``."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        self._upload_checksums: dict[str, UploadChecksum] = {}

    def create(self, key: str) -> str:
        """Begin a multipart upload, with a CRC-32 of the whole object where the store keeps one."""
        crc = {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"} if self._bucket.checksums else {}
        with self._bucket.explained(key):
            answer = self._bucket.client.create_multipart_upload(**self._bucket.at(key), **crc)
        self._upload_checksums[answer["UploadId"]] = upload_checksum(answer)
        return answer["UploadId"]

    def _checksum_of(self, key: str, upload_id: str) -> UploadChecksum:
        """What the upload keeps. One begun by another process, perhaps without checksums, is asked for once."""
        if not self._bucket.checksums:
            return "none"
        if upload_id not in self._upload_checksums:
            self.list_parts(key, upload_id)
        return self._upload_checksums.get(upload_id, "none")

    def send_part(self, key: str, upload_id: str, number: int, data: Payload) -> UploadedPart:
        """Send part ``number``; all but the last at least 5 MiB.

        One thing that the store checks goes with it, the cheapest that it has: the CRC-32 of an upload that keeps one;
        else the SHA-256 that the request is signed with; an MD5 where a store's own documents promise no more.
        """
        check_part_number(key, number)
        sent: dict[str, Any] = {"Body": body_of(data)}
        # AWS refuses a part whose checksum the upload was not created for.
        if self._checksum_of(key, upload_id) != "none":
            sent["ChecksumCRC32"] = header_of(unpaced(data))
        elif not self._bucket.checks_signed_bodies:
            sent["ContentMD5"] = content_md5(unpaced(data))
        with self._bucket.explained(key), self._upload_gone(key, upload_id):
            answer = self._bucket.client.upload_part(
                **self._bucket.at(key), UploadId=upload_id, PartNumber=number, **sent
            )
            return _part(number, len(data), answer)

    def list_parts(self, key: str, upload_id: str) -> list[UploadedPart]:
        """The parts the store holds, by number."""
        parts: list[UploadedPart] = []
        kept: UploadChecksum = "none"
        with self._bucket.explained(key), self._upload_gone(key, upload_id):
            for page in self._bucket.client.get_paginator("list_parts").paginate(
                **self._bucket.at(key), UploadId=upload_id
            ):
                parts += [_part(part["PartNumber"], part["Size"], part) for part in page.get("Parts", ())]
                kept = upload_checksum(page) if kept == "none" else kept
        self._upload_checksums[upload_id] = kept
        return sorted(parts, key=lambda part: part.number)

    def complete(self, key: str, upload_id: str, parts: Sequence[UploadedPart], crc32: int | None = None) -> ObjectInfo:
        """Join the parts under ``key`` unless the key is taken."""
        if self._bucket.head(key) is not None:
            raise self._bucket.taken(key)
        check_parts(key, parts)
        whole = {}
        if crc32 is not None and self._checksum_of(key, upload_id) == "full":
            whole = {"ChecksumCRC32": crc_header(crc32), "ChecksumType": "FULL_OBJECT"}
        with self._bucket.explained(key):
            try:
                # botocore turns a 200 with an error in its body into the ClientError it should have been.
                self._bucket.client.complete_multipart_upload(
                    **self._bucket.at(key),
                    UploadId=upload_id,
                    MultipartUpload={"Parts": [_listed(part) for part in parts]},
                    IfNoneMatch="*",
                    **whole,
                )
            except ClientError as error:
                if http_status(error) == 412 or self._bucket.head(key) is not None:
                    raise self._bucket.taken(key) from None
                if http_status(error) == 409 or error_code(error) in _UPLOAD_GONE | _WRONG_WHOLE:
                    raise self._gone(key, upload_id) from None  # 409: AWS wants the whole upload again
                if http_status(error) == 500:
                    self.list_parts(key, upload_id)  # raises when the upload is unknown
                raise
        self._upload_checksums.pop(upload_id, None)
        info = self._bucket.head(key)
        if info is None:
            raise StoreUnavailableError(f"{self._bucket.endpoint} joined {key} but does not show it yet; run again")
        return info

    def abort(self, key: str, upload_id: str) -> None:
        """Forget an upload; an unknown one is no error."""
        self._upload_checksums.pop(upload_id, None)
        with self._bucket.explained(key):
            try:
                self._bucket.client.abort_multipart_upload(**self._bucket.at(key), UploadId=upload_id)
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
        self._upload_checksums.pop(upload_id, None)
        return UploadGoneError(
            f"the upload {upload_id} of {key} is unknown to {self._bucket.url} or incomplete; start it again"
        )


def _part(number: int, size: int, answer: Any) -> UploadedPart:
    return UploadedPart(number, size, bare_etag(answer["ETag"]), text_of(answer.get("ChecksumCRC32")))


def _listed(part: UploadedPart) -> dict[str, Any]:
    """A part as Complete names it; AWS wants the checksum of one that has it."""
    named: dict[str, Any] = {"PartNumber": part.number, "ETag": f'"{part.etag}"'}
    if part.checksum_crc32 is not None:
        named["ChecksumCRC32"] = header_from(part.checksum_crc32)
    return named
