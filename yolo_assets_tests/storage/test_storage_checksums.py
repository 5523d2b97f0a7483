"""Checksums that the store itself keeps: CRC-32 on ministack, which verifies them, and on Ceph, which ignores them.

ministack 1.5 makes a composite of a multipart object's CRCs whatever Create asks for, so what AWS does with one of the
full object is shown by answers put below boto3, and only that.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.awsrequest import AWSResponse

from yolo_assets.contracts.errors import UsageError
from yolo_assets.storage import StoreUnavailableError, UploadedPart, UploadGoneError, open_store
from yolo_assets.storage.s3 import S3Store
from yolo_assets.storage.s3_client import client_config, make_client

PART = 5 << 20
FIRST, LAST = b"1" * PART, b"2" * 77


def crc(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


def body_of(request: Any) -> bytes:
    """The bytes that a request is about to send."""
    if hasattr(request.body, "read"):
        data = request.body.read()
        request.body.seek(0)
        return data
    return bytes(request.body or b"")


def flip_a_bit(client: Any, operation: str, without: str) -> None:
    """Damage every body of an operation after its checksums were computed; ``without`` is taken out of the request."""

    def change(request: Any, **_: Any) -> None:
        data = body_of(request)
        request.body = data[:-1] + bytes([data[-1] ^ 1])
        del request.headers[without]

    client.meta.events.register(f"before-send.s3.{operation}", change)


def test_a_put_comes_back_with_its_crc(checked_bucket: Any) -> None:
    store = open_store(checked_bucket.url)
    for written in (store.put("k", b"hello"), store.put_if_absent("other", b"hello")):
        for version_id in (None, written.version_id):
            info = store.head(written.key, version_id=version_id)
            assert info is not None and (info.checksum_crc32, info.storage_class) == (crc(b"hello"), "STANDARD")


def test_without_the_variable_no_checksum_is_sent_or_requested(
    checked_bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")
    store = open_store(checked_bucket.url)
    assert store.put("k", b"hello").checksum_crc32 is None
    info = store.head("k")
    assert info is not None and info.checksum_crc32 is None
    upload_id = store.create_upload("big")
    assert store.upload_part("big", upload_id, 1, b"x").checksum_crc32 is None
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "always")
    with pytest.raises(UsageError, match="when_supported"):
        open_store(checked_bucket.url)


@pytest.mark.parametrize(
    ("operation", "without"),
    [
        ("PutObject", "Content-MD5"),
        ("PutObject", "x-amz-checksum-crc32"),
        ("UploadPart", "Content-MD5"),  # it has none: its CRC-32 is enough
    ],
)
def test_a_flipped_bit_is_refused_by_either_checksum(checked_bucket: Any, operation: str, without: str) -> None:
    client = make_client()
    store = S3Store(checked_bucket.name, "root", client, checked_bucket.url)
    upload_id = store.create_upload("k")
    flip_a_bit(client, operation, without)
    write: Callable[[], object] = {
        "UploadPart": lambda: store.upload_part("k", upload_id, 1, b"some bytes"),
        "PutObject": lambda: store.put("k", b"some bytes"),
    }[operation]
    with pytest.raises(StoreUnavailableError, match="damaged on the way") as caught:
        write()
    assert caught.value.transient
    assert store.head("k") is None and store.list_parts("k", upload_id) == []


def test_a_checked_upload_continues_in_another_process(checked_bucket: Any) -> None:
    upload_id = open_store(checked_bucket.url).create_upload("k")
    sent = open_store(checked_bucket.url).upload_part("k", upload_id, 2, LAST)
    resumed = open_store(checked_bucket.url)
    assert resumed.list_parts("k", upload_id) == [sent]
    assert sent.checksum_crc32 == crc(LAST)
    first = resumed.upload_part("k", upload_id, 1, FIRST)
    assert first.checksum_crc32 == crc(FIRST)
    info = resumed.complete_upload("k", upload_id, [first, sent], zlib.crc32(FIRST + LAST))
    # A composite says nothing of the whole object to somebody who does not know the parts: it is not passed on.
    assert info.checksum_crc32 is None and info.size == PART + 77
    assert resumed.get("k") == FIRST + LAST


def test_a_part_is_not_joined_under_another_checksum(checked_bucket: Any) -> None:
    store = open_store(checked_bucket.url)
    upload_id = store.create_upload("k")
    part = store.upload_part("k", upload_id, 1, LAST)
    with pytest.raises(UploadGoneError):
        store.complete_upload("k", upload_id, [UploadedPart(1, part.size, part.etag, crc(b"other"))])
    assert store.head("k") is None


@pytest.mark.parametrize("sent_before", [True, False])
def test_an_upload_begun_without_checksums_still_completes(
    checked_bucket: Any, monkeypatch: pytest.MonkeyPatch, sent_before: bool
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    old = open_store(checked_bucket.url)
    upload_id = old.create_upload("k")
    if sent_before:
        old.upload_part("k", upload_id, 1, FIRST)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    store = open_store(checked_bucket.url)
    parts = [store.upload_part("k", upload_id, number, data) for number, data in ((1, FIRST), (2, LAST))]
    assert [part.checksum_crc32 for part in parts] == [None, None]
    store.complete_upload("k", upload_id, parts, zlib.crc32(FIRST + LAST))
    assert hashlib.md5(store.get("k")).digest() == hashlib.md5(FIRST + LAST).digest()


@pytest.mark.s3
def test_a_store_that_ignores_checksums_is_not_asked_to_join_by_them(
    make_bucket: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(locked=True)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    store = open_store(bucket.url)
    upload_id = store.create_upload("k")
    parts = [store.upload_part("k", upload_id, number, data) for number, data in ((1, FIRST), (2, LAST))]
    assert [part.checksum_crc32 for part in parts] == [None, None]
    info = store.complete_upload("k", upload_id, parts, zlib.crc32(FIRST + LAST))
    assert info.checksum_crc32 is None and info.size == PART + 77
    assert store.put("small", b"1").checksum_crc32 is None


class Aws:
    """Answers as AWS documents them, below boto3: no test server keeps a full-object CRC of a multipart upload."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "eu-central-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        client = make_client()
        client.meta.events.register("before-send.s3", self._answer)
        self.store = S3Store("bucket", "root", client, "s3://bucket/root")
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.joined: dict[str, str] | None = None  # what a HEAD says of the object, once there is one
        self.listing = "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
        self.refuse_complete = False

    def _answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rsplit(".", 1)[-1]
        headers = {k.lower(): v.decode() if isinstance(v, bytes) else str(v) for k, v in request.headers.items()}
        self.asked.append((operation, headers, body_of(request)))
        meta = {"Date": "Sat, 21 Nov 2026 03:00:00 GMT", "Last-Modified": "Sat, 21 Nov 2026 03:00:00 GMT"}
        status, body = 200, ""
        if operation == "CreateMultipartUpload":
            body = "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
            for name in ("x-amz-checksum-algorithm", "x-amz-checksum-type"):
                meta[name] = headers[name]
        elif operation == "UploadPart":
            meta |= {"ETag": f'"{hashlib.md5(self.asked[-1][2]).hexdigest()}"'}
            meta |= {name: headers[name] for name in headers if name == "x-amz-checksum-crc32"}
        elif operation == "ListParts":
            body = f"<ListPartsResult>{self.listing}</ListPartsResult>"
        elif operation == "CompleteMultipartUpload" and self.refuse_complete:
            status, body = 400, "<Error><Code>BadDigest</Code><Message>words</Message></Error>"
        elif operation == "CompleteMultipartUpload":
            self.joined = {name: headers[name] for name in headers if name.startswith("x-amz-checksum")}
            body = "<CompleteMultipartUploadResult/>"
        elif operation == "HeadObject" and self.joined is None:
            status = 404
        elif operation == "HeadObject":
            assert headers["x-amz-checksum-mode"] == "ENABLED"
            meta |= {"ETag": '"abc-1"'} | (self.joined or {})
        elif operation == "ListObjectsV2":
            body = "<ListBucketResult/>"
        return AWSResponse(request.url, status, meta | {"Content-Length": str(len(body))}, _Raw(body.encode()))

    def last(self, operation: str) -> tuple[dict[str, str], bytes]:
        return next((headers, body) for name, headers, body in reversed(self.asked) if name == operation)


