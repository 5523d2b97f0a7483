"""A prefix of an S3 bucket as all requests see it: where keys lie, answers in our terms, errors as messages.

Belongs here: what reading, uploads and locks share. CRC-32 travels as S3 carries it: a store takes these checksums when
the client's ``request_checksum_calculation`` is ``when_supported``, which ``s3_client`` decides. What a store makes of
an upload's checksums is in its answer to Create and to ListParts; nothing is assumed: Ceph 16.2 ignores them,
ministack 1.5 has no full-object CRC of a multipart object.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from isal import isal_zlib

from yolo_assets.contracts.errors import BadInputError, UserError
from yolo_assets.storage.base import (
    AlreadyExistsError,
    ColdObjectError,
    ObjectInfo,
    ObjectNotFoundError,
    PacedBytes,
    Payload,
    StoreUnavailableError,
)
from yolo_assets.storage.keys import check_key
from yolo_assets.storage.s3_client import Body, is_aliyun

_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody"}
_REFUSED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"}
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "ExpiredTokenException"}
_REGION = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_FULL = {"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "507"}

UploadChecksum = Literal["none", "composite", "full"]
"""What an upload keeps: nothing; a CRC a part, joined into one that no reader can compute; or the object's own."""


class S3Bucket:
    """A prefix in a bucket, and the client that reaches it.

    Attributes:
        name: of the bucket.
        prefix: of every key; empty or ends with a slash.
        client: of boto3; may be shared by threads.
        url: the root as a person wrote it.
        endpoint: of the service.
        checksums: whether it takes ``x-amz-checksum-*``: see ``s3_client.client_config``.
        checks_signed_bodies: whether it refuses bytes that are not those that the request was signed with, which the
            signature of AWS, version 4, asks for and every plain S3 does. Aliyun's documents do not say so.
    """

    def __init__(self, bucket: str, prefix: str, client: Any, url: str) -> None:
        """Wrap a client; nothing is asked of the server.

        Args:
            bucket: its name.
            prefix: without slashes around it; may be empty.
            client: a boto3 S3 client, best made with ``s3_client.client_config``: with retries of its own a dead
                line is noticed late, with its own checksums some relatives of S3 refuse every write.
            url: the root as a person wrote it.
        """
        self.name = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = client
        self.url = url
        self.endpoint: str = client.meta.endpoint_url
        self.checksums: bool = client.meta.config.request_checksum_calculation == "when_supported"
        self.checks_signed_bodies = not is_aliyun(self.endpoint)
        self._bucket_seen = False

    def at(self, key: str, version_id: str | None = None) -> dict[str, str]:
        """The object, as every request names it."""
        version = {} if version_id is None else {"VersionId": version_id}
        return {"Bucket": self.name, "Key": self.prefix + check_key(key)} | version

    @contextmanager
    def explained(self, key: str) -> Iterator[None]:
        """Turn what boto3 raises, and no method expected, into one line that tells what to do."""
        try:
            yield
        except boto.ClientError as error:
            raise refused(error, url=self.url, bucket=self.name, endpoint=self.endpoint, key=key) from error
        except (boto.BotoCoreError, ResponseParserError) as error:
            raise unreachable(error, endpoint=self.endpoint) from error
        except (KeyError, ValueError) as error:  # from botocore, or a field that is missing
            raise StoreUnavailableError(
                f"an answer of {self.endpoint} about {key or self.url} was damaged on the way; run again"
            ) from error
        self._bucket_seen = True

    def head(self, key: str, *, version_id: str | None = None) -> ObjectInfo | None:
        """Information, or None when there is no such object or version."""
        answer = self.head_answer(key, version_id)
        return None if answer is None else info_of(key, answer)

    def head_answer(self, key: str, version_id: str | None) -> Any | None:
        """The answer to a HEAD; None when there is no such object or version."""
        mode = {"ChecksumMode": "ENABLED"} if self.checksums else {}
        with self.explained(key):
            try:
                return self.client.head_object(**self.at(key, version_id), **mode)
            except boto.ClientError as error:
                status = http_status(error)
                if status in (400, 403) or (status == 404 and not self._bucket_seen):
                    # The answer to a HEAD has no body. One that has tells whether key, bucket or credentials are wrong.
                    self._raise_cause(status)
                if status == 404 or (version_id is not None and status in (400, 405)):
                    return None
                raise

    def _raise_cause(self, status: int) -> None:
        try:
            self.client.list_objects_v2(Bucket=self.name, Prefix=self.prefix, MaxKeys=1)
        except boto.ClientError as error:
            # A listing is never "not found" but for its bucket. Without the right to list, it is still known that
            # there is no such object.
            if status != 404 or http_status(error) == 404:
                raise

    def missing(self, key: str, version_id: str | None = None) -> ObjectNotFoundError:
        """The error for an object, or a version of one, that is not there."""
        version = "" if version_id is None else f" version {version_id}"
        return ObjectNotFoundError(f"there is no object {key}{version} in {self.url}")

    def taken(self, key: str) -> AlreadyExistsError:
        """The error for a key that was to be free."""
        return AlreadyExistsError(f"{key} already exists in {self.url} and is left as it is")


