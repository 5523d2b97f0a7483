"""What only S3 has: versions, locks, rights, regions; and its failures, each in one line that says what to do."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from yolo_assets.contracts.errors import BadInputError, UsageError, UserError
from yolo_assets.storage import (
    AlreadyExistsError,
    CasConflictError,
    ObjectStore,
    StoreUnavailableError,
    UploadedPart,
    UploadGoneError,
    open_store,
)
from yolo_assets.storage.s3 import S3Store
from yolo_assets.storage.s3_client import client_config, make_client

PART = UploadedPart(1, 3, hashlib.md5(b"abc").hexdigest())
CHECKED_UPLOAD = """<ListPartsResult><ChecksumAlgorithm>CRC32</ChecksumAlgorithm>
<ChecksumType>FULL_OBJECT</ChecksumType></ListPartsResult>"""


def reads_and_writes(store: ObjectStore) -> list[Callable[[], object]]:
    return [
        lambda: store.get("k"),
        lambda: store.get_range("k", 0, 1),
        lambda: store.stream("k"),
        lambda: store.head("k"),
        lambda: list(store.list("")),
        lambda: store.put("k", b"abc"),
        lambda: store.put_if_absent("k", b"abc"),
        lambda: store.compare_and_swap("k", b"abc", "x"),
        lambda: store.create_upload("k"),
    ]


def fails(action: Callable[[], object], *, transient: bool) -> str:
    with pytest.raises(StoreUnavailableError) as caught:
        action()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert caught.value.transient is transient
    return str(caught.value)


@pytest.mark.s3
def test_a_missing_bucket(s3_bucket: Any) -> None:
    store = open_store("s3://no-such-bucket-here/root")
    for action in reads_and_writes(store):
        assert "bucket no-such-bucket-here does not exist" in fails(action, transient=False)


@pytest.mark.s3
@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", "stranger", "check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "check AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_wrong_credentials(
    s3_bucket: Any, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    for action in reads_and_writes(open_store(s3_bucket.url)):
        message = fails(action, transient=False)
        assert says in message and "adminsecret" not in message


@pytest.mark.s3
def test_a_user_without_rights(s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_bucket.server.other_env.items():
        monkeypatch.setenv(name, value)
    for action in reads_and_writes(open_store(s3_bucket.url)):
        assert "may not do" in fails(action, transient=False)


@pytest.mark.s3
def test_no_credentials(s3_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for action in reads_and_writes(open_store(s3_bucket.url)):
        assert "set AWS_ACCESS_KEY_ID" in fails(action, transient=False)


@pytest.mark.s3
@pytest.mark.parametrize("region", [{}, {"AWS_REGION": "eu-central-1"}])
def test_no_region_is_needed(s3_bucket: Any, monkeypatch: pytest.MonkeyPatch, region: dict[str, str]) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for name, value in region.items():
        monkeypatch.setenv(name, value)
    store = open_store(s3_bucket.url)
    store.put("k", b"1")
    assert store.get("k") == b"1"


@pytest.mark.s3
def test_the_prefix_is_a_wall(s3_bucket: Any) -> None:
    inside, beside = open_store(s3_bucket.url), open_store(s3_bucket.url + "2")
    whole = open_store(f"s3://{s3_bucket.name}/")
    inside.put("k", b"1")
    assert list(beside.list("")) == []
    assert [info.key for info in whole.list("")] == ["root/k"]
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="root/a//b", Body=b"not a key of ours")
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="root/folder/", Body=b"")
    assert [info.key for info in inside.list("")] == ["k"]


@pytest.mark.s3
@pytest.mark.parametrize("kind", ["versioned", "locked"])
def test_versions_stay_readable(make_bucket: Callable[..., Any], kind: str) -> None:
    store = open_store(make_bucket(**{kind: True}).url)
    first, second = store.put("k", b"first"), store.put("k", b"second")
    assert first.version_id and second.version_id and first.version_id != second.version_id
    assert store.get("k") == b"second"
    assert store.get("k", version_id=first.version_id) == b"first"
    assert store.get_range("k", 1, 2, version_id=first.version_id) == b"ir"
    assert b"".join(store.stream("k", version_id=first.version_id)) == b"first"
    info = store.head("k", version_id=first.version_id)
    assert info is not None and (info.etag, info.version_id) == (first.etag, first.version_id)
    with pytest.raises(AlreadyExistsError):
        store.put_if_absent("k", b"third")
    upload_id = store.create_upload("m")
    part = store.upload_part("m", upload_id, 1, b"abc")
    done = store.complete_upload("m", upload_id, [part])
    assert done.version_id and store.get("m", version_id=done.version_id) == b"abc"
    with pytest.raises(AlreadyExistsError):
        store.complete_upload("m", upload_id, [part])


@pytest.mark.s3
def test_parts_below_the_minimum(s3_bucket: Any) -> None:
    store = open_store(s3_bucket.url)
    upload_id = store.create_upload("k")
    parts = [store.upload_part("k", upload_id, number, b"abc") for number in (1, 2)]
    with pytest.raises(BadInputError, match="5 MiB"):
        store.complete_upload("k", upload_id, parts)


@pytest.mark.s3
def test_damage_on_the_way_is_refused_by_the_server(s3_bucket: Any) -> None:
    client = s3_bucket.server.client()
    store = S3Store(s3_bucket.name, "root", client, s3_bucket.url)
    upload_id = store.create_upload("k")

    def damage(request: Any, **_: Any) -> None:
        request.body = b"xbc"

    for operation in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-send.s3.{operation}", damage)
    for action in (lambda: store.put("k", b"abc"), lambda: store.upload_part("k", upload_id, 1, b"abc")):
        assert "damaged" in fails(action, transient=True)
    assert store.list_parts("k", upload_id) == [] and store.head("k") is None


# Without a server ---------------------------------------------------------------------------------------------------


@pytest.fixture
def aws_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> pytest.MonkeyPatch:
    """Credentials that nobody knows, and no endpoint."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