class _Raw:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.data


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    return Aws(monkeypatch)


def test_on_aws_an_upload_carries_a_crc_of_the_whole(aws: Aws) -> None:
    upload_id = aws.store.create_upload("k")
    assert aws.last("CreateMultipartUpload")[0]["x-amz-checksum-type"] == "FULL_OBJECT"
    part = aws.store.upload_part("k", upload_id, 1, LAST)
    info = aws.store.complete_upload("k", upload_id, [part], zlib.crc32(LAST))
    headers, body = aws.last("CompleteMultipartUpload")
    assert headers["x-amz-checksum-type"] == "FULL_OBJECT"
    named = ElementTree.fromstring(body).find("{*}Part/{*}ChecksumCRC32")
    assert named is not None and named.text == headers["x-amz-checksum-crc32"]
    assert info.checksum_crc32 == part.checksum_crc32 == crc(LAST)


def test_on_aws_an_old_upload_continues_as_it_was_begun(aws: Aws) -> None:
    aws.listing = ""
    part = aws.store.upload_part("k", "begun before", 1, LAST)
    headers = aws.last("UploadPart")[0]
    assert headers["x-amz-content-sha256"] == hashlib.sha256(LAST).hexdigest()
    assert not [name for name in headers if name.startswith("x-amz-checksum")]
    aws.store.complete_upload("k", "begun before", [part], zlib.crc32(LAST))
    assert "x-amz-checksum-crc32" not in aws.last("CompleteMultipartUpload")[0]


def test_on_aws_parts_that_make_another_object_are_sent_again(aws: Aws) -> None:
    upload_id = aws.store.create_upload("k")
    part = aws.store.upload_part("k", upload_id, 1, LAST)
    aws.refuse_complete = True
    with pytest.raises(UploadGoneError):
        aws.store.complete_upload("k", upload_id, [part], 1)


def test_which_endpoints_get_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    aws, other = None, "http://127.0.0.1:9"
    for value, expected in (
        ("", ["when_supported", "when_required"]),
        ("when_supported", ["when_supported"] * 2),
        ("WHEN_REQUIRED", ["when_required"] * 2),
    ):
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", value)
        found: list[Any] = [client_config(endpoint) for endpoint in (aws, other)]
        assert [config.request_checksum_calculation for config in found] == expected