def error_code(error: boto.ClientError) -> str:
    """The service's name for the error; the HTTP status as text where the answer had no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def http_status(error: boto.ClientError) -> int:
    """The HTTP status of the answer, 0 when it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def refused(error: boto.ClientError, *, url: str, bucket: str, endpoint: str, key: str) -> UserError:
    """The line for an answer of the service that no method expects."""
    code, what = error_code(error), f"{url}/{key}" if key else url
    if code in _FULL:
        return StoreUnavailableError(
            f"{endpoint} has no space for {what}; free space or raise the quota, then run again"
        )
    if code in _DAMAGED:
        return StoreUnavailableError(f"the bytes of {what} were damaged on the way ({code}); run again")
    if code in _BUSY or (http_status(error) >= 500 and http_status(error) != 501) or http_status(error) == 429:
        return StoreUnavailableError(f"{endpoint} is busy or failing ({code}) and did not do {what}; run again")
    if code == "InvalidObjectState":
        return ColdObjectError(what, error.response.get("AccessTier") or error.response.get("StorageClass"))
    if code == "EntityTooSmall":
        return BadInputError(f"a part of {what} is under 5 MiB and not the last; use larger parts")
    return StoreUnavailableError(_permanent(error, code, what, bucket, endpoint), transient=False)


def _permanent(error: boto.ClientError, code: str, what: str, bucket: str, endpoint: str) -> str:
    if code == "NoSuchBucket":
        make = "yolo-assets storage init --create"
        return f"bucket {bucket} does not exist at {endpoint}; make it ({make}) or correct the store's URL"
    if code == "InvalidAccessKeyId":
        return f"{endpoint} does not know the access key; check AWS_ACCESS_KEY_ID"
    if code == "SignatureDoesNotMatch":
        return f"{endpoint} refuses the secret key; check AWS_SECRET_ACCESS_KEY"
    if code in _EXPIRED:
        return f"the session token for {endpoint} has expired; get new credentials and set AWS_SESSION_TOKEN"
    if code == "RequestTimeTooSkewed":
        return f"the clock of this machine differs from that of {endpoint}; set it, for example with NTP"
    if code in _REFUSED:
        action = error.operation_name
        return (
            f"these credentials may not do {action} on {what}; give them the right, or use others (AWS_ACCESS_KEY_ID)"
        )
    if code in _REGION:
        return f"bucket {bucket} is in another region than the one set; correct AWS_DEFAULT_REGION"
    if http_status(error) == 404 and code in ("", "404"):
        return f"{endpoint} does not answer like S3; check AWS_ENDPOINT_URL_S3"
    if http_status(error) == 501 or code == "NotImplemented":
        return f"{endpoint} does not support {error.operation_name} as needed for {what}; use a store that does"
    message = str(error.response.get("Error", {}).get("Message") or "no reason given")
    return f"{endpoint} refused {error.operation_name} on {what}: {code or http_status(error)}, {message}"


def unreachable(error: boto.BotoCoreError | ResponseParserError, *, endpoint: str) -> UserError:
    """The line for a request that got no proper answer."""
    if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
        return StoreUnavailableError(
            "there are no complete S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            transient=False,
        )
    if isinstance(error, boto.SSLError):
        return StoreUnavailableError(
            f"no TLS with {endpoint}: {error}; for a private certificate authority "
            "set AWS_CA_BUNDLE to its certificate file",
            transient=False,
        )
    if isinstance(error, boto.ParamValidationError):
        return BadInputError(f"S3 does not accept such a request: {error}")
    if isinstance(error, boto.FlexibleChecksumError):
        return StoreUnavailableError(f"bytes from {endpoint} were damaged on the way; run again")
    if isinstance(error, ResponseParserError):
        return StoreUnavailableError(f"{endpoint} does not answer like S3; check AWS_ENDPOINT_URL_S3", transient=False)
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError | boto.IncompleteReadError):
        return StoreUnavailableError(
            f"cannot reach {endpoint} ({type(error).__name__}); check AWS_ENDPOINT_URL_S3, the network and the server"
        )
    return StoreUnavailableError(f"talking to {endpoint} failed: {error}; check the AWS_* variables", transient=False)


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
    """The answer to a GET or to a HEAD as information about the object."""
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


def crc_text(value: int) -> str:
    """As in records and in ``ObjectInfo``: eight hexadecimal digits."""
    return f"{value:08x}"


def crc_header(value: int) -> str:
    """As in ``x-amz-checksum-crc32``: base64 of four bytes, the highest first."""
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def header_of(data: bytes | memoryview) -> str:
    """The header of some bytes."""
    return crc_header(isal_zlib.crc32(data))


def text_of(header: str | None) -> str | None:
    """``crc_text`` of a header; None without one, and for a composite, whose value ends in ``-<parts>``."""
    try:
        raw = base64.b64decode(header or "", validate=True)
    except binascii.Error:
        return None
    return raw.hex() if len(raw) == 4 else None


def header_from(text: str) -> str:
    """The header of a ``crc_text``."""
    return crc_header(int(text, 16))


def full_object_crc(answer: Mapping[str, Any]) -> str | None:
    """The CRC-32 of the whole object, where a HEAD, GET or PUT answers with one."""
    return text_of(answer.get("ChecksumCRC32")) if answer.get("ChecksumType") == "FULL_OBJECT" else None


def upload_checksum(answer: Mapping[str, Any]) -> UploadChecksum:
    """What the upload's checksums are, by the answer to Create or to ListParts."""
    if answer.get("ChecksumAlgorithm") == "CRC32":
        return "full" if answer.get("ChecksumType") == "FULL_OBJECT" else "composite"
    # ministack's list names no algorithm, but each part's value.
    return "composite" if any("ChecksumCRC32" in part for part in answer.get("Parts", ())) else "none"