def test_an_endpoint_where_nothing_listens(aws_env: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses every connection
        aws_env.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{taken.getsockname()[1]}")
        for action in reads_and_writes(open_store("s3://bucket")):
            assert "check AWS_ENDPOINT_URL_S3" in fails(action, transient=True)


@pytest.mark.parametrize(("variable", "value"), [("AWS_ENDPOINT_URL_S3", "nonsense"), ("AWS_PROFILE", "missing")])
def test_contradictory_settings(aws_env: pytest.MonkeyPatch, variable: str, value: str) -> None:
    aws_env.setenv(variable, value)
    with pytest.raises(UsageError, match=r"AWS_\*"):
        open_store("s3://bucket")


def test_an_endpoint_from_a_configuration_file_is_treated_as_one(aws_env: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:9\n")
    client = make_client()
    assert client.meta.endpoint_url == "http://127.0.0.1:9"
    assert client.meta.config.request_checksum_calculation == "when_required"
    assert client.meta.config.s3["addressing_style"] == "path"


@pytest.mark.parametrize(
    ("endpoint", "checksums", "addressing"),
    [
        (None, "when_supported", "auto"),
        ("https://s3.eu-central-1.amazonaws.com", "when_supported", "auto"),
        ("http://minio:9000", "when_required", "path"),
        ("https://amazonaws.com.evil.example", "when_required", "path"),
        ("https://oss-cn-hangzhou.aliyuncs.com", "when_required", "virtual"),
    ],
)
def test_how_each_kind_of_endpoint_is_spoken_to(endpoint: str | None, checksums: str, addressing: str) -> None:
    config: Any = client_config(endpoint)
    assert config.request_checksum_calculation == config.response_checksum_validation == checksums
    assert config.s3["addressing_style"] == addressing
    assert config.retries == {"total_max_attempts": 1}


class Answers:
    """Stands in for the network below boto3: answers by operation, and keeps what was asked."""

    def __init__(self, store: S3Store, client: Any) -> None:
        self.store = store
        self.client = client
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, tuple[int, str]] = {}
        client.meta.events.register("before-send.s3", self._answer)

    def _answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.rsplit(".", 1)[-1]
        headers = {name: _text(value) for name, value in request.headers.items()}
        self.asked.append((operation, headers))
        empty = {"ListObjectsV2": (200, "<ListBucketResult/>")}  # a bucket that is there, with nothing in it
        status, body = (empty | self.answers).get(operation, (404, ""))
        date = {"Date": "Sat, 21 Nov 2026 03:00:00 GMT", "Last-Modified": "Sat, 21 Nov 2026 03:00:00 GMT"}
        meta = date | {"ETag": '"abc"', "Content-Length": str(len(body))}
        return AWSResponse(request.url, status, meta, _Raw(body.encode()))


class _Raw:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self.data

    def read(self, amount: int | None = None) -> bytes:
        head, self.data = (self.data, b"") if amount is None else (self.data[:amount], self.data[amount:])
        return head

    def close(self) -> None:
        self.data = b""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def error(code: str) -> str:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>words</Message></Error>"


@pytest.fixture(params=["aws", "other"])
def net(request: pytest.FixtureRequest, aws_env: pytest.MonkeyPatch) -> Answers:
    if request.param == "other":
        aws_env.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    client = make_client()
    return Answers(S3Store("bucket", "root", client, "s3://bucket/root"), client)


def test_every_write_carries_a_checksum_and_its_conditions(net: Answers) -> None:
    net.answers = {"PutObject": (200, ""), "UploadPart": (200, ""), "ListParts": (200, CHECKED_UPLOAD)}
    net.store.put("k", b"abc")
    net.store.put_if_absent("k", b"abc")
    net.store.compare_and_swap("k", b"abc", "feed")
    net.store.upload_part("k", "id", 1, b"abc")
    writes = [headers for operation, headers in net.asked if operation in ("PutObject", "UploadPart")]
    md5 = "kAFQmDzST7DWlj99KOF/cg=="
    assert [headers.get("Content-MD5") for headers in writes] == [md5] * 3 + [None]
    assert [headers.get("If-None-Match") for headers in writes] == [None, "*", None, None]
    aws = "amazonaws" in net.client.meta.endpoint_url
    assert [headers.get("If-Match") for headers in writes] == [None, None, '"feed"' if aws else "feed", None]
    signed = "UNSIGNED-PAYLOAD" if aws else hashlib.sha256(b"abc").hexdigest()
    assert [headers["X-Amz-Content-SHA256"] for headers in writes] == [signed] * 4
    # And the CRC-32, unless a relative of S3 may refuse it.
    crc = "NSRBwg==" if aws else None
    assert [headers.get("x-amz-checksum-crc32") for headers in writes] == [crc] * 4
    others = [
        name for headers in writes for name in headers if name.lower().startswith(("x-amz-checksum", "x-amz-sdk"))
    ]
    assert set(others) == ({"x-amz-checksum-crc32"} if aws else set())


def test_complete_that_answers_200_with_an_error(net: Answers) -> None:
    net.answers = {"CompleteMultipartUpload": (200, error("InternalError")), "ListParts": (200, "<ListPartsResult/>")}
    assert "run again" in fails(lambda: net.store.complete_upload("k", "id", [PART]), transient=True)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "ConditionalRequestConflict", UploadGoneError),
        (404, "NoSuchUpload", UploadGoneError),
        (400, "InvalidPart", UploadGoneError),
        (412, "PreconditionFailed", AlreadyExistsError),
        (503, "SlowDown", StoreUnavailableError),
    ],
)
def test_complete_refused(net: Answers, status: int, code: str, expected: type[UserError]) -> None:
    net.answers = {"CompleteMultipartUpload": (status, error(code))}
    with pytest.raises(expected):
        net.store.complete_upload("k", "id", [PART])


def test_conditional_write_refused(net: Answers) -> None:
    for status, code in ((412, "PreconditionFailed"), (404, "NoSuchKey")):
        net.answers = {"PutObject": (status, error(code))}
        with pytest.raises(CasConflictError):
            net.store.compare_and_swap("k", b"abc", "feed")
    net.answers = {"PutObject": (412, error("PreconditionFailed"))}
    with pytest.raises(AlreadyExistsError):
        net.store.put_if_absent("k", b"abc")


@pytest.mark.parametrize(("status", "code"), [(409, "ConditionalRequestConflict"), (500, "UnknownError")])
def test_a_conditional_write_of_unsure_outcome(net: Answers, status: int, code: str) -> None:
    net.answers = {"PutObject": (status, error(code)), "HeadObject": (200, "")}  # the etag there is "abc"
    with pytest.raises(CasConflictError):
        net.store.compare_and_swap("k", b"new", "feed")
    assert "run again" in fails(lambda: net.store.compare_and_swap("k", b"new", "abc"), transient=True)
    net.answers = {"PutObject": (status, error(code))}
    assert "run again" in fails(lambda: net.store.put_if_absent("k", b"new"), transient=True)


@pytest.mark.parametrize(
    ("status", "code", "says", "transient"),
    [
        (503, "SlowDown", "busy", True),
        (500, "InternalError", "run again", True),
        (507, "InsufficientCapacity", "free space", True),
        (403, "QuotaExceeded", "free space", True),
        (400, "ExpiredToken", "AWS_SESSION_TOKEN", False),
        (403, "RequestTimeTooSkewed", "clock", False),
        (301, "PermanentRedirect", "AWS_DEFAULT_REGION", False),
        (403, "InvalidObjectState", "cold tier", False),
        (501, "NotImplemented", "does not support", False),
        (400, "SomethingNew", "SomethingNew, words", False),
    ],
)
def test_messages_of_refusals(net: Answers, status: int, code: str, says: str, transient: bool) -> None:
    net.answers = {"GetObject": (status, error(code)), "PutObject": (status, error(code))}
    assert says in fails(lambda: net.store.get("k"), transient=transient)
    assert says in fails(lambda: net.store.put("k", b""), transient=transient)


def test_a_web_page_is_not_s3(net: Answers) -> None:
    page = (404, "<html>Not found<br></html>")
    net.answers = {"ListObjectsV2": page, "GetObject": page, "PutObject": page, "HeadObject": (404, "")}
    for action in reads_and_writes(net.store)[:8]:
        assert "does not answer like S3" in fails(action, transient=False)


def test_a_server_that_ignores_ranges(net: Answers) -> None:
    net.answers = {"GetObject": (200, "whole")}
    assert "ranges" in fails(lambda: net.store.get_range("k", 1, 2), transient=False)


def test_a_head_that_is_forbidden_gets_its_reason(net: Answers) -> None:
    net.answers = {"HeadObject": (403, ""), "ListObjectsV2": (403, error("SignatureDoesNotMatch"))}
    assert "AWS_SECRET_ACCESS_KEY" in fails(lambda: net.store.head("k"), transient=False)
    net.answers = {"HeadObject": (403, ""), "ListObjectsV2": (200, "<ListBucketResult/>")}
    assert "may not do HeadObject" in fails(lambda: net.store.head("k"), transient=False)
